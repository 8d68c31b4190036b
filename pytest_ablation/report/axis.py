"""An axis of a figure: where a number stands on it, and which numbers are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_ablation.quantity import MINUS, Measure

MOST_DECIMALS = 4
LONGEST = 1e6  # larger numbers are said with an exponent
FAR = 3.0  # times as far as all others, so far away that it would squeeze them
MOST_FAR = 1 / 3  # of all; if more are as far, they are no exception


@dataclass(frozen=True)
class Axis:
    """A line from one number to another.

    Attributes:
        low: The number at its start.
        high: The number at its end; above the other.
        start: Where the line starts, in units of the figure.
        end: Where it ends; before its start where the axis goes up.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, number: float) -> float:
        """Return where a number stands; at an end, what lies beyond it."""
        share = (min(max(number, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def shows(self, number: float) -> bool:
        """Tell whether a number lies between the ends."""
        return self.low <= number <= self.high

    def ticks(self, most: int = 6) -> tuple[float, ...]:
        """Return round numbers between the ends, as many as are asked for at most."""
        rough = (self.high - self.low) / most
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(each * size for each in (1, 2, 5, 10) if each * size >= rough)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(step * number for number in range(first, last + 1))


def reach(sizes: Iterable[float]) -> float:
    """Return how far an axis goes that shows all of these sizes but a few that are far away.

    Args:
        sizes: Distances from its middle; not negative.
    """
    known = sorted((size for size in sizes if math.isfinite(size)), reverse=True)
    for place in range(1, int(len(known) * MOST_FAR) + 1):
        if known[place - 1] > FAR * known[place] > 0:
            return known[place]
    return known[0] if known else 0.0


def numbers(ticks: Sequence[float], measure: Measure) -> list[tuple[float, str]]:
    """Return the numbers of an axis, and each with as many decimals as tell it from the next."""
    scale, unit = (100.0, " %") if measure.unit == "fraction" else (1.0, "")
    step = scale * (ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    is_short = decimals <= MOST_DECIMALS and all(abs(scale * tick) < LONGEST for tick in ticks)
    form = f".{decimals}f" if is_short else ".4g"
    said = (f"{scale * tick:{form}}{unit}" for tick in ticks)
    return [
        (tick, MINUS + each[1:] if each.startswith("-") else each)
        for tick, each in zip(ticks, said, strict=True)
    ]
