"""What was found of an arm, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pytest_ablation.evidence import Entry
from pytest_ablation.quantity import ACCURACY, MINUS, Measure, said
from pytest_ablation.run import Run


def of(arm: str, row: Mapping[str, Any], runs: Sequence[Run], baseline: Entry) -> str:
    """Return the finding in a sentence, of the means over the seeds.

    Args:
        arm: The ablation; empty of the baseline.
        row: The numbers of the arm's `Row`, by name.
        runs: The arm's.
        baseline: An entry of a test of the same experiment.
    """
    measure, classes = row["measure"], len(baseline.classes)
    is_measured = not math.isnan(row["value"])
    if not runs and not is_measured:
        return "Not trained."
    if baseline.facts["decides_nothing"]:
        return "Too short a training to tell."
    if not is_measured:
        return _without_metric(runs)
    value, train_value = (said(row[name], measure.unit) for name in ("value", "train_value"))
    if not arm and baseline.has_settings and measure is ACCURACY:
        more = "" if math.isnan(row["train_value"]) else f" and {train_value} on training examples"
        return f"It reaches {value} on test examples{more}."
    if not arm and measure is not ACCURACY:
        return (
            f"The network's {measure.name} is {value} on test examples and {train_value} on "
            "training examples."
        )
    if not arm:
        return (
            f"The network reaches {value} on test examples and {train_value} on training examples."
        )
    if math.isnan(row["change"]):
        return f"Its {measure.name} is {value}, with no baseline's to compare it with."
    if measure is ACCURACY and classes and _collapses(row, classes):
        return f"Collapses to chance: {value} of test examples." + (
            " The training diverged." if row["diverged"] else ""
        )
    by = said(row["change"], measure.unit, "change")
    if min(len(runs), len(baseline.baseline)) < 2:  # how trainings differ is not known
        change = f"Changes {measure.name} by {by} with one seed"
    elif row["change_low"] <= 0 <= row["change_high"]:
        change = f"No clear change in {measure.name} ({by})"
    elif measure is ACCURACY:
        size = _size(by) if by != _size(by) else "less than 0.1 points"
        change = f"{'Costs' if row['change'] < 0 else 'Gains'} {size} of accuracy"
    else:
        worse = (row["change"] > 0) == baseline.less_is_better
        change = f"{'Raises' if row['change'] > 0 else 'Lowers'} {measure.name} by {_size(by)}"
        change += f" ({'worse' if worse else 'better'})"
    parts = [change]
    if abs(row["gap_change"]) >= (0.05 if measure.unit == "fraction" else abs(row["value"]) / 10):
        wider = "widens" if row["gap_change"] > 0 else "narrows"
        parts.append(f"{wider} the gap by {_rounded(row['gap_change'], measure)}")
    if row["time_ratio"] < 0.8 or row["time_ratio"] > 1.25:
        parts.append(f"takes {row['time_ratio']:.2f}× the time a step")
    if row["params_ratio"] <= 0.95:
        parts.append(f"saves {100 * (1 - row['params_ratio']):.0f} % of the parameters")
    if len(parts) > 1:
        parts[-1] = f"and {parts[-1]}"
    return (", " if len(parts) > 2 else " ").join(parts).replace("-", MINUS) + "."


def _collapses(row: Mapping[str, Any], classes: int) -> bool:
    """Tell whether an accuracy is that of guessing, and the baseline's is not."""
    chance = 1 / classes + min(0.2 / classes, 0.02)
    before = row["value"] - row["change"]
    return bool(row["value"] <= chance < before)


def _size(change: str) -> str:
    return change.lstrip(f"+{MINUS}")


def _rounded(change: float, measure: Measure) -> str:
    if measure.unit == "fraction":
        return f"{abs(100 * change):.0f} points"
    return _size(said(change, measure.unit, "change"))


def _without_metric(runs: Sequence[Run]) -> str:
    """Return what was measured where it was not the main metric."""
    means = {
        name: fmean(run.metrics.get(name, math.nan) for run in runs) for name in runs[0].metrics
    }
    return ", ".join(f"{name} {said(value, 'number')}" for name, value in means.items()) + "."
