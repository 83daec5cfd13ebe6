"""The other devices' processes, as the run's own process starts, watches and ends them.

The run's process stays what it is on one device: it leads, and alone scores, logs, saves checkpoints and obeys signals. It
starts a process for every other device, hands it the model, the loss and the rows themselves, and from then on they train
in step. They decide nothing: they take part in one step after the other until their stdin ends, however the run ended.
torchrun would stand between the signals and the run, and its agent ends what takes longer than 30 seconds to save.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cloudpickle

from embexp.config import Config, ConfigError
from embexp.data.tokens import Tokens
from embexp.data.views import View
from embexp.loss_plan import LossPlan
from embexp.models import Encoder
from embexp.training.group import Group, GroupBroken, meeting_place
from embexp.training.hardware import Hardware
from embexp.training.launchers import without_launchers
from embexp.training.shared import SharedSteps

LOOK_EVERY = 0.05  # seconds
# From a broken connection to the end of the process that broke it, and from the end of stdin to that of a follower.
SOON, AT_ONCE = 10.0, 2.0
LINES_KEPT = 200


class MemberLost(Exception):
    """The process of another device ended before the run; the message says which, how, and what to do."""


@dataclass(frozen=True)
class Assignment:
    """What a member trains; the leader's own objects, so that all begin from the same bits and draw the same rows.

    Attributes:
        tokens: of the view's texts, where they are kept.
        checkpoint: that all begin from; None: from the start.
        folder: of the run's checkpoints.
    """

    encoder: Encoder
    plan: LossPlan
    view: View
    tokens: Tokens | None
    config: Config
    hardware: Hardware
    checkpoint: Path | None
    folder: Path


@dataclass(frozen=True)
class Place:
    """Where a follower finds the others, and who it is among them."""

    port: int
    rank: int
    size: int


@contextmanager
def together(assignment: Assignment, *, devices: int) -> Iterator[SharedSteps | None]:
    """Within it the followers are there, and take part in every step; afterwards they are gone. None: there are none.

    Raises:
        MemberLost: one of them ended meanwhile.
        ConfigError: model, loss or rows cannot be handed to another process.
    """
    if devices == 1:
        yield None
        return
    store = meeting_place()
    followers = Followers(devices, assignment.hardware)
    try:
        followers.hand_over(assignment, port=store.port)
        group = followers.meet(store, device=assignment.hardware.device)
        followers.watch(group)
        yield SharedSteps(group, seed=assignment.config.seed)
    except RuntimeError as error:
        # torch tells of a broken connection so, and of much else.
        followers.raise_if_lost(within=SOON if isinstance(error, GroupBroken) else AT_ONCE, cause=error)
        raise
    finally:
        followers.end()


class Followers:
    """The processes of all devices but the first."""

    def __init__(self, devices: int, hardware: Hardware) -> None:
        self.size = devices
        self.ending = Event()
        self.said: dict[int, deque[str]] = {}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        for rank in range(1, devices):
            process = self.processes[rank] = subprocess.Popen(
                [sys.executable, "-m", "embexp.training.follower"],
                env=environment(os.environ, rank=rank, hardware=hardware),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Ctrl-C in a terminal reaches a whole group of processes: what it means is for the leader to say.
                start_new_session=True,
            )
            said = self.said[rank] = deque(maxlen=LINES_KEPT)
            Thread(target=_keep_lines, args=(process, said), daemon=True, name=f"embexp-device-{rank}").start()

    def hand_over(self, assignment: Assignment, *, port: int) -> None:
        """Gives every follower what it needs. Its stdin is left open: that it ends tells it that the run is over."""
        for rank, process in self.processes.items():
            assert process.stdin is not None
            try:
                pickle.dump((sys.path, Place(port, rank, self.size)), process.stdin)
                cloudpickle.dump(assignment, process.stdin)
                process.stdin.flush()
            except BrokenPipeError:
                self.raise_if_lost(within=SOON)
                raise
            except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
                raise ConfigError(
                    [
                        f"devices={self.size}: this model or loss cannot be handed to another process ({error}); use devices=1."
                    ]
                ) from error

    def meet(self, store: Any, *, device: str) -> Group:
        """The group of all, when they are there. A signal, or a follower's end, ends the wait.

        Raises:
            MemberLost: a follower ended before.
            GroupBroken: one does not come.
        """
        self._wait_while_all_live(lambda: store.check([ready(rank) for rank in self.processes]))
        met: Future[Group] = Future()

        def join() -> None:
            try:
                met.set_result(Group(store, rank=0, size=self.size, device=device))
            except Exception as error:
                met.set_exception(error)

        # torch hears nothing until all have joined. If one never does, this thread is left behind, and in nobody's way.
        Thread(target=join, daemon=True, name="embexp-devices-meet").start()
        self._wait_while_all_live(met.done)
        return met.result()

    def _wait_while_all_live(self, done: Callable[[], bool]) -> None:
        while not done():
            self.raise_if_lost()
            time.sleep(LOOK_EVERY)

    def watch(self, group: Group) -> None:
        """From now on the end of a follower ends whatever waits for it."""

        def look() -> None:
            while not self.ending.wait(LOOK_EVERY):
                if self.lost() is not None:
                    group.abort()
                    return

        Thread(target=look, daemon=True, name="embexp-devices-watch").start()

    def lost(self) -> int | None:
        """The device whose process has ended; of several, the one that was killed, as its end made the others'."""
        ended = {rank: process.poll() for rank, process in self.processes.items()}
        gone = sorted((code, rank) for rank, code in ended.items() if code is not None)
        return gone[0][1] if gone else None

    def raise_if_lost(self, *, within: float = 0.0, cause: BaseException | None = None) -> None:
        """Tells of a follower that has ended, or ends within so many seconds.

        Raises:
            MemberLost: with the reason.
        """
        end = time.monotonic() + within
        while (rank := self.lost()) is None and time.monotonic() < end:
            time.sleep(LOOK_EVERY)
        if rank is not None:
            raise MemberLost(self._obituary(rank)) from cause

    def _obituary(self, rank: int) -> str:
        code = self.processes[rank].returncode
        again = "the same command again goes on from the last checkpoint"
        if code < 0:
            return f"device {rank}'s process was killed ({signal.Signals(-code).name}); {again}"
        time.sleep(LOOK_EVERY)
        said = [line for line in list(self.said[rank]) if line.strip()]
        if said:
            logging.getLogger("traceback").info("device %d's process said:\n%s", rank, "\n".join(said))
        return (
            f"device {rank}'s process failed (exit {code}): {said[-1].strip() if said else 'it said nothing'}; {again}"
        )

    def end(self) -> None:
        """Ends them: by the end of their stdin, and what does not end so by force. They have nothing to save."""
        self.ending.set()
        for process in self.processes.values():
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
        end = time.monotonic() + AT_ONCE
        for process in self.processes.values():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment(mine: Mapping[str, str], *, rank: int, hardware: Hardware) -> dict[str, str]:
    """A follower's, from the leader's: its own GPU, its own threads, and nothing of another launcher's."""
    found = without_launchers(mine)
    found["OMP_NUM_THREADS"] = str(hardware.threads)
    if hardware.device == "cuda":
        named = [gpu.strip() for gpu in mine.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
        found["CUDA_VISIBLE_DEVICES"] = named[rank] if named else str(rank)
    return found


def ready(rank: int) -> str:
    """The key that a follower sets when it has all it needs."""
    return f"ready/{rank}"


def _keep_lines(process: subprocess.Popen[bytes], said: deque[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.decode(errors="replace").rstrip())
