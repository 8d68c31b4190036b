"""Where the time went: what trainings took, by arm and by node; which were taken from before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ablation import hosts

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings, Row

MOST = 24


@dataclass(frozen=True)
class Spent:
    """What trainings took.

    Attributes:
        name: Of the arm or the node; empty of several together.
        trained: How many were done in this session.
        seconds: How long those took.
        reused: How many were taken from before.
        saved: How long those took then, in seconds.
    """

    name: str
    trained: int
    seconds: float
    reused: int
    saved: float

    @property
    def total(self) -> float:
        """Seconds, whenever they were spent."""
        return self.seconds + self.saved


def of(findings: Findings, rows: Sequence[Row]) -> tuple[Spent, ...]:
    """Return what each arm took, the longest first, the least together; what all took is last."""
    return _grouped(findings, rows, lambda experiment, arm, run: (experiment, arm))


def by_node(findings: Findings, rows: Sequence[Row]) -> tuple[Spent, ...]:
    """Return the same of each node; nothing where all was trained on one machine."""
    nodes = _grouped(
        findings, rows, lambda experiment, arm, run: (hosts.node(run.host) or hosts.UNKNOWN,)
    )
    return nodes if len(nodes) > 2 or findings.facts["cluster"] else ()


def _grouped(
    findings: Findings, rows: Sequence[Row], of: Callable[[str, str, Run], tuple[str, ...]]
) -> tuple[Spent, ...]:
    entries = findings.entries.values()
    fresh = {each for entry in entries for each in entry.facts["trained"]}
    # A lesion is evaluated, not trained.
    studied = [
        *((row.experiment, row.arm, row.runs) for row in rows if row.lesion is None),
        *((entry.experiment, *each) for entry in entries for each in entry.alone.items()),
    ]
    known: set[str] = set()
    groups: dict[tuple[str, ...], list[Run]] = {}
    for experiment, arm, runs in studied:
        for run in runs:
            if run.fingerprint not in known:
                known.add(run.fingerprint)
                groups.setdefault(of(experiment, arm, run), []).append(run)
    spent = [_spent(group[-1], runs, fresh) for group, runs in groups.items()]
    spent.sort(key=lambda each: -each.total)
    if len(spent) > MOST:
        rest = _together(spent[MOST - 1 :])
        return (*spent[: MOST - 1], rest, _together(spent))
    return (*spent, _together(spent)) if spent else ()


def _spent(name: str, runs: Sequence[Run], fresh: set[str]) -> Spent:
    done = [run.wall for run in runs if run.fingerprint in fresh]
    kept = [run.wall for run in runs if run.fingerprint not in fresh]
    return Spent(name, len(done), _sum(done), len(kept), _sum(kept))


def _together(each: Sequence[Spent]) -> Spent:
    return Spent(
        "",
        sum(one.trained for one in each),
        sum(one.seconds for one in each),
        sum(one.reused for one in each),
        sum(one.saved for one in each),
    )


def _sum(seconds: Sequence[float]) -> float:
    return sum(each for each in seconds if math.isfinite(each))
