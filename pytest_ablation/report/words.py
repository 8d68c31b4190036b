"""The findings in words, as the page and the terminal both say them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ablation.quantity import Form, Unit, said

if TYPE_CHECKING:
    from pytest_ablation.comparison import Compared
    from pytest_ablation.findings import Row

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
        f"{of['seeds']} {'seed' if of['seeds'] == '1' else 'seeds'} an arm",
        f"{of['backend']} on {of['device']}",
        f"{_counted(of['trained'], 'training')} done, {of['reused']} reused",
    ]


def verdict(row: Row) -> str:
    """Return "holds", "violated", "undecided", or how else the tests about an arm ended."""
    violated = any(each.outcome == "violated" for entry in row.tests for each in entry.compared)
    if row.outcome == "failed" and not violated:
        return "failed"
    return VERDICTS.get(row.outcome, row.outcome)


def claim(compared: Compared) -> str:
    """Return what a test asserted: ``accuracy.change ≥ −12.0 points``."""
    form = "" if compared.form == "value" else f".{compared.form}"
    bounds = [("≥", compared.at_least), ("≤", compared.at_most)]
    if compared.at_least == compared.at_most:
        bounds = [("=", compared.at_least)]
    limits = [f"{sign} {found(compared, limit)}" for sign, limit in bounds if limit is not None]
    return f"{compared.quantity}{form} {' and '.join(limits)}"


def found(compared: Compared, number: float) -> str:
    """Return a number in the unit of what was compared."""
    return said(number, compared.unit, compared.form)


def interval(compared: Compared) -> str:
    """Return the interval of what was compared: ``−4.9 points … −2.3 points``."""
    if not (math.isfinite(compared.low) or math.isfinite(compared.high)):
        return UNKNOWN
    return f"{found(compared, compared.low)} … {found(compared, compared.high)}"


def fraction(value: float) -> str:
    """Return a share in percent."""
    return _said(value, "fraction")


def points(value: float) -> str:
    """Return a difference of shares in points."""
    return _said(value, "fraction", "change")


def ratio(value: float) -> str:
    """Return a ratio: ``0.35×``."""
    return _said(value, "number", "ratio")


def seconds(value: float) -> str:
    """Return a time in seconds or milliseconds."""
    return _said(value, "seconds")


def count(value: float) -> str:
    """Return a whole number, its thousands apart."""
    return _said(value, "count")


def _said(value: float, unit: Unit, form: Form = "value") -> str:
    return UNKNOWN if math.isnan(value) else said(value, unit, form)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
