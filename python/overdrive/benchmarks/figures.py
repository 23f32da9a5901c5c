"""Figures as text."""

from overdrive.benchmarks.intervals import Advantage

__all__ = ["amount", "interval", "times"]

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_LARGE = 100.0


def amount(value: float, unit: str) -> str:
    """Write a value with its unit, and seconds in whatever unit suits."""
    if unit == "s":
        scale, name = next((one for one in _SECONDS if value >= one[0]), _SECONDS[-1])
        return f"{_digits(value / scale)} {name}"
    return f"{_digits(value)} {unit}"


def times(ratio: float) -> str:
    """Write a ratio."""
    return f"{ratio:,.0f}x" if ratio >= _LARGE else f"{ratio:.2f}x"


def interval(found: Advantage) -> str:
    """Write a ratio with its confidence interval."""
    return f"{times(found.ratio)} ({times(found.low)[:-1]} to {times(found.high)[:-1]})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= _LARGE else f"{value:.3g}"
