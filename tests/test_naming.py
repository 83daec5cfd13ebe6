"""What a run is called."""

from __future__ import annotations

import pytest

from embexp.config.composition import compose
from embexp.config.schema import Scalars
from embexp.naming import SCALARS, job_name, name_of, run_name, run_params, shared_command, shared_name, without_folders


def test_a_run_is_called_by_what_is_chosen_and_then_by_what_was_typed():
    typed = ["loss=cosine", "batch_size=64", "tracker=none", "rerun=true", "seed=2"]
    assert run_name(compose(typed), typed) == "cosine · bs 64 · minilm · helpdesk · seed=2"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("data.path=../shared/data/mnli", "data.path=data/mnli"),
        ("data.train=/home/me/fold1/train.csv", "data.train=fold1/train.csv"),
        ('data.train="/home/me/my rows, 1.csv"', "data.train=me/my rows, 1.csv"),
        ("data.train=pairs.csv", "data.train=pairs.csv"),
        ("data.train=/train.csv", "data.train=/train.csv"),
        ("data.path=.", "data.path=."),
        ("model.path=BAAI/bge-small", "model.path=BAAI/bge-small"),
        ("data.train=${oc.env:DATA,/tmp/x}", "data.train=${oc.env:DATA,/tmp/x}"),
        ('data.delimiter="/"', 'data.delimiter="/"'),
        ("evaluation.sets={mine: a/b/c.csv}", "evaluation.sets={mine: a/b/c.csv}"),
    ],
)
def test_a_file_is_called_by_its_folder_and_its_name(typed, shown):
    assert run_name(compose(), [typed]).endswith(f" · {shown}")


def test_what_changes_no_score_is_in_no_name():
    typed = [
        "trainer.save_model=true",
        "trainer.logging_steps=5",
        "trainer.weight_decay=0.1",
        "tracker.uri=http://host",
    ]
    assert run_name(compose(), typed) == "mnr · bs 32 · minilm · helpdesk · trainer.weight_decay=0.1"


def test_a_job_is_called_by_what_differs_among_the_jobs_of_its_sweep():
    typed = ["loss=cosine", "data.columns={text: a}", "data.train=/my/fold1/train.csv", "+loss.margin=0.3", "seed=2"]
    assert job_name(typed, ["loss", "data.train"]) == "loss=cosine, data.train=fold1/train.csv"
    assert job_name(typed, ["loss.margin"]) == "loss.margin=0.3"
    assert job_name(typed, []) is None


def test_settings_are_kept_without_the_quotation_marks_that_they_were_typed_in():
    kept = run_params(compose(), ['data.train="a b, c.csv"', "model.path='my model'"])
    assert kept["data.train"] == "a b, c.csv"
    assert kept["model"] == "my model"


def test_of_a_key_that_was_typed_twice_the_last_value_is_told_alone():
    typed = ["seed=1", "trainer.weight_decay=0.1", "model.path=a", "seed=2", "trainer.weight_decay=0.2", "model.path=b"]
    assert run_name(compose(), typed).endswith(" · seed=2 · trainer.weight_decay=0.2 · model.path=b")
    assert job_name(typed, ["seed"]) == "seed=2"
    kept = run_params(compose(), typed)
    assert (kept["trainer.weight_decay"], kept["model"]) == ("0.2", "b")


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("dev and train: 9 rows of /home/me/faq.csv", "dev and train: 9 rows of faq.csv"),
        ("~/a.csv, C:/b.csv", "a.csv, b.csv"),
        ("https://host/a/b and dev/spearman", "https://host/a/b and dev/spearman"),
    ],
)
def test_in_a_sentence_a_whole_path_is_cut_to_its_last_word(text, short):
    assert without_folders(text) == short


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("data.train", "/home/my name/faq.csv", "faq.csv"),
        ("data.dev", "../../home/me/x.csv", "x.csv"),
        ("data.test", "~/my rows, 1.csv", "my rows, 1.csv"),
        ("data.train", '"/home/me/my rows, 1.csv"', '"my rows, 1.csv"'),
        ("data.path", "/", "/"),
        ("data.path", "${oc.env:DATA,/tmp/x}", "${oc.env:DATA,x}"),
        ("evaluation.sets", "{a: /home/my me/a.csv, b: 'x/b.csv'}", "{a: a.csv, b: 'b.csv'}"),
        ("evaluation.sets", "{a:/home/me/a.csv}", "{a:a.csv}"),
        ("evaluation.sets.mine", "x/a.csv", "a.csv"),
        ("trainer.checkpoint_folder", "/home/me/checkpoints", "checkpoints"),
        ("model.path", "BAAI/bge-small", "BAAI/bge-small"),
        ("model", "/home/me/ours", "ours"),
        ("model.path", "", ""),
    ],
)
def test_of_a_setting_that_is_a_file_or_a_folder_the_name_alone_is_shown(key, value, name):
    assert name_of(key, value) == name


@pytest.mark.parametrize(
    ("key", "value"), [("model.prompts.query", "query: /passage: x"), ("data.delimiter", "/"), ("loss.scale", "20")]
)
def test_a_setting_that_is_no_file_is_shown_as_it_is(key, value):
    assert name_of(key, value) == value


def test_of_a_command_files_are_shown_by_name_and_the_trackers_and_hydras_settings_not_at_all():
    typed = ["python", "-m", "embexp", "--config-dir", "/home/me/conf", "data.train=/home/me/a b.csv", "loss=mnr"]
    typed += ["tracker.uri=sqlite:////home/me/runs.db", "hydra.sweep.dir=/home/me/runs", "+data.dev=~/dev.csv"]
    assert shared_command(typed) == [*typed[:4], "conf", "data.train=a b.csv", "loss=mnr", "+data.dev=dev.csv"]


def test_a_shared_name_has_the_names_of_files_alone_and_prompts_whole():
    name = "mnr · bs 32 · data.train=/home/me/faq.csv, seed=2 · model.prompts.query=query: /passage: x"
    assert shared_name(name) == name.replace("/home/me/", "")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("evaluation.sets={a: /home/me/a.csv, b: /home/me/b.csv}", "evaluation.sets={a: a.csv, b: b.csv}"),
        ("evaluation.mteb.own={tickets: /home/me/firm/tickets}", "evaluation.mteb.own={tickets: tickets}"),
        ("trainer.data_cache=/home/me/kept", "trainer.data_cache=kept"),
        ("loss.decoder=/home/me/bert", "loss.decoder=bert"),
    ],
)
def test_no_setting_shows_where_a_file_lies(typed, shown):
    assert shared_command([typed]) == [shown]
    assert shared_name(f"mnr · bs 32 · {typed} · seed=2") == f"mnr · bs 32 · {shown} · seed=2"


def test_every_number_at_the_top_of_the_config_is_kept_as_a_setting():
    assert set(Scalars.model_fields) == {"batch_size", "rerun", *SCALARS}
