"""The findings as HTML: what opens pytest-html's page, and what a test's row unfolds to.

The markup is in the templates beside this module; what they show is chosen here, drawn in `forest`,
`tradeoff` and `curves`, and put in words in `words`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ablation import hosts
from pytest_ablation.quantity import ACCURACY
from pytest_ablation.report import curves, forest, later, spent, tradeoff, words
from pytest_ablation.report.curves import Curves
from pytest_ablation.report.sweep import Sweep, sweeps_of
from pytest_ablation.report.templates import own, rendered

if TYPE_CHECKING:
    from pytest_ablation.evidence import Entry
    from pytest_ablation.per_class import ClassChange
    from pytest_ablation.report.forest import Forest
    from pytest_ablation.report.tradeoff import Tradeoff
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings, Placebo, Row

MOST_DRAWN = 24
MOST_LEADS = 3
MOST_CLASSES = 12


@dataclass(frozen=True, kw_only=True)
class _Study:
    """One experiment's part of the page.

    Attributes:
        name: The experiment's.
        metric: The name of its main metric.
        rows: Its rows of the findings table.
        forest: Each ablation's change.
        tradeoff: The metric against what it takes.
        worth: Ablations that lose nothing for certain and cost less, and what they take.
        curves: A row and its figure each, of those that are drawn.
        left_out: How many rows are not drawn.
        placebo: What its baseline says of what the session can tell.
        network: Its baseline's layers, or its settings.
        has_settings: Whether it is of settings.
        params: Parameters of the baseline.
        sample: A PNG in base64, of the first experiment only.
        classes: The names beside its rows.
        swept: The rows of lesions that a sweep shows.
        sweeps: Those of single units, layer by layer.
    """

    name: str
    metric: str
    rows: tuple[Row, ...]
    forest: Forest | None
    tradeoff: Tradeoff | None
    worth: list[tuple[Row, str]]
    curves: tuple[tuple[Row, Curves], ...]
    left_out: int
    placebo: Placebo | None
    network: str
    has_settings: bool
    params: int
    sample: str
    classes: tuple[str, ...]
    swept: tuple[Row, ...]
    sweeps: tuple[Sweep, ...]


def page(findings: Findings, *, in_theirs: bool = True) -> str:
    """Return what opens the report: the findings in words, as figures and as a table.

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
        of_it = tuple(row for row in rows if row.experiment == name)
        placebo = findings.placebo(name)
        studies.append(_study(name, of_it, placebo, pictured if not studies else None))
    undecided = sum(entry.outcome == "undecided" for entry in entries)
    _, swept = sweeps_of(rows)
    return rendered(
        "page.html",
        css=own("style.css"),
        theirs=own("theirs.css") if in_theirs else "",
        script=own("undecided.js") if undecided and in_theirs else "",
        tables=own("tables.js"),
        undecided=undecided,
        claims=findings.claims(),
        against=findings.reference.path.name if findings.reference else "",
        facts=findings.facts,
        said_facts=words.facts(findings.facts),
        headline=words.headline(rows, findings.errors),
        violated=words.claims_that_are("violated", findings),
        most_leads=MOST_LEADS,
        leads=words.leads(_without(swept, rows))[:MOST_LEADS],
        spent=spent.of(findings, rows),
        nodes=spent.by_node(findings, rows),
        said_cluster=words.cluster(findings.facts),
        studies=studies,
        later=later.packed({each.test: _unfolded(each) for each in entries[later.MOST_AT_ONCE :]}),
        unpacks=own("later.js"),
    )


def alone(findings: Findings) -> str:
    """Return the same as a file of its own, with what each test found unfolded below."""
    entries = list(findings.entries.values())
    return rendered(
        "alone.html",
        page=page(findings, in_theirs=False),
        tests=[(each.test, each.outcome, content(each, findings)) for each in entries],
    )


def content(entry: Entry, findings: Findings) -> str:
    """Return what a test's row unfolds to; of all but the first tests, where `page` will put it."""
    is_first = list(findings.entries)[: later.MOST_AT_ONCE].count(entry.test)
    return _unfolded(entry) if is_first else later.place(entry.test)


def row_of(entry: Entry) -> Row:
    """Return an entry's row of the findings table; it carries all that it needs."""
    from pytest_ablation.table import Findings

    return Findings({entry.test: entry}).rows()[-1]


def unfolded(entry: Entry, row: Row) -> str:
    """Return what a test's row unfolds to: claims, values a seed, curves, classes and network.

    Args:
        entry: What the test found.
        row: The row of the findings table that the entry belongs to.
    """
    classes, others = _telling(entry.per_class)
    return rendered(
        "unfolded.html",
        entry=entry,
        row=row,
        runs=[("variant", run) for run in entry.variant]
        + [("baseline", r) for r in entry.baseline],
        fresh=frozenset(entry.facts["trained"]),
        nodes=_nodes(entry),
        curves=_curves(entry.variant, entry.baseline, row),
        metric=row.measure.name,
        classes=classes,
        other_classes=others,
        widest=max((abs(limit) for each in classes for limit in (each.low, each.high)), default=0),
        accuracy=ACCURACY,
        nan=math.nan,
    )


def _unfolded(entry: Entry) -> str:
    return unfolded(entry, row_of(entry))


def _nodes(entry: Entry) -> dict[str, str]:
    """Return each host's node; nothing where all is of one machine."""
    nodes = {run.host: hosts.node(run.host) for run in (*entry.variant, *entry.baseline)}
    return nodes if len(nodes) > 1 or entry.facts["cluster"] else {}


def _study(
    name: str, rows: tuple[Row, ...], placebo: Placebo | None, pictured: Entry | None
) -> _Study:
    measure = rows[0].measure
    sweeps, swept = sweeps_of(rows)
    rows = tuple(_without(swept, rows))
    runs = {row.arm: row.runs for row in rows}
    baseline = runs["baseline"]
    trained = [row for row in rows if row.arm != "baseline" and runs[row.arm]]
    telling = sorted(trained, key=lambda row: -abs(row.change))[:MOST_DRAWN]
    drawn = [row for row in rows if row in telling or (row.arm == "baseline" and baseline)]
    drawn_runs = [run for row in drawn if row.lesion is None for run in row.runs]
    figures = [
        (row, _curves(() if row.arm == "baseline" else runs[row.arm], baseline, row, drawn_runs))
        for row in drawn
        if row.lesion is None
    ]
    entry = next(each for row in (*rows, *swept) for each in row.tests)
    return _Study(
        name=name,
        metric=measure.name,
        rows=rows,
        forest=forest.of(rows),
        tradeoff=tradeoff.of(drawn),
        worth=tradeoff.worth(rows)[:MOST_LEADS],
        curves=tuple((row, figure) for row, figure in figures if figure),
        left_out=len(trained) - len(telling),
        placebo=placebo,
        network=entry.summary,
        has_settings=entry.has_settings,
        params=entry.baseline_params,
        sample=pictured.sample if pictured else "",
        classes=pictured.classes if pictured else (),
        swept=swept,
        sweeps=sweeps,
    )


def _without(others: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    known = set(map(id, others))  # a thousand rows are not compared by all that is in them
    return [row for row in rows if id(row) not in known]


def _curves(
    variant: Sequence[Run],
    baseline: Sequence[Run],
    row: Row,
    beside: Sequence[Run] = (),
) -> Curves | None:
    metric = row.measure.name
    label = f"{metric[:1].upper()}{metric[1:]} by epoch: {words.shortened(row.arm, 100)}"
    return curves.of(
        variant,
        baseline,
        row.measure,
        label=label,
        unseen=words.unseen(row.recipe),
        beside=beside,
    )


def _telling(classes: Sequence[ClassChange]) -> tuple[list[ClassChange], list[ClassChange]]:
    """Return the classes that change most, the worst change first, and the others."""
    order = sorted(classes, key=lambda each: -abs(each.change))
    most = order[:MOST_CLASSES]
    return sorted(most, key=lambda each: each.change), order[MOST_CLASSES:]
