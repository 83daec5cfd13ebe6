"""MTEB: no model gets another's score, a task that cannot be had costs only itself, mirrors are what the hub has."""

from __future__ import annotations

import csv
import sys

import mteb
import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data.helpdesk import scored
from embexp.evaluation import mteb_own
from embexp.evaluation.extras import Extras
from embexp.evaluation.mteb import MtebEvaluation, mteb_evaluation
from embexp.models import identity_of

NAMES = ("Banking77Classification", "STSBenchmark")


@pytest.fixture
def mirror(tmp_path):
    """Two tasks' data, small: classes that differ by their words, and pairs of the built-in corpus."""
    classes = {"card": "my card was stolen", "money": "where is the money", "pin": "change the pin number"}
    for split in ("train", "test"):
        rows = [f"{text} {n},{label}" for label, text in classes.items() for n in range(12)]
        folder = tmp_path / "data" / "banking77"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    folder = tmp_path / "data" / "stsb"
    folder.mkdir()
    write_pairs(folder / "test.csv", [*scored("test", count=60, seed=0)])
    return tmp_path / "data"


def write_pairs(file, pairs):
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("sentence1", "sentence2", "label"), *pairs])


def evaluation_of(mirror, tasks=NAMES, more=()) -> MtebEvaluation:
    settings = compose(
        [
            "evaluation=[own,mteb]",
            f"evaluation.mteb.path={mirror}",
            f"evaluation.mteb.cache={mirror.parent / 'cache'}",
            f"evaluation.mteb.tasks=[{','.join(tasks)}]",
            *more,
        ]
    ).evaluation.mteb
    assert settings is not None
    return mteb_evaluation(settings)


def scores_of(evaluation, model):
    return {part.task: part.scores["main_score"] for part in evaluation.parts(model)}


def test_two_models_never_share_a_score_and_one_model_is_scored_once(mirror, build_model):
    tasks = ("STSBenchmark",)
    first, second = evaluation_of(mirror, tasks), evaluation_of(mirror, tasks)
    one = scores_of(first, build_model(seed=1))
    other = scores_of(second, build_model(seed=2))
    assert one["STSBenchmark"] != other["STSBenchmark"]
    assert not any(task["from_cache"] for task in second.record["tasks"].values())
    again = evaluation_of(mirror, tasks)
    # MTEB keeps six decimals.
    assert scores_of(again, build_model(seed=1)) == pytest.approx(one, abs=1e-6)
    assert all(task["from_cache"] for task in again.record["tasks"].values())


def test_the_same_model_after_a_step_of_training_is_another(build_model):
    import torch

    model = build_model()
    before = identity_of(model)
    with torch.no_grad():
        next(iter(model.parameters())).view(-1)[0] += 1e-3
    assert identity_of(model) != before


def test_the_same_weights_with_another_pooling_length_or_prompt_are_another_model(build_model):
    found = {identity_of(build_model()), identity_of(build_model(pooling="cls"))}
    longer, prompted = build_model(), build_model()
    longer.max_seq_length = 16
    prompted.prompts = {**prompted.prompts, "query": "query: "}
    assert len({*found, identity_of(longer), identity_of(prompted)}) == 4
    assert identity_of(build_model()) in found


def test_a_model_stays_the_same_when_it_is_used(build_model):
    model = build_model()
    before = identity_of(model)
    model.encode(["a text", "and a longer one"])
    assert identity_of(model) == before


def test_other_data_under_the_same_name_is_scored_anew(mirror, model):
    tasks = ("STSBenchmark",)
    first = scores_of(evaluation_of(mirror, tasks), model)
    before = evaluation_of(mirror, tasks).fingerprint
    write_pairs(mirror / "stsb" / "test.csv", [*scored("test", count=60, seed=1)])
    assert evaluation_of(mirror, tasks).fingerprint != before
    assert scores_of(evaluation_of(mirror, tasks), model) != first


def test_the_files_of_a_mirror_are_read_once_for_all_that_is_told_of_them(mirror, monkeypatch):
    read, add_to = [], mteb_own.add_to
    monkeypatch.setattr(mteb_own, "add_to", lambda digest, file: (read.append(file), add_to(digest, file)))
    for _ in range(2):
        evaluation = evaluation_of(mirror)
        assert evaluation.fingerprint == evaluation.fingerprint
        assert evaluation.scored_on.keys() == {f"mteb/{name}" for name in NAMES}
    assert sorted(read) == sorted(mirror.rglob("*.csv"))


def test_files_that_are_changed_while_a_run_is_made_are_not_scored_under_its_key(mirror, model):
    extras, logged = Extras([evaluation_of(mirror)]), {}
    assert extras.fingerprint is not None
    write_pairs(mirror / "stsb" / "test.csv", [*scored("test", count=60, seed=1)])
    extras.score_after(model, logged.update)
    assert extras.missed == {
        "mteb/STSBenchmark": "its files have changed since the run began; give the same command again."
    }
    assert "mteb/Banking77Classification/main_score" in logged


def test_of_what_was_kept_only_the_splits_that_are_asked_for_count(mirror, model, monkeypatch):
    tasks = ("STSBenchmark",)
    asked = scores_of(evaluation_of(mirror, tasks), model)
    evaluate = mteb.evaluate

    def with_another_split(*given, **named):
        result = evaluate(*given, **named)
        (scored,) = result.task_results
        scored.scores["validation"] = [{**scored.scores["test"][0], "main_score": -1.0}]
        return result

    monkeypatch.setattr(mteb, "evaluate", with_another_split)
    assert scores_of(evaluation_of(mirror, tasks), model) == pytest.approx(asked, abs=1e-6)


def test_a_task_whose_data_is_missing_leaves_the_others_whole(mirror, model):
    evaluation = evaluation_of(mirror, ("SciFact", *NAMES))
    logged: dict[str, float] = {}
    extras = Extras([evaluation])
    extras.score_after(model, logged.update)
    assert set(extras.missed) == {"mteb/SciFact"}
    assert "evaluation.mteb.path" in extras.missed["mteb/SciFact"]
    for name in ("mteb/Banking77Classification/accuracy", "mteb/Banking77Classification/f1"):
        assert 0 < logged[name] <= 1
    assert "mteb/STSBenchmark/main_score" in logged
    assert "time/mteb/STSBenchmark_seconds" in logged


def test_a_broken_file_of_one_task_leaves_the_others_whole(mirror, model):
    (mirror / "banking77" / "test.csv").write_text("words,label\na,b\n")
    extras, logged = Extras([evaluation_of(mirror)]), {}
    extras.score_after(model, logged.update)
    why = f"evaluation.mteb.path={mirror / 'banking77' / 'test.csv'}: no column text; it has words, label."
    assert extras.missed["mteb/Banking77Classification"] == why
    assert "mteb/STSBenchmark/main_score" in logged


def test_an_empty_text_of_a_published_set_is_scored_and_one_of_ones_own_is_told(mirror, model):
    with (mirror / "banking77" / "test.csv").open("a") as file:
        file.write(",pin\n")
    (scored,) = evaluation_of(mirror, NAMES[:1]).parts(model)
    assert (scored.error, set(scored.scores)) == (None, {"main_score", "accuracy", "f1"})
    with pytest.raises(ConfigError, match=r"test\.csv row \d+: text is empty; fill it in or leave the row out"):
        own_evaluation(mirror.parent, mine=mirror / "banking77")


def test_versions_and_revisions_are_kept(mirror, model):
    import mteb

    evaluation = evaluation_of(mirror, ("STSBenchmark",))
    scores_of(evaluation, model)
    record = evaluation.record["tasks"]["STSBenchmark"]
    assert evaluation.record["version"] == mteb.__version__
    assert record["mteb_version"] == mteb.__version__
    assert record["dataset"]["revision"] == record["dataset_revision"]
    assert record["model_revision"] == identity_of(model)


def test_a_misspelt_task_type_or_benchmark_is_refused_with_the_nearest(mirror):
    with pytest.raises(ConfigError, match="Did you mean 'Banking77Classification'"):
        evaluation_of(mirror, ("Banking77Clasification",))


def test_a_benchmark_and_a_type_are_their_tasks_each_once():
    settings = compose(
        ["evaluation=[own,mteb]", 'evaluation.mteb.benchmark="MTEB(eng, v2)"', "evaluation.mteb.types=[STS]"]
    ).evaluation.mteb
    assert settings is not None
    names = [task.metadata.name for task in mteb_evaluation(settings).tasks]
    assert len(names) == len(set(names)) > 41
    assert {"STS12", "Banking77Classification", "ArguAna"} <= set(names)


@pytest.mark.parametrize(
    ("languages", "told"),
    [("deu", "it is in eng: name one of its own languages"), ("en", "Invalid language code: en")],
)
def test_a_task_in_another_language_is_told_with_its_own(mirror, languages, told):
    with pytest.raises(ConfigError) as refused:
        evaluation_of(mirror, more=(f"evaluation.mteb.languages=[{languages}]",))
    problems = refused.value.problems
    assert [problem.split(" (")[0] for problem in problems] == [
        f"evaluation.mteb.languages=[{languages}]: MTEB gives no {name}" for name in NAMES
    ]
    assert all(told in problem for problem in problems)


def test_what_is_no_language_is_told_where_types_are_chosen(mirror):
    with pytest.raises(ConfigError, match=r"languages=\[en\]: Invalid language code: en.*by three letters"):
        evaluation_of(mirror, (), more=("evaluation.mteb.types=[STS]", "evaluation.mteb.languages=[en]"))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "Summarization",
            r"languages=\[deu\]: MTEB has no task of type Summarization in these .* are in eng, fra: name one",
        ),
        ("Regression", r"no task of type Regression in these .* are in (eng, rus|rus, eng): name one"),
        ("ImageClassification", "no task of type ImageClassification is one of texts"),
    ],
)
def test_a_type_without_a_task_in_the_languages_is_told_with_those_that_have_some(mirror, kind, told):
    chosen = (f"evaluation.mteb.types=[STS,{kind}]", "evaluation.mteb.languages=[deu]")
    with pytest.raises(ConfigError, match=told) as refused:
        evaluation_of(mirror, (), more=chosen)
    assert len(refused.value.problems) == 1


def own_evaluation(tmp_path, **folders) -> MtebEvaluation:
    own = ", ".join(f"{name}: {folder}" for name, folder in folders.items())
    settings = compose(
        [
            "evaluation=[own,mteb]",
            f"evaluation.mteb.own={{{own}}}",
            f"evaluation.mteb.cache={tmp_path / 'cache'}",
            "evaluation.mteb.tasks=[]",
        ]
    ).evaluation.mteb
    assert settings is not None
    return mteb_evaluation(settings)


def test_a_person_s_own_texts_pairs_and_corpus_are_tasks_and_are_scored_as_mteb_scores_its_own(mirror, tmp_path, model):
    corpus = tmp_path / "shop"
    corpus.mkdir()
    (corpus / "corpus.csv").write_text("_id,text\na,refunds take five days\nb,the shop opens at nine\n")
    (corpus / "queries.csv").write_text("_id,text\n1,refunds take five days\n")
    (corpus / "qrels_test.csv").write_text("query-id,corpus-id,score\n1,a,1\n")
    evaluation = own_evaluation(tmp_path, tickets=mirror / "banking77", alike=mirror / "stsb", shop=corpus)
    parts = {part.task: part for part in evaluation.parts(model)}
    assert [part.error for part in parts.values()] == [None] * 3
    assert parts["shop"].scores["ndcg_at_10"] == parts["shop"].scores["main_score"] == 1.0
    assert 0 < parts["tickets"].scores["f1"] <= 1
    # The same data under MTEB's name has the same score.
    known = evaluation_of(mirror)
    assert scores_of(known, model) == pytest.approx(
        {
            "Banking77Classification": parts["tickets"].scores["main_score"],
            "STSBenchmark": parts["alike"].scores["main_score"],
        },
        abs=1e-6,
    )


def test_other_rows_in_an_own_folder_are_another_fingerprint(mirror, tmp_path):
    before = own_evaluation(tmp_path, alike=mirror / "stsb").fingerprint
    write_pairs(mirror / "stsb" / "test.csv", [*scored("test", count=60, seed=1)])
    assert own_evaluation(tmp_path, alike=mirror / "stsb").fingerprint != before


def test_what_lies_beside_the_tables_of_a_folder_is_not_its_data(mirror, tmp_path):
    before = own_evaluation(tmp_path, alike=mirror / "stsb").fingerprint
    of_mirror = evaluation_of(mirror).fingerprint
    (mirror / "stsb" / "README.md").write_text("where this came from")
    (mirror / "stsb" / ".DS_Store").write_bytes(b"\0")
    assert own_evaluation(tmp_path, alike=mirror / "stsb").fingerprint == before
    assert evaluation_of(mirror).fingerprint == of_mirror


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"test": "text,label"}, "test without train"),
        ({"test": "text,label", "train": "text,class"}, "train.csv without a column label"),
        ({"test": "sentence1,sentence2"}, "test.csv without a column score"),
        ({"corpus": "_id,text", "queries": "_id,text"}, "corpus and queries without qrels_test"),
    ],
)
def test_an_own_folder_that_lacks_a_part_of_its_task_is_refused_before_the_training(tmp_path, files, missing):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, header in files.items():
        (folder / f"{name}.csv").write_text(f"{header}\na,{'b,' * (header.count(',') - 1)}c\n")
    with pytest.raises(ConfigError, match=f"evaluation.mteb.own.mine={folder}: holds {missing}"):
        own_evaluation(tmp_path, mine=folder)


def test_an_own_folder_that_makes_no_task_is_refused_before_mteb_is_imported(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "test.csv").write_text("anchor,positive\na,b\n")
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ConfigError, match=r"mine=.*: holds test with anchor, positive; what makes a task is"):
        own_evaluation(tmp_path, mine=folder)


def test_an_own_folder_that_makes_no_task_is_refused_with_what_does(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "test.csv").write_text("words,label\na,b\n")
    with pytest.raises(ConfigError, match="test with words, label; what makes a task is corpus, queries"):
        own_evaluation(tmp_path, mine=folder)
    (folder / "test.csv").write_text("sentence1,sentence2,score\na,b,1\n")
    with pytest.raises(ConfigError, match="MTEB has a task of this name"):
        own_evaluation(tmp_path, STSBenchmark=folder)
