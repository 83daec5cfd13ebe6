"""Models before training, each told from the others."""

from __future__ import annotations

from embexp.compare.bases import BEFORE, bases
from tests.compare.test_table import drawn, run

PROMPTS = '{query: "query: ", document: "passage: "}'


def words(runs, scores) -> list[str]:
    return [told for told, _ in bases(list(enumerate(runs, start=1)), dict(zip(map(id, runs), scores, strict=True)))]


def test_one_model_needs_no_name():
    assert words([run(0.6, batch_size=32), run(0.7, batch_size=64)], [0.5, 0.5]) == [BEFORE]
    assert bases([(1, run(0.6))], {}) == []


def test_they_are_told_apart_by_the_setting_that_differs_in_the_order_of_the_runs():
    with_prompts = [run(0.8, base=0.67, **{"model.prompts": PROMPTS, "batch_size": size}) for size in (32, 64)]
    without = [run(0.7, base=0.71, **{"model.prompts": "null", "batch_size": size}) for size in (32, 64)]
    text = drawn([*with_prompts, *without])
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "before training (with prompts) 0.6700" in lines
    assert "before training (without prompts) 0.7100" in lines
    others = [run(0.7, base=0.72, **{"model.prompts": PROMPTS.replace("query:", "ask:"), "batch_size": 32})]
    lines = [" ".join(line.split()) for line in drawn([*with_prompts, *others]).splitlines()]
    # On a line of its own: it would leave little room for scores.
    assert lines[lines.index("before training 0.6700") + 1] == '(…uery: "query: ", document: "passage: "})'


def test_settings_that_are_long_together_make_no_column_wider_than_scores():
    prompts = (PROMPTS, PROMPTS.replace("passage: ", ""), "null")
    runs = [run(0.6, model=model, **{"model.prompts": of_model}) for model in "ab" for of_model in prompts]
    told = words(runs, [number / 10 for number in range(6)])
    assert told == [f"before training (of {rank})" for rank in range(1, 7)]


def test_the_models_own_settings_come_before_those_that_differ_by_chance():
    runs = [run(0.6, loss="mnr", model="a", seed=1), run(0.7, loss="cosine", model="b", seed=2)]
    assert words(runs, [0.4, 0.5]) == ["before training (a)", "before training (b)"]


def test_where_no_one_setting_tells_all_of_them_apart_several_do():
    runs = [run(0.6, **{"model": model, "model.dropout": rate}) for model in "ab" for rate in (0, 0.1)]
    assert words(runs, [0.1, 0.2, 0.3, 0.4]) == [
        f"before training ({model}, {rate})" for model in "ab" for rate in ("0", "0.1")
    ]


def test_another_setting_is_named_with_its_value():
    assert words([run(0.6, data="one"), run(0.7, data="two")], [0.1, 0.2])[0] == "before training (data=one)"


def test_where_no_setting_tells_they_are_told_apart_by_the_ranks_of_their_runs():
    runs = [run(0.9 - number / 10, seed=number % 3) for number in range(8)]
    scores = [0.1, 0.1, 0.2, 0.1, 0.1, 0.2, 0.1, 0.1]
    assert words(runs, scores) == ["before training\n(of 1, 2, 4, 5, 7 and others)", "before training (of 3, 6)"]
