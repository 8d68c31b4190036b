"""Where the time went: what each arm's trainings took, and which of them were taken from before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings

MOST = 24


@dataclass(frozen=True)
class Spent:
    """What trainings took.

    Attributes:
        arm: Whose; empty of several together.
        trained: How many were done in this session.
        seconds: How long those took.
        reused: How many were taken from before.
        saved: How long those took then, in seconds.
    """

    arm: str
    trained: int
    seconds: float
    reused: int
    saved: float

    @property
    def total(self) -> float:
        """Seconds, whenever they were spent."""
        return self.seconds + self.saved


def of(findings: Findings) -> tuple[Spent, ...]:
    """Return what each arm took, the longest first, the least together; what all took is last."""
    fresh = {name for entry in findings.entries.values() for name in entry.facts["trained"]}
    known: set[str] = set()
    arms = []
    for row in findings.rows():
        if row.lesion is not None or not row.runs:
            continue  # a lesion is evaluated, not trained
        own = [run for run in row.runs if run.fingerprint not in known]
        known |= {run.fingerprint for run in own}
        arms.append(_spent(row.arm, own, fresh))
    arms.sort(key=lambda each: -each.total)
    if len(arms) > MOST:
        rest = _together("", arms[MOST - 1 :])
        return (*arms[: MOST - 1], rest, _together("", arms))
    return (*arms, _together("", arms)) if arms else ()


def _spent(arm: str, runs: Sequence[Run], fresh: set[str]) -> Spent:
    done = [run.wall for run in runs if run.fingerprint in fresh]
    kept = [run.wall for run in runs if run.fingerprint not in fresh]
    return Spent(arm, len(done), _sum(done), len(kept), _sum(kept))


def _together(arm: str, each: Sequence[Spent]) -> Spent:
    return Spent(
        arm,
        sum(one.trained for one in each),
        sum(one.seconds for one in each),
        sum(one.reused for one in each),
        sum(one.saved for one in each),
    )


def _sum(seconds: Sequence[float]) -> float:
    return sum(each for each in seconds if math.isfinite(each))
