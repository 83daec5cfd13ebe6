"""What happens between the steps: scores, losses, the bar, the noise's epoch; each its own callback."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embexp.data.noisy import NoisyTexts
from embexp.interrupts import Preemption
from embexp.tracking import MetricLogger, Tracker
from embexp.training.diverged import diverged
from embexp.units import counted

log = logging.getLogger(__name__)
progress = logging.getLogger("progress")


class Clock:
    """Seconds of training alone, paused while scores are made or a checkpoint is written; and the texts trained on."""

    def __init__(self) -> None:
        self.past = 0.0
        self.texts = 0
        self._since: float | None = None

    def go(self) -> None:
        """Starts, or goes on."""
        self.past, self._since = self.seconds, time.perf_counter()

    def pause(self) -> None:
        """Stops; what passes now is not counted."""
        self.past, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Until now; those before an interruption included."""
        return self.past + (time.perf_counter() - self._since if self._since is not None else 0.0)


@contextmanager
def in_float32(model: torch.nn.Module) -> Iterator[None]:
    """Within it the model computes as it did at step 0: accelerate has put a forward in the run's precision in front of its own."""
    wrapped = vars(model).pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


class Scores(TrainerCallback):
    """Scores the model at evenly spaced steps and at the last, keeps the best weights, stops early where asked.

    The best weights are kept in memory, exact; a checkpoint has them beside it so that a resumed run has them too.
    """

    def __init__(
        self,
        evaluate: Callable[[int], dict[str, float]],
        *,
        model: torch.nn.Module,
        select_by: str,
        times: int,
        patience: int | None,
        checkpoints: bool,
        tracker: MetricLogger,
        clock: Clock,
    ) -> None:
        self.evaluate = evaluate
        self.model = model
        self.select_by = select_by
        self.times = times
        self.patience = patience
        self.checkpoints = checkpoints
        self.tracker = tracker
        self.clock = clock
        self.best_score = -math.inf
        self.best_step = 0
        self.best_weights: dict[str, torch.Tensor] = {}
        self.since_best = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Scores, where the step is one of those."""
        step, last = state.global_step, state.max_steps
        if step not in {math.ceil(last * part / self.times) for part in range(1, self.times + 1)}:
            return control
        self.clock.pause()
        self.score(step)
        if self.patience is not None and self.since_best >= self.patience and step < last:
            waited = counted(self.patience, "evaluation")
            log.info("stopped at step %d of %d: no better score in %s", step, last, waited)
            control.should_training_stop = True
        # At the last step there is nothing left that an interruption could lose but the final scores.
        control.should_save = self.checkpoints
        if not control.should_save:
            self.clock.go()
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The clock goes on when the checkpoint is written."""
        self.clock.go()

    def score(self, step: int) -> None:
        """Scores the model as it is, and keeps its weights if it is the best so far."""
        training = self.model.training
        self.model.eval()
        with in_float32(self.model):
            metrics = self.evaluate(step)
        self.model.train(training)
        score = metrics[f"dev/{self.select_by}"]
        if not math.isfinite(score):
            raise diverged(f"dev/{self.select_by}", score, step)
        self.tracker.log_metrics(metrics, step)
        # A terminal has the bar; there this is for who looks into run.log alone.
        told = progress if sys.stderr.isatty() else log
        told.info("step %d: dev %s %.4f, %.0f s of training", step, self.select_by, score, self.clock.seconds)
        if score > self.best_score:
            self.best_score, self.best_step, self.since_best = score, step, 0
            self.best_weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        else:
            self.since_best += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint must carry for the best step to be known after a resume, the weights apart."""
        return {"score": self.best_score, "step": self.best_step, "since": self.since_best}

    def load_state(self, state: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
        """The counterpart of `state`."""
        self.best_score, self.best_step, self.since_best = state["score"], state["step"], state["since"]
        self.best_weights = weights


class Settle(TrainerCallback):
    """Has the tracker begin when the first step is done, while the clock stands: what it has to import is no part of training."""

    def __init__(self, tracker: Tracker, clock: Clock, preemption: Preemption) -> None:
        self.tracker = tracker
        self.clock = clock
        self.preemption = preemption
        self.done = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Once, and not where the run was told to go: its checkpoint comes first."""
        if not self.done and self.preemption.asked is None:
            self.done = True
            self.clock.pause()
            self.tracker.settle()
            self.clock.go()


class Losses(TrainerCallback):
    """Logs loss, learning rate and gradient norm; a loss that is no number ends the run.

    The Trainer's own mean begins anew at a resume; this one goes on.
    """

    def __init__(self, tracker: MetricLogger, *, every: int) -> None:
        self.tracker = tracker
        self.every = every
        self.sum = torch.zeros(())
        self.steps = 0
        self.last = self.learning_rate = self.grad_norm = math.nan

    def add(self, loss: torch.Tensor) -> None:
        """The loss of a step, or of its part where gradients are accumulated; stays on its device until it is logged."""
        self.sum = self.sum.to(loss.device) + loss.detach().float()

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        optimizer: torch.optim.Optimizer,
        **_: Any,
    ) -> None:
        """Keeps the learning rate of this step; when the step has ended it is the next one's."""
        self.learning_rate = float(optimizer.param_groups[0]["lr"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Logs the mean since the last time, every so many steps."""
        self.steps += 1
        if state.global_step % self.every and state.global_step != state.max_steps:
            return
        self.last = float(self.sum) / self.steps
        self.sum, self.steps = torch.zeros(()), 0
        if not math.isfinite(self.last):
            raise diverged("train/loss", self.last, state.global_step)
        values = {
            "train/loss": self.last,
            "train/learning_rate": self.learning_rate,
            "train/grad_norm": float(self.grad_norm),
        }
        self.tracker.log_metrics({n: v for n, v in values.items() if math.isfinite(v)}, state.global_step)

    def state(self) -> dict[str, float]:
        """What has been added since the last value logged."""
        return {"sum": float(self.sum), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """The counterpart of `state`."""
        self.sum, self.steps = torch.tensor(state["sum"]), state["steps"]


class SaveAndGo(TrainerCallback):
    """When SIGTERM or Ctrl-C has come: a checkpoint at the end of the step, then the end of the run."""

    def __init__(self, preemption: Preemption, *, checkpoints: bool) -> None:
        self.preemption = preemption
        self.checkpoints = checkpoints

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Asks for the checkpoint, where there may be any."""
        if self.preemption.asked is not None:
            if not self.checkpoints:
                raise self.preemption.asked
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The checkpoint is there."""
        if self.preemption.asked is not None:
            log.info("stopped after step %s of %s; its checkpoint is saved", state.global_step, state.max_steps)
            raise self.preemption.asked


class Bar(TrainerCallback):
    """One calm bar a run: steps, loss, texts a second, time left; nothing where stderr is not a terminal."""

    def __init__(self, *, clock: Clock, losses: Losses) -> None:
        self.clock = clock
        self.losses = losses
        self.bar: tqdm[Any] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Opens the bar, at the step where a resumed run goes on."""
        self.first = self.clock.texts
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            unit="step",
            disable=not sys.stderr.isatty(),
            leave=False,
            mininterval=0.5,
            # tqdm puts ", " before what is said beside it; so long a bar leaves room for all of it in 80 columns.
            bar_format="  {percentage:3.0f}% {bar:12} step {n}/{total}  {remaining} left{postfix}",
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Moves on by a step."""
        if self.bar is None or self.bar.disable:
            return
        elapsed = self.bar.format_dict["elapsed"] or math.inf
        rate = (self.clock.texts - self.first) / elapsed
        # Until the first one is logged there is none.
        loss = f"loss {self.losses.last:.4f}, " if math.isfinite(self.losses.last) else ""
        self.bar.set_postfix_str(f"{loss}{rate:.0f} texts/s", refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Takes the bar away, also when the run broke."""
        if self.bar is not None:
            self.bar.close()


class NoiseEpoch(TrainerCallback):
    """Tells the noisy texts which epoch it is, before its first batch is drawn; on a resume, the epoch it stood in."""

    def __init__(self, texts: NoisyTexts) -> None:
        self.texts = texts

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Sets the epoch."""
        self.texts.epoch = int(state.epoch or 0)
