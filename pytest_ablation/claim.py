"""A bound that a test asserted, and what became of it: plain data that the findings are made of."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from pytest_ablation.quantity import Form, Unit, said
from pytest_ablation.verdict import Outcome

DECIMALS = re.compile(r"\.(\d+)")
MOST_DECIMALS = 4  # of what is found; a bound may be a third


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One bound that a test asserted, and what became of it: a row of the findings.

    Attributes:
        quantity: What was compared.
        unit: Its unit.
        form: As a value, a change, a ratio, an interaction, or since a reference.
        at_least: The lower bound, where there is one.
        at_most: The upper bound.
        outcome: "holds", "violated" or "undecided".
        value: The mean, change or ratio found; NaN where values are not to be compared.
        low: Lower end of its interval.
        high: Upper end.
        seeds: The variant's seeds looked at, or those of the one arm; 0 where none was needed.
        baseline_seeds: The baseline's or the reference's, of what is compared with it seed by seed;
            else 0.
        confidence: Of the interval, as a fraction.
        p: The smallest alpha with which the claim would hold; NaN of what is exact.
        needed: Seeds an arm that would probably decide; None where decided, or where too many.
        reason: What else is to be known of the verdict.
    """

    quantity: str
    unit: Unit
    form: Form
    at_least: float | None
    at_most: float | None
    outcome: Outcome
    value: float
    low: float
    high: float
    seeds: int
    baseline_seeds: int = 0
    confidence: float = 0.9
    p: float = math.nan
    needed: int | None = None
    reason: str = ""

    @property
    def claim(self) -> str:
        """What was asserted: ``accuracy.change ≥ −12.0 points``."""
        form = "" if self.form == "value" else f".{self.form}"
        bounds = [("≥", self.at_least), ("≤", self.at_most)]
        if self.at_least == self.at_most:
            bounds = [("=", self.at_least)]
        limits = [f"{sign} {self._written(limit)}" for sign, limit in bounds if limit is not None]
        return f"{self.quantity}{form} {' and '.join(limits)}"

    @property
    def interval(self) -> str:
        """The interval: ``−4.9 points … −2.3 points``; empty where there is none."""
        least = 0.0 if self.form == "ratio" else -math.inf
        tells = self.low > least or self.high < math.inf
        if self.low == self.high or not tells:
            return ""
        return f"{self.said(self.low)} … {self.said(self.high)}"

    @property
    def evidence(self) -> str:
        """What the verdict rests on: ``−3.7 points, 90 % interval …, 3 seeds an arm``."""
        parts = [self.said(self.value)]
        if self.interval:
            parts.append(f"{100 * self.confidence:g} % interval {self.interval}")
        if self.seeds:
            parts.append(self.seeds_said)
        return ", ".join(parts)

    @property
    def seeds_a_side(self) -> tuple[int, int]:
        """Seeds looked at of the variant and of what it is compared with."""
        return self.seeds, self.baseline_seeds or self.seeds

    @property
    def seeds_said(self) -> str:
        """The seeds looked at: ``3 seeds an arm``; ``5 seeds and 4 of the baseline``."""
        ours, theirs = self.seeds_a_side
        seeds = f"{ours} seed{'s' if ours > 1 else ''}"
        other = "reference" if self.form == "since" else "baseline"
        return f"{seeds} an arm" if ours == theirs else f"{seeds} and {theirs} of the {other}"

    @property
    def seeds_in_a_table(self) -> str:
        """The same in few characters: ``3``; ``5 / 4``; empty where none was needed."""
        ours, theirs = self.seeds_a_side
        return f"{ours or ''}" if ours == theirs else f"{ours} / {theirs}"

    @property
    def advice(self) -> str:
        """What an undecided claim lacks, and what would probably decide it."""
        if self.outcome != "undecided":
            return ""
        if self.reason:
            return self.reason
        if self.needed is None:
            return "the change is too near the bound: more than 200 seeds an arm would be needed"
        seeds = f"{self.needed} seeds an arm would probably decide"
        return f"{seeds} (--ablation-seeds=2:{self.needed})"

    def said(self, number: float) -> str:
        """Return a number in the unit of what was compared, with as many decimals as its bounds."""
        if math.isnan(number):
            return "not comparable"
        written = [self._written(b) for b in (self.at_least, self.at_most) if b is not None]
        decimals = max(
            (len(match[1]) for each in written if (match := DECIMALS.search(each))), default=0
        )
        return said(number, self.unit, self.form, decimals=min(decimals, MOST_DECIMALS))

    def _written(self, bound: float) -> str:
        return said(bound, self.unit, self.form, in_full=True)


@dataclass(eq=False)
class Asserted:
    """The comparisons of one test.

    Attributes:
        made: Those made so far.
        expected: How many the test's code shows to be made once.
    """

    made: list[Compared] = field(default_factory=list)
    expected: int = 1

    def among(self, comparisons: int) -> int:
        """Return among how many the next comparison shares the session's error.

        One that the code does not show to be made once, in a loop or a function called, takes half
        the share of the one before it: however many there are, they take one share together.
        """
        return comparisons << max(0, len(self.made) + 1 - self.expected)
