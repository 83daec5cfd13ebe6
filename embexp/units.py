"""How a measured value is told: in the unit that its metric's name ends with."""

from __future__ import annotations

MEBIBYTE = 2**20
# From there on its decimals say nothing.
LARGE = 1000
MINUTE = 60


def readable(metric: str, value: float) -> str:
    """A value with its unit: "1269 MiB" of bytes, "7.12 ms", "340" texts per second, "1m 23s"; a score with four decimals."""
    if metric.endswith("bytes"):
        return f"{_two_or_more(value / MEBIBYTE)} MiB"
    if metric.endswith("_ms"):
        return f"{value:.{2 if value < 10 else 1}f} ms"
    if metric.endswith("_seconds"):
        return duration(value)
    if metric.endswith("texts_per_second"):
        return _two_or_more(value)
    return f"{value:.0f}" if abs(value) >= LARGE else f"{value:.4f}"


def readable_deviation(metric: str, value: float) -> str:
    """A standard deviation with its unit: as a value, and of seconds with decimals below a minute: "0.31s"."""
    if metric.endswith("_seconds") and value < MINUTE:
        return f"{value:.{2 if value < 10 else 1}f}s"
    return readable(metric, value)


def without_unit(metric: str) -> str:
    """A metric's name where its value is told with the unit: "p50" of p50_ms, "peak_memory" of peak_memory_bytes."""
    return metric.removesuffix("_bytes").removesuffix("_ms")


def duration(seconds: float) -> str:
    """ "1m 23s"."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{hours}h"] * (hours > 0) + [f"{minutes}m"] * (hours > 0 or minutes > 0) + [f"{left}s"] * (hours == 0)
    return " ".join(parts)


def counted(number: int, what: str) -> str:
    """ "1 bad row", "3 bad rows"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _two_or_more(value: float) -> str:
    return f"{value:.{1 if value < 10 else 0}f}"
