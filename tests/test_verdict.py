"""Verdicts of arms of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.calibration import ALPHA, RATIOS, SEEDS, false_holds, false_red
from pytest_ablation.pairs import decide_median
from pytest_ablation.verdict import (
    Bound,
    Verdict,
    adjusted,
    decide,
    estimate,
    level,
    seeds_to_tell,
    smallest_detectable,
)

CLOSE = (0.0, 0.01, -0.01, 0.02, -0.02)
TRIALS = 1_500


def verdict_of(change: float, bound: Bound, spread: float = 1.0, **options: object) -> Verdict:
    """Return the verdict of two arms this far apart that vary a little."""
    values = [spread * each for each in CLOSE]
    return decide(
        lambda seed: values[seed] + change,
        values.__getitem__,
        bound,
        **options,  # type: ignore[arg-type] # what decide takes
    )


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [
        (Bound(at_least=0.5), "holds"),
        (Bound(at_least=1.5), "violated"),
        (Bound(at_most=1.5), "holds"),
        (Bound(at_most=0.5), "violated"),
        (Bound(at_least=0.5, at_most=1.5), "holds"),
        (Bound(at_least=1.2, at_most=1.5), "violated"),
        (Bound(at_least=1.0), "undecided"),
        (Bound(at_least=0.5, at_most=1.0), "undecided"),
        (Bound(), "holds"),
    ],
)
def test_a_change_is_held_against_its_bound(bound: Bound, outcome: str) -> None:
    """A change of one is within the bounds that allow it, and at an edge nobody can tell."""
    verdict = verdict_of(1.0, bound)
    assert verdict.outcome == outcome
    assert verdict.change == pytest.approx(1.0)
    assert verdict.low <= verdict.change <= verdict.high


@pytest.mark.parametrize("seeds", [(2, 5), (3, 5), (5, 5)])
@pytest.mark.parametrize("bound", [Bound(at_least=-1.0, at_most=2.0), Bound(at_most=1.0)])
def test_a_claim_that_holds_has_its_limits_within_the_bound(
    bound: Bound, seeds: tuple[int, int]
) -> None:
    """What a reader sees of the interval, of p, and the verdict, never disagree."""
    random = np.random.default_rng(3)
    for _ in range(300):
        ours, theirs = random.normal(size=(2, 5)).tolist()
        verdict = decide(ours.__getitem__, theirs.__getitem__, bound, seeds=seeds)
        assert (verdict.outcome == "holds") == bound.allows(verdict.low, verdict.high)
        assert (verdict.outcome == "holds") == (verdict.p <= 0.05)


def test_only_the_seeds_needed_are_asked_for() -> None:
    """A seed is a training: a clear case takes the least number, in either arm, each seed once."""
    asked: list[tuple[str, int]] = []

    def arm(name: str, seed: int) -> float:
        asked.append((name, seed))
        return CLOSE[seed]

    verdict = decide(
        lambda seed: arm("variant", seed),
        lambda seed: arm("baseline", seed),
        Bound(at_least=-1.0),
        seeds=(3, 5),
    )
    assert sorted(asked) == [(name, seed) for name in ("baseline", "variant") for seed in range(3)]
    assert (verdict.outcome, verdict.seeds, verdict.baseline_seeds) == ("holds", 3, 3)


def test_an_unclear_case_takes_one_more_seed_at_a_time_and_no_more_than_the_most() -> None:
    """A doubtful claim is worth more seeds; one that cannot be told ends as undecided."""
    ours, theirs = (0.0, 1.0, 0.5, 0.5, 0.5), (0.0, 0.0, 0.0, 0.0, 0.0)
    asked: list[int] = []

    def value(values: Sequence[float], seed: int) -> float:
        asked.append(seed)
        return values[seed]

    verdict = decide(lambda seed: value(ours, seed), theirs.__getitem__, Bound(at_least=0.0))
    assert verdict.outcome == "holds"
    assert asked == list(range(verdict.seeds))
    assert 2 < verdict.seeds <= 5
    undecided = decide(ours.__getitem__, theirs.__getitem__, Bound(at_least=0.4))
    assert (undecided.outcome, undecided.seeds) == ("undecided", 5)


@pytest.mark.parametrize(("ours", "theirs"), [(2.0, 1.0), (1.0, 2.0)])
def test_the_arm_that_varies_more_is_asked_first(ours: float, theirs: float) -> None:
    """Of two trainings the one that tells more comes first; so a verdict often needs one fewer."""
    asked: list[tuple[str, int]] = []

    def arm(name: str, spread: float, seed: int) -> float:
        asked.append((name, seed))
        return 100 * spread * CLOSE[seed]

    decide(
        lambda seed: arm("variant", ours, seed),
        lambda seed: arm("baseline", theirs, seed),
        Bound(at_least=0.0),
    )
    names = [("variant", "baseline"), ("baseline", "variant")][ours < theirs]
    assert asked[4:] == [(name, seed) for seed in (2, 3, 4) for name in names]


def test_arms_of_different_numbers_of_seeds_are_told_apart() -> None:
    """The limits are Welch's where they are of four seeds and five, as near as few seeds allow."""
    from scipy.stats import ttest_ind

    ours, theirs = [0.55, 0.58, 0.54, 0.57, 0.56], [0.60, 0.63, 0.59, 0.62]
    change, low, high = estimate(ours, theirs, alpha=0.05)
    expected = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
    assert change == pytest.approx(-0.05)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=5e-4)


def test_of_equal_arms_the_limits_are_students() -> None:
    """The limits agree with scipy's where nothing is in doubt: fixed seeds, equal variances."""
    from scipy.stats import ttest_ind

    a, b = [0.55, 0.58, 0.54, 0.57, 0.56], [0.60, 0.63, 0.59, 0.62, 0.61]
    verdict = decide(a.__getitem__, b.__getitem__, Bound(), seeds=(5, 5), alpha=0.05)
    expected = ttest_ind(a, b).confidence_interval(0.9)
    assert (verdict.low, verdict.high) == pytest.approx((expected.low, expected.high))


def test_a_bound_on_a_value_is_of_one_arm() -> None:
    """A baseline's own accuracy is held against a number without a second arm's noise."""
    from scipy.stats import ttest_1samp

    values = [0.55, 0.58, 0.54]
    verdict = decide(values.__getitem__, None, Bound(), seeds=(3, 3), noise=0.001)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert (verdict.low, verdict.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_speaks_only_by_the_noise_of_the_test_set() -> None:
    """One training an arm says nothing of how far the next may lie, and the verdict says so."""
    silent = decide(lambda seed: 1.0, lambda seed: 0.0, Bound(at_least=0.5), seeds=(1, 1))
    assert (silent.outcome, silent.low, silent.high) == ("undecided", -math.inf, math.inf)
    assert "one seed" in silent.reason
    bound = Bound(at_least=0.5)
    floored = decide(lambda seed: 1.0, lambda seed: 0.0, bound, seeds=(1, 1), noise=0.1)
    assert floored.outcome == "holds"
    assert floored.low == pytest.approx(1 - 1.6449 * 0.1 * math.sqrt(2), abs=1e-4)
    assert "one seed" in floored.reason
    more = verdict_of(1.0, bound, seeds=(1, 5), noise=0.001)
    assert (more.seeds, more.reason) == (2, "")


def test_the_noise_is_a_floor() -> None:
    """Arms that happen to agree exactly are not certain to."""
    equal = decide(lambda seed: 1.0, lambda seed: 0.0, Bound(), seeds=(2, 2))
    floored = decide(lambda seed: 1.0, lambda seed: 0.0, Bound(), seeds=(2, 2), noise=0.1)
    assert (equal.low, equal.high) == (1.0, 1.0)
    assert floored.high > 1.1


def test_red_costs_more_evidence_in_a_larger_session() -> None:
    """A session of a hundred comparisons is not red by chance a hundred times as often."""
    bound = Bound(at_least=1.06)
    assert verdict_of(1.0, bound, spread=2.0).outcome == "violated"
    assert verdict_of(1.0, bound, spread=2.0, comparisons=100).outcome == "undecided"
    held = verdict_of(1.0, Bound(at_least=0.94), spread=2.0, comparisons=100)
    assert held.outcome == "holds"


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_false_claim_holds_no_more_often_than_promised(
    seeds: tuple[int, int], ratio: float
) -> None:
    """At the edge of a bound the error is alpha at most, at any variances and any looks."""
    error = math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)
    assert false_holds(seeds, ratio, "normal", TRIALS) <= ALPHA + 3 * error


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_study_is_red_by_chance_no_more_often_than_promised(ratio: float) -> None:
    """Twenty true claims at the edge of their bounds make a red session with alpha at most."""
    error = math.sqrt(ALPHA * (1 - ALPHA) / 300)
    assert false_red((2, 5), ratio, "normal", 300) <= ALPHA + 3 * error


@pytest.mark.parametrize("seeds", [(2, 5), (2, 20), (3, 3), (1, 4)])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.0005])
def test_the_looks_spend_more_than_alpha_in_sum_and_less_each(
    seeds: tuple[int, int], alpha: float
) -> None:
    """Looks that contain each other may err more in sum than together; a later one tells more."""
    levels = [level(half / 2, seeds, alpha) for half in range(2 * seeds[0], 2 * seeds[1] + 1)]
    assert levels == sorted(levels)
    assert sum(levels) >= alpha * (1 - 1e-9)
    assert levels[-1] <= alpha


def test_what_would_decide_is_foretold() -> None:
    """An undecided claim says how many seeds would probably decide it, and that many do."""
    undecided = verdict_of(1.0, Bound(at_least=0.99))
    assert undecided.outcome == "undecided"
    needed = undecided.needed
    assert needed is not None
    assert needed > 5
    random = np.random.default_rng(0)
    deviation = float(np.std(CLOSE, ddof=1))
    held = 0
    for _ in range(300):
        ours, theirs = random.normal(0, deviation, (2, needed)).tolist()
        held += (
            decide(
                lambda seed, values=ours: values[seed] + 1.0,  # type: ignore[misc] # bound here
                theirs.__getitem__,
                Bound(at_least=0.99),
                seeds=(2, needed),
            ).outcome
            == "holds"
        )
    assert held / 300 >= 0.7


def test_the_smallest_detectable_change_is_detected() -> None:
    """What a session says that it can tell, it tells in about four cases of five."""
    least = smallest_detectable(1.0, seeds=(2, 5), alpha=0.05)
    random = np.random.default_rng(1)
    held = 0
    for _ in range(1_000):
        ours, theirs = random.normal(size=(2, 5)).tolist()
        bound = Bound(at_least=-least)
        held += decide(ours.__getitem__, theirs.__getitem__, bound).outcome == "holds"
    assert 0.7 <= held / 1_000 <= 0.9
    assert seeds_to_tell(least, math.sqrt(2), seeds=(2, 2), alpha=0.05) == 5
    assert seeds_to_tell(least / 100, math.sqrt(2), seeds=(2, 2), alpha=0.05) is None


def test_p_values_are_adjusted_by_holm() -> None:
    """Read together, the smallest of n p-values counts n times, and none overtakes another."""
    assert adjusted([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert adjusted([]) == []


# ------------------------------------------------------------------------------------------ pairs


def test_the_limits_of_a_median_hold_for_any_distribution() -> None:
    """A false claim of the median is let through with alpha at most, whatever the values."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(2_000):
        pairs = random.standard_cauchy(160).tolist()
        looks = (decide_median(pairs[:count], Bound(at_least=0.0)) for count in (20, 40, 80, 160))
        held += any(verdict.outcome == "holds" for verdict in looks)
    assert held / 2_000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2_000)


def test_pairs_are_held_against_a_bound() -> None:
    """A median beyond its bound is violated; too few pairs, or a noisy host, decide nothing."""
    pairs = [0.30 + 0.001 * (place % 7) for place in range(40)]
    assert decide_median(pairs, Bound(at_most=0.31)).outcome == "holds"
    assert decide_median(pairs, Bound(at_most=0.1)).outcome == "violated"
    biased = [each - 0.1 for each in pairs]
    assert decide_median(pairs, Bound(at_most=0.1), null=biased).outcome == "undecided"
    noisy = [-0.5, 0.6] * 20
    assert decide_median(pairs, Bound(at_most=0.1), null=noisy).outcome == "violated"
    few = decide_median(pairs[:3], Bound(at_most=0.1))
    assert (few.outcome, few.low, few.high) == ("undecided", -math.inf, math.inf)


@pytest.mark.parametrize("scale", [1e-170, 1e-90, 1e78, 1e160])
def test_numbers_of_any_size_are_judged(scale: float) -> None:
    """Losses near zero, and those that a training blew up, give a verdict and no traceback."""
    verdict = decide(
        lambda seed: scale * (5 + seed),
        lambda seed: scale * (1 + seed),
        Bound(at_least=scale),
        seeds=(3, 3),
    )
    assert verdict.outcome in ("holds", "undecided")
    assert not math.isnan(verdict.low)
    assert verdict.low <= verdict.change <= verdict.high
