"""Two networks' training steps timed side by side, in one process and in turn.

Two trainings minutes apart on a shared machine say little of each other's speed: the machine
changes more than the network does. Steps in turn meet the same machine.
"""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import bdtr

from pytest_ablation.experiment import Dataset, Duet, Trial
from pytest_ablation.training import recipe as recipes
from pytest_ablation.training.fit import batches, compiled

WARM_UP_STEPS = 5
SECONDS = 10.0
FIRST_LOOK = 20  # pairs; the next looks are at twice as many each
BATCHES = 8
CONFIDENCE = 0.99  # a look; five looks then err at most once in twenty


def duet(
    variant: tuple[Trial, Dataset],
    baseline: tuple[Trial, Dataset],
    *,
    seconds: float = SECONDS,
    settled: Callable[[Duet], bool] = lambda duet: False,
) -> Duet:
    """Time the training steps of a variant against its baseline's.

    Both are compiled and warmed up, then step in turn as A B B A, one step a block, garbage
    collection off. The ratio is the median over pairs of adjacent steps; its interval is of the
    order statistics (the sign test's), so it assumes no distribution.

    Args:
        variant: Its trial and data.
        baseline: The baseline's.
        seconds: How long to measure, warm-up and compilation not counted.
        settled: Asked at 20, 40, 80, … pairs whether the ratio is known well enough.

    Returns:
        The ratio of seconds a step, variant over baseline, with its interval.
    """
    steps = _stepping(*variant), _stepping(*baseline)
    for step in steps:
        for _ in range(WARM_UP_STEPS):
            step()
    log_ratios: list[float] = []
    look = FIRST_LOOK
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        while True:
            for first, second in ((0, 1), (1, 0)):
                took = {first: steps[first](), second: steps[second]()}
                log_ratios.append(math.log(took[0] / took[1]))
            elapsed = time.perf_counter() - started
            if len(log_ratios) >= look or elapsed >= seconds:
                result = summed_up(log_ratios, elapsed)
                if elapsed >= seconds or settled(result):
                    return result
                look *= 2
    finally:
        if enabled:
            gc.enable()


def summed_up(log_ratios: list[float], seconds: float) -> Duet:
    """Return the median ratio and its distribution-free interval at 99 %.

    Args:
        log_ratios: Logarithms of the ratios, one a pair of steps.
        seconds: How long they took to measure.

    Source: Conover, "Practical Nonparametric Statistics" (1999), section 3.2: the interval of a
    quantile from order statistics.
    """
    ordered = np.sort(log_ratios)
    n = len(ordered)
    ranks = np.arange(n // 2 + 1)
    # The lowest rank that leaves at most half of the error on either side.
    outside = int(np.searchsorted(bdtr(ranks, n, 0.5), (1 - CONFIDENCE) / 2, side="right"))
    low, high = (ordered[outside - 1], ordered[n - outside]) if outside else (-np.inf, np.inf)
    return Duet(
        ratio=float(np.exp(np.median(ordered))),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        pairs=n,
        seconds=seconds,
    )


def _stepping(trial: Trial, data: Dataset) -> Callable[[], float]:
    """Return a function that takes one training step and returns its seconds."""
    model: Any = compiled(trial)
    batch_size = recipes.deserialized(trial.recipe).batch_size
    stream = itertools.cycle(list(itertools.islice(batches(data, batch_size, trial.seed), BATCHES)))

    def step() -> float:
        x, y = next(stream)
        started = time.perf_counter()
        model.train_on_batch(x, y)
        return time.perf_counter() - started

    return step
