"""Verdicts of arms of numbers."""

from __future__ import annotations

import math

import pytest

from pytest_ablation.verdict import Bound, decide


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [
        (Bound(at_least=0.5), "holds"),
        (Bound(at_least=1.5), "violated"),
        (Bound(at_most=1.5), "holds"),
        (Bound(at_most=0.5), "violated"),
        (Bound(at_least=0.5, at_most=1.5), "holds"),
        (Bound(), "holds"),
    ],
)
def test_the_mean_change_is_held_against_the_bound(bound: Bound, outcome: str) -> None:
    """A change of one is within the bounds that allow it, and no others."""
    verdict = decide(lambda seed: seed + 1.0, lambda seed: float(seed), bound)
    assert (verdict.outcome, verdict.change) == (outcome, 1.0)


def test_only_the_seeds_needed_are_asked_for() -> None:
    """A seed is a training: none is asked for in vain, and both arms have the same ones."""
    asked: list[tuple[str, int]] = []

    def arm(name: str, seed: int) -> float:
        asked.append((name, seed))
        return 0.0

    verdict = decide(
        lambda seed: arm("variant", seed),
        lambda seed: arm("baseline", seed),
        Bound(at_least=-1.0),
        seeds=(3, 5),
    )
    assert sorted(asked) == [(name, seed) for name in ("baseline", "variant") for seed in range(3)]
    assert verdict.seeds == 3


def test_the_interval_is_welchs() -> None:
    """The interval agrees with scipy's own for unequal variances."""
    from scipy.stats import ttest_ind

    a, b = [0.55, 0.58, 0.54], [0.60, 0.61, 0.60]
    verdict = decide(a.__getitem__, b.__getitem__, Bound(), seeds=(3, 3), alpha=0.1)
    expected = ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert (verdict.low, verdict.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval() -> None:
    """One training an arm says nothing of how far the next may lie."""
    verdict = decide(lambda seed: 1.0, lambda seed: 0.0, Bound(), seeds=(1, 1))
    assert (verdict.low, verdict.high) == (-math.inf, math.inf)


def test_the_noise_is_a_floor() -> None:
    """Arms that happen to agree exactly are not certain to."""
    equal = decide(lambda seed: 1.0, lambda seed: 0.0, Bound(), seeds=(2, 2))
    floored = decide(lambda seed: 1.0, lambda seed: 0.0, Bound(), seeds=(2, 2), noise=0.1)
    assert equal.high == 1.0
    assert floored.high > 1.1
