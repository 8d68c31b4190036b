"""What changed since a reference, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_ablation.quantity import FLOPS, PARAMS, said
from pytest_ablation.report import words

if TYPE_CHECKING:
    from pytest_ablation.reference import Reference, Saved
    from pytest_ablation.table import Findings, Row


def changed(findings: Findings, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return an arm and what is to be said of it each; the arm is empty in what is said of all."""
    reference = findings.reference
    if reference is None:
        return []
    now = {(each.experiment, each.arm): each for each in findings.kept}
    told = [
        (row.arm, said)
        for row in rows
        for said in _of_arm(row, reference, now.get((row.experiment, row.arm)))
    ]
    missing = [arm for key, arm in ((key, key[1]) for key in reference.arms) if key not in now]
    told += [(arm, "in the reference, and in no test of this session") for arm in missing]
    return told or [("", "No clear change.")]


def _of_arm(row: Row, reference: Reference, now: Saved | None) -> Iterator[str]:
    then = reference.arms.get((row.experiment, row.arm))
    if now is None:
        return
    if then is None:
        yield "not in the reference"
        return
    measure = row.measure
    if why := then.cannot_speak_for(measure.name, now):
        yield f"{measure.name} cannot be compared: {why}" if row.runs else why
    elif row.since_low > 0 or row.since_high < 0:
        limits = words.limits(row.since_low, row.since_high, measure)
        yield f"{measure.name} {words.change(row.since, measure)} ({limits})"
    for exact in (PARAMS, FLOPS):
        old, new = (each.exact.get(exact.name, math.nan) for each in (then, now))
        if old != new and not math.isnan(old + new):
            yield f"{exact.name} {said(old, exact.unit)} → {said(new, exact.unit)}"
