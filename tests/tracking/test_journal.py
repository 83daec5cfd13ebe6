"""The journal: what survives a kill, a power cut and a full disk; and what never gets into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embexp.tracking.journal import Journal, Sent, journals_under
from embexp.tracking.secrets import scrub_file, without_secrets


def begun(folder: Path, **content) -> Journal:
    journal = Journal.create(folder)
    journal.append("start", **{"tags": {}, **content})
    return journal


def kinds(journal: Journal) -> list[str]:
    return [entry["kind"] for entry in journal.entries()]


def test_a_line_is_in_the_file_when_append_returns(tmp_path):
    journal = begun(tmp_path)
    journal.append("metrics", step=3, values={"train/loss": 0.1 + 0.2})
    line = json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[1])
    assert (line["step"], line["values"]) == (3, {"train/loss": 0.1 + 0.2})


def test_a_torn_last_line_is_no_line(tmp_path):
    journal = begun(tmp_path)
    journal.append("metrics", step=1, values={"a": 1.0})
    with journal.path.open("ab") as file:
        file.write(b'{"kind":"metrics","step":2,"val')
    assert kinds(journal) == ["start", "metrics"]
    assert journal.end() is None
    journal.close_as("KILLED", "its process is gone")
    assert kinds(journal) == ["start", "metrics", "end"]
    assert journal.end()["status"] == "KILLED"


def test_a_process_killed_at_any_moment_leaves_only_whole_lines_but_for_the_last(tmp_path):
    script = (
        "import sys; from pathlib import Path; from embexp.tracking.journal import Journal;"
        "j = Journal.create(Path(sys.argv[1])); j.append('start', tags={}); print('go', flush=True)\n"
        "for step in range(10**9): j.append('metrics', step=step, values={'train/loss': 1 / (step + 1)})"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    while (tmp_path / "journal.jsonl").stat().st_size < 100_000:
        pass
    process.kill()
    process.wait()
    _, *metrics = Journal(tmp_path / "journal.jsonl").entries()
    assert [entry["step"] for entry in metrics] == list(range(len(metrics)))
    assert len(metrics) > 1000


def test_a_line_spoilt_in_the_middle_costs_only_itself(tmp_path):
    journal = begun(tmp_path)
    with journal.path.open("ab") as file:
        file.write(b"\0\0\0\0\n")
    journal.append("end", status="FINISHED", reason=None)
    assert kinds(journal) == ["start", "broken", "end"]


def test_reading_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("embexp.tracking.journal.READ_AT_ONCE", 64)
    journal = begun(tmp_path)
    for step in range(50):
        journal.append("metrics", step=step, values={f"name {'long ' * 10}": 1.0})
    assert [entry.get("step") for entry in journal.entries()] == [None, *range(50)]
    (_, offset), *_ = journal.read()
    assert next(journal.entries(offset))["step"] == 0


def test_a_second_run_in_the_same_folder_has_its_own_journal(tmp_path):
    first, second = begun(tmp_path), begun(tmp_path)
    assert [journal.path for journal in journals_under(tmp_path)] == [first.path, second.path]


def test_a_cursor_that_a_power_cut_spoilt_counts_as_nothing_sent(tmp_path):
    journal = begun(tmp_path)
    journal.mark(Sent(bytes=10, run_id="abc"))
    assert journal.sent() == Sent(bytes=10, run_id="abc")
    (tmp_path / "journal.jsonl.sent").write_bytes(b"\0\0")
    assert journal.sent() == Sent()


def test_a_full_disk_is_an_error_and_leaves_no_half_line(tmp_path, monkeypatch):
    journal = begun(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:5]))
    with pytest.raises(OSError, match="No space left"):
        journal.append("metrics", step=1, values={"a": 1.0})
    monkeypatch.undo()
    journal.append("metrics", step=1, values={"a": 1.0})
    assert kinds(journal) == ["start", "metrics"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://host/db"),
        ("http://me:se@cr:et@host:5000", "http://host:5000"),
        ("see http://token@host/a and sqlite:////b.db", "see http://host/a and sqlite:////b.db"),
        (
            "postgresql://host/db?user=me&password=secret&sslmode=on",
            "postgresql://host/db?user=me&password=***&sslmode=on",
        ),
        ("mail me@host, 50 % @ http://host", "mail me@host, 50 % @ http://host"),
        ("tracker.uri=postgresql+psycopg2://me:pa/ss@host/db ok", "tracker.uri=postgresql+psycopg2://host/db ok"),
        ("http://host:5000/a/b@c", "http://host:5000/a/b@c"),
    ],
)
def test_secrets_of_a_uri_are_not_shown(text, shown):
    assert without_secrets(text) == shown


def test_journals_are_looked_for_where_runs_are_and_not_where_folders_come_and_go(tmp_path, monkeypatch):
    here = begun(tmp_path / "day" / "0")
    begun(tmp_path / "checkpoints" / "key")
    walk = os.walk

    def vanishing(folder):
        for home, folders, files in walk(folder):
            folders.append("gone meanwhile")
            yield home, folders, files

    monkeypatch.setattr(os, "walk", vanishing)
    assert [journal.path for journal in journals_under(tmp_path)] == [here.path]


def test_secrets_in_a_file_are_taken_out(tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text("- tracker.uri=http://me:secret@host\n- seed=1\n")
    scrub_file(path)
    assert path.read_text() == "- tracker.uri=http://host\n- seed=1\n"
    scrub_file(tmp_path / "absent.yaml")


def test_secrets_do_not_reach_the_journal(tmp_path):
    journal = begun(tmp_path, uri="http://me:secret@host", tags={"command": "embexp tracker.uri=http://me:secret@host"})
    journal.append("end", status="FAILED", reason="http://me:secret@host refused it")
    assert "secret" not in journal.path.read_text()
