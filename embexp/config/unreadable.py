"""What is said of a word of a command that Hydra cannot read: what is wrong with it, and how what was meant is written."""

from __future__ import annotations

import re
import shlex

from hydra.core.override_parser.overrides_parser import create_functions
from hydra.errors import HydraException

from embexp.config.errors import closest, did_you_mean, first_line

# What Hydra says of a function that it cannot evaluate.
CALLED = re.compile(r" while evaluating '([\w-]+)\s*\(")
# How those that a sweep is written with are written.
WRITTEN = {
    "choice": "choice(16,32,64)",
    "range": "range(1,6)",
    "interval": "interval(0, 0.3)",
    "int": "int(interval(16, 64))",
    "tag": "tag(log, interval(1e-5, 1e-3))",
}
# What people call one that has another name here.
OTHER_NAMES = {"log": "tag", "loguniform": "tag", "uniform": "interval", "randint": "int"}
BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


def why_unreadable(word: str, error: HydraException) -> str:
    """What is wrong with a word that Hydra cannot read, and what to write in its place."""
    key, equals, value = word.partition("=")
    if called := CALLED.search(str(error)):
        return _of_a_function(called[1], key, value, first_line(error))
    if word.endswith(","):
        return "a value stands after every comma, without a blank: loss=mnr,cosine."
    if not equals:
        return "has no value; write KEY=VALUE."
    for opening, closing in BRACKETS:
        fewer, more = sorted((opening, closing), key=value.count)
        if value.count(fewer) != value.count(more) and not {"'", '"'} & set(value):
            return f"has not as many {fewer} as {more}; write what is missing, or, of a text, {_as_a_text(key, value)}."
    # What the grammar's parser says of an odd character is its own affair.
    why = "cannot be read" if "Exception(" in first_line(error) else first_line(error)
    return f"{why}; write KEY=VALUE, and {_how_to_quote(key, value)}"


def _of_a_function(name: str, key: str, value: str, why: str) -> str:
    """Of a value that is written as a function of Hydra's, which it is none of, or which takes other arguments."""
    functions = list(create_functions().definitions)
    if name in functions:
        return f"{why}; it is written so: '{key}={WRITTEN[name]}'." if name in WRITTEN else f"{why}."
    meant = OTHER_NAMES.get(name) or closest(name, functions)
    if meant is None:
        known = ", ".join(WRITTEN.values())
        return f"there is no function {name}; what is swept is written {known}, and a text {_as_a_text(key, value)}."
    return f"there is no function {name}.{did_you_mean(name, meant, f', as in {WRITTEN[meant]}' if meant in WRITTEN else '')}"


def _how_to_quote(key: str, value: str) -> str:
    odd = "with blanks, commas or letters beyond a to z"
    if value.startswith(("{", "[")):
        return f"quote each part of a value {odd}, and the whole: \"data.columns={{anchor: 'Süß', positive: b}}\"."
    return f"a value {odd} in two pairs of quotes: {_as_a_text(key, value)}."


def _as_a_text(key: str, value: str) -> str:
    """As a shell hands it to Hydra, and Hydra takes it for a text."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    bare = (value[1:-1] if quoted else value).replace('\\"', '"')
    # Hydra takes those before a quote for signs that it is text.
    at_the_end = len(bare) - len(bare.rstrip("\\"))
    bare = bare.replace('"', '\\"') + at_the_end * "\\"
    text = f'{key}="{bare}"'
    return shlex.quote(text) if "'" in text else f"'{text}'"
