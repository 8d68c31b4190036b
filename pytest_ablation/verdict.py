"""Where every verdict is made: two arms' values, a bound on the change, and what follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Outcome = Literal["holds", "violated", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a test asserts of a change: at least, at most, or both.

    Attributes:
        at_least: The lowest change that is as asserted.
        at_most: The highest.
    """

    at_least: float | None = None
    at_most: float | None = None

    def allows(self, change: float) -> bool:
        """Tell whether a change is within the bound."""
        return (self.at_least is None or change >= self.at_least) and (
            self.at_most is None or change <= self.at_most
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the evidence says of a bound.

    Attributes:
        outcome: "holds", "violated" or "undecided".
        change: Mean of the variant less mean of the baseline.
        low: Lower end of the interval of the change; −inf where one seed gives none.
        high: Upper end.
        seeds: Seeds looked at, in each arm.
    """

    outcome: Outcome
    change: float
    low: float
    high: float
    seeds: int


def decide(
    variant: Callable[[int], float],
    baseline: Callable[[int], float],
    bound: Bound,
    *,
    seeds: tuple[int, int] = (2, 5),
    alpha: float = 0.05,
    comparisons: int = 1,
    noise: float = 0.0,
) -> Verdict:
    """Decide whether a change is within its bound.

    As yet the mean over the least number of seeds decides; the interval stands beside it.

    Args:
        variant: Seed → the variant's value; called only for the seeds needed, from 0.
        baseline: Seed → the baseline's value.
        bound: What is asserted of the mean change.
        seeds: Least and most seeds to look at.
        alpha: Error rate of the interval.
        comparisons: Comparisons in the session, among which the error is shared.
        noise: A floor on the standard error of one value.

    Returns:
        The verdict.
    """
    a = np.array([variant(seed) for seed in range(seeds[0])])
    b = np.array([baseline(seed) for seed in range(seeds[0])])
    change = float(a.mean() - b.mean())
    half = _half_width(a, b, alpha / comparisons, noise)
    return Verdict(
        outcome="holds" if bound.allows(change) else "violated",
        change=change,
        low=change - half,
        high=change + half,
        seeds=len(a),
    )


def _half_width(a: np.ndarray, b: np.ndarray, alpha: float, noise: float) -> float:
    """Half the width of Welch's interval of the difference of means, at 1 − alpha.

    Source: Welch, "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34 (1947), with Satterthwaite's degrees of freedom.
    """
    n = len(a)
    if n < 2:
        return math.inf
    of_a, of_b = (max(float(x.var(ddof=1)), noise**2) / n for x in (a, b))
    if of_a + of_b == 0:
        return 0.0
    freedom = (of_a + of_b) ** 2 * (n - 1) / (of_a**2 + of_b**2)
    return float(stdtrit(freedom, 1 - alpha / 2)) * math.sqrt(of_a + of_b)
