"""conf/ as who reads it for the first time meets it: every key is explained, and every command in a comment is accepted."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embexp.config.composition import check_command, is_sweep
from embexp.shipped import conf_folder

CONF = conf_folder()
# Experiments hold what other files explain, and are composed elsewhere; the logging is Python's own.
UNEXPLAINED = ("experiment", "job_logging", "hydra_logging")
EXPLAINED = [file for file in sorted(CONF.rglob("*.yaml")) if file.parent.name not in UNEXPLAINED]
WITH_A_VALUE = re.compile(r" *\w+: +[^ ]")
COMMAND = re.compile(r"^# +python -m embexp (.*)$", re.MULTILINE)
COMMANDS = dict.fromkeys(
    tuple(shlex.split(typed, comments=True))
    for file in EXPLAINED
    for typed in COMMAND.findall(file.read_text(encoding="utf-8"))
)
ROWS = range(24)
FILES = {
    "pairs.csv": ["question,answer", *(f"how {n},so {n}" for n in ROWS)],
    "nli.tsv": ["p\th\tgold", *(f"how {n}\tso {n}\t{('entailment', 'neutral', 'contradiction')[n % 3]}" for n in ROWS)],
    "intents.csv": ["text,label", *(f"how {n},{n % 3}" for n in ROWS)],
    "notes.jsonl": [f'{{"text": "how {n}"}}' for n in ROWS],
    "dev.csv": ["sentence1,sentence2,score", *(f"why {n},so {n},{n % 2}" for n in ROWS)],
    "test.csv": ["sentence1,sentence2,score", *(f"when {n},then {n},{n % 2}" for n in ROWS)],
}

SEARCHED = {
    "queries.csv": ["_id,text", "1,how"],
    "corpus.csv": ["_id,title,text", "a,,so"],
    "qrels.csv": ["query-id,corpus-id,score", "1,a,1"],
}


@pytest.mark.parametrize("file", EXPLAINED, ids=lambda file: str(file.relative_to(CONF)))
def test_every_key_of_an_option_is_explained_beside_its_value(file: Path):
    values = file.read_text(encoding="utf-8").partition("\nhydra:")[0].splitlines()
    bare = [line for line in values if WITH_A_VALUE.match(line) and " # " not in line]
    assert [line for line in bare if not line.startswith("_target_:")] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_a_comment_tells_to_be_typed_is_accepted(words: tuple[str, ...], tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lines in FILES.items():
        Path(name).write_text("\n".join(lines))
    Path("FOLDER").mkdir()
    Path("FOLDER", "config.json").write_text("{}")
    for name in ("train", "test"):
        pq.write_table(
            pa.table({"text": [f"how {n}" for n in ROWS], "label": [n % 3 for n in ROWS]}), f"FOLDER/{name}.parquet"
        )
    for name, lines in SEARCHED.items():
        Path("FOLDER", name).write_text("\n".join(lines))
    # As where Slurm is.
    Path("srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    overrides = [word for word in words if word != "-m"]
    multirun = "-m" in words or is_sweep(overrides)
    assert multirun == (len(check_command(overrides, multirun=multirun).jobs) > 1)
