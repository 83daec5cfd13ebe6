"""What is scored beside the pairs: each for itself, none at another's cost."""

from __future__ import annotations

import json
from typing import Any

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.evaluation import Extras, Part, build_extras
from embexp.tracking import scored_on_of, scored_on_tags
from tests.evaluation.test_sts import HARDWARE


class Scored:
    """An evaluation that gives what it was told to give, in order; an exception is raised."""

    def __init__(self, name: str, *given: Any, before: bool = False) -> None:
        self.name, self.given, self.before = name, given, before
        self.fingerprint = name
        self.scored_on = {name: name}
        self.record: dict[str, Any] = {"given": len(given)}

    def parts(self, model):
        for part in self.given:
            if isinstance(part, Exception):
                raise part
            yield part


def run(*chosen: Scored) -> tuple[Extras, dict[str, float]]:
    extras, logged = Extras(list(chosen)), {}
    extras.score_before(None, logged.update)
    extras.score_after(None, logged.update)
    return extras, logged


def test_an_evaluation_that_breaks_costs_only_what_it_had_not_yet_given():
    extras, logged = run(
        Scored("mteb", Part({"accuracy": 0.5}, "A"), RuntimeError("out of\nmemory"), Part({"accuracy": 1.0}, "B")),
        Scored("retrieval", Part({"ndcg_at_10": 0.25})),
    )
    assert logged["mteb/A/accuracy"] == 0.5
    assert logged["retrieval/ndcg_at_10"] == 0.25
    assert "mteb/B/accuracy" not in logged
    assert extras.missed == {"mteb": "RuntimeError: out of"}


def test_what_a_person_can_mend_is_told_whole_and_without_the_name_of_a_class(caplog):
    problems = ["test.csv row 3: text is empty.", "test.csv row 4: text is empty."]
    extras, _ = run(Scored("mteb", ConfigError(problems)))
    assert extras.missed == {"mteb": " ".join(problems)}
    assert caplog.messages == [f"mteb: not scored: {' '.join(problems)}"]


def test_what_was_scored_on_is_told_by_the_beginning_of_metrics():
    extras = Extras([Scored("retrieval"), Scored("sts/mine")])
    tags = scored_on_tags(extras.scored_on)
    assert scored_on_of({**tags, "embexp.key": "k"}) == {"retrieval": "retrieval", "sts/mine": "sts/mine"}
    many = {f"mteb/Task {number}": f"{number:064d}" for number in range(300)}
    assert max(map(len, scored_on_tags(many).values())) < 5_000
    assert scored_on_of(scored_on_tags(many)) == {name: found[:12] for name, found in many.items()}


def test_a_task_without_scores_is_told_and_the_next_is_scored():
    extras, logged = run(Scored("mteb", Part({}, "A", "no data"), Part({"accuracy": 1.0}, "B")))
    assert extras.missed == {"mteb/A": "no data"}
    assert logged["mteb/B/accuracy"] == 1.0
    assert "time/mteb/B_seconds" in logged


def test_what_is_no_number_is_not_logged():
    extras, logged = run(Scored("sts/x", Part({"spearman_cosine": float("nan"), "pearson_cosine": 0.5})))
    assert "sts/x/spearman_cosine" not in logged
    assert logged["sts/x/pearson_cosine"] == 0.5
    assert "spearman_cosine" in extras.missed["sts/x"]


def test_what_is_scored_on_is_told_where_nobody_chose_it(model, tmp_path, caplog):
    folder = tmp_path / "intents"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("text,label\nwhere is it,lost\nhow do I pay,bill\n")
    built_in = compose(["evaluation=[own,retrieval,classification]"])
    own = compose(["evaluation=[own,classification]", f"evaluation.classification.path={folder}"])
    with caplog.at_level("INFO"):
        for config in (built_in, own):
            build_extras(config, HARDWARE, {}).score_after(model, {}.update)
    told = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert told == [
        "retrieval on the built-in articles",
        "classification on the built-in intents",
        "classification",
    ]


def test_the_gain_over_the_untrained_model_is_told_where_it_was_scored():
    _, logged = run(
        Scored("retrieval", Part({"ndcg_at_10": 0.25}), before=True), Scored("latency", Part({"p50_ms": 1}))
    )
    assert logged["retrieval_before/ndcg_at_10"] == 0.25
    assert logged["gain/retrieval/ndcg_at_10"] == 0
    assert "latency_before/p50_ms" not in logged


def test_what_was_missed_stands_in_the_record(tmp_path):
    extras, _ = run(Scored("mteb", Part({}, "A", "no data")))
    extras.write(tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text()) == {
        "evaluations": {"mteb": {"given": 1}},
        "missed": {"mteb/A": "no data"},
    }
