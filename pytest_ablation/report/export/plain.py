"""The findings as JSON; what each field means is in findings.schema.json beside this module."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pytest_ablation import document
from pytest_ablation.document import number
from pytest_ablation.exported import KIND, SCHEMA
from pytest_ablation.report import words

if TYPE_CHECKING:
    from pytest_ablation.claim import Compared
    from pytest_ablation.evidence import Entry
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings, Row


def rendered(findings: Findings) -> str:
    """Return the findings as JSON."""
    return document.written(KIND, SCHEMA, as_plain(findings))


def as_plain(findings: Findings) -> dict[str, Any]:
    """Return the findings as dicts, lists, strings and numbers; None where there is no number."""
    rows = findings.rows()
    return {
        "pytest_ablation": version("pytest-ablation"),
        "headline": words.headline(rows, findings.errors),
        "session": _session(findings.facts),
        "reference": findings.reference.path.name if findings.reference else None,
        "experiments": [
            _experiment(findings, name) for name in dict.fromkeys(row.experiment for row in rows)
        ],
        "arms": [_arm(row) for row in rows],
        "claims": [_claim(*each) for each in findings.claims()],
        "tests": [_test(entry) for entry in findings.entries.values()],
        "errors": sorted(findings.errors),
    }


def _session(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: list(told) if name == "seeds" else told for name, told in facts.items()}


def _experiment(findings: Findings, name: str) -> dict[str, Any]:
    entry = next(each for each in findings.entries.values() if each.experiment == name)
    placebo = findings.placebo(name)
    return {
        "name": name,
        "metric": entry.metric,
        "less_is_better": entry.less_is_better,
        "classes": list(entry.classes),
        "deviation": number(placebo.deviation) if placebo else None,
        "detectable": number(placebo.detectable) if placebo else None,
    }


def _arm(row: Row) -> dict[str, Any]:
    is_baseline = row.arm == "baseline"
    return {
        "experiment": row.experiment,
        "arm": row.arm,
        "is_baseline": is_baseline,
        "verdict": words.verdict(row) or None,
        "sentence": row.sentence,
        "changes": list(row.tests[0].changes) if row.tests else [],
        "tests": [entry.test for entry in row.tests],
        "seeds": row.seeds,
        "metric": row.measure.name,
        "unit": row.measure.unit,
        "value": number(row.value),
        "value_low": number(row.value_low),
        "value_high": number(row.value_high),
        "change": None if is_baseline else number(row.change),
        "change_low": number(row.change_low),
        "change_high": number(row.change_high),
        "since": number(row.since),
        "since_low": number(row.since_low),
        "since_high": number(row.since_high),
        "training_value": number(row.train_value),
        "gap": number(row.gap),
        "gap_change": None if is_baseline else number(row.gap_change),
        "time_ratio": number(row.time_ratio),
        "wall": number(row.wall),
        "params": row.params or None,
        "params_ratio": number(row.params_ratio) if row.params else None,
        "diverged": row.diverged,
        "runs": [_run(run) for run in row.runs],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        "metrics": {name: number(value) for name, value in run.metrics.items()},
        "seconds_per_step": number(run.seconds_per_step),
        "wall": number(run.wall),
        "params": run.params or None,
        "steps": run.steps or None,
        "diverged": run.diverged,
        "host": run.host,
    }


def _claim(entry: Entry, each: Compared, adjusted: float) -> dict[str, Any]:
    return {
        "test": entry.test,
        "experiment": entry.experiment,
        "arm": entry.ablation or "baseline",
        "claim": each.claim,
        "quantity": each.quantity,
        "form": each.form,
        "unit": each.unit,
        "at_least": None if each.at_least is None else number(each.at_least),
        "at_most": None if each.at_most is None else number(each.at_most),
        "verdict": each.outcome,
        "value": number(each.value),
        "low": number(each.low),
        "high": number(each.high),
        "confidence": each.confidence,
        "seeds": each.seeds,
        "baseline_seeds": each.baseline_seeds,
        "p": number(each.p),
        "p_adjusted": number(adjusted),
        "needed": each.needed,
        "reason": each.reason,
    }


def _test(entry: Entry) -> dict[str, Any]:
    return {
        "test": entry.test,
        "outcome": entry.outcome,
        "experiment": entry.experiment,
        "arm": entry.ablation or "baseline",
    }
