"""Training: the best step kept, an interrupted run resumed bit for bit, failures told with their step."""

from __future__ import annotations

import gc
import signal
import weakref
from pathlib import Path

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import set_seed

from embexp.config import Config, ConfigError
from embexp.config.composition import compose
from embexp.data import build_source
from embexp.data.cache import cached_view
from embexp.interrupts import Terminated, raise_on_sigterm
from embexp.loss_plan import build_loss
from embexp.models import load_encoder
from embexp.prompts import prompts_of
from embexp.record import Record
from embexp.tracking import NullTracker
from embexp.training import TrainingDiverged, choose_hardware, column_prompts, kept_tokens, train
from embexp.training.callbacks import Scores
from embexp.training.checkpoints import Checkpoints
from embexp.training.shared import refuse_what_cannot_be_shared
from embexp.training.trainer import EmbeddingTrainer, texts_of
from tests.test_losses import rows_for

STEPS = 8
SMALL = [
    "model=tiny",
    "data.rows=1000",
    "batch_size=8",
    f"max_steps={STEPS}",
    "trainer.precision=fp32",
    "trainer.threads=1",
]


class Interrupted(BaseException):
    pass


def run(config: Config, folder: Path, *, scores=lambda step: step / 100, stop_at: int | None = None):
    """Trains a fresh model as the config says; `scores` stands for the dev score at a step."""
    set_seed(config.seed)
    hardware = choose_hardware(config.trainer)
    hardware.set_up()
    encoder = load_encoder(config.model)
    encoder.model.to(hardware.device)
    plan = build_loss(config.loss, encoder.model, seed=config.seed)
    cache = None if config.trainer.data_cache is None else str(folder.parent / "data")
    rows = build_source(config.data, cache=cache).load("train")
    view = cached_view(cache, rows, plan.view, positives="entailment", negatives="contradiction", threshold=0.6, seed=1)
    of = {"view": view.name, "of": rows.fingerprint}
    prompts = column_prompts(view, prompts_of(config.model))
    tokens = None if cache is None else kept_tokens(encoder.model, view.dataset, cache, of=of, prompts=prompts)
    record = Record(tracker=NullTracker(), folder=folder, name="run", params={})

    def evaluate(step: int) -> dict[str, float]:
        if stop_at is not None and step > stop_at:
            raise Interrupted
        return {"dev/spearman_cosine": scores(step)}

    trained = train(
        encoder,
        plan,
        view=view,
        tokens=tokens,
        config=config,
        hardware=hardware,
        folder=folder,
        evaluate=evaluate,
        record=record,
    )
    return encoder.model, trained, record


def weights(model) -> list[torch.Tensor]:
    return [value.clone() for _, value in sorted(model.state_dict().items())]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights and the record of a run with four checkpoints that nothing disturbed."""
    model, _, record = run(compose([*SMALL, "evaluation.times=4"]), tmp_path_factory.mktemp("undisturbed"))
    return weights(model), record


class Penalised(MultipleNegativesRankingLoss):
    """As a person adds a penalty: in forward."""

    def forward(self, sentence_features, labels=None):
        return super().forward(sentence_features, labels) + 100


def test_what_a_loss_of_ones_own_adds_in_its_forward_is_trained_on(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "own.yaml").write_text(f"_target_: {__name__}.Penalised\nview: pairs\n")
    config = compose([*SMALL, "loss=own", "max_steps=2", "trainer.logging_steps=1"], config_dir=tmp_path)
    _, _, record = run(config, tmp_path / "run")
    assert min(value for _, value in record.history["train/loss"]) > 100
    with pytest.raises(ConfigError, match="a forward that does more"):
        refuse_what_cannot_be_shared(Penalised(load_encoder(config.model).model), devices=2, name="own")


class Wrong(MultipleNegativesRankingLoss):
    """One that gives, of what it should, what `of` makes."""

    def __init__(self, model, of):
        super().__init__(model)
        self.of = {
            "vector": lambda loss: loss.expand(8),
            "detached": lambda loss: torch.tensor(1.0),
            "number": lambda loss: loss.item(),
            "whole": lambda loss: loss,
            "parts": lambda loss: {"one": loss, "other": loss * 0.5},
        }[of]

    def forward(self, sentence_features, labels=None):
        return self.of(super().forward(sentence_features, labels))


class WrongOfEmbeddings(Wrong):
    """The same, in the way without padding."""

    def compute_loss_from_embeddings(self, embeddings, labels=None):
        return self.of(MultipleNegativesRankingLoss.compute_loss_from_embeddings(self, embeddings, labels))

    def forward(self, sentence_features, labels=None):
        return self.compute_loss_from_embeddings([self.model(each)["sentence_embedding"] for each in sentence_features])


def with_wrong(tmp_path, loss: type[Wrong], of: str) -> Config:
    (tmp_path / "loss").mkdir(parents=True)
    (tmp_path / "loss" / "own.yaml").write_text(f"_target_: {__name__}.{loss.__name__}\nview: pairs\nof: {of}\n")
    return compose([*SMALL, "loss=own", "max_steps=2", "trainer.logging_steps=1"], config_dir=tmp_path)


@pytest.mark.parametrize("loss", [Wrong, WrongOfEmbeddings])
@pytest.mark.parametrize(
    ("of", "told"),
    [
        ("vector", "gives a tensor of shape [8]; it must give one number"),
        ("detached", "gives a number that does not depend on the model, so that nothing would be learnt"),
        ("number", "gives a float; it must give a tensor of one number"),
    ],
)
def test_what_is_no_loss_is_told_in_words(tmp_path, loss, of, told):
    with pytest.raises(ConfigError) as raised:
        run(with_wrong(tmp_path, loss, of), tmp_path / "run")
    assert str(raised.value).startswith(f"loss {__name__}.{loss.__name__}: {told}")


@pytest.mark.parametrize("loss", [Wrong, WrongOfEmbeddings])
def test_the_parts_of_a_loss_are_added_up(tmp_path, loss):
    _, trained, record = run(with_wrong(tmp_path, loss, "parts"), tmp_path / "run")
    (_, first), *_ = record.history["train/loss"]
    assert trained.steps == 2
    alone = with_wrong(tmp_path / "alone", loss, "whole")
    _, _, of_one = run(alone, tmp_path / "whole")
    assert first == pytest.approx(1.5 * of_one.history["train/loss"][0][1])


@pytest.mark.parametrize("rows", [None, 24], ids=["in its first epoch", "in its second of three"])
@pytest.mark.parametrize("loss", ["mnr", "cached_mnr", "cosine", "batch_semi_hard_triplet", "tsdae"])
def test_an_interrupted_run_ends_bit_for_bit_like_an_undisturbed_one(tmp_path, loss, rows, caplog):
    # Losses are logged between the checkpoints too: the mean that a checkpoint cuts in two is the whole one's.
    # Of labelled rows the first have a label each.
    more = ["data.limit=96", "batch_size=32"] if "batch_" in loss else [f"data.limit={rows}"]
    limit = [] if rows is None else more
    config = compose([f"loss={loss}", *rows_for(loss), *SMALL, *limit, "evaluation.times=4", "trainer.logging_steps=3"])
    straight, _, undisturbed = run(config, tmp_path / "straight")
    with pytest.raises(Interrupted):
        run(config, tmp_path / "broken", stop_at=4)
    assert Checkpoints(tmp_path / "broken").steps() == [2, 4]
    with caplog.at_level("INFO"):
        resumed, trained, record = run(config, tmp_path / "broken")
    assert "goes on from its checkpoint of step 4" in caplog.messages
    assert trained.steps == STEPS
    assert all(torch.equal(one, other) for one, other in zip(weights(straight), weights(resumed), strict=True))
    assert record.history == undisturbed.history
    assert record.metrics == undisturbed.metrics


@pytest.mark.parametrize("patience", ["null", "1"])
def test_a_run_that_was_killed_after_its_last_step_trains_no_more(tmp_path, monkeypatch, patience):
    config = compose([*SMALL, "evaluation.times=4", f"trainer.early_stopping={patience}"])
    straight, trained, undisturbed = run(config, tmp_path, scores=lambda step: -step)
    monkeypatch.setattr(EmbeddingTrainer, "training_step", lambda *_: pytest.fail("trained again"))
    again, resumed, record = run(config, tmp_path, scores=lambda step: pytest.fail("scored again"))
    assert (resumed.steps, resumed.best_step) == (trained.steps, trained.best_step)
    assert all(torch.equal(one, other) for one, other in zip(weights(straight), weights(again), strict=True))
    assert record.history == undisturbed.history


def test_a_broken_checkpoint_is_left_out_and_the_one_before_gives_the_same_end(tmp_path, caplog, undisturbed):
    config = compose([*SMALL, "evaluation.times=4"])
    with pytest.raises(Interrupted):
        run(config, tmp_path / "broken", stop_at=4)
    with (tmp_path / "broken" / "checkpoint-4" / "optimizer.pt").open("r+b") as file:
        file.truncate(1000)
    resumed, _, _ = run(config, tmp_path / "broken")
    assert "checkpoint of step 4: optimizer.pt has changed" in caplog.text
    assert all(torch.equal(one, other) for one, other in zip(undisturbed[0], weights(resumed), strict=True))


@pytest.mark.parametrize(
    ("number", "raised", "at"),
    [(signal.SIGTERM, Terminated, 3), (signal.SIGTERM, Terminated, 4), (signal.SIGINT, KeyboardInterrupt, 3)],
)
def test_a_signal_saves_a_checkpoint_within_the_step_and_the_run_goes_on_from_there(
    tmp_path, monkeypatch, caplog, undisturbed, number, raised, at
):
    caplog.set_level("INFO")
    config = compose([*SMALL, "evaluation.times=4"])
    straight, undisturbed_record = undisturbed
    original = EmbeddingTrainer.training_step

    def terminated(self, model, inputs, items=None):
        if self.state.global_step + 1 == at:
            signal.raise_signal(number)
        return original(self, model, inputs, items)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    raise_on_sigterm()
    # What starts the tests in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(EmbeddingTrainer, "training_step", terminated)
    try:
        with pytest.raises(raised):
            run(config, tmp_path / "told")
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    monkeypatch.setattr(EmbeddingTrainer, "training_step", original)
    assert Checkpoints(tmp_path / "told").steps()[-1] == at
    assert f"stopped after step {at} of 8; its checkpoint is saved" in caplog.text
    resumed, _, record = run(config, tmp_path / "told")
    assert all(torch.equal(one, other) for one, other in zip(straight, weights(resumed), strict=True))
    assert record.history == undisturbed_record.history


def test_texts_are_counted_and_not_their_words():
    tokenizer = load_encoder(compose(["model=tiny"]).model).model.tokenizer.backend_tokenizer
    words = StaticEmbedding(tokenizer, embedding_dim=4).preprocess(["one two three", "four"])
    assert texts_of({f"anchor_{name}": value for name, value in words.items()}) == 2
    assert texts_of({"anchor_input_ids": torch.ones(3, 7), "positive_input_ids": torch.ones(3, 9), "label": [0]}) == 6


def test_the_best_step_is_restored_even_if_it_is_not_the_last(tmp_path):
    at: dict[int, list[torch.Tensor]] = {}
    original = Scores.score

    def watched(self, step):
        at[step] = weights(self.model)
        original(self, step)

    config = compose([*SMALL, "evaluation.times=4"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scores, "score", watched)
        model, trained, _ = run(config, tmp_path, scores={2: 0.1, 4: 0.9, 6: 0.1, 8: 0.2}.__getitem__)
    assert trained.best_step == 4
    assert all(torch.equal(one, other) for one, other in zip(weights(model), at[4], strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(weights(model), at[8], strict=True))


def test_patience_stops_a_run_that_no_longer_gets_better(tmp_path):
    config = compose([*SMALL, "evaluation.times=8", "trainer.early_stopping=2"])
    _, trained, _ = run(config, tmp_path, scores=lambda step: -step)
    assert (trained.steps, trained.best_step) == (3, 1)


def test_a_loss_that_is_no_number_ends_the_run_with_its_step(tmp_path):
    config = compose([*SMALL, "learning_rate=1e30", "evaluation.times=1"])
    with pytest.raises(TrainingDiverged, match=r"is nan at step \d"):
        run(config, tmp_path)


def test_a_score_that_is_no_number_ends_the_run_with_its_step(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"dev/spearman_cosine is nan at step 8"):
        run(compose([*SMALL, "evaluation.times=1"]), tmp_path, scores=lambda step: float("nan"))


def test_without_checkpoints_nothing_is_written_and_the_best_step_is_still_kept(tmp_path):
    config = compose([*SMALL, "evaluation.times=2", "trainer.checkpoints=false"])
    _, trained, _ = run(config, tmp_path / "none", scores=lambda step: -step)
    assert trained.best_step == 4
    assert not list((tmp_path / "none").iterdir())


def test_the_noise_is_new_in_every_epoch(tmp_path, monkeypatch):
    seen: list[list[int]] = []
    original = EmbeddingTrainer.training_step

    def watched(self, model, inputs, number=None):
        seen.append(inputs["noisy_input_ids"].flatten().tolist())
        return original(self, model, inputs, number)

    monkeypatch.setattr(EmbeddingTrainer, "training_step", watched)
    config = compose(
        ["loss=tsdae", *SMALL, "max_steps=null", "epochs=2", "data.limit=9", "batch_size=64", "evaluation.times=1"]
    )
    run(config, tmp_path)
    assert len(seen) == 2
    assert sorted(seen[0]) != sorted(seen[1])


def test_accumulated_steps_are_counted_with_all_their_texts(tmp_path):
    config = compose(["loss=cosine", *SMALL, "trainer.accumulation_steps=4", "max_steps=2", "evaluation.times=1"])
    _, trained, _ = run(config, tmp_path)
    assert trained.texts_per_second * trained.seconds == pytest.approx(2 * 4 * 8 * 2)


def test_the_peak_of_memory_is_the_runs_own_and_not_that_of_what_ran_before(tmp_path):
    config = compose([*SMALL, "max_steps=2", "evaluation.times=1"])
    _, before, _ = run(config, tmp_path / "1")
    torch.ones(200_000_000).sum()
    _, after, _ = run(config, tmp_path / "2")
    assert before.peak_memory_bytes is not None
    assert after.peak_memory_bytes is not None
    assert after.peak_memory_bytes < before.peak_memory_bytes + 400_000_000


def test_memory_is_given_back_after_training(tmp_path):
    model, _, _ = run(compose([*SMALL, "evaluation.times=1"]), tmp_path)
    watcher = weakref.ref(model)
    del model
    gc.collect()
    assert watcher() is None


@pytest.mark.parametrize(("terminal", "logger"), [(True, "progress"), (False, "embexp.training.callbacks")])
def test_where_no_terminal_shows_a_bar_the_evaluations_are_told(tmp_path, monkeypatch, caplog, terminal, logger):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with caplog.at_level("INFO"):
        run(compose([*SMALL, "max_steps=2", "evaluation.times=2"]), tmp_path)
    told = [record for record in caplog.records if record.getMessage().startswith("step ")]
    assert [record.name for record in told] == [logger] * 2
    assert told[1].getMessage().startswith("step 2: dev spearman_cosine 0.0200, ")
