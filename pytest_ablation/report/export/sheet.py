"""The findings as CSV: a row a number, of the arms and then of the claims."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Any

from pytest_ablation.report.export import plain

if TYPE_CHECKING:
    from pytest_ablation.table import Findings

COLUMNS = (
    *("kind", "experiment", "arm", "test", "quantity", "form", "unit", "at_least", "at_most"),
    *("value", "low", "high", "confidence", "seeds", "baseline_seeds"),
    *("p", "p_adjusted", "needed", "verdict", "reason"),
)
# What a spreadsheet would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rendered(findings: Findings) -> str:
    """Return the findings as CSV, its numbers at full precision.

    The kind of a row is "arm", a mean of one arm, whose verdict is then that of all tests about the
    arm; or "claim", what a test asserted and what became of it. A text that a spreadsheet would
    take for a formula gets an apostrophe in front, as spreadsheets write it themselves.
    """
    told = plain.as_plain(findings)
    text = StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    confidence = 1 - 2 * told["session"]["alpha"] if told["arms"] else None
    for arm in told["arms"]:
        for row in list(_of_arm(arm)) or [{}]:
            shared = {"kind": "arm", "confidence": confidence if "low" in row else None}
            _put(table, {**shared, **_named(arm), "seeds": arm["seeds"], **row})
    for claim in told["claims"]:
        _put(table, {"kind": "claim", **claim})
    return text.getvalue()


def _named(arm: dict[str, Any]) -> dict[str, Any]:
    return {name: arm[name] for name in ("experiment", "arm", "verdict")}


def _of_arm(arm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an arm's means, each with its name, form and unit; limits where there are any."""
    metric, unit = arm["metric"], arm["unit"]
    for quantity, form, of_unit, field in (
        (metric, "value", unit, "value"),
        (metric, "change", unit, "change"),
        (metric, "since", unit, "since"),
        (f"training {metric}", "value", unit, "training_value"),
        ("gap", "value", unit, "gap"),
        ("gap", "change", unit, "gap_change"),
        ("time", "ratio", "seconds", "time_ratio"),
        ("wall", "value", "seconds", "wall"),
        ("params", "value", "count", "params"),
        ("params", "ratio", "count", "params_ratio"),
    ):
        if arm[field] is not None:
            row = {"quantity": quantity, "form": form, "unit": of_unit, "value": arm[field]}
            if f"{field}_low" in arm:
                row |= {"low": arm[f"{field}_low"], "high": arm[f"{field}_high"]}
            yield row


def _put(table: csv.DictWriter[str], row: dict[str, Any]) -> None:
    table.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.startswith(FORMULA)
    return f"'{value}" if is_formula else value
