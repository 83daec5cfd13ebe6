"""The evaluations as options: any list of them composes, a single word is what it was."""

from __future__ import annotations

import pytest

from embexp.config import ConfigError
from embexp.config.composition import check_command, compose


@pytest.fixture
def stsb(tmp_path):
    (tmp_path / "stsb").mkdir()
    (tmp_path / "stsb" / "validation.parquet").touch()
    return f"evaluation.path={tmp_path / 'stsb'}"


def test_a_list_of_evaluations_composes_in_any_order(stsb):
    for typed, name in (("[stsb,mteb,latency]", "stsb+mteb+latency"), ("[latency,stsb]", "latency+stsb")):
        config = compose([f"evaluation={typed}", stsb])
        assert config.names["evaluation"] == name
        assert config.evaluation.source is not None
        assert config.evaluation.latency is not None
        assert config.evaluation.retrieval is None


def test_what_is_scored_at_the_end_stands_beside_the_data_s_own_pairs():
    config = compose(["evaluation=latency"])
    assert config.names["evaluation"] == "own+latency"
    assert config.evaluation.source is None


def test_a_single_word_is_named_as_it_was(stsb):
    assert compose(["evaluation=stsb", stsb]).names["evaluation"] == "stsb"
    assert compose([]).names["evaluation"] == "own"


def test_an_experiment_s_evaluation_can_be_a_word_or_a_list(tmp_path, stsb):
    (tmp_path / "experiment").mkdir()
    for name, chosen in (("one", "stsb"), ("two", "[stsb, latency]")):
        (tmp_path / "experiment" / f"{name}.yaml").write_text(
            f"# @package _global_\ndefaults:\n  - override /evaluation: {chosen}\n"
        )
    assert compose(["experiment=one", stsb], config_dir=tmp_path).names["evaluation"] == "stsb"
    two = compose(["experiment=two", stsb], config_dir=tmp_path)
    assert two.names["evaluation"] == "stsb+latency"
    assert two.evaluation.latency is not None


def test_lists_and_words_can_be_swept(stsb):
    jobs = check_command(["evaluation=[stsb,latency],stsb,helpdesk", stsb], multirun=True).jobs
    assert [compose(job).names["evaluation"] for job in jobs] == ["stsb+latency", "stsb", "helpdesk"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("[stsb,helpdesk]", "one set of pairs chooses the best step"),
        ("[own,latncy]", "Did you mean 'latency'?"),
        ("[]", "needs at least one"),
    ],
)
def test_a_list_that_cannot_be_is_refused(typed, said):
    with pytest.raises(ConfigError) as refused:
        compose([f"evaluation={typed}"])
    assert said in str(refused.value)


@pytest.mark.parametrize("key", ["evaluation.sets", "evaluation.mteb.own"])
@pytest.mark.parametrize("name", ["a+b", "a/b", ".", ".."])
def test_a_name_that_a_metric_could_not_have_as_it_is_is_refused_in_words(tmp_path, key, name):
    with pytest.raises(ConfigError) as refused:
        compose(["evaluation=[own,mteb]", f"{key}={{{name}: {tmp_path}}}"])
    assert f"{key}.{name}: a name is of " in str(refused.value)


@pytest.mark.parametrize("name", ["1", "2024", "a.b", "b 2"])
def test_a_set_may_be_called_by_a_number_or_by_words(tmp_path, name):
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\n" + "a b,c d,0.5\ne f,g h,1\n" * 2)
    config = compose([f"evaluation.sets={{{name}: {tmp_path / 'pairs.csv'}}}"])
    assert list(config.evaluation.sets) == [name]


def test_another_group_takes_no_list():
    with pytest.raises(ConfigError, match="a run has one loss"):
        compose(["loss=[mnr,cosine]"])


def test_a_missing_file_is_told_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        compose(["evaluation=[own,mteb]", "evaluation.mteb.path=nowhere"])
