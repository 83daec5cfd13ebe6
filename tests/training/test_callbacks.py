"""What is said between the steps."""

from __future__ import annotations

import io
import math
import sys
import time
from types import SimpleNamespace

import pytest

from embexp.interrupts import Preemption
from embexp.training.callbacks import Bar, Clock, Losses, Settle


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(monkeypatch: pytest.MonkeyPatch, *, step: int, loss: float) -> str:
    """The bar as it stands after a step of 12,345, in a terminal of 80 columns."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    clock = Clock()
    losses = Losses(SimpleNamespace(log_metrics=lambda *_: None), every=10)
    bar = Bar(clock=clock, losses=losses)
    state = SimpleNamespace(max_steps=12_345, global_step=step - 1)
    bar.on_train_begin(None, state, None)
    clock.texts += 64
    losses.last = loss
    # Bars are drawn twice a second; this one now.
    bar.bar.mininterval = bar.bar.miniters = 0
    bar.bar.start_t -= 0.01
    bar.on_step_end(None, state, None)
    bar.bar.refresh()
    shown = str(bar.bar)
    bar.close()
    return shown


def test_the_bar_tells_no_loss_before_there_is_one(monkeypatch):
    shown = told(monkeypatch, step=1, loss=math.nan)
    assert "nan" not in shown
    assert "left, " in shown
    assert shown.endswith(" texts/s")


def test_the_bar_s_last_word_is_whole_in_80_columns(monkeypatch):
    shown = told(monkeypatch, step=9_999, loss=12.3456)
    assert "left, loss 12.3456, " in shown
    assert shown.endswith(" texts/s")
    assert len(shown) <= 80


def test_what_the_tracker_imports_after_the_first_step_is_no_part_of_training():
    clock, asked = Clock(), []

    def settle() -> None:
        asked.append(clock.seconds)
        time.sleep(0.2)

    preemption = Preemption()
    callback = Settle(SimpleNamespace(settle=settle), clock, preemption)
    preemption.asked = KeyboardInterrupt
    callback.on_step_end(None, None, None)
    assert asked == []
    preemption.asked = None
    clock.go()
    begun = time.perf_counter()
    for _ in range(3):
        callback.on_step_end(None, None, None)
    clock.pause()
    assert len(asked) == 1
    assert clock.seconds < 0.1 < time.perf_counter() - begun
