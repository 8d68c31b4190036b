"""Training steps timed side by side."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_ablation import configure
from pytest_ablation.experiment import Duet
from pytest_ablation.training.duet import duet, summed_up
from tests.test_fit import trial_of
from tests.tiny import EXPERIMENT


def test_a_duet_times_two_networks_in_turn() -> None:
    """A network of hundreds of times the arithmetic is slower, and the interval says so."""
    wide = configure("dense1", units=5_000)(EXPERIMENT)
    asked: list[Duet] = []

    def settled(so_far: Duet) -> bool:
        asked.append(so_far)
        return len(asked) == 2

    result = duet(
        (trial_of(wide), wide.data),
        (trial_of(EXPERIMENT), EXPERIMENT.data),
        seconds=60.0,
        settled=settled,
    )
    assert 1 < result.low <= result.ratio <= result.high
    assert [each.pairs for each in asked] == [20, 40]


def test_the_interval_is_of_the_order_statistics() -> None:
    """The interval holds the true median as often as it says, whatever the distribution."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(2_000):
        result = summed_up(list(random.standard_cauchy(40) + math.log(1.2)), seconds=1.0)
        held += result.low <= 1.2 <= result.high
    assert held / 2_000 >= 0.985  # 99 % promised; 0.985 is two standard errors below


def test_too_few_pairs_have_no_interval() -> None:
    """A handful of steps settles nothing."""
    result = summed_up([0.0, 0.1, -0.1], seconds=0.1)
    assert result.ratio == pytest.approx(1.0)
    assert (result.low, result.high) == (0.0, math.inf)
