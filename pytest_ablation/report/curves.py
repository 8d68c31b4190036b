"""Learning curves: a metric by epoch, the mean over seeds in a band from the least to the most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from pytest_ablation.report.axis import Axis, numbers

if TYPE_CHECKING:
    from pytest_ablation.quantity import Measure
    from pytest_ablation.run import Run

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, FOOT = 78, 470, 14, 262
TOPS = (0.25, 0.5, 1.0)  # of axes of fractions
MOST_POINTS = 60
MOST_TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One arm's metric, as paths.

    Attributes:
        arm: "variant" or "baseline".
        split: "test" or "training".
        mean: Of the mean over seeds; a dot where there is one epoch.
        band: From the least to the most over seeds; empty where there is one.
    """

    arm: str
    split: str
    mean: str
    band: str


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The figure.

    Attributes:
        curves: From the one at the back to the one in front.
        ticks: Upwards: where, and how it is said.
        epochs: How many there are.
        diverged: In which epochs trainings ended because the loss was no number, in words.
        label: What the figure shows, for those who cannot see it.
        unseen: What the solid line is of: "test" or "validation" examples.
    """

    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]
    epochs: int
    diverged: str
    label: str
    unseen: str = "test"
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    foot: int = FOOT


def of(
    variant: Sequence[Run],
    baseline: Sequence[Run],
    measure: Measure,
    *,
    label: str,
    unseen: str = "test",
    beside: Sequence[Run] = (),
) -> Curves | None:
    """Return the curves of a metric; None where no trainer gave it by epoch.

    Args:
        variant: Runs of the variant; none where the figure is about the baseline.
        baseline: Runs of the baseline.
        measure: The metric. Accuracy has an axis from 0 to 25, 50 or 100 %, others one of their
            values.
        label: What the figure shows, for those who cannot see it.
        unseen: "test" or "validation", whichever examples each epoch is measured on.
        beside: Runs of figures beside this one, which have the same axis.
    """
    names = {"test": f"val_{measure.name}", "training": measure.name}
    runs = (*variant, *baseline)
    lengths = [len(run.curves.get(name, ())) for run in runs for name in names.values()]
    if not any(lengths):
        return None
    epochs = max(lengths)
    shown = (*runs, *beside)
    seen = [v for run in shown for name in names.values() for v in run.curves.get(name, ())]
    upwards, ticks = _upwards([value for value in seen if math.isfinite(value)], measure)
    across = Axis(1, max(epochs, 2), LEFT, RIGHT)
    drawn = [
        _curve(arm, split, [run.curves.get(name, ()) for run in own], across, upwards)
        for arm, own in (("baseline", baseline), ("variant", variant))
        for split, name in sorted(names.items(), reverse=True)
    ]
    diverged = sorted({run.diverged for run in variant or baseline if run.diverged})
    return Curves(
        curves=tuple(curve for curve in drawn if curve.mean),
        ticks=tuple((upwards.at(at), said) for at, said in ticks),
        epochs=epochs,
        diverged=" and ".join(map(str, diverged[:2])),
        label=label,
        unseen=unseen,
    )


def _upwards(seen: Sequence[float], measure: Measure) -> tuple[Axis, tuple[tuple[float, str], ...]]:
    if measure.unit == "fraction":
        top = next((each for each in TOPS if each >= max(seen, default=1.0)), 1.0)
        ticks = ((0.0, "0"), (top / 2, f"{50 * top:g}"), (top, f"{100 * top:g} %"))
        return Axis(0, top, FOOT, TOP), ticks
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    axis = Axis(low, high if high > low else low + (abs(low) or 1.0), FOOT, TOP)
    return axis, tuple(numbers(axis.ticks(MOST_TICKS), measure))


def _curve(
    arm: str,
    split: str,
    columns: Sequence[Sequence[float]],
    across: Axis,
    upwards: Axis,
) -> Curve:
    epochs = max(map(len, columns), default=0)
    by_epoch = [
        [
            column[epoch]
            for column in columns
            if epoch < len(column) and math.isfinite(column[epoch])
        ]
        for epoch in range(epochs)
    ]
    step = max(1, math.ceil((epochs - 1) / (MOST_POINTS - 1)))
    shown = sorted({*range(0, epochs, step), *([epochs - 1] if epochs else [])})
    known = [(round(across.at(at + 1)), by_epoch[at]) for at in shown if by_epoch[at]]
    means = [f"{x} {round(upwards.at(fmean(values)))}" for x, values in known]
    band = ""
    if any(len(values) > 1 for _, values in known) and len(known) > 1:
        over = [f"{x} {round(upwards.at(max(values)))}" for x, values in known]
        under = [f"{x} {round(upwards.at(min(values)))}" for x, values in reversed(known)]
        band = f"M{'L'.join([*over, *under])}z"
    dot = "h0" if len(known) == 1 else ""
    return Curve(arm=arm, split=split, mean=f"M{'L'.join(means)}{dot}" if means else "", band=band)
