"""The findings as LaTeX: a booktabs table for each experiment, as a paper prints it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_ablation.quantity import Unit, said
from pytest_ablation.report import words
from pytest_ablation.report.export.text import one_line

if TYPE_CHECKING:
    from pytest_ablation.table import Findings, Row

HEAD = r"""% Needs \usepackage{booktabs}, and an engine that reads UTF-8."""
UNKNOWN = "--"
SYMBOLS = {
    "\\": r"\textbackslash{}",
    **{each: f"\\{each}" for each in "{}$&#_%"},
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    # After the end of a row these two would be its options.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "-": "-{}",  # two of them would be a dash
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{INFINITY}": r"$\infty$",
    "\N{EN DASH}": "--",
}
ESCAPES = str.maketrans(SYMBOLS)


def rendered(findings: Findings) -> str:
    """Return the findings as LaTeX: means ± half their interval, the best of them bold."""
    rows = findings.rows()
    names = dict.fromkeys(row.experiment for row in rows)
    tables = [_table(findings, [row for row in rows if row.experiment == name]) for name in names]
    return "\n\n".join([HEAD, *tables]) + "\n"


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is written."""
    return one_line(text).translate(ESCAPES)


def _table(findings: Findings, rows: Sequence[Row]) -> str:
    facts = findings.facts
    metric, unit = rows[0].measure.name, rows[0].measure.unit
    percent, points = (r" (\%)", " (points)") if unit == "fraction" else ("", "")
    heads = [
        f"Test {escaped(metric)}{percent}",
        f"Change{points}",
        f"Gap{points}",
        "Time a step",
        "Parameters",
        "Seeds",
    ]
    confidence = f"{100 - 200 * facts['alpha']:g}"
    caption = (
        f"{escaped(rows[0].experiment)} on {escaped(facts['data'])}, profile {facts['profile']}: "
        f"means over seeds $\\pm$ half the {confidence}\\,\\% interval."
    )
    warned = []
    if facts["stand_in"]:
        warned.append(f"% NOT THE IMAGES OF CIFAR-10: {one_line(facts['stand_in'])}")
    if facts["decides_nothing"]:
        warned.append(f"% NO STUDY: the {facts['profile']} profile only tries the wiring.")
    best = _best(rows)
    return "\n".join(
        [
            *warned,
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            r"\begin{tabular}{l" + "r" * len(heads) + "}",
            r"\toprule",
            f" & {' & '.join(heads)} \\\\",
            r"\midrule",
            *(f"{' & '.join(_cells(row, row in best))} \\\\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _best(rows: Sequence[Row]) -> list[Row]:
    """Return the arm of the best mean, or those said alike; none where one stands alone."""
    measured = [row for row in rows if math.isfinite(row.value)]
    if len(measured) < 2:
        return []
    entries = [entry for row in rows for entry in row.tests]
    best: Callable[..., Row] = min if entries and entries[0].less_is_better else max
    shown = _digits(best(measured, key=lambda row: row.value).value, measured[0].measure.unit)
    return [row for row in measured if _digits(row.value, row.measure.unit) == shown]


def _cells(row: Row, is_best: bool) -> list[str]:
    unit = row.measure.unit
    half = row.value_high - row.value
    change_half = row.change_high - row.change
    is_baseline = row.arm == "baseline"
    return [
        escaped(row.arm),
        _math(row.value, half, unit, is_bold=is_best),
        UNKNOWN if is_baseline else _math(row.change, change_half, unit, is_change=True),
        _math(row.gap, math.nan, unit, is_change=True),
        UNKNOWN if math.isnan(row.time_ratio) else f"${row.time_ratio:.2f}\\times$",
        escaped(words.count(row.params)),
        str(row.seeds),
    ]


def _math(
    value: float, half: float, unit: Unit, *, is_change: bool = False, is_bold: bool = False
) -> str:
    """Return a number and half its interval, where that tells something."""
    if not math.isfinite(value):
        return UNKNOWN
    number = _digits(value, unit, is_change=is_change)
    number = f"\\mathbf{{{number}}}" if is_bold else number
    widest = 1.0 if unit == "fraction" else math.inf
    width = _digits(half, unit) if 0 < half < widest else ""
    return f"${number} \\pm {width}$" if width.strip("0.") else f"${number}$"


def _digits(value: float, unit: Unit, *, is_change: bool = False) -> str:
    # As every other output says it, without the words: the column's head has them.
    text = said(value, unit, "change" if is_change else "value")
    return text.removesuffix(" %").removesuffix(" points").replace("\N{MINUS SIGN}", "-")
