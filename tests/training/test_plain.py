"""A run trains as sentence-transformers' own trainer does: the same batches give the same losses and weights."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch.utils.data import DataLoader
from transformers import set_seed

from embexp.config import Config
from embexp.config.composition import compose
from embexp.loss_plan import build_loss
from embexp.models import load_encoder
from embexp.training.trainer import EmbeddingTrainer
from tests.test_losses import rows_for
from tests.training.test_trainer import SMALL, run

STEPS = 20
# A norm that every step exceeds, so that what is clipped with what is seen.
CLIPPED = 0.05


class OfTheseBatches(SentenceTransformerTrainer):
    """The library's trainer, given its batches as another one collated them."""

    def __init__(self, batches: list[dict], **arguments):
        self.batches = batches
        self.losses: list[float] = []
        super().__init__(**arguments)

    def get_train_dataloader(self):
        return DataLoader(self.batches, batch_size=None)

    def training_step(self, *arguments):
        loss = super().training_step(*arguments)
        self.losses.append(float(loss))
        return loss


def plain(config: Config, batches: list[dict], folder):
    """The losses of every step and the weights after the last."""
    set_seed(config.seed)
    model = load_encoder(config.model).model
    plan = build_loss(config.loss, model, seed=config.seed)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        weight_decay=config.trainer.weight_decay,
        max_grad_norm=config.trainer.max_grad_norm,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    # The rows are never read; the trainer wants some.
    rows = Dataset.from_list([{"anchor": "a", "positive": "b"}])
    trainer = OfTheseBatches(batches, model=model, args=arguments, train_dataset=rows, loss=plan.module)
    trainer.train()
    return trainer.losses, plan.module.state_dict()


@pytest.mark.parametrize("loss", ["mnr", "cosine", "tsdae", "batch_all_triplet"])
def test_a_run_is_what_the_library_s_trainer_makes_of_its_batches(tmp_path, monkeypatch, loss):
    batches, losses, modules, norms = [], [], [], []
    original = EmbeddingTrainer.training_step

    def watched(self, model, inputs, number=None):
        batches.append({name: each.clone() if torch.is_tensor(each) else each for name, each in inputs.items()})
        value = original(self, model, inputs, number)
        losses.append(float(value))
        modules.append(self.loss)
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])))
        return value

    monkeypatch.setattr(EmbeddingTrainer, "training_step", watched)
    config = compose(
        [
            *SMALL,
            f"loss={loss}",
            *rows_for(loss),
            f"max_steps={STEPS}",
            "model.dropout=0.0",
            f"trainer.max_grad_norm={CLIPPED}",
            "warmup_steps=5",
            "learning_rate=1e-3",
        ]
    )
    # Every score is higher than the one before: the best weights are the last.
    run(config, tmp_path / "run")
    assert min(norms) > CLIPPED
    expected, weights = plain(config, batches, tmp_path / "plain")
    assert losses == pytest.approx(expected, abs=1e-4)
    for name, value in modules[-1].state_dict().items():
        torch.testing.assert_close(
            value, weights[name], atol=1e-4, rtol=1e-3, msg=lambda told, name=name: f"{name}: {told}"
        )
