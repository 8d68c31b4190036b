"""Training steps timed side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from keras import layers

from pytest_ablation import configure, train_with
from pytest_ablation.pairs import decide_median
from pytest_ablation.run import Duet
from pytest_ablation.training.duet import WARM_UP_STEPS, Seconds, duet, stepping
from pytest_ablation.verdict import Bound
from tests.test_fit import trial_of
from tests.tiny import EXPERIMENT


def test_a_duet_times_two_networks_in_turn() -> None:
    """A network of hundreds of times the arithmetic is slower, and every look has more pairs."""
    wide = configure("dense1", units=5_000)(EXPERIMENT)
    asked: list[Duet] = []

    def settled(so_far: Duet) -> bool:
        asked.append(so_far)
        return len(asked) == 2

    result = duet(
        stepping(trial_of(wide), wide.data),
        stepping(trial_of(EXPERIMENT), EXPERIMENT.data),
        seconds=60.0,
        settled=settled,
    )
    assert [len(each.log_ratios) for each in asked] == [20, 40]
    assert result is asked[-1]
    assert decide_median(result.log_ratios, Bound(at_least=math.log(1.1))).outcome == "holds"
    assert result.wall_ratio > 1
    assert len(result.own_log_ratios) == 39
    assert np.median(result.own_log_ratios) == pytest.approx(0.0, abs=0.5)
    assert result.clock == "CPU"
    assert "CPU" in result.host


def test_a_duet_ends_in_its_time() -> None:
    """A machine that never settles costs no more than the seconds given."""
    step = stepping(trial_of(EXPERIMENT), EXPERIMENT.data)
    result = duet(step, step, seconds=0.1)
    assert len(result.log_ratios) >= 2
    assert len(result.log_ratios) % 2 == 0


def test_augmenting_is_part_of_a_step() -> None:
    """What an augmentation costs is in the time ratio: here it takes longer than the network."""
    augmented = train_with(augmentation=[layers.RandomRotation(0.1) for _ in range(3)])(EXPERIMENT)
    result = duet(
        stepping(trial_of(augmented), augmented.data),
        stepping(trial_of(EXPERIMENT), EXPERIMENT.data),
        seconds=60.0,
        settled=lambda so_far: True,
    )
    assert decide_median(result.log_ratios, Bound(at_least=math.log(1.1))).outcome == "holds"


def test_on_a_shared_device_steps_are_timed_while_others_let_it_be() -> None:
    """What is compiled is so before; what others are amid ends during steps that do not count."""
    taken: list[bool] = []
    held: list[bool] = []

    @contextmanager
    def alone() -> Iterator[None]:
        held.append(True)
        yield
        held.clear()

    def step() -> Seconds:
        taken.append(bool(held))
        return 1.0, 1.0

    result = duet(step, step, settled=lambda duet: True, alone=alone)
    assert not held
    assert taken == sorted(taken)
    assert taken.count(False) == 2 * WARM_UP_STEPS
    assert taken.count(True) == 2 * WARM_UP_STEPS + 2 * len(result.log_ratios)
