"""The figures of the report: small inline SVG, drawn by matplotlib.

Text stays text and axes take the colour of the text around them, so a figure reads on light and on
dark. A figure holds no ids, so any number of them can stand in one page.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from statistics import fmean
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pytest_ablation.quantity import ACCURACY, Measure, said
from pytest_ablation.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VARIANT = "#1f6fc4"
BASELINE = "#8b919a"
INK = "#010203"  # stands for the colour of the text around the figure

MOST_POINTS = 60
LONGEST_LABEL = 44
Points = list[tuple[float, float]]
Style = str | tuple[int, tuple[float, float]]
DASHES: Style = (0, (3, 1.6))


def curves(
    variant: Sequence[Run], baseline: Sequence[Run], measure: Measure = ACCURACY, *, title: str
) -> str:
    """Return a metric by epoch: training dashed, test solid, the variant over the baseline.

    Thick lines are means over the seeds; thin ones the seeds of the arm that the figure is about.

    Args:
        variant: Runs of the variant; none where the figure is about the baseline.
        baseline: Runs of the baseline.
        measure: The metric. Accuracy has an axis from 0 to 100 %, others one of their values.
        title: What the figure shows, for those who cannot see it.
    """
    subject = variant or baseline
    figure = _figure(width=240, height=150)
    axes = figure.add_axes((0.15, 0.16, 0.82, 0.78))
    epochs = max((len(c) for run in (*variant, *baseline) for c in run.curves.values()), default=1)
    lines: dict[str, Style] = {measure.name: DASHES, f"val_{measure.name}": "solid"}
    _frame(axes, max(epochs, 2), _ticks((*variant, *baseline), [*lines], measure))
    for runs, color in ((baseline, BASELINE), (variant, VARIANT)):
        for name, style in lines.items():
            for run in runs if runs is subject and len(runs) > 1 else ():
                _line(axes, _by_epoch([run], name), color, style, width=0.6, alpha=0.5)
            _line(axes, _by_epoch(runs, name), color, style, width=1.6)
    diverged = sorted({run.diverged for run in subject if run.diverged})
    if diverged:
        when = " and ".join(map(str, diverged[:2]))
        axes.text(0.5, 0.9, f"diverged in epoch {when}", transform=axes.transAxes, ha="center")
    return _svg(figure, title)


def values(arms: Mapping[str, Sequence[Run]], measure: Measure = ACCURACY) -> str:
    """Return a metric of each arm on the test set: a dot for the mean, fainter ones for the seeds.

    Args:
        arms: Runs by the arm's name, the baseline's first.
        measure: The metric.
    """
    found = {
        arm: _finite([run.metrics.get(measure.name, math.nan) for run in runs])
        for arm, runs in arms.items()
    }
    known = [value for each in found.values() for value in each] or [0.0]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.05
    return _strips(
        found,
        lambda value: said(value, measure.unit),
        limits=(low - margin, high + margin),
        are_bars=False,
        title=f"Test {measure.name} of each arm",
    )


def times(ratios: Mapping[str, float]) -> str:
    """Return the time of a training step of each arm, over the baseline's.

    Args:
        ratios: By the arm's name, the baseline's first; NaN where it was not measured.
    """
    known = {arm: [] if math.isnan(ratio) else [ratio] for arm, ratio in ratios.items()}
    return _strips(
        known,
        lambda value: said(value, "seconds", "ratio"),
        limits=(0.0, 1.06 * max((1.0, *(value for each in known.values() for value in each)))),
        are_bars=True,
        title="Time of a training step of each arm, over the baseline's",
    )


# ------------------------------------------------------------------------------------- curves


def _ticks(
    runs: Sequence[Run], names: Sequence[str], measure: Measure
) -> tuple[tuple[float, str], ...]:
    """Return the lowest, middle and highest value of the axis, and how each is said."""
    if measure.unit == "fraction":
        return (0.0, "0"), (0.5, "50"), (1.0, "100 %")
    seen = _finite([value for run in runs for name in names for value in run.curves.get(name, ())])
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    high = high if high > low else low + 1
    return tuple((at, f"{at:.2g}") for at in (low, (low + high) / 2, high))


def _frame(axes: Axes, epochs: int, ticks: tuple[tuple[float, str], ...]) -> None:
    # By hand: matplotlib's own axes would make a figure take a third longer.
    axes.axis("off")
    axes.set(xlim=(1, epochs), ylim=(ticks[0][0], ticks[-1][0]))
    for height, name in ticks:
        axes.plot([1, epochs], [height, height], color=INK, linewidth=0.5, alpha=0.25)
        axes.annotate(
            name, (1, height), (-4, 0), textcoords="offset points", ha="right", va="center"
        )
    foot = ticks[0][0]
    for epoch, name, side in ((1, "epoch 1", "left"), (epochs, str(epochs), "right")):
        axes.annotate(name, (epoch, foot), (0, -4), textcoords="offset points", ha=side, va="top")


def _by_epoch(runs: Sequence[Run], name: str) -> Points:
    """Return (epoch, mean over the runs that have a number there), NaN where none has."""
    columns = [run.curves.get(name, ()) for run in runs]
    points = []
    for epoch in range(max(map(len, columns), default=0)):
        values = [c[epoch] for c in columns if epoch < len(c) and math.isfinite(c[epoch])]
        points.append((epoch + 1.0, fmean(values) if values else math.nan))
    return points


def _line(
    axes: Axes,
    points: Points,
    color: str,
    style: Style,
    width: float,
    alpha: float = 1.0,
) -> None:
    step = max(1, math.ceil((len(points) - 1) / MOST_POINTS))
    kept = [*points[:-1:step], *points[-1:]]
    if not any(math.isfinite(value) for _, value in kept):
        return
    if len(kept) == 1:
        _dot(axes, *kept[0], color, size=3 * width, alpha=alpha)
        return
    x, y = zip(*kept, strict=True)
    axes.plot(x, y, color=color, linestyle=style, linewidth=width, alpha=alpha, clip_on=False)


# ------------------------------------------------------------------------------------- strips


def _strips(
    values: Mapping[str, list[float]],
    label: Callable[[float], str],
    *,
    limits: tuple[float, float],
    are_bars: bool,
    title: str,
) -> str:
    """Return a strip an arm, its name and mean above it, and a line where the baseline is."""
    figure = _figure(width=380, height=34 * len(values) + 8)
    axes = figure.add_axes((0.015, 0, 0.97, 1))
    axes.set(xlim=limits, ylim=(len(values) + 0.1, -0.15))
    axes.axis("off")
    reference = next(iter(values.values()), [])
    for place, (arm, each) in enumerate(values.items()):
        strip = place + 0.68
        axes.plot(limits, [strip, strip], color=INK, linewidth=0.5, alpha=0.25)
        axes.text(limits[0], place + 0.33, _shortened(arm), ha="left", va="baseline")
        mean = label(fmean(each)) if each else "–"
        axes.text(limits[1], place + 0.33, mean, ha="right", va="baseline", fontweight="bold")
        if reference:
            at = fmean(reference)
            axes.plot([at, at], [strip - 0.2, strip + 0.2], color=INK, linewidth=1.5, alpha=0.6)
        if each:
            color = VARIANT if place else BASELINE
            _strip(axes, each, strip, color, start=limits[0] if are_bars else None)
    return _svg(figure, title)


def _strip(axes: Axes, values: list[float], y: float, color: str, start: float | None) -> None:
    mean = fmean(values)
    if start is not None:
        axes.plot([start, mean], [y, y], color=color, linewidth=6, solid_capstyle="butt")
    for value in values if len(values) > 1 else ():
        _dot(axes, value, y, color if start is None else INK, size=5, alpha=0.45)
    if start is None:
        _dot(axes, mean, y, color, size=9)


def _shortened(name: str) -> str:
    name = "".join(each if each.isprintable() else " " for each in name)
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"


def _finite(numbers: Sequence[float]) -> list[float]:
    return [number for number in numbers if math.isfinite(number)]


# ---------------------------------------------------------------------------------------- SVG


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure, its size in the units of the SVG's view box."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72))


def _dot(axes: Axes, x: float, y: float, color: str, size: float, alpha: float = 1.0) -> None:
    # A line of no length with round ends is a dot. Markers would need ids, which clash in a page.
    axes.plot([x, x], [y, y], color=color, linewidth=size, alpha=alpha, solid_capstyle="round")


def _svg(figure: Figure, title: str) -> str:
    """Return the figure as an SVG element of lines and texts, without ids, fonts or metadata."""
    import matplotlib as mpl

    for axes in figure.axes:
        for text in axes.texts:
            text.set(color=INK, fontsize=10, parse_math=False)
    svg = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names in scripts that matplotlib's own font lacks
        figure.savefig(svg, format="svg", transparent=True)
    drawn = ElementTree.fromstring(svg.getvalue())  # noqa: S314 # matplotlib's, not a stranger's
    shapes = "".join(filter(None, map(_shape, _visible(drawn))))
    label = escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{drawn.get("viewBox")}" role="img" '
        f'aria-label="{label}"><title>{label}</title>{shapes}</svg>'
    )


def _visible(element: ElementTree.Element) -> list[ElementTree.Element]:
    """Return the elements that are drawn, in order; matplotlib keeps reused shapes in defs."""
    if element.tag.endswith("}defs"):
        return []
    return [element, *(each for child in element for each in _visible(child))]


def _shape(element: ElementTree.Element) -> str:
    """Return a line or a text in short; an empty string for what cannot be seen."""
    style = dict(pair.split(": ", 1) for pair in element.get("style", "").split("; ") if pair)
    style.pop("font-family", None)  # the page's
    written = ";".join(f"{name}:{value}" for name, value in style.items()).replace(
        INK, "currentColor"
    )
    if element.tag.endswith("}path") and "stroke" in style:
        outline = re.sub(r"\s*([MLz]|$)\s*", r"\1", _rounded(element.get("d", "")))
        return f'<path d="{outline}" style="{written}"/>'
    if element.tag.endswith("}text"):
        x, y = (_rounded(element.get(name, "0")) for name in "xy")
        return f'<text x="{x}" y="{y}" style="{written}">{escape(element.text or "")}</text>'
    return ""


def _rounded(numbers: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.1f}", numbers)
