"""The findings in words, as the page and the terminal both say them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ablation.quantity import ACCURACY, Form, Measure, Unit, said

if TYPE_CHECKING:
    from pytest_ablation.claim import Compared
    from pytest_ablation.evidence import Entry
    from pytest_ablation.table import Findings, Placebo, Row

UNKNOWN = "–"
LONGEST_ARM = 60
UNCLEAR = "but not so clearly that one of all the session's claims may be called violated"
GERUNDS = {
    **{"remove": "removing", "replace": "replacing", "insert": "inserting", "set": "setting"},
    **{"cut": "cutting", "use": "using", "train": "training", "feed": "feeding"},
}
DOING = re.compile(rf"(^|, )({'|'.join(GERUNDS)})\b")
# What stands in where an encoding lacks a sign, as those of Windows do in a pipe, and LC_ALL=C.
IN_ASCII = str.maketrans(
    {
        "─": "-",
        "−": "-",
        "–": "-",
        "…": "...",
        "·": "|",
        "×": "x",
        "≥": ">=",
        "≤": "<=",
        "→": "->",
        "∞": "inf",
        "━": "=",
    }
)
EXCUSED = ("xfailed", "skipped")
VERDICTS = {"passed": "holds", "failed": "violated"}


def headline(rows: Sequence[Row], errors: Collection[str]) -> str:
    """Return the outcome in a sentence, and the largest change that is clear.

    ``4 of 5 claims hold, 1 undecided; removing Dropout (5 layers) costs 3.7 points.``

    Args:
        rows: The findings table.
        errors: Tests that ended in an error before there was anything to find.
    """
    tests = [entry for row in rows for entry in row.tests]
    outcomes = [outcome(entry, each) for entry in tests for each in entry.compared]
    wrong = len(errors) + sum(entry.outcome == "error" for entry in tests)
    parts = [_holding(outcomes.count("holds"), len(outcomes))]
    others = (each for each in ("violated", "undecided", *EXCUSED) if each in outcomes)
    parts += [f"{outcomes.count(each)} {each}" for each in others]
    otherwise = sum(entry.outcome == "failed" and _is_of_no_claim(entry) for entry in tests)
    parts += [f"{_counted(otherwise, 'test')} failed otherwise"] if otherwise else []
    parts += [f"{_counted(wrong, 'test')} ended in an error"] if wrong else []
    largest = leads(rows)[:1]
    finding = f"; {_finding(largest[0])}" if largest else ""
    return f"{', '.join(parts)}{finding}."


def outcome(entry: Entry, claim: Compared) -> str:
    """Return a claim's verdict, or pytest's word where a violated one fails no test."""
    is_excused = claim.outcome == "violated" and entry.outcome in EXCUSED
    return entry.outcome if is_excused else claim.outcome


def _is_of_no_claim(entry: Entry) -> bool:
    """Tell whether a test failed by something else than a claim of its own."""
    return {each.outcome for each in entry.compared} <= {"holds"}


def leads(rows: Sequence[Row]) -> list[Row]:
    """Return the variants that clearly change the main metric, the largest change first."""
    if any(entry.facts["decides_nothing"] for row in rows for entry in row.tests):
        return []
    return sorted(filter(_tells, rows), key=lambda row: -abs(row.change))


def _tells(row: Row) -> bool:
    if not row.is_clear:
        return False
    return row.measure.unit != "fraction" or abs(row.change) >= 0.005


def _holding(holding: int, claims: int) -> str:
    if not claims:
        return "No claims"
    if holding == claims > 1:
        return f"All {claims} claims hold"
    if holding == claims == 1:
        return "1 of 1 claim holds"
    return f"{holding} of {claims} claims {'holds' if holding == 1 else 'hold'}"


def _finding(row: Row) -> str:
    """Return what an ablation does to the main metric: ``removing drop1 costs 3.7 points``."""
    size = said(abs(row.change), row.measure.unit, "change").lstrip("+")
    doing = DOING.sub(lambda found: found[1] + GERUNDS[found[2]], shortened(row.arm, LONGEST_ARM))
    if row.measure is ACCURACY:
        return f"{doing} {'costs' if row.change < 0 else 'gains'} {size}"
    return f"{doing} {'lowers' if row.change < 0 else 'raises'} {row.measure.name} by {size}"


def shortened(name: str, longest: int) -> str:
    """Return a name of users' on one line, cut where it is longer than there is room for."""
    name = "".join(each if each.isprintable() else " " for each in name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def shown_in(encoding: str, text: str) -> str:
    """Return text in signs that an encoding has, where it lacks some of ours.

    Else pytest writes it with all that is special in it escaped: ends of lines and colours, too.
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(IN_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def claims_that_are(wanted: str, findings: Findings) -> list[tuple[Entry, Compared]]:
    """Return the claims of an outcome, each with its test."""
    claims = ((entry, each) for entry, each, _ in findings.claims())
    return [(entry, each) for entry, each in claims if outcome(entry, each) == wanted]


def found(claim: Compared) -> str:
    """Return a claim, what it rests on, and what it lacks: ``gap.change ≥ +1.0 points: …``."""
    more = claim.advice or claim.reason
    return f"{claim.claim}: {claim.evidence}" + (f"; {more}" if more else "")


def reasoning(claim: Compared) -> str:
    """Return why a claim's verdict is what it is, in a sentence."""
    more = claim.advice or claim.reason
    more = f"; {more}" if more else ""
    found = claim.said(claim.value)
    if math.isnan(claim.value):
        return f"{found[:1].upper()}{found[1:]}{more}."
    if claim.interval:
        over = f" over {claim.seeds_said}" if claim.seeds else ""
        found = f"The {100 * claim.confidence:g} % interval{over}, {claim.interval},"
    elif claim.outcome == "undecided":
        return f"{found} was found, and no interval{more}."
    if claim.outcome == "holds":
        return f"{found} lies within the bound{more}."
    if claim.outcome == "violated":
        return f"{found} lies outside the bound{more}."
    if is_outside(claim):
        return f"{found} lies outside the bound, {UNCLEAR}{more}."
    return f"{found} reaches across the bound{more}."


def is_outside(claim: Compared) -> bool:
    """Tell whether a claim's interval lies outside its bound, which alone violates none."""
    lowest = -math.inf if claim.at_least is None else claim.at_least
    highest = math.inf if claim.at_most is None else claim.at_most
    if not claim.interval:
        return False
    return claim.high < lowest or claim.low > highest


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


def cluster(of: Mapping[str, Any]) -> str:
    """Return which node of a cluster did how much, in a sentence; empty where there is none."""
    used = of["cluster"]
    if not used:
        return ""
    told = ", ".join(f"{name} {count}" for name, count in used["tasks"].items())
    places = f"{_counted(used['places'], 'place')}, {100 * used['busy']:.0f} % busy"
    return f"Tasks done on a Ray cluster: {told}; {places}."


def verdict(row: Row) -> str:
    """Return "holds", "violated", "undecided", or how else the tests about an arm ended."""
    outcomes = {outcome(entry, each) for entry in row.tests for each in entry.compared}
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
    alone = f"; a test set of this size alone has it vary by {floor}"
    counted = f"{of.seeds} seeds{alone if of.measure is ACCURACY and of.floor else ''}"
    return (
        f"The baseline's {of.measure.name} varies by {between} from seed to seed ({counted}). "
        f"{of.most_seeds} seeds an arm would probably detect a change of {least}."
    )


def unseen(recipe: str) -> str:
    """Return what the examples are called that a recipe, as a trial has it, measures epochs on."""
    told = json.loads(recipe or "null") or {}
    return "validation" if told.get("validation_split") else "test"


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
