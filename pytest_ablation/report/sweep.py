"""Lesions of single units, layer by layer, as the cells of a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ablation.report import words

if TYPE_CHECKING:
    from pytest_ablation.quantity import Measure
    from pytest_ablation.table import Row

FEWEST = 4  # units of a layer; fewer stay rows of the table
A_LINE = 48
STEP = 15  # from one cell to the next
LEAST_DEEPEST = 0.01  # of fractions: a point; else noise would be drawn as deep as a finding
WHAT = {"zero": "set to zero", "mean": "set to the mean", "shuffle": "shuffled"}


@dataclass(frozen=True)
class Cell:
    """One unit.

    Attributes:
        unit: Its number.
        change: Of the main metric without it.
        is_worse: Whether that is worse.
        depth: Of its colour, from 0 to 1.
        x: Of its left edge.
        y: Of its upper edge.
    """

    unit: int
    change: float
    is_worse: bool
    depth: float
    x: int
    y: int


@dataclass(frozen=True)
class Sweep:
    """The units of one layer.

    Attributes:
        layer: Its name.
        what: What was done to them.
        measure: The main metric.
        cells: A unit each.
        deepest: The change that has the full colour, the same in all sweeps of a study.
        said: Which units matter most, in words.
    """

    layer: str
    what: str
    measure: Measure
    cells: tuple[Cell, ...]
    deepest: float
    said: str

    @property
    def title(self) -> str:
        """What it is of, and what matters, in a sentence."""
        return f"{len(self.cells)} units of {self.layer}, {self.what}, one by one: {self.said}."

    @property
    def width(self) -> int:
        """Of the drawing."""
        return STEP * A_LINE

    @property
    def height(self) -> int:
        """Of the drawing."""
        return max(cell.y for cell in self.cells) + STEP


def sweeps_of(rows: Sequence[Row]) -> tuple[tuple[Sweep, ...], tuple[Row, ...]]:
    """Return the sweeps among a study's rows, and the rows that they are made of."""
    layers: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        lesion = row.lesion
        is_single = lesion is not None and len(lesion.units) == len(lesion.layers) == 1
        if lesion and is_single and row.tests[0].is_paired and math.isfinite(row.change):
            key = lesion.layers[0], WHAT[lesion.how]
            layers.setdefault(key, {})[lesion.units[0]] = row
    layers = {key: units for key, units in layers.items() if len(units) >= FEWEST}
    swept = [row for units in layers.values() for row in units.values()]
    if not swept:
        return (), ()
    least = LEAST_DEEPEST if swept[0].measure.unit == "fraction" else 0.0
    deepest = max(least, *(abs(row.change) for row in swept)) or 1.0
    sweeps = [_sweep(*key, dict(sorted(units.items())), deepest) for key, units in layers.items()]
    return tuple(sweeps), tuple(swept)


def _sweep(layer: str, what: str, rows: dict[int, Row], deepest: float) -> Sweep:
    measure = next(iter(rows.values())).measure
    cells = tuple(
        Cell(
            unit=unit,
            change=row.change,
            is_worse=(row.change > 0) == row.tests[0].less_is_better,
            depth=abs(row.change) / deepest,
            x=STEP * (place % A_LINE),
            y=STEP * (place // A_LINE),
        )
        for place, (unit, row) in enumerate(rows.items())
    )
    worst = sorted((c for c in cells if c.is_worse), key=lambda cell: -abs(cell.change))[:3]
    said = ", ".join(f"unit {c.unit} {words.change(c.change, measure)}" for c in worst if c.change)
    return Sweep(layer, what, measure, cells, deepest, f"worst {said}" if said else "none matters")
