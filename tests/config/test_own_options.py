"""Options of a person's own, in a folder that --config-dir names: found, composed, and what is wrong with them told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hydra.core.config_store import ConfigStore

from embexp.config import ConfigError
from embexp.config.composition import check_command, compose, is_sweep
from embexp.shipped import conf_folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "_target_: embexp.losses.mnr\n  view: pairs\n",
            "mine.yaml: line 2: is no YAML: mapping values are not allowed",
        ),
        ("_target_: torch.nn.Linear\nveiw: pairs\n", "loss.view: is missing; .* Is 'veiw' a misspelling of it"),
    ],
)
def test_what_is_wrong_in_an_option_of_ones_own_is_told(tmp_path, text, said):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        compose(["loss=mine"], config_dir=tmp_path)


def test_a_named_sweep_of_ones_own_runs_every_combination_of_its_keys_and_what_is_typed_wins(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "grid.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: cosine\nmax_steps: 2\nhydra:\n  mode: MULTIRUN\n"
        "  sweeper:\n    params:\n      batch_size: 16,32\n      learning_rate: 2e-5,5e-5\n      seed: range(1,3)\n"
    )
    assert is_sweep(["experiment=grid"], config_dir=tmp_path)
    jobs = check_command(["experiment=grid"], multirun=True, config_dir=tmp_path).jobs
    assert len(jobs) == 8
    config = compose(jobs[-1], config_dir=tmp_path)
    assert (config.batch_size, config.learning_rate, config.seed) == (32, 5e-5, 2)
    assert (config.names["loss"], config.max_steps) == ("cosine", 2)
    assert len(check_command(["experiment=grid", "seed=7"], multirun=True, config_dir=tmp_path).jobs) == 4


def test_a_named_search_of_ones_own_needs_nothing_but_its_name(tmp_path):
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ours.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/sweeper: optuna\nhydra:\n  mode: MULTIRUN\n"
        "  sweeper:\n    n_trials: 3\n    params:\n      learning_rate: tag(log, interval(1e-5, 1e-3))\n"
    )
    assert is_sweep(["experiment=ours"], config_dir=tmp_path)
    assert len(check_command(["experiment=ours"], multirun=True, config_dir=tmp_path).jobs) == 3


def test_an_option_of_embexp_s_own_is_not_held_against_a_plugin_s_of_the_same_name():
    @dataclass
    class Theirs:
        queue: str = "theirs"

    ConfigStore.instance().store(group="hydra/launcher", name="joblib", node=Theirs)
    assert compose(["hydra/launcher=joblib"]).batch_size == 32


def test_an_option_of_ones_own_is_found_in_the_config_dir(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "contrastive.yaml").write_text(
        "_target_: sentence_transformers.sentence_transformer.losses.ContrastiveLoss\nview: scored\nmargin: 0.5\n"
    )
    config = compose(["loss=contrastive", "loss.margin=0.3"], config_dir=tmp_path)
    assert config.loss.view == ["scored"]
    assert config.loss.arguments() == {"margin": 0.3}


def test_an_option_of_ones_own_with_a_shipped_name_is_refused(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mnr.yaml").write_text("_target_: my.loss\nview: pairs\n")
    with pytest.raises(ConfigError, match="rename yours"):
        compose(config_dir=tmp_path)


def test_an_option_that_was_changed_is_read_anew(tmp_path):
    option = tmp_path / "loss" / "own.yaml"
    option.parent.mkdir()
    written = (conf_folder() / "loss" / "mnr.yaml").read_text(encoding="utf-8")
    for scale in (20.0, 30.0):
        option.write_text(written.replace("scale: 20.0", f"scale: {scale}"), encoding="utf-8")
        for _ in range(2):
            assert compose(["loss=own"], config_dir=tmp_path).loss.arguments()["scale"] == scale
    option.rename(option.with_name("other.yaml"))
    assert compose(["loss=other"], config_dir=tmp_path).loss.arguments()["scale"] == 30.0
    with pytest.raises(ConfigError, match="loss=own"):
        compose(["loss=own"], config_dir=tmp_path)
    with pytest.raises(ConfigError, match="loss=other"):
        compose(["loss=other"])


def test_other_files_of_a_folder_of_one_s_own_do_no_harm_and_one_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "x.yaml").symlink_to("nowhere")
    (tmp_path / "loss" / ".#y.yaml").symlink_to("nowhere")
    (tmp_path / "loss" / "loop").symlink_to(".")
    assert compose(["loss=mnr"], config_dir=tmp_path).names["loss"] == "mnr"
    (tmp_path / "loss" / "own.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"own\.yaml: is not UTF-8"):
        compose(["loss=own"], config_dir=tmp_path)


GLOBAL = "# @package _global_\n"


@pytest.mark.parametrize(
    ("file", "text", "override", "said"),
    [
        ("los/mine.yaml", "a: 1\n", "los=mine", "^los: no config has a default of this group. Did you mean 'loss'"),
        ("loss/mine.yml", "a: 1\n", "loss=mine", r"^loss=mine: Hydra reads no .*mine\.yml; let its name end in .yaml"),
        ("loss/mine.yml", "a: 1\n", "loss=other", "^loss=other: there is no such option; (?!.*mine)"),
        (
            "los/mine.yaml",
            "a: 1\n",
            "loss=mine",
            "^loss=mine: .*los/mine.yaml is there, but would have to lie in loss/",
        ),
        ("mine.yaml", "a: 1\n", "loss=mine", "^loss=mine: .*mine.yaml is there, but would have to lie in loss/"),
        ("experiment/mine.yaml", f"{GLOBAL}defaults: [/lost: a]\n", "experiment=mine", "lost: there is no such group."),
        ("loss/mine.yaml", "- view\n", "loss=mine", "^loss: .* must hold KEY: VALUE lines, it holds a list"),
        ("loss/mine.yaml", "defaults: [nowhere]\n", "loss=mine", "^loss/mine: loss=nowhere: there is no such option; "),
        (
            "experiment/mine.yaml",
            f"{GLOBAL}defaults: [{{override /los: mnr}}]\n",
            "experiment=mine",
            "^los: no config has a default of this group. Did you mean 'loss'",
        ),
        (
            "experiment/mine.yaml",
            f"{GLOBAL}defaults: [{{override /loss: mrn}}]\n",
            "experiment=mine",
            "^loss=mrn: there is no such option; .* Did you mean 'mnr'",
        ),
        (
            "experiment/mine.yaml",
            f"{GLOBAL}defaults: [{{loss: mnr}}]\n",
            "experiment=mine",
            "^experiment/mine.yaml: in its defaults write 'override /loss: mnr'",
        ),
        (
            "experiment/mine.yaml",
            "defaults: [{override /loss: mnr}]\n",
            "experiment=mine",
            r"^experiment/mine.yaml: loss is no group of .*; its first line must be '# @package _global_'",
        ),
    ],
)
def test_what_is_wrong_in_a_folder_of_ones_own_is_told_in_a_message(tmp_path, file, text, override, said, recwarn):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    for asked in (is_sweep, compose):
        with pytest.raises(ConfigError, match=said):
            asked([override], config_dir=tmp_path) or compose([override], config_dir=tmp_path)
    assert not list(recwarn)


def test_a_group_of_ones_own_is_one_where_a_config_has_a_default_of_it(tmp_path):
    for name, size in (("short", 16), ("long", 64)):
        option = tmp_path / "prompts" / f"{name}.yaml"
        option.parent.mkdir(exist_ok=True)
        option.write_text(f"# @package _global_\nbatch_size: {size}\n")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ours.yaml").write_text("# @package _global_\ndefaults:\n  - /prompts: short\n")
    jobs = check_command(["experiment=ours", "prompts=short,long"], multirun=True, config_dir=tmp_path).jobs
    assert [compose(job, config_dir=tmp_path).batch_size for job in jobs] == [16, 64]


def test_a_name_that_no_file_can_have_is_no_option():
    with pytest.raises(ConfigError, match="there is no such option"):
        compose(["loss=" + 300 * "x"])


@pytest.mark.parametrize(
    ("name", "read_as"),
    [
        ("2024", "the int 2024"),
        ("1e3", "the float 1000.0"),
        ("1_000", "the int 1000"),
        ("nan", "the float nan"),
        ("true", "the bool True"),
        ("null", "nothing"),
    ],
)
def test_an_option_whose_name_hydra_reads_as_something_else_is_told_to_be_called_otherwise(tmp_path, name, read_as):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / f"{name}.yaml").write_text((conf_folder() / "loss" / "mnr.yaml").read_text(encoding="utf-8"))
    said = f"loss={name}: Hydra reads no word there, but {read_as}; give the file {name}.yaml a name that is a word"
    for typed, multirun in ((f"loss={name}", False), (f"loss=mnr,{name}", True)):
        with pytest.raises(ConfigError) as refused:
            check_command([typed], multirun=multirun, config_dir=tmp_path)
        assert refused.value.problems[0].startswith(said)


def test_one_of_several_options_whose_name_is_read_as_a_number_is_told_alike(tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "2024.yaml").write_text("sets:\n  mine: null\n")
    with pytest.raises(ConfigError) as refused:
        check_command(["evaluation=[own,2024]"], multirun=False, config_dir=tmp_path)
    assert refused.value.problems[0].startswith("evaluation=2024: Hydra reads no word there, but the int 2024")
