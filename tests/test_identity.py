"""The run key: what is the same run, and what is another."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from embexp import identity
from embexp.config import Config
from embexp.config.composition import compose
from embexp.config.schema import OwnLoss, OwnModel
from embexp.identity import NOT_IN_KEY, run_key

HARDWARE = {"device": "cpu", "precision": "fp32"}
ROWS = {"train": "a", "evaluation": "b"}


def key(config: Config, *, model: str = "w", fingerprints: Any = ROWS, hardware: Any = HARDWARE) -> str:
    return run_key(config, model=model, fingerprints=fingerprints, hardware=hardware)


def dotted_fields(values: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in values.items():
        if isinstance(value, dict) and name not in ("names", "source"):
            names += dotted_fields(value, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def changed(config: Config, dotted: str) -> Config:
    """The config with another value in one field: unchecked, as only the key is looked at."""
    first, *rest = dotted.split(".")
    if not rest:
        return config.model_copy(update={first: {"changed": getattr(config, first)}})
    part = getattr(config, first)
    return config.model_copy(update={first: part.model_copy(update={rest[0]: {"changed": getattr(part, rest[0])}})})


CONFIGS = {name: compose([f"loss={name}"]) for name in ("cached_mnr", "tsdae")}
FIELDS = [(name, field) for name, config in CONFIGS.items() for field in dotted_fields(config.model_dump())]


def test_the_same_config_has_the_same_key():
    assert key(compose(["loss=mnr", "batch_size=64"])) == key(compose(["batch_size=64"]))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_is_in_the_key_unless_it_is_named_as_harmless(name, field):
    config = CONFIGS[name]
    harmless = any(field == named or field.startswith(f"{named}.") for named in NOT_IN_KEY)
    assert (key(changed(config, field)) == key(config)) is harmless


@pytest.mark.parametrize("dotted", NOT_IN_KEY)
def test_what_is_named_as_harmless_is_a_field_of_some_option(dotted):
    options = [
        "loss=tsdae",
        "data=helpdesk",
        "data=mnli",
        "data=files",
        "evaluation=[mteb,retrieval,classification,latency]",
    ]
    everything = [f for o in options for f in dotted_fields(compose_unchecked(o))]
    assert any(field == dotted or field.startswith(f"{dotted}.") for field in everything)


@cache
def compose_unchecked(option: str) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    from embexp.shipped import conf_folder

    with initialize_config_dir(version_base=None, config_dir=str(conf_folder())):
        values = OmegaConf.to_container(hydra_compose("config", [option]))
    assert isinstance(values, dict)
    for group in ("model", "data", "loss", "tracker"):
        values[group]["target"] = values[group].pop("_target_")
    return {**values, "names": {}}


@pytest.mark.parametrize(
    ("group", "own"),
    [
        ("loss", OwnLoss(target="mine.loss", view=["pairs"], decoder="a")),
        ("model", OwnModel(target="mine.build", path="a", revision="a", package="a", trust_remote_code="a")),
    ],
)
def test_of_a_loss_or_model_of_ones_own_every_key_counts_whatever_it_is_called(group, own):
    keys = [key(CONFIGS["tsdae"].model_copy(update={group: own}))]
    for name in own.arguments():
        keys.append(key(CONFIGS["tsdae"].model_copy(update={group: own.model_copy(update={name: "b"})})))
    assert len(keys) == len(set(keys)) == 1 + len(own.arguments())


def test_other_data_other_weights_other_hardware_are_other_runs():
    config = CONFIGS["cached_mnr"]
    keys = {
        key(config),
        key(config, model="v"),
        key(config, fingerprints={"train": "c", "evaluation": "b"}),
        key(config, fingerprints={"train": "a", "evaluation": "c"}),
        key(config, hardware={**HARDWARE, "precision": "bf16"}),
    }
    assert len(keys) == 5


def test_another_version_of_a_training_library_is_another_run(monkeypatch):
    before = key(CONFIGS["cached_mnr"])
    monkeypatch.setattr(identity, "_version_of", lambda package: "0.0")
    assert key(CONFIGS["cached_mnr"]) != before


@pytest.mark.parametrize(
    ("evaluation", "counts"), [("stsb", False), ("[stsb,mteb]", True), ("[stsb,classification]", True)]
)
def test_another_library_of_an_evaluation_is_another_run_where_it_is_scored_by_it(
    monkeypatch, tmp_path, evaluation, counts
):
    (tmp_path / "validation.parquet").touch()
    config = compose(["model=tiny", f"evaluation={evaluation}", f"evaluation.path={tmp_path}"])
    before, real = key(config), identity._version_of
    monkeypatch.setattr(identity, "_version_of", lambda package: "9.9" if package == "scikit-learn" else real(package))
    assert (key(config) != before) is counts


def test_other_rules_of_which_rows_become_which_view_are_another_run(monkeypatch):
    before = key(CONFIGS["cached_mnr"])
    monkeypatch.setattr(identity, "VIEWS_OF_KIND", {})
    assert key(CONFIGS["cached_mnr"]) != before


def test_other_code_that_decides_results_is_another_run_and_another_version_alone_is_none(monkeypatch):
    before = key(CONFIGS["cached_mnr"])
    monkeypatch.setattr(identity, "code_of", lambda *parts: "other code")
    assert key(CONFIGS["cached_mnr"]) != before
    monkeypatch.undo()
    real = identity._version_of
    monkeypatch.setattr(identity, "_version_of", lambda package: "9.9" if package == "embexp" else real(package))
    assert key(CONFIGS["cached_mnr"]) == before
    assert identity.versions()["embexp"] == "9.9"


def test_the_code_that_decides_is_there_and_each_file_of_it_counts(monkeypatch):
    here = Path(identity.__file__).parent
    assert all((here / part).exists() for part in identity.DECIDING)
    read: list[str] = []
    monkeypatch.setattr(identity, "sha256_of", lambda file: read.append(file.relative_to(here).as_posix()) or "")
    identity.code_of.cache_clear()
    identity.code_of(*identity.DECIDING)
    identity.code_of.cache_clear()
    assert {"losses.py", "training/trainer.py", "encoding/unpadded.py", "data/helpdesk/__init__.py"} <= set(read)
    assert not any(name.startswith(("report", "tracking")) for name in read)


def test_what_cannot_be_asked_of_git_is_not_taken_for_clean(monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "_git", lambda folder, *words: "abc" if words[0] == "rev-parse" else None)
    assert identity.git_state(tmp_path) == {"commit": "abc", "dirty": "unknown"}
    monkeypatch.setattr(identity, "_git", lambda folder, *words: "x" * (identity.LONGEST_DIFF + 5))
    assert identity.uncommitted(tmp_path).endswith("x\n[5 characters more]")


def test_git_state_of_a_folder_outside_any_checkout_is_empty(tmp_path):
    assert identity.git_state(tmp_path) == {}
