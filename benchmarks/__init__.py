"""What is measured: the plain scripts, and embexp held against them."""
