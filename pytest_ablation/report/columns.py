"""The extra columns of pytest-html's table of tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from pytest_ablation.report import words
from pytest_ablation.report.templates import as_shown

if TYPE_CHECKING:
    from pytest_ablation.evidence import Entry
    from pytest_ablation.quantity import Measure
    from pytest_ablation.table import Row

# pytest-html filters by the outcomes it knows: to it these are skipped; undecided.js mends that.
UNDECIDED_CELL = '<td class="col-result undecided">Skipped</td>'
LARGEST = 1e6
PHASES = ("setup", "teardown", "collect")

Column = tuple[str, str, Callable[["Row"], float], Callable[[float, "Measure"], str]]


def header_cells() -> list[str]:
    """Return the extra column heads; hidden until the page's opening is part of the document.

    pytest-html builds the head before it knows whether a suite has any ablation.
    """
    return [
        f'<th class="sortable ablation" data-column-type="{name}" hidden>{head}</th>'
        for name, head, _, _ in _columns()
    ]


def row_cells(entry: Entry | None, row: Row | None) -> list[str]:
    """Return the extra cells of a test's row, as many as `header_cells`; empty for other tests."""
    is_variant = bool(entry and entry.ablation)
    cells = []
    for name, _, of, shown in _columns():
        value = of(row) if row and (is_variant or name in ("accuracy", "gap")) else math.nan
        content = ""
        if row and not math.isnan(value):
            key = value if name == "time_ratio" else as_shown(value, row.measure)
            content = f"{_sort_key(key)}{escape(shown(value, row.measure))}"
        cells.append(f'<td class="ablation col-{name}" hidden>{content}</td>')
    return cells


def as_text(cells: list[str], test: str) -> list[str]:
    """Return pytest-html's cells with the test's id as text, which it writes as it is."""
    mended = {
        f'<td class="col-testId">{each}</td>': f'<td class="col-testId">{escape(each)}</td>'
        for each in (test, *(f"{test}::{phase}" for phase in PHASES))
    }
    return [mended.get(cell, cell) for cell in cells]


def with_reason(log: list[str], reason: tuple[str, int, str]) -> list[str]:
    """Return pytest-html's log of a skipped test with its reason as text, where it has a tuple."""
    path, line, said = reason
    theirs, ours = f"{escape(str(reason))}\n", f"{escape(f'{path}:{line}: {said}')}\n"
    return [ours if each == theirs else each for each in log]


def is_taken(test: str) -> bool:
    r"""Tell whether pytest-html takes extras of a test of this id: not of one with ``\N`` in it."""
    try:
        test.encode().decode("unicode_escape")  # as pytest-html does, for the names of files
    except UnicodeDecodeError:
        return False
    return True


def _columns() -> tuple[Column, ...]:
    return (
        ("accuracy", "Accuracy", lambda row: row.value, _named),
        ("change", "Change", lambda row: row.change, words.change),
        ("gap", "Gap", lambda row: row.gap, words.change),
        ("time_ratio", "Time a step", lambda row: row.time_ratio, _ratio),
    )


def _named(value: float, measure: Measure) -> str:
    # The page has one head for the metrics of all experiments: another than accuracy says its name.
    name = "" if measure.name == "accuracy" else f"{measure.name} "
    return f"{name}{words.value(value, measure)}"


def _ratio(value: float, measure: Measure) -> str:
    return words.ratio(value)


def _sort_key(value: float) -> str:
    # pytest-html sorts cells by their content as text, and takes clicks on a cell only where it
    # holds no element: a comment of equal length a number, and never negative, suits both.
    return f"<!--{min(max(value, -LARGEST), LARGEST) + LARGEST:014.6f}-->"
