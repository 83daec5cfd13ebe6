"""The trainer: sentence-transformers' own, with unpadded steps, true failures and checkpoints that hold everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
from sentence_transformers import SentenceTransformerTrainer
from torch import Tensor
from transformers import PrinterCallback

from embexp.config import ConfigError
from embexp.data.tokens import Tokens
from embexp.encoding import StepEncoder, can_be_sorted
from embexp.loss_ways import computed_by
from embexp.training.checkpoints import Checkpoints, read_progress, write_progress
from embexp.training.collation import preprocessing
from embexp.training.diverged import diverged
from embexp.training.progress import Progress
from embexp.training.shared import ROWS, SharedSteps

WEIGHTS = "weights.pt"


def texts_of(inputs: Mapping[str, Any]) -> int:
    """How many texts the columns of a batch have."""
    columns = [name.removesuffix("input_ids") for name in inputs if name.endswith("input_ids")]
    # What pools words without a transformer has the texts' tokens one after another, and where each begins.
    return sum(len(inputs.get(f"{column}offsets", inputs[f"{column}input_ids"])) for column in columns)


def refuse_what_is_no_loss(loss: Any, *, called: str) -> None:
    """Before torch would say so of the backward pass, in words of its own.

    Args:
        loss: what the loss has given for a batch.
        called: the loss.

    Raises:
        ConfigError: it is not one number, or one that no weight is behind.
    """
    if not isinstance(loss, Tensor):
        problem = f"gives a {type(loss).__name__}; it must give a tensor of one number"
    elif loss.numel() != 1:
        problem = f"gives a tensor of shape {list(loss.shape)}; it must give one number, as the mean of these"
    elif not loss.requires_grad:
        problem = "gives a number that does not depend on the model, so that nothing would be learnt"
    else:
        return
    raise ConfigError([f"loss {called}: {problem}."])


class EmbeddingTrainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer; see the module's docstring for what differs."""

    def __init__(
        self,
        *,
        encoder: StepEncoder | None,
        checkpoints: Checkpoints,
        progress: Progress,
        shared: SharedSteps | None,
        tokens: Tokens | None,
        loss_called: str,
        **arguments: Any,
    ) -> None:
        self.encoder = encoder
        self.checkpoints = checkpoints
        self.progress = progress
        self.shared = shared
        self.loss_called = loss_called
        self.loss_was_seen = False
        self.writing_to: str | None = None
        super().__init__(**arguments)
        # What to say is embexp's own callbacks' to decide.
        self.remove_callback(PrinterCallback)
        self.data_collator.preprocess_fn = preprocessing(self.model, tokens)
        if shared is not None:
            self.data_collator: Any = shared.collator(self.data_collator)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: it takes seconds, and keeps the trainer alive for as long as the model."""

    def get_train_dataloader(self) -> Any:
        """As the library's; where a GPU's texts are put together on the CPU, they are left there."""
        before = self.accelerator.device_placement
        self.accelerator.device_placement = before and not self._left_on_cpu
        try:
            return super().get_train_dataloader()
        finally:
            self.accelerator.device_placement = before

    @property
    def _left_on_cpu(self) -> bool:
        return self.encoder is not None and self.encoder.gpu is not None and self.shared is None

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        columns, labels = self.collect_features(inputs)
        if self._left_on_cpu and self._in_one_go(columns):
            return inputs if labels is None else {**inputs, "label": labels.to(self.args.device)}
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        return prepared

    def _in_one_go(self, columns: Sequence[dict[str, Any]]) -> str | None:
        """By which of the loss's methods all texts of a step are computed together; None: by none."""
        ways = ("compute_sorted_loss", "compute_loss_from_embeddings")
        if self.encoder is None or not can_be_sorted(columns):
            return None
        return next((way for way in ways if computed_by(self.loss, way)), None)

    def train_from(self, checkpoint: Path | None) -> int:
        """Trains to the end, from the start or from a checkpoint; one of the last step is only loaded. Gives the steps."""
        if checkpoint is not None:
            progress = read_progress(checkpoint)
            if progress["complete"]:
                self._load_from_checkpoint(str(checkpoint))
                return int(progress["steps"])
        with catch_warnings():
            # transformers' new name for gradient checkpointing, which sentence-transformers does not know yet.
            filterwarnings("ignore", ".*gradient_checkpointing_enable", FutureWarning)
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return int(self.state.global_step)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a step, its texts encoded in one go where the loss can be computed so.

        Raises:
            ConfigError: at the first step, what the loss gives is none: see `refuse_what_is_no_loss`.
        """
        # The library computes the encoder alone in the run's precision, and would leave a decoder in fp32.
        with self.accelerator.autocast() if hasattr(self.loss, "sum_over_tokens") else nullcontext():
            loss = self._loss(model, inputs, return_outputs, num_items_in_batch)
        if isinstance(loss, dict):
            # The library adds up the parts of a loss where it calls forward, and not where a loss is computed from embeddings.
            loss = torch.stack(list(loss.values())).sum()
        if not (self.loss_was_seen or return_outputs):
            refuse_what_is_no_loss(loss, called=self.loss_called)
            self.loss_was_seen = True
        return loss

    def _loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool, num_items_in_batch: Any
    ) -> Any:
        if self.shared is not None:
            columns, labels = self.collect_features(inputs)
            return self.shared.loss(self.loss, model, columns, labels, rows=inputs[ROWS], encoder=self.encoder)
        columns, labels = self.collect_features(inputs)
        way = self._in_one_go(columns)
        if self.encoder is not None and way == "compute_sorted_loss":
            return self.loss.compute_sorted_loss(columns, self.encoder)
        if self.encoder is not None and way == "compute_loss_from_embeddings":
            return self.loss.compute_loss_from_embeddings(self.encoder.encode(model, columns), labels)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass; on a GPU a loss that is no number is seen when losses are logged."""
        with self.shared.own_noise(self.state.global_step) if self.shared else nullcontext():
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if loss.device.type != "cuda" and not torch.isfinite(loss):
            raise diverged("train/loss", loss.item(), self.state.global_step + 1)
        self.progress.losses.add(loss)
        self.progress.clock.texts += self.shared.texts(inputs) if self.shared else texts_of(inputs)
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        if self.shared is not None:
            self.shared.add_up_gradients(self.loss, self.model)
        # As the library does, by the norm of the model alone: what a loss owns, as a decoder, is not in it.
        norm = super()._clip_grad_norm(model)
        self.progress.losses.grad_norm = norm
        return norm

    def _get_output_dir(self, trial: Any) -> str:
        return self.writing_to or str(self.args.output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        step, scores = self.state.global_step, self.progress.scores
        with self.checkpoints.writing(step, best_step=scores.best_step, best_weights=scores.best_weights) as partial:
            self.writing_to = str(partial)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.writing_to = None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # The loss holds the encoder and, where it has them, its own parameters: all that is trained, in one file.
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.loss.state_dict(), folder / WEIGHTS)
        complete = self.state.global_step >= self.state.max_steps or self.control.should_training_stop
        write_progress(folder, {**self.progress.state(), "steps": self.state.global_step, "complete": complete})

    def _load_from_checkpoint(self, checkpoint_path: str, model: torch.nn.Module | None = None) -> None:
        folder = Path(checkpoint_path)
        self.loss.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
        state = read_progress(folder)
        self.progress.load_state(state, best_weights=self.checkpoints.best_weights(state["best"]["step"]))
