"""Where every verdict is made: two arms' values, a bound on the change, and what follows.

How the error is spent over the looks, and what is claimed of it, is measured by
`benchmarks/calibration.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from typing import Literal

from scipy.special import ndtri

from pytest_ablation.look import Look, look_at, quantile

Outcome = Literal["holds", "violated", "undecided"]

POWER = 0.8  # what "probably" means where seeds are foretold
MOST_SEEDS = 200  # more are not foretold
LARGEST_ALPHA = 0.999  # at which something may hold: a p-value above it is 1
ONE_SEED = "one seed an arm: how trainings differ is not known"


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a test asserts of a change: at least, at most, or both.

    Attributes:
        at_least: The lowest change that is as asserted.
        at_most: The highest.
    """

    at_least: float | None = None
    at_most: float | None = None

    @property
    def edges(self) -> tuple[float, ...]:
        """The one or two ends that there are."""
        return tuple(edge for edge in (self.at_least, self.at_most) if edge is not None)

    def allows(self, *changes: float) -> bool:
        """Tell whether all of these changes are within the bound."""
        return all(
            (self.at_least is None or change >= self.at_least)
            and (self.at_most is None or change <= self.at_most)
            for change in changes
        )

    def excludes(self, low: float, high: float) -> bool:
        """Tell whether every change from low to high is beyond the bound."""
        return (self.at_least is not None and high < self.at_least) or (
            self.at_most is not None and low > self.at_most
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the evidence says of a bound.

    Attributes:
        outcome: "holds", "violated" or "undecided".
        change: Mean of the variant less mean of the baseline; of pairs, their median. NaN where
            values are not to be compared.
        low: Lower limit of the change: it errs with probability alpha at most, over all looks.
        high: Upper limit, likewise. With a claim that holds, both limits are within its bound.
        seeds: The variant's seeds looked at.
        baseline_seeds: The baseline's, one more or one fewer at most; 0 of a value by itself.
        p: The smallest alpha with which the claim would hold; 1 where none would do.
        needed: Seeds an arm that would probably decide; None where it is decided, or where more
            than 200 would be needed.
        reason: What is to be known of the evidence; empty where nothing is out of the ordinary.
    """

    outcome: Outcome
    change: float
    low: float
    high: float
    seeds: int
    baseline_seeds: int = 0
    p: float = math.nan
    needed: int | None = None
    reason: str = ""


def decide(
    variant: Callable[[int], float],
    baseline: Callable[[int], float] | None,
    bound: Bound,
    *,
    seeds: tuple[int, int] = (2, 5),
    alpha: float = 0.05,
    comparisons: int = 1,
    noise: float = 0.0,
) -> Verdict:
    """Decide whether a change is within its bound, with as few seeds as that takes.

    It looks at the least number of seeds, then at one more of the arm whose values vary more, since
    that tells most, then at one more of the other, and so on until the claim holds, is violated, or
    no seeds remain. A claim holds when the limits of the change are within the bound, and is
    violated when they are beyond it. Over all looks together a claim that is false, at the very
    edge of its bound, holds with probability `alpha` at most; one that is true is violated with
    probability ``alpha / comparisons`` at most. That is so for normal values with any two
    variances, one of them zero included; for skewed values with unequal variances the first may
    reach twice alpha.

    With one seed an arm nothing is known of how trainings differ: only `noise` speaks then, and
    without it there is no verdict. Where more seeds may follow, one seed decides nothing.

    Args:
        variant: Seed → the variant's value; called once a seed, from 0, for the seeds needed.
        baseline: Seed → the baseline's value; None where the bound is on the value itself.
        bound: What is asserted of the mean change.
        seeds: Least and most seeds to look at.
        alpha: How often a claim that is false may hold.
        comparisons: Comparisons in the session, among which the error of "violated" is shared.
        noise: A floor on the standard error of one value.

    Returns:
        The verdict.
    """
    against = alpha / comparisons / max(1, len(bound.edges))
    ours: list[float] = []
    theirs: list[float] | None = None if baseline is None else []
    looks: list[Look] = []
    outcome: Outcome = "undecided"
    counts = seeds[0], seeds[0]
    while outcome == "undecided" and max(counts) <= seeds[1]:
        ours += [variant(seed) for seed in range(len(ours), counts[0])]
        if baseline is not None and theirs is not None:
            theirs += [baseline(seed) for seed in range(len(theirs), counts[1])]
        look = look_at(ours, theirs, noise)
        # The limits contain the change: which of the two outcomes it can be is known without them.
        if bound.allows(look.change):
            if bound.allows(*look.limits(level(look.count, seeds, alpha))):
                outcome = "holds"
        elif bound.excludes(*look.limits(level(look.count, seeds, against))):
            outcome = "violated"
        looks.append(look)
        counts = look.next_counts
    last = looks[-1]
    low, high = last.limits(level(last.count, seeds, alpha))
    return Verdict(
        outcome=outcome,
        change=last.change,
        low=low,
        high=high,
        seeds=len(ours),
        baseline_seeds=len(theirs or ()),
        p=_smallest_alpha(looks, bound, seeds),
        needed=_needed(last, bound, seeds, alpha, against) if outcome == "undecided" else None,
        reason=_reason(last, noise),
    )


def estimate(
    variant: Sequence[float],
    baseline: Sequence[float] | None = None,
    *,
    alpha: float = 0.05,
    noise: float = 0.0,
) -> tuple[float, float, float]:
    """Return the change, its lower and its upper limit, from values that are all there.

    Args:
        variant: The variant's values.
        baseline: The baseline's; None for the mean of the variant's.
        alpha: How often each limit may err.
        noise: A floor on the standard error of one value.
    """
    look = look_at(variant, baseline, noise)
    return look.change, *look.limits(alpha)


# ------------------------------------------------------------------------------ how error is spent


@lru_cache(maxsize=4096)
def level(count: float, seeds: tuple[int, int], alpha: float) -> float:
    """Return the one-sided level of the look at `count` seeds an arm.

    Levels grow with the seeds: an early look at very few seeds tells little, so little is spent on
    it. Were the looks independent, levels that sum to alpha would be needed. They are not, since
    each contains the one before, so they may sum to more: they are in the ratio of n − 1, and
    alpha over ``1 + c log(their sum)`` at the last. c is found by simulation in the worst ratio of
    variances: at an alpha of 5 % normal values need 0.6, skewed ones 0.8 for errors below twice
    alpha, and smaller alphas need more.

    Args:
        count: Seeds an arm at this look, the mean of both arms.
        seeds: Least and most seeds of the design.
        alpha: What all looks together may err.

    Returns:
        The level; 0 where this look must not decide.
    """
    least, most = max(2, seeds[0]), seeds[1]
    if most == 1:
        return alpha
    halves = range(2 * (least - 1), 2 * (most - 1) + 1)  # a look at each half of a seed more
    total = sum(halves) / halves[-1]
    spread = 0.8 + 0.3 * math.log(0.05 / alpha)
    spent = min(total, 1 + max(0.0, spread) * math.log(total))
    return alpha * (count - 1) / (most - 1) / spent


# ----------------------------------------------------------------------------- what else is asked


def _reason(look: Look, noise: float) -> str:
    if min(look.counts) > 1:
        return ""
    return f"{ONE_SEED}, only the noise of the test set" if noise else ONE_SEED


def _smallest_alpha(looks: Sequence[Look], bound: Bound, seeds: tuple[int, int]) -> float:
    def holds(look: Look, alpha: float) -> bool:
        return bound.allows(*look.limits(level(look.count, seeds, alpha)))

    smallest = 1.0
    for look in reversed(looks):  # the last tells most, and few of the others beat it
        if bound.allows(look.change) and holds(look, min(smallest, LARGEST_ALPHA)):
            smallest = bisected(partial(holds, look))
    return smallest


def bisected(holds: Callable[[float], bool]) -> float:
    """Return the smallest alpha with which something holds, to a thousandth of itself."""
    low, high = math.log(1e-12), 0.0
    if holds(math.exp(low)):
        return math.exp(low)
    if not holds(LARGEST_ALPHA):
        return 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(math.exp(middle)) else (middle, high)
    return math.exp(high)


def _needed(
    look: Look, bound: Bound, seeds: tuple[int, int], alpha: float, against: float
) -> int | None:
    margin = min((abs(look.change - edge) for edge in bound.edges), default=0.0)
    return seeds_to_tell(
        margin,
        look.error * math.sqrt(look.count),
        seeds=(seeds[0], max(seeds[1], *look.counts) + 1),
        alpha=alpha if bound.allows(look.change) else against,
        balance=look.balance,
    )


def seeds_to_tell(
    margin: float, error: float, *, seeds: tuple[int, int], alpha: float, balance: float = 0.8
) -> int | None:
    """Return how many seeds an arm would probably tell a change from an edge this far away.

    Args:
        margin: Distance of the true change from the bound.
        error: Standard error of the change with one seed an arm.
        seeds: Least seeds of the design, and the number to start from.
        alpha: What all looks together may err.
        balance: How alike the arms' variances look, 0 to 1; 0.8 is the median of equal ones.

    Returns:
        The number, or None where it is above 200.
    """
    counts = range(max(2, seeds[1]), MOST_SEEDS + 1)
    first = bisect_left(
        counts,
        -margin,
        key=lambda count: -_detectable(error, (min(seeds[0], count), count), alpha, balance),
    )
    return counts[first] if first < len(counts) else None


def smallest_detectable(deviation: float, *, seeds: tuple[int, int], alpha: float) -> float:
    """Return how far from a bound a change must lie for the most seeds to decide it probably.

    Args:
        deviation: Standard deviation of one value, in either arm.
        seeds: Least and most seeds.
        alpha: What all looks together may err.
    """
    return _detectable(deviation * math.sqrt(2), seeds, alpha, 0.8)


def _detectable(error: float, seeds: tuple[int, int], alpha: float, balance: float) -> float:
    most = seeds[1]
    critical = quantile(most, (most - 1) * (1 + balance), balance, level(most, seeds, alpha))
    return float(critical + ndtri(POWER)) * error / math.sqrt(most)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number, so that all can be read together.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    raised = accumulate(
        (min(1.0, (len(order) - rank) * p_values[place]) for rank, place in enumerate(order)), max
    )
    by_place = dict(zip(order, raised, strict=True))
    return [by_place[place] for place in range(len(order))]
