"""Rows and views that are kept: made once, the same as if made anew, and never another's."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data import build_source, cache, hub, stored, views
from embexp.data import rows as data_rows
from embexp.data.cache import FACTS, UNUSED_FOR, cached_view
from embexp.data.files import FileSource
from embexp.data.rows import COLUMNS, Rows
from embexp.data.tables import TABLE, UnwritableError
from embexp.data.views import make_view

RULES = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6, "seed": 1}
LINES = ["question,answer", *(f"where is order {number},on its way {number}" for number in range(30))]


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "faq.csv"
    path.write_text("\n".join(LINES))
    return path


def load(file: Path, split: str = "train", *overrides: str) -> Rows | None:
    data = compose(["data=files", f"data.train={file}", *overrides]).data
    return build_source(data, cache=str(file.parent / "cache")).load(split)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The splits that the source was asked for."""
    asked, whole = [], FileSource.load_into

    def watched(source, split, folder):
        asked.append(split)
        return whole(source, split, folder)

    monkeypatch.setattr(FileSource, "load_into", watched)
    return asked


@pytest.mark.parametrize("split", ["train", "dev"])
def test_the_second_time_rows_are_there_and_the_same_and_not_read(file, read, split):
    plain = build_source(compose(["data=files", f"data.train={file}"]).data).load(split)
    first, second = load(file, split), load(file, split)
    assert read.count(split) == 2  # without the cache, and once with it
    for rows in (first, second):
        assert rows.table.to_dict() == plain.table.to_dict()
        assert (rows.kind, rows.name, rows.counts) == (plain.kind, plain.name, plain.counts)
        assert rows.fingerprint == plain.fingerprint
        assert rows.table.cache_files  # mapped from the file


def test_a_split_that_is_not_there_is_known_too(file, read):
    assert load(file, "test") is None
    asked = len(read)
    assert load(file, "test") is None
    assert len(read) == asked


def test_another_content_or_another_setting_is_read_anew(file):
    first = load(file)
    assert load(file, "train", "data.limit=10").counts["read"] == 10
    file.write_text("\n".join(LINES).replace("order 3,", "order three,"))
    assert load(file).fingerprint != first.fingerprint
    assert len(entries(file.parent / "cache")) == 3


def test_what_was_said_of_the_rows_is_said_again(file, caplog):
    file.write_text("\n".join([*LINES, "where is mine,"]))
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            load(file, "train", "data.on_bad_rows=drop")
        (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert warning == f"data.train={file}: 1 bad row dropped, the first: row 32: answer is empty"


HARMS = {
    "cut": lambda entry: os.truncate(entry / TABLE, (entry / TABLE).stat().st_size - 100),
    "lost": lambda entry: (entry / TABLE).unlink(),
    # As long as it was, and as readable.
    "other letters": lambda entry: (entry / TABLE).write_bytes(
        (entry / TABLE).read_bytes().replace(b"where", b"whose")
    ),
    "no json": lambda entry: (entry / FACTS).write_text("{"),
    "no facts": lambda entry: (entry / FACTS).write_text("[]"),
    "other facts": lambda entry: (entry / FACTS).write_text((entry / FACTS).read_text().replace("faq", "fab")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_an_entry_that_is_damaged_is_made_anew(file, harm, caplog):
    first = load(file)
    table = first.table.to_dict()
    (entry,) = entries(file.parent / "cache")
    before = [(entry / name).read_bytes() for name in (TABLE, FACTS)]
    HARMS[harm](entry)
    again = load(file)
    assert again.table.to_dict() == table
    assert (again.name, again.fingerprint) == (first.name, first.fingerprint)
    assert f"{entry}: is damaged; it is made anew" in caplog.text
    assert [(entry / name).read_bytes() for name in (TABLE, FACTS)] == before


def test_what_another_process_made_anew_meanwhile_is_not_removed(file, read, monkeypatch, caplog):
    table = load(file).table.to_dict()
    (entry,) = entries(file.parent / "cache")
    shutil.copytree(entry, file.parent / "whole")
    HARMS["cut"](entry)

    @contextmanager
    def waited_for(made, *, waiting):
        shutil.rmtree(entry)
        (file.parent / "whole").rename(entry)
        yield

    monkeypatch.setattr(cache, "alone_with", waited_for)
    assert load(file).table.to_dict() == table
    assert read.count("train") == 1
    assert "damaged" not in caplog.text


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_an_entry_that_cannot_be_read_at_the_moment_stays(file, monkeypatch, caplog, number):
    first = load(file)
    (entry,) = entries(file.parent / "cache")
    before = {path: path.stat().st_ino for path in entry.iterdir()}
    whole = cache.sha256_of

    def broken(path):
        if path.name == TABLE:
            raise OSError(number, os.strerror(number))
        return whole(path)

    with monkeypatch.context() as patched:
        patched.setattr(cache, "sha256_of", broken)
        assert load(file).table.to_dict() == first.table.to_dict()
    assert {path: path.stat().st_ino for path in entry.iterdir()} == before
    assert f"what is kept cannot be read: [Errno {number}]" in caplog.text
    caplog.clear()
    load(file)
    assert not caplog.records


def test_where_nothing_can_be_written_the_rows_are_made_all_the_same(file, caplog):
    (file.parent / "cache").write_text("a file where the folder should be")
    assert len(load(file).table) > 20
    assert "not kept" in caplog.text


def test_what_has_not_been_used_for_a_month_is_removed(file):
    load(file)
    (old,) = entries(file.parent / "cache")
    long_ago = time.time() - UNUSED_FOR - 1
    os.utime(old, (long_ago, long_ago))
    load(file, "dev")
    assert old not in entries(file.parent / "cache")


def test_what_lies_beside_the_entries_stays(file):
    folder = file.parent / "cache"
    load(file)
    own = folder / "my corpora"
    own.mkdir()
    os.utime(own, (0, 0))
    load(file, "dev")
    assert own.is_dir()


def test_a_source_of_a_persons_own_is_asked_every_time(file, read, monkeypatch):
    # It may read what it does not tell of.
    (file.parent / "own_source.py").write_text(
        "from embexp.data.files import FileSource\nclass Own(FileSource): pass\n"
    )
    monkeypatch.syspath_prepend(file.parent)
    for _ in range(2):
        load(file, "train", "data._target_=own_source.Own")
    assert read == ["train", "train"]
    assert not (file.parent / "cache").exists()


def test_rows_whose_file_changed_while_it_was_read_are_not_kept(file, monkeypatch, caplog):
    whole = FileSource.load_into

    def rewritten(source, split, folder):
        file.write_text("\n".join(LINES[:10]))
        return whole(source, split, folder)

    with monkeypatch.context() as patched:
        patched.setattr(FileSource, "load_into", rewritten)
        assert load(file).counts["read"] == 9
    assert "changed while they were read" in caplog.text
    file.write_text("\n".join(LINES))
    assert load(file).counts["read"] == 30


def test_a_view_is_the_one_that_would_be_made_anew(tmp_path):
    columns = {"premise": ["a", "a", "b"], "hypothesis": ["is a", "is not a", "is b"], "label": [0, 2, 0]}
    rows = Rows("nli", Dataset(pa.table(columns)), "three", {"read": 3})
    plain = make_view(rows, ["triplets"], **RULES)
    for _ in range(2):
        view = cached_view(str(tmp_path), rows, ["triplets"], **RULES)
        assert (view.name, view.counts) == (plain.name, plain.counts)
        assert view.dataset.to_dict() == plain.dataset.to_dict()
    other = cached_view(str(tmp_path), rows, ["triplets"], **{**RULES, "negatives": "shuffled"})
    assert other.dataset["negative"][0] == "is b"
    assert len(entries(tmp_path)) == 2


@pytest.fixture
def mirror(tmp_path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    columns = {"premise": [f"p{n}" for n in range(30)], "hypothesis": [f"h{n}" for n in range(30)], "label": [0] * 30}
    pq.write_table(pa.table(columns), folder / "train.parquet")
    return folder


def load_mirror(mirror: Path, *, cached: bool = True) -> Rows | None:
    data = compose(["data=mnli", f"data.path={mirror}", "evaluation=helpdesk"]).data
    return build_source(data, cache=str(mirror.parent / "cache") if cached else None).load("train")


def test_rows_that_are_written_as_they_are_read_become_the_entry(mirror, monkeypatch):
    def copied(*_):
        raise AssertionError("written twice")

    monkeypatch.setattr(Dataset, "with_format", copied)
    with monkeypatch.context() as patched:
        patched.setattr(Rows, "fingerprint", "asked for elsewhere")
        rows = load_mirror(mirror)
    (entry,) = (mirror.parent / "cache").iterdir()
    assert sorted(file.name for file in entry.iterdir()) == [FACTS, TABLE]
    assert [file["filename"] for file in rows.table.cache_files] == [str(entry / TABLE)]
    monkeypatch.undo()
    assert rows.table.to_dict() == load_mirror(mirror, cached=False).table.to_dict()


def test_nothing_stays_of_rows_that_turn_out_bad_as_they_are_written(mirror, monkeypatch):
    whole, made = hub.arrow_table, []

    def broken(kind, columns):
        made.append(columns)
        if len(made) == 3:
            assert list((mirror.parent / "cache").glob(f"*/{TABLE}"))
            raise ConfigError(["broken"])
        return whole(kind, columns)

    monkeypatch.setattr(stored, "AT_ONCE", 7)
    monkeypatch.setattr(hub, "arrow_table", broken)
    with pytest.raises(ConfigError, match="broken"):
        load_mirror(mirror)
    assert list((mirror.parent / "cache").iterdir()) == []


def test_a_split_without_a_good_row_is_kept_as_none_and_without_a_table(mirror):
    hidden = {"premise": ["p"], "hypothesis": ["h"], "label": [-1]}
    pq.write_table(pa.table(hidden), mirror / "train.parquet")
    for _ in range(2):
        assert load_mirror(mirror) is None
    (entry,) = (mirror.parent / "cache").iterdir()
    assert [file.name for file in entry.iterdir()] == [FACTS]


def test_where_the_disk_is_full_the_rows_are_made_in_memory(mirror, monkeypatch, caplog):
    whole = hub.written

    def full(tables, schema, folder):
        if folder is not None:
            raise UnwritableError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(tables, schema, folder)

    monkeypatch.setattr(hub, "written", full)
    assert len(load_mirror(mirror).table) == 30
    assert "No space left on device); the next run makes it anew" in caplog.text
    assert list((mirror.parent / "cache").iterdir()) == []


def test_rows_that_are_not_kept_outlive_the_file_that_they_were_written_into(mirror, monkeypatch):
    monkeypatch.setattr(cache, "_contents", lambda files: [time.time_ns()])
    table = load_mirror(mirror).table
    assert list((mirror.parent / "cache").iterdir()) == []
    assert cloudpickle.loads(cloudpickle.dumps(table))["premise"][29] == "p29"


TRIPLETS = Rows("triplets", Dataset.from_dict({c: [f"{c} {n}" for n in range(9)] for c in COLUMNS["triplets"]}), "nine")


DISPUTED = {"text": ["a", "b", "c", "d", "a"], "label": [1, 1, 2, 2, 2]}


def test_what_was_said_of_a_view_is_said_again(tmp_path, caplog):
    rows = data_rows.rows_from("labelled", DISPUTED, name="some rows", counts={})
    said = "some rows: 1 row has under another label what an earlier row has"
    for _ in range(2):
        caplog.clear()
        cached_view(str(tmp_path), rows, ["labelled"], **RULES)
        assert caplog.text.count(said) == 1


def test_what_is_said_of_a_view_names_the_rows_that_it_is_of(tmp_path, caplog):
    for name in ("some rows", "others"):
        caplog.clear()
        rows = data_rows.rows_from("labelled", DISPUTED, name=name, counts={})
        cached_view(str(tmp_path), rows, ["labelled"], **RULES)
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [name]


def test_notes_are_kept_where_they_are_not_shown_and_shown_where_they_are_wanted(tmp_path, caplog):
    rows = data_rows.rows_from("labelled", DISPUTED, name="some rows", counts={})
    note = "some rows: 4 texts of 2 labels, 2 to 2 each"
    for level, shown in ((logging.WARNING, False), (logging.INFO, True), (logging.ERROR, False)):
        caplog.clear()
        with caplog.at_level(level, logger="embexp"):
            cached_view(str(tmp_path), rows, ["labelled"], **RULES)
        assert (note in caplog.messages) == shown
        # And what was to be seen is seen once.
        assert len(caplog.messages) == {logging.WARNING: 1, logging.INFO: 2, logging.ERROR: 0}[level]
    logger = logging.getLogger("embexp.data")
    assert (logger.level, logger.propagate) == (logging.NOTSET, True)


def test_a_view_is_written_as_it_is_made_and_mapped(tmp_path):
    view = cached_view(str(tmp_path), TRIPLETS, ["triplets"], **RULES)
    (entry,) = tmp_path.iterdir()
    assert sorted(file.name for file in entry.iterdir()) == [FACTS, TABLE]
    assert [file["filename"] for file in view.dataset.cache_files] == [str(entry / TABLE)]
    assert view.dataset.to_dict() == make_view(TRIPLETS, ["triplets"], **RULES).dataset.to_dict()


def test_nothing_stays_of_a_view_that_fails_as_it_is_written(tmp_path, monkeypatch):
    whole, made = views._as_view, []

    def broken(name, columns):
        made.append(columns)
        # All are read once before any is written.
        if len(made) == 5 + 3:
            assert list(tmp_path.glob(f"*/{TABLE}"))
            raise MemoryError
        return whole(name, columns)

    monkeypatch.setattr(data_rows, "AT_ONCE", 2)
    monkeypatch.setattr(views, "_as_view", broken)
    with pytest.raises(MemoryError):
        cached_view(str(tmp_path), TRIPLETS, ["triplets"], **RULES)
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_of_a_view_that_has_too_few_rows(tmp_path):
    one = Rows("triplets", TRIPLETS.table.select([0]), "one")
    with pytest.raises(ConfigError, match="1 row is left as triplets"):
        cached_view(str(tmp_path), one, ["triplets"], **RULES)
    assert list(tmp_path.iterdir()) == []
