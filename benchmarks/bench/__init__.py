"""embexp held against plain sentence-transformers scripts: `make bench`, or `python -m benchmarks.bench --help`.

Both sides are processes of their own, started as a person starts them; they take turns, pair by pair, every second pair
the other way round. What is told is the ratio of their times, plain / embexp, and its median over the pairs: on a
machine that also does other things, seconds alone say little.
"""
