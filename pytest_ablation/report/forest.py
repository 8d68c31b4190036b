"""The forest plot: each ablation's change with its interval and its bound, by verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ablation.report import words
from pytest_ablation.report.axis import Axis, reach

if TYPE_CHECKING:
    from pytest_ablation.claim import Compared
    from pytest_ablation.table import Row

MOST = 24
WIDTH, MARGIN = 460, 10
LINE = 38
FOOT = 24
WIDEST_INTERVAL = 1.8  # times as far as changes and bounds go
LEAST_SIDE = 0.12  # of the width, on either side of no change
LEAST_REACH = 0.01  # of fractions: a point; else noise would fill the plot
ORDER = ("violated", "undecided", "holds")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One ablation, in units of the figure.

    Attributes:
        arm: Its name.
        said: Its change in words.
        verdict: Of the claims about this change: "holds", "violated" or "undecided"; "unclaimed"
            where there is none.
        title: All of it in words.
        y: Of its interval.
        x: Of its change.
        interval: From where to where it goes; None where there is none.
        cut: Whether the interval goes on beyond the axis, on the left and on the right.
        beyond: On which side the change itself is beyond the axis: -1, 0 for neither, or 1.
        allowed: From where to where the claims allow it to be; None where none is about it.
        edges: Of that, where they are on the axis.
    """

    arm: str
    said: str
    verdict: str
    title: str
    y: float
    x: float
    interval: tuple[float, float] | None
    cut: tuple[bool, bool]
    beyond: int
    allowed: tuple[float, float] | None
    edges: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Forest:
    """The plot.

    Attributes:
        metric: What changes.
        lines: An ablation each, from the worst change to the best.
        ticks: Where a number stands, and how it is said.
        zero: Where there is no change.
        foot: Below the last line.
        left_out: How many ablations are not drawn: those that change least.
        is_unclear: Whether an interval is clear of its bound's edge, and the claim is undecided.
        claimed: What is claimed to change where nothing is claimed of this metric: "loss".
        label: What the plot shows, for those who cannot see it.
    """

    metric: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float
    foot: float
    left_out: int
    is_unclear: bool
    claimed: str
    label: str
    width: int = WIDTH

    @property
    def height(self) -> float:
        """Of the drawing."""
        return self.foot + FOOT


def of(rows: Sequence[Row]) -> Forest | None:
    """Return the plot of a study's rows; None where no variant was trained."""
    known = [row for row in rows if row.arm != "baseline" and math.isfinite(row.change)]
    if not known:
        return None
    telling = sorted(known, key=lambda row: -abs(row.change))[:MOST]
    less_is_better = any(entry.less_is_better for row in telling for entry in row.tests)
    telling.sort(key=lambda row: -row.change if less_is_better else row.change)
    measure = telling[0].measure
    axis = _axis(telling)
    lines = tuple(_line(row, axis, place) for place, row in enumerate(telling))
    said = "; ".join(line.title for line in lines[:3])
    return Forest(
        metric=measure.name,
        lines=lines,
        ticks=tuple(
            (axis.at(tick), words.change(tick, measure).removesuffix(" points"))
            for tick in axis.ticks()
        ),
        zero=axis.at(0.0),
        foot=LINE * len(lines) + 8,
        left_out=len(known) - len(telling),
        is_unclear=any(_is_unclear(row) for row in telling),
        claimed="" if any(map(_claims, telling)) else _claimed(telling),
        label=f"Change of test {measure.name} of {len(lines)} ablations, the worst first: {said}",
    )


def _is_unclear(row: Row) -> bool:
    """Tell whether a claim is undecided whose interval, or the one that is drawn, is clear."""
    undecided = [each for each in _claims(row) if each.outcome == "undecided"]
    edges = [edge for edge in _bounds(row) if math.isfinite(edge)]
    is_clear = row.has_limits and not any(row.change_low <= e <= row.change_high for e in edges)
    return any(is_clear or words.is_outside(each) for each in undecided)


def _claimed(rows: Sequence[Row]) -> str:
    """Return the other metrics of which a change is claimed, as a list in a sentence."""
    claims = [each for row in rows for each in row.compared]
    known = {name for row in rows for run in row.runs for name in run.metrics}
    names = [each.quantity for each in claims if each.form == "change" and each.quantity in known]
    return ", ".join(dict.fromkeys(names))


def _axis(rows: Sequence[Row]) -> Axis:
    changes = [row.change for row in rows]
    edges = [edge for row in rows for edge in _bounds(row) if math.isfinite(edge)]
    least = LEAST_REACH if rows[0].measure.unit == "fraction" else 0.0
    far = max(reach(map(abs, changes)), least) or 1.0
    far = max(far, *(abs(edge) for edge in edges if abs(edge) <= WIDEST_INTERVAL * far), 0.0)
    limits = [
        limit for row in rows if row.has_limits for limit in (row.change_low, row.change_high)
    ]
    shown = [each for each in (*changes, *edges) if abs(each) <= far]
    shown += [math.copysign(min(abs(each), WIDEST_INTERVAL * far), each) for each in limits]
    low, high = min(shown, default=-far), max(shown, default=far)
    side = LEAST_SIDE * max(high - low, far)
    low, high = min(low, -side), max(high, side)
    margin = 0.04 * (high - low)
    return Axis(low - margin, high + margin, MARGIN, WIDTH - MARGIN)


def _line(row: Row, axis: Axis, place: int) -> Line:
    claims = _claims(row)
    verdict = min((each.outcome for each in claims), key=ORDER.index, default="unclaimed")
    low, high = (row.change_low, row.change_high) if row.has_limits else (math.nan, math.nan)
    allowed = _bounds(row) if claims else None
    said = words.change(row.change, row.measure)
    about = [f"{row.arm}: {said}"]
    about += [f"interval {words.limits(low, high, row.measure)}"] if row.has_limits else []
    about += [f"{each.claim}: {each.outcome}" for each in claims]
    return Line(
        arm=row.arm,
        said=said,
        verdict=verdict,
        title=", ".join(about),
        y=LINE * place + 30,
        x=axis.at(row.change),
        interval=(axis.at(low), axis.at(high)) if row.has_limits else None,
        cut=(low < axis.low, high > axis.high),
        beyond=(row.change > axis.high) - (row.change < axis.low),
        allowed=(axis.at(allowed[0]), axis.at(allowed[1])) if allowed else None,
        edges=tuple(axis.at(edge) for edge in allowed or () if axis.shows(edge)),
    )


def _claims(row: Row) -> list[Compared]:
    """Return the claims about the change that is drawn."""
    drawn = row.measure.name, "change"
    return [each for each in row.compared if (each.quantity, each.form) == drawn]


def _bounds(row: Row) -> tuple[float, float]:
    """Return between which changes all claims hold."""
    claims = _claims(row)
    lowest = [each.at_least for each in claims if each.at_least is not None]
    highest = [each.at_most for each in claims if each.at_most is not None]
    return max(lowest, default=-math.inf), min(highest, default=math.inf)
