"""The thread that sends a run's journal while the run goes on, and never in its way."""

from __future__ import annotations

import logging
import time
from threading import Condition, Thread

from embexp.tracking.secrets import without_secrets
from embexp.tracking.sender import Sender
from embexp.tracking.store import is_away, store_uri, told

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 3.0
# The thread shares the interpreter with the training. After a try it rests until what it computed is this part of the
# time: by fewer and larger batches, as a request costs 10 ms and a line in it 0.1 (HTTP) to 0.4 ms (sqlite).
MOST_OF_A_CORE = 0.005
# Between tries at a server that is away; and between batches on a machine where a batch takes long to compute.
LONGEST_PAUSE_SECONDS, LONGEST_REST_SECONDS = 30.0, 60.0


class Background(Thread):
    """Sends every few seconds; where the server is away, less and less often, until it is back.

    A daemon: what it has not sent when the process ends is in the journal.

    Args:
        sender: of the run's journal.
        hold: for how many seconds nothing is sent, unless it is told to `begin` before.
    """

    def __init__(self, sender: Sender, *, hold: float = 0.0) -> None:
        super().__init__(daemon=True, name="embexp-sender")
        self.sender = sender
        self._hold = hold
        self.failure: Exception | None = None
        self.done = False
        self._began = self._over = 0
        self._hurry = self._stopped = self._told = self._ended = False
        self._changed = Condition()

    def run(self) -> None:
        """Tries, and waits, until the run's end is sent."""
        pause = self._hold
        while not self.done:
            self._rest(pause)
            if self._stopped:
                return
            begun, first = time.thread_time(), self._began == 1
            failure = self._try()
            # The first try imports MLflow and makes the run, which every run has to pay.
            computed = 0.0 if first else time.thread_time() - begun
            if failure is None:
                pause = min(LONGEST_REST_SECONDS, max(INTERVAL_SECONDS, computed / MOST_OF_A_CORE))
            else:
                # What was held back was no pause after a failure.
                pause = min(LONGEST_PAUSE_SECONDS, max(1.0, 0.0 if first else 2 * pause))

    def begin(self) -> None:
        """Holds nothing back any longer."""
        if self._began == 0:
            with self._changed:
                self._hurry = True
                self._changed.notify_all()

    def wait_for_first_try(self, seconds: float) -> None:
        """Until it is known whether the server answers; for `seconds` at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._over > 0, seconds)

    def finish(self, seconds: float) -> None:
        """The run has ended: until one try that begins from now on is over, or the end was sent; for `seconds` at most."""
        with self._changed:
            self._ended = True
            # A try under way may have read the journal before what is waited for was in it.
            tries = self._began + 1
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.done or self._over >= tries, seconds)

    def stop(self) -> None:
        """Sends no more; returns when what was under way is over."""
        with self._changed:
            self._stopped = self._hurry = True
            self._changed.notify_all()
        self.join()

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._hurry, seconds)
            self._hurry = False
            self._began += 1

    def _try(self) -> Exception | None:
        failure, done = None, False
        try:
            # Somebody who took the process for dead may have ended the journal before it does; asked first, for it may end meanwhile.
            ended = self._ended
            done = self.sender.deliver() and ended
        except Exception as error:
            failure = error
        self._tell(failure)
        with self._changed:
            self.failure, self.done = failure, done
            self._over = self._began
            self._changed.notify_all()
        return failure

    def _tell(self, failure: Exception | None) -> None:
        # Once when it goes and once when it is back, however often it is tried between.
        where = without_secrets(store_uri(self.sender.uri))
        # Of a store that cannot be, whoever waits for the first try tells; where it is held back, nobody does.
        if failure is not None and not self._told and (is_away(failure) or self._over > 0 or self._hold):
            self._told = True
            self._since = time.monotonic()
            log.warning(
                "tracker: %s cannot be reached (%s); the run goes on, what it logs is kept in %s",
                where,
                told(failure),
                self.sender.journal.path,
            )
        elif failure is None and self._told:
            self._told = False
            log.info(
                "tracker: %s is back after %.0f s; what was missing is sent", where, time.monotonic() - self._since
            )
