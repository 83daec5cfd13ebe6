"""What a run is called."""

from __future__ import annotations

import pytest

from embexp.config import compose
from embexp.naming import job_name, run_name, run_params, without_folders


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


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/home/my name/faq.csv", "faq.csv"),
        ("~/faq.csv", "faq.csv"),
        ("{a: /home/me/a.csv, b: x/b.csv}", "{a: a.csv, b: x/b.csv}"),
        ("mnr · bs 32 · data.train=/home/me/faq.csv", "mnr · bs 32 · data.train=faq.csv"),
        ("https://host/a/b and dev/spearman", "https://host/a/b and dev/spearman"),
    ],
)
def test_a_whole_path_is_cut_to_its_last_word(text, short):
    assert without_folders(text) == short
