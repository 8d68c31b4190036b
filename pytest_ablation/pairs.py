"""The verdict on a ratio of times: pairs of steps of two networks, and what follows from them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from pytest_ablation.run import FIRST_LOOK, Duet
from pytest_ablation.verdict import Bound, Outcome, Verdict, bisected

PRECISION = 0.03  # of a ratio of times that is shown, whatever its bound


def decide_median(
    pairs: Sequence[float],
    bound: Bound,
    *,
    alpha: float = 0.05,
    comparisons: int = 1,
    null: Sequence[float] = (),
) -> Verdict:
    """Decide whether the median of the pairs seen so far is within its bound.

    The limits are order statistics, so they hold for pairs of any distribution. The look at
    20 × 2ⁱ pairs spends ``alpha / ((i + 1)(i + 2))``, which sums to alpha however often one looks;
    between two such numbers of pairs it is the next one's look, taken early.

    Args:
        pairs: One value a pair, as the logarithm of a ratio.
        bound: What is asserted of their median.
        alpha: How often a claim that is false may hold, over all looks.
        comparisons: Comparisons in the session, among which the error of "violated" is shared.
        null: Values whose median would be 0 if the measurement added nothing of its own. By as much
            as it surely does, both limits are moved outwards.

    Returns:
        The verdict so far, its seeds 1.

    Source: Conover, "Practical Nonparametric Statistics" (1999), section 3.2: the limits of a
    quantile from order statistics.
    """
    ordered = np.sort(np.asarray(pairs, dtype=float))
    look = max(0, math.ceil(math.log2(len(ordered) / FIRST_LOOK)))
    share = 1 / ((look + 1) * (look + 2))
    least, most = _median_limits(np.sort(np.asarray(null, dtype=float)), alpha * share)
    margin = max(0.0, least, -most)

    def limits(level: float) -> tuple[float, float]:
        low, high = _median_limits(ordered, level)
        return low - margin, high + margin

    against = alpha / comparisons / max(1, len(bound.edges))
    outcome: Outcome = "undecided"
    if bound.allows(*limits(alpha * share)):
        outcome = "holds"
    elif bound.excludes(*limits(against * share)):
        outcome = "violated"
    low, high = limits(alpha * share)
    return Verdict(
        outcome=outcome,
        change=float(np.median(ordered)),
        low=low,
        high=high,
        seeds=1,
        p=bisected(lambda each: bound.allows(*limits(each * share))),
    )


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Whether the ratio of a duet is known well enough: its bound is decided, and its limits near.

    Attributes:
        bound: On the logarithm of the ratio.
        alpha: As in `decide_median`.
        comparisons: Likewise.
    """

    bound: Bound
    alpha: float = 0.05
    comparisons: int = 1

    def verdict(self, duet: Duet) -> Verdict:
        """Return the verdict on a duet so far."""
        return decide_median(
            duet.log_ratios,
            self.bound,
            alpha=self.alpha,
            comparisons=self.comparisons,
            null=duet.own_log_ratios,
        )

    def __call__(self, duet: Duet) -> bool:
        """Tell whether to stop measuring."""
        known = self.verdict(duet)
        return known.outcome != "undecided" and known.high - known.low <= 2 * PRECISION


def _median_limits(ordered: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return limits of the median, each at a one-sided level; infinite where there are too few."""
    rank = bisect_right(_below_median(len(ordered)), level)
    if not rank:
        return -math.inf, math.inf
    return float(ordered[rank - 1]), float(ordered[len(ordered) - rank])


@lru_cache(maxsize=16)
def _below_median(count: int) -> list[float]:
    """Return how probably at most so many of the pairs are below their median: 0, 1, … half."""
    if not count:
        return []
    return cast("list[float]", bdtr(np.arange(count // 2 + 1), count, 0.5).tolist())
