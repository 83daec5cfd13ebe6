"""A setting's default, by which runs are filtered for which it was not typed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from embexp.compare.filters import filtered
from embexp.compare.runs import UNTRAINED, Run
from embexp.compare.settings import with_what_experiments_set
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.tracking import Status


@pytest.fixture
def runs(tmp_path) -> list[Run]:
    """Three runs: one that was made as it stands, one with a weight decay that was typed, one whose config is elsewhere."""
    made = []
    for name in ("untyped", "typed", "elsewhere"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Run(name, Status.FINISHED, None, {"loss": "mnr"}, predictions=folder / "predictions.parquet"))
        if name != "elsewhere":
            config = compose().model_dump(mode="json", by_alias=True)
            (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    made[1] = replace(made[1], params={"loss": "mnr", "trainer.weight_decay": "0.1"})
    return made


def names(runs: list[Run]) -> list[str]:
    return [run.name for run in runs]


def test_a_filter_finds_the_runs_that_have_a_setting_by_default(runs, capsys):
    assert names(filtered(runs[:2], ["trainer.weight_decay=0"])) == ["untyped"]
    assert names(filtered(runs[:2], ["trainer.weight_decay=0,0.1"])) == ["untyped", "typed"]
    assert names(filtered(runs[:2], ["trainer.save_model=false", "trainer.chunk_tokens=null"])) == ["untyped", "typed"]
    assert names(filtered(runs[:2], ["evaluation.similarities=[cosine,manhattan,euclidean,dot]"])) == names(runs[:2])
    assert capsys.readouterr().err == ""
    (found,) = filtered(runs[:2], ["trainer.weight_decay=0"])
    assert found.params["trainer.weight_decay"] == "0"


def test_runs_whose_config_is_not_here_are_left_out_and_counted(runs, capsys):
    assert names(filtered(runs, ["trainer.weight_decay=0"])) == ["untyped"]
    assert capsys.readouterr().err == (
        "trainer.weight_decay=0: 1 run is left out for which it was not typed, and whose config is not at hand\n"
    )


def test_a_run_that_has_no_such_setting_is_none_of_those_that_are_counted(runs, capsys):
    with_rows = replace(runs[1], params={"data.delimiter": ";"})
    assert filtered([runs[0], with_rows], ["data.delimiter=;"]) == [with_rows]
    assert capsys.readouterr().err == ""


def test_of_a_model_that_was_only_scored_no_setting_of_training_is_told(runs):
    scored = replace(runs[0], params={"loss": UNTRAINED})
    with pytest.raises(ConfigError, match="no run has this; filters are KEY=VALUE"):
        filtered([scored], ["trainer.weight_decay=0"])


def test_a_key_without_a_value_is_told_to_want_one(runs):
    with pytest.raises(ConfigError, match=r"^loss: filters are KEY=VALUE; give it a value: loss=\.\.\.$"):
        filtered(runs, ["loss"])


def test_what_an_experiment_s_file_set_is_told_beside_what_was_typed_for_others(runs):
    untyped, typed, elsewhere = (replace(run, params={**run.params, "experiment": "ours"}) for run in runs)
    filled = with_what_experiments_set([untyped, typed, elsewhere])
    assert [run.params.get("trainer.weight_decay") for run in filled] == ["0", "0.1", None]
    # Of others a default is what no column shows.
    assert with_what_experiments_set(runs) == runs
    scored = replace(untyped, params={**untyped.params, "loss": UNTRAINED})
    assert with_what_experiments_set([scored, typed]) == [scored, typed]
