"""How often a verdict is wrong, and how many seeds it takes: ``python -m benchmarks.calibration``.

Everything goes through `verdict.decide`, on random numbers in the place of trainings. The arms'
values differ in their standard deviations by the ratio of the first column; the unit is the larger.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from statistics import fmean, variance

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pytest_ablation.verdict import Bound, decide

ALPHA = 0.05
COMPARISONS = 20
SEEDS = ((2, 5), (2, 8), (3, 3), (2, 20))
RATIOS = (0.0, 1 / 3, 1.0, 3.0)  # of the variant's standard deviation to the baseline's
EDGE = Bound(at_least=0.0)

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
SHAPES: dict[str, Draw] = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "t, 20 df": lambda random, shape: random.standard_t(20, shape) / math.sqrt(20 / 18),
    # A gamma of shape 4 has skewness 1, mean 4 and standard deviation 2.
    "skewed": lambda random, shape: (random.gamma(4, size=shape) - 4) / 2,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20_000, help="simulated comparisons a cell")
    trials = parser.parse_args().trials
    error = math.sqrt(ALPHA * (1 - ALPHA) / trials)
    print(f"alpha {ALPHA:.0%}, {trials:,} comparisons a cell: ± {2 * error:.1%} (two errors)\n")
    print("False verdicts at the edge of the bound, in the worst ratio of deviations")
    print(f"{'values':10} {'seeds':>6}  {'holds':>6}  red in a study of {COMPARISONS}")
    for shape in SHAPES:
        for seeds in SEEDS:
            holds = max(false_holds(seeds, ratio, shape, trials) for ratio in RATIOS)
            equal = false_holds(seeds, 1.0, shape, trials)
            red = max(false_red(seeds, ratio, shape, trials // 10) for ratio in RATIOS)
            also = f"  ({equal:.1%} at equal deviations)" if shape == "skewed" else ""
            print(f"{shape:10} {_said(seeds):>6}  {holds:6.1%}  {red:6.1%}{also}", flush=True)
    print("\nPower, and mean seeds an arm, for a change this many deviations within the bound")
    print(
        f"{'ratio':>5} {'change':>6} {'seeds':>6}  {'ours':>12}  {'union bound':>12}  all at once"
    )
    for ratio in (1.0, 1 / 3):
        for change in (1.0, 2.0, 3.0):
            for seeds in ((2, 5), (2, 8), (2, 20)):
                cells = [
                    f"{power:5.0%} {mean:6.2f}"
                    for power, mean in (
                        _power(rule, seeds, ratio, change, trials // 5)
                        for rule in (_ours, _union_bound, _at_once)
                    )
                ]
                print(
                    f"{ratio:5.2f} {change:6.1f} {_said(seeds):>6}  {'  '.join(cells)}", flush=True
                )


def false_holds(seeds: tuple[int, int], ratio: float, shape: str, trials: int) -> float:
    """Return how often a claim holds that is false at the very edge of its bound."""
    variant, baseline = _arms(seeds, ratio, shape, trials)
    outcomes = [
        decide(ours.__getitem__, theirs.__getitem__, EDGE, seeds=seeds, alpha=ALPHA).outcome
        for ours, theirs in zip(variant, baseline, strict=True)
    ]
    return outcomes.count("holds") / trials


def false_red(seeds: tuple[int, int], ratio: float, shape: str, studies: int) -> float:
    """Return how often some claim of a study is violated, all being true at the very edge.

    The claims are of different variants and share their baseline, as those of a study do.
    """
    variants = [_arms(seeds, ratio, shape, studies, at=place) for place in range(COMPARISONS)]
    red = 0
    for study in range(studies):
        baseline = variants[0][1][study]
        red += any(
            decide(
                variant[study].__getitem__,
                baseline.__getitem__,
                EDGE,
                seeds=seeds,
                alpha=ALPHA,
                comparisons=COMPARISONS,
            ).outcome
            == "violated"
            for variant, _ in variants
        )
    return red / studies


def _arms(
    seeds: tuple[int, int], ratio: float, shape: str, trials: int, at: int = 0
) -> tuple[list[list[float]], list[list[float]]]:
    random = np.random.default_rng([*seeds, round(100 * ratio), len(shape), at])
    size = (trials, seeds[1])
    larger = max(1.0, ratio)
    variant = SHAPES[shape](random, size) * ratio / larger
    baseline = SHAPES[shape](random, size) / larger
    return variant.tolist(), baseline.tolist()


# ------------------------------------------------------------------------------- rules compared

Rule = Callable[[Sequence[float], Sequence[float], tuple[int, int]], tuple[bool, float]]


def _power(
    rule: Rule, seeds: tuple[int, int], ratio: float, change: float, trials: int
) -> tuple[float, float]:
    variant, baseline = _arms(seeds, ratio, "normal", trials)
    decided = [
        rule([value + change for value in ours], theirs, seeds)
        for ours, theirs in zip(variant, baseline, strict=True)
    ]
    return fmean(held for held, _ in decided), fmean(used for _, used in decided)


def _ours(
    variant: Sequence[float], baseline: Sequence[float], seeds: tuple[int, int]
) -> tuple[bool, float]:
    verdict = decide(variant.__getitem__, baseline.__getitem__, EDGE, seeds=seeds, alpha=ALPHA)
    return verdict.outcome == "holds", (verdict.seeds + verdict.baseline_seeds) / 2


def _at_once(
    variant: Sequence[float], baseline: Sequence[float], seeds: tuple[int, int]
) -> tuple[bool, float]:
    return _ours(variant, baseline, (seeds[1], seeds[1]))


def _union_bound(
    variant: Sequence[float], baseline: Sequence[float], seeds: tuple[int, int]
) -> tuple[bool, int]:
    """Welch's test at alpha over the number of looks, at each look."""
    level = ALPHA / (seeds[1] - seeds[0] + 1)
    for count in range(seeds[0], seeds[1] + 1):
        a, b = (variance(values[:count]) / count for values in (variant, baseline))
        freedom = (a + b) ** 2 * (count - 1) / (a**2 + b**2)
        change = fmean(variant[:count]) - fmean(baseline[:count])
        if change >= stdtrit(freedom, 1 - level) * math.sqrt(a + b):
            return True, count
    return False, seeds[1]


def _said(seeds: tuple[int, int]) -> str:
    return f"{seeds[0]}:{seeds[1]}"


if __name__ == "__main__":
    main()
