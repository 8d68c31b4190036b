"""A metric against what it takes: which ablations are worth it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ablation.quantity import said
from pytest_ablation.report import words
from pytest_ablation.report.axis import Axis, numbers, reach

if TYPE_CHECKING:
    from pytest_ablation.quantity import Form
    from pytest_ablation.table import Row

WIDTH, HEIGHT = 460, 330
LEFT, RIGHT, TOP, FOOT = 46, 452, 14, 286
INSET = 12  # of what is beyond the axis, from its end
MOST_NAMED = 10
LONGEST_NAME = 30
A_LETTER, BOLDER, A_LINE = 6.4, 1.1, 12.0  # of a name's size
BESIDE = (  # of a point, where its name may start, end or have its middle
    *((9, 4, "start"), (-9, 4, "end"), (9, 8, "start"), (-9, 8, "end"), (9, 0, "start")),
    *((-9, 0, "end"), (0, -9, "middle"), (0, 18, "middle"), (4, -9, "start"), (-4, -9, "end")),
    *((4, 18, "start"), (-4, 18, "end")),
)
CHEAPER = 0.95  # of the baseline's; what is nearer to it is no saving

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One arm, in units of the figure.

    Attributes:
        title: What it is, in words.
        x: What it takes.
        y: Its metric.
        is_baseline: Whether it is the baseline.
        is_best: Whether none is both better and cheaper, as far as is known for certain.
        is_rough: Whether its cost is only roughly known.
        beyond: Whether its metric is beyond the axis.
        name: What is written beside it; empty where there is no room.
        at: Where that starts, ends or has its middle.
        anchor: Which of the three: "start", "end" or "middle".
    """

    title: str
    x: float
    y: float
    is_baseline: bool
    is_best: bool
    is_rough: bool
    beyond: bool
    name: str
    at: tuple[float, float]
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """The plot.

    Attributes:
        metric: What stands upwards.
        cost: What stands to the right, in words.
        points: An arm each, the baseline first.
        across: Ticks to the right: where, and how it is said.
        upwards: Ticks upwards.
        missing: Arms whose cost was not measured.
        label: What the plot shows, for those who cannot see it.
    """

    metric: str
    cost: str
    points: tuple[Point, ...]
    across: tuple[tuple[float, str], ...]
    upwards: tuple[tuple[float, str], ...]
    missing: int
    label: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    foot: int = FOOT


@dataclass(frozen=True)
class _Cost:
    said: str
    of: Callable[[Row], float]
    form: Form


PARAMS = _Cost("parameters, over the baseline's", lambda row: row.params_ratio, "ratio")
WALL = _Cost("seconds a training took, not side by side", lambda row: row.wall, "value")


def of(rows: Sequence[Row]) -> Tradeoff | None:
    """Return the plot of a study's rows; None where nothing can be told apart by its cost.

    Time is what tests measured side by side, and of other arms roughly what trainings took a step.
    Where no test measured it, it is parameters, which are exact; where those are all alike, the
    rough times, or how long each training took.
    """
    # A lesion is done to a trained network: it takes no time and removes nothing.
    trained = [row for row in rows if math.isfinite(row.value) and row.lesion is None]
    time = _time(trained)
    is_timed = any(math.isfinite(row.time_ratio) for row in trained if row.arm != "baseline")
    for cost in (time, PARAMS, WALL) if is_timed else (PARAMS, time, WALL):
        known = [row for row in trained if math.isfinite(cost.of(row))]
        if len({cost.of(row) for row in known}) > 1:
            return _plot(known, cost, len(trained) - len(known))
    return None


def _time(rows: Sequence[Row]) -> _Cost:
    baseline = next((_steps(row) for row in rows if row.arm == "baseline"), {})

    def of(row: Row) -> float:
        if not math.isnan(row.time_ratio):
            return row.time_ratio
        steps = _steps(row)
        shared = sorted(steps.keys() & baseline.keys())  # times of two hosts have no ratio
        return steps[shared[0]] / baseline[shared[0]] if shared else math.nan

    return _Cost("time a step, over the baseline's", of, "ratio")


def _steps(row: Row) -> dict[str, float]:
    """Return what a step took on each host, with the seed that was disturbed least there."""
    steps: dict[str, float] = {}
    for run in row.runs if row.lesion is None else ():
        if run.seconds_per_step > 0:
            steps[run.host] = min(run.seconds_per_step, steps.get(run.host, math.inf))
    return steps


def _is_rough(row: Row, cost: _Cost) -> bool:
    return cost not in (PARAMS, WALL) and math.isnan(row.time_ratio)


def worth(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Return the ablations that lose nothing for certain and cost less, and what they take."""
    return [
        (row, taken)
        for row in rows
        if row.arm != "baseline" and _is_no_loss(row)
        for taken in [", ".join(_takes(row))]
        if taken
    ]


def _is_no_loss(row: Row) -> bool:
    if not row.has_limits or math.isnan(row.change_low) or row.lesion or not row.tests:
        return False
    return row.change_low <= 0 if row.tests[0].less_is_better else row.change_high >= 0


def _takes(row: Row) -> Iterator[str]:
    if row.time_ratio < CHEAPER:
        yield f"{words.ratio(row.time_ratio)} the time a step"
    if row.params_ratio < CHEAPER:
        yield f"{words.ratio(row.params_ratio)} the parameters"
    elif row.time_ratio < CHEAPER and row.params_ratio > 1 / CHEAPER:
        yield f"but {words.ratio(row.params_ratio)} the parameters"


# ---------------------------------------------------------------------------------- the drawing


def _plot(rows: Sequence[Row], cost: _Cost, missing: int) -> Tradeoff:
    measure = rows[0].measure
    less_is_better = any(entry.less_is_better for row in rows for entry in row.tests)
    across = _across([cost.of(row) for row in rows])
    upwards = _upwards(rows)
    best = _best([row for row in rows if not _is_rough(row, cost)], cost, less_is_better)
    taken: list[Box] = [
        _box(across.at(cost.of(row)) - 7, upwards.at(row.value) + 6, 14, 12) for row in rows
    ]
    points: dict[str, Point] = {}
    for row in sorted(rows, key=lambda row: _importance(row, best)):
        is_best = any(row is each for each in best)
        points[row.arm] = _point(row, cost, across, upwards, is_best, taken, len(points))
    return Tradeoff(
        metric=measure.name,
        cost=cost.said,
        points=tuple(points[row.arm] for row in rows),
        across=tuple(
            (across.at(tick), said(tick, "seconds", cost.form, in_full=True))
            for tick in across.ticks(5)
        ),
        upwards=_told_apart(upwards, numbers(upwards.ticks(6), measure)),
        missing=missing,
        label=f"Test {measure.name} against {cost.said}. None is both better and cheaper than: "
        + "; ".join(points[row.arm].title for row in best[:6]),
    )


def _across(costs: Sequence[float]) -> Axis:
    low, high = min(costs), max(costs)
    margin = 0.08 * (high - low)
    return Axis(max(0.0, low - margin), high + margin, LEFT, RIGHT)


def _upwards(rows: Sequence[Row]) -> Axis:
    middle = next((row.value for row in rows if row.arm == "baseline"), rows[0].value)
    far = reach(abs(row.value - middle) for row in rows if row.arm != "baseline") or 1e-3
    near = [row.value for row in rows if abs(row.value - middle) <= far] or [middle]
    low, high = min(near), max(near)
    margin = max(0.1 * (high - low), 1e-3 * (abs(middle) or 1.0))  # so that ticks are told apart
    return Axis(low - margin, high + margin, FOOT, TOP)


def _best(rows: Sequence[Row], cost: _Cost, less_is_better: bool) -> list[Row]:
    """Return the arms that none is both better and cheaper than, the cheapest first."""
    sign = -1 if less_is_better else 1
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: (cost.of(row), -sign * row.value)):
        if not best or sign * row.value > sign * best[-1].value:
            best.append(row)
    return best


def _importance(row: Row, best: Sequence[Row]) -> tuple[bool, bool, float]:
    """Return what is small of the arms whose names are to have room first."""
    return row.arm != "baseline", all(row is not each for each in best), -abs(row.change)


def _point(
    row: Row, cost: _Cost, across: Axis, upwards: Axis, is_best: bool, taken: list[Box], place: int
) -> Point:
    x, y = across.at(cost.of(row)), upwards.at(row.value)
    beyond = not upwards.shows(row.value)
    y = min(max(y, TOP + INSET), FOOT - INSET) if beyond else y
    is_baseline = row.arm == "baseline"
    room = None
    name = words.shortened(row.arm, LONGEST_NAME)
    if place < MOST_NAMED or is_baseline:
        room = _room(x, y, A_LETTER * len(name) * (BOLDER if is_best else 1), taken)
    value = words.value(row.value, row.measure)
    is_rough = _is_rough(row, cost)
    takes = f"{'roughly ' if is_rough else ''}{said(cost.of(row), 'seconds', cost.form)}"
    return Point(
        title=f"{row.arm}: {value}, {takes}",
        x=x,
        y=y,
        is_baseline=is_baseline,
        is_best=is_best,
        is_rough=is_rough,
        beyond=beyond,
        name=name if room else "",
        at=room[:2] if room else (x, y),
        anchor=room[2] if room else "start",
    )


def _room(x: float, y: float, width: float, taken: list[Box]) -> tuple[float, float, str] | None:
    """Return where beside a point its name covers nothing else; None where there is no room."""
    for dx, dy, anchor in BESIDE:
        left = x + dx - {"start": 0, "middle": width / 2, "end": width}[anchor]
        box = _box(left, y + dy, width, A_LINE)
        inside = box[0] >= LEFT and box[2] <= RIGHT + 8 and box[1] >= 0 and box[3] <= FOOT
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return round(x + dx, 1), round(y + dy, 1), anchor
    return None


def _box(left: float, foot: float, width: float, height: float) -> Box:
    return left, foot - height, left + width, foot


def _overlap(one: Box, other: Box) -> bool:
    is_beside = one[2] <= other[0] or other[2] <= one[0]
    return not is_beside and one[1] < other[3] and other[1] < one[3]


def _told_apart(axis: Axis, ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Return where the numbers of an axis stand, without those that read as one before."""
    first = {said: tick for tick, said in reversed(ticks)}
    return tuple((axis.at(tick), said) for tick, said in ticks if first[said] == tick)
