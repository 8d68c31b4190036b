"""The findings as HTML: what opens pytest-html's page, its extra columns, and an unfolded row.

The markup is in the templates beside this module; what they show is chosen and put in words here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pytest_ablation.report import words
from pytest_ablation.report.sweep import Sweep, sweeps_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from pytest_ablation.quantity import Measure
    from pytest_ablation.run import Run
    from pytest_ablation.table import Entry, Findings, Placebo, Row

MOST_DRAWN = 24
MOST_LEADS = 3
# Curves take 30 ms and 10 kB a test; a page of thousands would not open.
MOST_WITH_CURVES = 100
# pytest-html filters by the outcomes it knows: to it these are skipped; undecided.js mends that.
UNDECIDED_CELL = '<td class="col-result undecided">Skipped</td>'


# ----------------------------------------------------------------------------- the page's opening


@dataclass(frozen=True, kw_only=True)
class _Study:
    """One experiment's part of the page.

    Attributes:
        name: The experiment's.
        metric: The name of its main metric.
        rows: Its rows of the findings table.
        values: A figure of the metric.
        times: A figure.
        curves: A row and its figure each, of those that are drawn.
        left_out: How many rows are not drawn.
        placebo: What its baseline says of what the session can tell.
        sample: A PNG in base64, of the first experiment only.
        classes: The names beside its rows.
        swept: The rows of lesions that a sweep shows.
        sweeps: Those of single units, layer by layer.
    """

    name: str
    metric: str
    rows: tuple[Row, ...]
    values: str
    times: str
    curves: tuple[tuple[Row, str], ...]
    left_out: int
    placebo: Placebo | None
    sample: str
    classes: tuple[str, ...]
    swept: tuple[Row, ...]
    sweeps: tuple[Sweep, ...]


def page(findings: Findings, *, in_theirs: bool = True) -> str:
    """Return what opens the report: the findings in words, as a table and as figures.

    It also holds the style of `unfolded`, and shows the columns that `header_cells` adds.

    Args:
        findings: What the session found.
        in_theirs: Whether it is part of pytest-html's page, whose filters it then mends.
    """
    rows = findings.rows()
    if not rows:
        return ""
    entries = list(findings.entries.values())
    pictured = next((entry for entry in entries if entry.sample), None)
    studies: list[_Study] = []
    for name in dict.fromkeys(row.experiment for row in rows):
        own = tuple(row for row in rows if row.experiment == name)
        placebo = findings.placebo(name)
        studies.append(_study(name, own, placebo, pictured if not studies else None))
    undecided = sum(entry.outcome == "undecided" for entry in entries)
    return _rendered(
        "page.html",
        css=_ours("style.css"),
        script=_ours("undecided.js") if undecided and in_theirs else "",
        undecided=undecided,
        claims=findings.claims(),
        against=findings.reference.path.name if findings.reference else "",
        facts=findings.facts,
        said_facts=words.facts(findings.facts),
        headline=words.headline(rows),
        leads=_leads(rows) if not findings.facts.get("decides_nothing") else [],
        studies=studies,
    )


def alone(findings: Findings) -> str:
    """Return the same as a file of its own, with what each test found unfolded below."""
    entries = list(findings.entries.values())
    brief = len(entries) > MOST_WITH_CURVES
    return _rendered(
        "alone.html",
        page=page(findings, in_theirs=False),
        tests=[
            (each.test, each.outcome, unfolded(each, row_of(each), brief=brief)) for each in entries
        ],
    )


def row_of(entry: Entry) -> Row:
    """Return an entry's row of the findings table; it carries all that it needs."""
    from pytest_ablation.table import Findings

    return Findings({entry.test: entry}).rows()[-1]


def _leads(rows: Sequence[Row]) -> list[Row]:
    """Return the variants that change the metric most."""
    _, swept = sweeps_of(rows)
    telling = [row for row in rows if _tells(row) and row not in swept]
    return sorted(telling, key=lambda row: -abs(row.change))[:MOST_LEADS]


def _tells(row: Row) -> bool:
    if row.measure.unit == "fraction":
        return abs(row.change) >= 0.005
    return row.change_low > 0 or row.change_high < 0


def _study(
    name: str, rows: tuple[Row, ...], placebo: Placebo | None, pictured: Entry | None
) -> _Study:
    from pytest_ablation.report import figures

    measure = rows[0].measure
    sweeps, swept = sweeps_of(rows)
    rows = tuple(row for row in rows if row not in swept)
    runs = {row.arm: row.runs for row in rows}
    baseline = runs["baseline"]
    trained = [row for row in rows if row.arm != "baseline" and runs[row.arm]]
    telling = sorted(trained, key=lambda row: -abs(row.change))[:MOST_DRAWN]
    drawn = [row for row in rows if row in telling or (row.arm == "baseline" and baseline)]
    # The baseline comes first, trained or not: the others are shown against it.
    arms = {"baseline": baseline} | {row.arm: runs[row.arm] for row in drawn}
    ratios = {row.arm: row.time_ratio for row in drawn}
    return _Study(
        name=name,
        metric=measure.name,
        rows=rows,
        values=figures.values(arms, measure) if drawn else "",
        times=figures.times(ratios) if not all(map(math.isnan, ratios.values())) else "",
        curves=tuple(
            (row, _curves(() if row.arm == "baseline" else runs[row.arm], baseline, row))
            for row in drawn
            if _has_curves(row.runs, measure)
        ),
        left_out=len(trained) - len(telling),
        placebo=placebo,
        sample=pictured.sample if pictured else "",
        classes=pictured.classes if pictured else (),
        swept=swept,
        sweeps=sweeps,
    )


def _has_curves(runs: Sequence[Run], measure: Measure) -> bool:
    """Tell whether there is the metric by epoch, which not every trainer gives."""
    return any({measure.name, f"val_{measure.name}"} & set(run.curves) for run in runs)


def _curves(variant: tuple[Run, ...], baseline: tuple[Run, ...], row: Row) -> str:
    from pytest_ablation.report import figures

    title = f"{_capital(row.measure.name)} by epoch: {row.arm}"
    return figures.curves(variant, baseline, row.measure, title=title)


# ------------------------------------------------------------------------------ a test's row

Column = tuple[str, str, Callable[["Row"], float], Callable[[float, "Measure"], str]]


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


def header_cells() -> list[str]:
    """Return the extra column heads; hidden until `page` is part of the document.

    pytest-html builds the head before it knows whether a suite has any ablation.
    """
    return [
        f'<th class="sortable ablation" data-column-type="{name}" style="display:none">{head}</th>'
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
            content = f"{_sort_key(value)}{escape(shown(value, row.measure))}"
        cells.append(f'<td class="ablation col-{name}" style="display:none">{content}</td>')
    return cells


def _sort_key(value: float) -> str:
    # pytest-html sorts cells by their content as text, and takes clicks on a cell only where it
    # holds no element: a comment of equal length a number, and never negative, suits both.
    return f"<!--{min(max(value, -1e6), 1e6) + 1e6:014.6f}-->"


def unfolded(entry: Entry, row: Row, *, brief: bool = False) -> str:
    """Return what a test's row unfolds to: claims, values a seed, curves, changes and network.

    Args:
        entry: What the test found.
        row: The row of the findings table that the entry belongs to.
        brief: Leave out curves and network, which take 30 ms and 7 of the 10 KB that a row
            takes in the page: for suites of hundreds of ablations.
    """
    runs = [("variant", run) for run in entry.variant] + [("baseline", r) for r in entry.baseline]
    return _rendered(
        "unfolded.html",
        entry=entry,
        row=row,
        runs=runs,
        curves=_curves(entry.variant, entry.baseline, row)
        if _has_curves([run for _, run in runs], row.measure) and not brief
        else "",
        metric=row.measure.name,
        summary="" if brief else _without_rules(entry.summary),
        nan=math.nan,
    )


def _without_rules(summary: str) -> str:
    """Return Keras's summary without its box characters, a third of its size."""
    plain = re.sub(
        "[\N{BOX DRAWINGS LIGHT HORIZONTAL}-\N{BOX DRAWINGS DOUBLE VERTICAL}]", " ", summary
    )
    return "\n".join(line.rstrip() for line in plain.splitlines() if line.strip())


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _after_colon(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


# ------------------------------------------------------------------------------ templates


def _rendered(template: str, **context: Any) -> str:
    return _templates().get_template(template).render(**context).strip()


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pytest_ablation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    shown = (
        *(words.verdict, words.placebo, words.p_value, words.limits),
        *(words.value, words.change, words.ratio, words.seconds, words.count),
    )
    environment.filters |= {function.__name__: function for function in shown}
    environment.filters |= {"after_colon": _after_colon, "capital": _capital}
    return environment


def _ours(name: str) -> Markup:
    from markupsafe import Markup

    text = files("pytest_ablation.report").joinpath(name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 # not what users write
