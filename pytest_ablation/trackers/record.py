"""What trackers keep of runs, arms and sessions: numbers and words by name, the same in all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ablation.report import words
from pytest_ablation.report.export.text import one_line

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings, Row

OF_EACH = {"name", "dtype", "trainable"}  # in the configuration of whatever is Keras's
TRAIN = "train_"


def of_run(run: Run) -> dict[str, float]:
    """Return a training's numbers: of the finished model, and what it took.

    Metrics on the test set begin with ``test_``: the curves of the training have their bare names.
    """
    metrics = {
        name if name.startswith(TRAIN) else f"test_{name}": float(value)
        for name, value in run.metrics.items()
    }
    took = {
        "wall_seconds": run.wall,
        "step_seconds": run.seconds_per_step,
        "params": float(run.params) or math.nan,
    }
    return metrics | {name: value for name, value in took.items() if not math.isnan(value)}


def of_row(row: Row) -> dict[str, float]:
    """Return an arm's numbers: means over its seeds, effects with their limits; none unknown."""
    metric = row.measure.name
    numbers = {
        f"test_{metric}": row.value,
        f"test_{metric}_low": row.value_low,
        f"test_{metric}_high": row.value_high,
        f"{TRAIN}{metric}": row.train_value,
        "gap": row.gap,
        "wall_seconds": row.wall,
        "params": row.params or math.nan,
    }
    if row.arm != "baseline":
        numbers |= {
            "change": row.change,
            "change_low": row.change_low if row.has_limits else math.nan,
            "change_high": row.change_high if row.has_limits else math.nan,
            "gap_change": row.gap_change,
            "time_ratio": row.time_ratio,
            "params_ratio": row.params_ratio,
        }
    numbers |= {"since": row.since, "since_low": row.since_low, "since_high": row.since_high}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def of_session(findings: Findings) -> tuple[dict[str, str], dict[str, float]]:
    """Return what a session studied, and its claims and trainings in numbers."""
    facts = findings.facts
    claims = [words.outcome(entry, each) for entry, each, _ in findings.claims()]
    least, most = facts["seeds"]
    said = {name: str(facts[name]) for name in ("data", "source", "profile", "alpha", "backend")}
    said |= {"seeds": f"{least}:{most}", "device": facts["device"]}
    if facts["stand_in"]:
        said["stand_in"] = facts["stand_in"]
    numbers = {
        **{f"claims_{each}": claims.count(each) for each in ("violated", "undecided")},
        "claims_holding": claims.count("holds"),
        "trainings_done": facts["trained"],
        "trainings_reused": facts["reused"],
    }
    return said, {name: float(value) for name, value in numbers.items()}


def of_claims(findings: Findings) -> list[dict[str, Any]]:
    """Return a row for each claim, of what a table in a tracker can hold."""
    return [
        {
            "experiment": entry.experiment,
            "arm": entry.ablation or "baseline",
            "claim": each.claim,
            "found": each.said(each.value),
            "interval": each.interval,
            "seeds": each.seeds_in_a_table,
            "p": words.p_value(each.p),
            "p, adjusted": words.p_value(adjusted),
            "verdict": words.outcome(entry, each),
            "test": entry.test,
        }
        for entry, each, adjusted in findings.claims()
    ]


def sentences(findings: Findings) -> list[tuple[str, str]]:
    """Return each trained arm and what was found of it, in a line without markup of its own."""
    return [
        (one_line(row.arm), one_line(row.sentence)) for row in findings.rows() if not row.lesion
    ]


def settings(recipe: str) -> dict[str, str]:
    """Return a recipe's settings, as ``optimizer`` and ``optimizer.learning_rate``.

    Args:
        recipe: As a trial has it, canonical JSON; empty where nothing was trained.
    """
    told = json.loads(recipe) if recipe else None
    return dict(_flat(told, "")) if told else {}


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "class_name" in value:  # an object of Keras's
            yield name, str(value["class_name"])
            config = value.get("config") or {}
            value = {key: each for key, each in config.items() if key not in OF_EACH}
        for key, each in value.items():
            yield from _flat(each, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        for place, each in enumerate(value):
            yield from _flat(each, f"{name}.{place}")
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    elif value is not None:
        yield name, str(value)
