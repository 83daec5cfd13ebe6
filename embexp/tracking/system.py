"""CPU, memory and GPU while a run lasts: MLflow's own samplers, their values logged as any other metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


class SystemMetrics(SystemMetricsMonitor):
    """Samples every ten seconds in a thread, without asking the server.

    Args:
        log: of a tracker.
        began: when the run's first attempt did, in seconds since 1970. A step is a second since then, so that a
            resumed run goes on where it was.
    """

    def __init__(self, log: Callable[[Mapping[str, float], int], None], *, began: float) -> None:
        super().__init__(run_id=None)
        self._log = log
        self._since = began

    def monitor(self) -> None:
        """Samples and logs until the run ends."""
        while not self._shutdown_event.wait(self.sampling_interval):
            self.collect_metrics()
            found = {f"{self._metrics_prefix}{name}": value for name, value in self.aggregate_metrics().items()}
            self._log(found, int(time.time() - self._since))
            for monitor in self.monitors:
                monitor.clear_metrics()

    def finish(self) -> None:
        """Samples no more; the sample that it is taking is not waited for."""
        self._shutdown_event.set()
