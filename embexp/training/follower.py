"""The process of a device that follows: `python -m embexp.training.follower`, started by `embexp.training.members`.

It reads what it trains from its stdin, takes part in every step, and is gone when its stdin ends. It logs nothing, writes
nothing and heeds no signal: all that is the leader's. What it says on stderr is heard only if it fails.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from threading import Event, Thread

from transformers import set_seed
from transformers.dynamic_module_utils import init_hf_modules

from embexp.training.group import Group, GroupBroken, meeting_place
from embexp.training.members import Assignment, Place, ready
from embexp.training.run import follow
from embexp.training.shared import SharedSteps


def main() -> None:
    """Takes part until the leader is gone or done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.path[:], place = pickle.load(sys.stdin.buffer)
    # Where a model's own code lies, if it was allowed to run.
    init_hf_modules()
    assignment = pickle.load(sys.stdin.buffer)
    Thread(target=_end_with_the_leader, daemon=True, name="embexp-leader-watch").start()
    try:
        _take_part(assignment, place)
    except GroupBroken:
        # Another member is gone. The leader, if it is not that, tells and ends this process too.
        pass
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    Event().wait()


def _take_part(assignment: Assignment, place: Place) -> None:
    assignment.hardware.set_up()
    set_seed(assignment.config.seed, deterministic=assignment.config.trainer.deterministic)
    store = meeting_place(place.port)
    store.set(ready(place.rank), "")
    group = Group(store, rank=place.rank, size=place.size, device=assignment.hardware.device)
    follow(assignment, SharedSteps(group, seed=assignment.config.seed))


def _end_with_the_leader() -> None:
    # At once, whatever waits for a member that will not come.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
