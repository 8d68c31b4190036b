"""The findings in words, as the page and the terminal both say them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ablation.quantity import ACCURACY, Form, Measure, Unit, said

if TYPE_CHECKING:
    from pytest_ablation.table import Placebo, Row

UNKNOWN = "–"
VERDICTS = {"passed": "holds", "failed": "violated"}


def headline(rows: Sequence[Row]) -> str:
    """Return the outcome in a sentence: ``5 ablations: 7 claims hold, 0 violated, 1 undecided.``"""
    tests = [entry for row in rows for entry in row.tests]
    outcomes = [each.outcome for entry in tests for each in entry.compared]
    ablations = sum(row.arm != "baseline" for row in rows)
    holding, errors = outcomes.count("holds"), sum(entry.outcome == "error" for entry in tests)
    parts = [
        f"{holding} {'claim holds' if holding == 1 else 'claims hold'}",
        f"{outcomes.count('violated')} violated",
        f"{outcomes.count('undecided')} undecided",
        *([f"{_counted(errors, 'test')} ended in an error"] if errors else []),
    ]
    return f"{_counted(ablations, 'ablation')}: {', '.join(parts)}."


def facts(of: Mapping[str, Any]) -> list[str]:
    """Return what the session studied, and how, a phrase each."""
    source = f" ({of['source']})" if of["source"] else ""
    return [
        f"{of['data']}{source}",
        f"profile {of['profile']}",
        _seeds(*of["seeds"]),
        f"{of['backend']} on {of['device']}",
        f"{_counted(of['trained'], 'training')} done, {of['reused']} reused",
    ]


def verdict(row: Row) -> str:
    """Return "holds", "violated", "undecided", or how else the tests about an arm ended."""
    outcomes = {each.outcome for entry in row.tests for each in entry.compared}
    if row.outcome == "failed" and "violated" not in outcomes:
        return "undecided" if "undecided" in outcomes else "failed"
    return VERDICTS.get(row.outcome, row.outcome)


def placebo(of: Placebo | None) -> str:
    """Return what a session can tell at all, in a sentence; empty where nothing is known of it."""
    if of is None:
        return ""
    between, floor, least = (
        said(value, of.measure.unit, "change").lstrip("+")
        for value in (of.deviation, of.floor, of.detectable)
    )
    at_least = f"; by {floor} at least, with this test set" if of.measure is ACCURACY else ""
    return (
        f"The baseline's {of.measure.name} varies by {between} from seed to seed ({of.seeds} "
        f"seeds{at_least}). {of.most_seeds} seeds an arm would probably detect a change of {least}."
    )


def p_value(value: float) -> str:
    """Return a p-value: ``0.012``, ``< 0.001``."""
    if math.isnan(value):
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def value(number: float, measure: Measure) -> str:
    """Return a metric's value: of accuracy ``58.4 %``."""
    return _said(number, measure.unit)


def change(number: float, measure: Measure) -> str:
    """Return a metric's change: of accuracy ``−3.7 points``."""
    return _said(number, measure.unit, "change")


def limits(low: float, high: float, measure: Measure) -> str:
    """Return an interval of a metric's change: of accuracy ``−6.8 … −2.3 points``."""
    return f"{change(low, measure).removesuffix(' points')} … {change(high, measure)}"


def ratio(value: float) -> str:
    """Return a ratio: ``0.35×``."""
    return _said(value, "number", "ratio")


def seconds(value: float) -> str:
    """Return a time in seconds or milliseconds."""
    return _said(value, "seconds")


def count(value: float) -> str:
    """Return a whole number, its thousands apart; none of something is not known of."""
    return _said(value or math.nan, "count")


def _said(value: float, unit: Unit, form: Form = "value") -> str:
    return UNKNOWN if math.isnan(value) else said(value, unit, form)


def _seeds(least: int, most: int) -> str:
    return (
        f"{_counted(most, 'seed')} an arm" if least == most else f"{least} to {most} seeds an arm"
    )


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
