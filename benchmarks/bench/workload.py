"""Writes the rows that both sides train on and are scored on, as the files that both read: a process of its own.

    python -m benchmarks.bench.workload base FOLDER --mnli DIR --stsb DIR --pairs 150
    python -m benchmarks.bench.workload numbered FOLDER --rows 100000
    python -m benchmarks.bench.workload words FOLDER --words 32
    python -m benchmarks.bench.workload bert FOLDER

What embexp would leave out (rows that repeat, or whose texts are equal) is left out here, so that both train on the same.
Without --mnli the rows are the built-in corpus's, without --stsb the pairs are.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SEED = 42
# Rows of a parquet file's group: written group by group, five million rows need no memory.
GROUP = 50_000
TRIPLETS, SCORED, TEXTS, PAIRS, FEW = "triplets", "scored", "texts", "pairs", "few"


def write_base(folder: Path, *, mnli: Path | None, stsb: Path | None, pairs: int) -> None:
    """triplets/, scored/ and texts/ with train.parquet; pairs/ with all pairs to score on, few/ with the first so many."""
    from embexp.config.composition import compose
    from embexp.data import build_source
    from embexp.data.views import make_view

    chosen = [f"data={'helpdesk' if mnli is None else 'mnli'}", "evaluation=helpdesk"]
    chosen += ["data.rows=50000"] if mnli is None else [f"data.path={mnli}", "data.limit=50000"]
    rows = build_source(compose(chosen).data).load("train")
    if rows is None:
        raise SystemExit(f"{mnli}: has no training rows.")
    rules: dict[str, Any] = {"positives": "entailment", "negatives": "shuffled", "threshold": 0.6, "seed": SEED}
    views = {TRIPLETS: "triplets", SCORED: "scored", TEXTS: "noisy"}
    for name, view in views.items():
        columns = make_view(rows, [view], **rules).dataset.to_dict()  # type: ignore[list-item]
        if name == SCORED:
            # As STS-B is published: 0 to 5, in a column that is called label.
            columns["label"] = [5 * score for score in columns.pop("score")]
        if name == TEXTS:
            columns["text"] = list(dict.fromkeys(text.strip() for text in columns["text"]))
        _write(folder / name / "train.parquet", columns)
    source = compose(
        ["data=helpdesk" if stsb is None else "data=stsb", *([] if stsb is None else [f"data.path={stsb}"])]
    )
    for split, file in (("dev", "validation"), ("test", "test")):
        found = build_source(source.data).load(split)  # type: ignore[arg-type]
        if found is None:
            raise SystemExit(f"{stsb}: has no {file} pairs.")
        columns = found.table.to_dict()
        columns["label"] = [5 * score for score in columns.pop("score")]
        _write(folder / PAIRS / f"{file}.parquet", columns)
        _write(folder / FEW / f"{file}.parquet", {name: values[:pairs] for name, values in columns.items()})


def write_numbered(folder: Path, *, rows: int) -> None:
    """rows_<rows>/train.parquet: the triplets again and again, each with a number, or they would be repeated rows."""
    columns = pq.read_table(folder / TRIPLETS / "train.parquet").to_pydict()
    size = len(columns["anchor"])
    out = folder / f"rows_{rows}" / "train.parquet"
    out.parent.mkdir()
    with pq.ParquetWriter(out, pa.schema([(name, pa.string()) for name in columns])) as writer:
        for first in range(0, rows, GROUP):
            numbers = range(first, min(first + GROUP, rows))
            texts = {name: [f"{values[n % size]} {n}" for n in numbers] for name, values in columns.items()}
            writer.write_table(pa.table(texts))


def write_words(folder: Path, *, words: int, rows: int = 600) -> None:
    """words_<words>/train.parquet: triplets of texts of so many words, drawn from the triplets' own."""
    texts = pq.read_table(folder / TRIPLETS / "train.parquet").column("anchor").to_pylist()[:2000]
    vocabulary = sorted({word for text in texts for word in text.split() if word.isalpha()})
    draw = random.Random(SEED)
    columns = {
        name: [" ".join(draw.choices(vocabulary, k=words)) for _ in range(rows)]
        for name in ("anchor", "positive", "negative")
    }
    _write(folder / f"words_{words}" / "train.parquet", columns)


def write_bert(folder: Path) -> None:
    """bert/: an encoder of bert-base's size with random weights and MiniLM's tokenizer. Speed asks for no better."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel

    from benchmarks.plain import packaged_minilm

    torch.manual_seed(SEED)
    small = SentenceTransformer(packaged_minilm(), device="cpu")
    inner = folder / "bert_inner"
    BertModel(BertConfig()).save_pretrained(inner)
    small.tokenizer.save_pretrained(inner)
    model = SentenceTransformer(str(inner), device="cpu")
    model.max_seq_length = 256
    model.save_pretrained(str(folder / "bert"))


def _write(path: Path, columns: dict[str, list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["base", "numbered", "words", "bert"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mnli", type=Path)
    parser.add_argument("--stsb", type=Path)
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--words", type=int)
    given = parser.parse_args(arguments)
    if given.what == "base":
        write_base(given.folder, mnli=given.mnli, stsb=given.stsb, pairs=given.pairs)
    elif given.what == "numbered":
        write_numbered(given.folder, rows=given.rows)
    elif given.what == "words":
        write_words(given.folder, words=given.words)
    else:
        write_bert(given.folder)


if __name__ == "__main__":
    main()
