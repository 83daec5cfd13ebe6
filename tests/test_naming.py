"""What a run is called."""

from __future__ import annotations

from embexp.config import compose
from embexp.naming import run_name


def test_a_run_is_called_by_what_was_chosen_and_typed_files_by_their_last_part(tmp_path):
    rows = tmp_path / "pairs.csv"
    rows.write_text("anchor,positive\na,b\nc,d\n")
    typed = [
        "data=files",
        f"data.train={rows}",
        "seed=2",
        "data.columns={anchor: anchor, positive: positive}",
        "tracker=none",
    ]
    assert run_name(compose(typed), typed) == (
        "mnr · bs 32 · minilm · files · data.train=pairs.csv · seed=2 · data.columns={anchor: anchor, positive: positive}"
    )
