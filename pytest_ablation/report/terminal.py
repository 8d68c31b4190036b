"""The findings as a table in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from typing import TYPE_CHECKING, Literal

from pytest_ablation.report import words
from pytest_ablation.report.sweep import sweeps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from pytest_ablation.table import Findings, Row

NARROWEST_NAME = 22  # or a third of the line, where names are that long
INDENT = 2
PADDING = 2  # between two columns

SINCE = "since"  # a reference, where there is one
METRIC = "metric"  # stands for the name of the experiment's own

# Most telling first: as many as fit are shown.
COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    (METRIC, lambda row: words.value(row.value, row.measure)),
    (
        "change",
        lambda row: (
            words.UNKNOWN if row.arm == "baseline" else words.change(row.change, row.measure)
        ),
    ),
    ("verdict", words.verdict),
    (SINCE, lambda row: words.change(row.since, row.measure)),
    ("seeds", lambda row: str(row.seeds)),
    ("time", lambda row: words.ratio(row.time_ratio)),
    ("gap", lambda row: words.change(row.gap, row.measure)),
    ("training", lambda row: words.value(row.train_value, row.measure)),
    ("parameters", lambda row: words.count(row.params)),
    ("wall", lambda row: words.seconds(row.wall)),
)
COLORS = {"holds": "green", "undecided": "yellow", "xfailed": "yellow", "skipped": "yellow", "": ""}


def table(findings: Findings, *, width: int, color: bool) -> str:
    """Return the findings as text: an arm a row, its finding in a sentence below.

    Args:
        findings: What the session found.
        width: Longest line, in columns of the terminal. The narrower, the fewer quantities.
        color: Whether the terminal shows colours.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    rows = findings.rows()
    if not rows:
        return ""
    text = StringIO()
    console = Console(
        file=text,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        legacy_windows=False,
    )
    facts = findings.facts
    if facts["stand_in"]:
        alarm = f"NOT THE IMAGES OF CIFAR-10: {facts['stand_in']} Studied: {facts['data']}."
        console.print(Text(alarm, style="bold red"))
    console.print(Text(" · ".join(words.facts(facts))))
    for name in dict.fromkeys(row.experiment for row in rows):
        console.print()
        for part in _parts(name, [row for row in rows if row.experiment == name], width):
            console.print(part)
        if placebo := words.placebo(findings.placebo(name)):
            console.print()
            console.print(Text(placebo))
    for outcome in ("violated", *(() if facts["decides_nothing"] else ("undecided",))):
        for entry, each in words.claims_that_are(outcome, findings):
            console.print()
            console.print(Text(f"{outcome}: {entry.test}", style=COLORS.get(outcome, "red")))
            console.print(Padding(Text(words.found(each)), (0, 0, 0, INDENT)))
    if cluster := words.cluster(facts):
        console.print()
        console.print(Text(cluster))
    console.print()
    console.print(Text(words.headline(rows, findings.errors), style="bold"))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


Column = tuple[str, Callable[["Row"], str], int]


def _parts(name: str, rows: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """Yield an experiment's part of the table: its head, then each arm's numbers and sentence."""
    from rich.padding import Padding
    from rich.rule import Rule
    from rich.text import Text

    sweeps, swept = sweeps_of(rows)
    rows = [row for row in rows if row not in swept]
    shown = _fitting(rows, width)
    left = width - sum(size + PADDING for _, _, size in shown)
    first = min(left, max(len(name), *(len(row.arm) for row in rows)))

    def line(text: str, cells: list[Text]) -> RenderableType:
        return _line(Text(text, style="bold"), first, cells, [size for _, _, size in shown])

    yield line(name, [Text(head, justify=_side(head)) for head, _, _ in shown])
    yield Rule(style="")
    for row in rows:
        cells = [Text(of(row), _style(head, row), justify=_side(head)) for head, of, _ in shown]
        yield line(row.arm, cells)
        yield Padding(Text(row.sentence), (0, 0, 0, INDENT))
    for sweep in sweeps:
        yield Text(sweep.title)


def _fitting(rows: Sequence[Row], width: int) -> list[Column]:
    """Return the columns that fit beside a name, each with its width."""
    shown: list[Column] = []
    left = width - max(NARROWEST_NAME, min(width // 3, max(len(row.arm) for row in rows)))
    for name, of in COLUMNS:
        if name == SINCE and all(of(row) == words.UNKNOWN for row in rows):
            continue
        head = rows[0].measure.name if name == METRIC else name
        size = max(len(head), *(len(of(row)) for row in rows))
        left -= size + PADDING
        if left < 0:
            break
        shown.append((head, of, size))
    return shown


def _line(name: Text, width: int, cells: list[Text], sizes: list[int]) -> RenderableType:
    # A table of its own for each line: rich has no cell that spans columns, as sentences would.
    from rich.table import Table

    grid = Table.grid(padding=(0, PADDING, 0, 0))
    grid.add_column(width=width, overflow="fold")
    for size in sizes:
        grid.add_column(width=size, no_wrap=True)
    grid.add_row(name, *cells)
    return grid


def _side(head: str) -> Literal["left", "right"]:
    return "left" if head == "verdict" else "right"


def _style(head: str, row: Row) -> str:
    return COLORS.get(words.verdict(row), "red") if head == "verdict" else ""
