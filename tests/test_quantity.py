"""What is measured of a run, and how numbers are said."""

from __future__ import annotations

import base64
import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_ablation import Run
from pytest_ablation.quantity import (
    ACCURACY,
    GAP,
    LOSS,
    Form,
    Unit,
    least_noise,
    metric,
    said,
    sampling_noise,
)


def run_of(correct: list[bool]) -> Run:
    """Return a run that classified these test examples right."""
    packed = np.packbits(np.array(correct, dtype=bool)).tobytes()
    return Run(
        fingerprint="",
        seed=0,
        metrics={},
        curves={},
        seconds_per_step=0.0,
        wall=0.0,
        params=0,
        steps=0,
        correct=base64.b64encode(packed).decode() if correct else "",
    )


def test_the_noise_of_a_test_set_comes_from_where_trainings_disagree() -> None:
    """Two trainings that part on a fifth of 100 images vary by √(0.2 / 200) at least."""
    first = run_of([True] * 80 + [False] * 20)
    second = run_of([False] * 10 + [True] * 80 + [False] * 10)
    assert sampling_noise([first, second], 100) == pytest.approx(math.sqrt(0.2 / 200))
    assert sampling_noise([first, first], 100) == 0.0


def test_of_one_training_the_noise_is_binomial() -> None:
    """With one training a share right is all that is known: √(pq / n)."""
    assert sampling_noise([run_of([True] * 80 + [False] * 20)], 100) == pytest.approx(0.04)
    assert sampling_noise([run_of([])], 100) == 0.0
    assert sampling_noise([], 100) == 0.0


def test_the_noise_is_the_spread_of_accuracies_drawn_by_chance() -> None:
    """Where each image is a chance of its own, the floor is the deviation that there is."""
    random = np.random.default_rng(0)
    chances = random.uniform(size=1_000)
    outcomes = random.uniform(size=(60, 1_000)) < chances
    noise = sampling_noise([run_of(list(each)) for each in outcomes], 1_000)
    assert noise == pytest.approx(outcomes.mean(axis=1).std(ddof=1), rel=0.3)


def test_equal_counts_of_right_examples_are_not_known_to_be_equal() -> None:
    """Of ten examples 9 are right twice in a third of all trainings of 90 %: no variance of 0."""
    run = replace(run_of([True] * 9 + [False]), metrics={"accuracy": float(np.float32(0.9))})
    assert least_noise([run, run], 10) == pytest.approx(0.1 / math.sqrt(12))
    by_pixel = replace(run, metrics={"accuracy": 0.9123})
    assert least_noise([run, by_pixel], 10) == 0.0  # it counts something finer
    assert least_noise([run], 10) == sampling_noise([run], 10)
    assert least_noise([run_of([]), run_of([])], 10) == 0.0


def test_what_is_known_to_be_a_fraction_has_a_range() -> None:
    """No bound that can be meant is refused: of a loss any, of an accuracy's change −1 to 1."""
    assert ACCURACY.range_of("value") == (0, 1)
    assert ACCURACY.range_of("change") == ACCURACY.range_of("since") == (-1, 1)
    assert ACCURACY.range_of("interaction") == GAP.range_of("change") == (-2, 2)
    anything = (-math.inf, math.inf)
    assert LOSS.range_of("change") == metric("f1").range_of("value") == anything
    assert ACCURACY.range_of("ratio") == anything


@pytest.mark.parametrize(
    ("value", "unit", "form", "text"),
    [
        (0.5837, "fraction", "value", "58.4 %"),
        (-0.0371, "fraction", "change", "−3.7 points"),
        (0.012, "fraction", "change", "+1.2 points"),
        (-0.00001, "fraction", "change", "0.0 points"),
        (0.3512, "seconds", "ratio", "0.35×"),
        (0.0414, "seconds", "value", "41.4 ms"),
        (736_618, "count", "value", "736,618"),
        (999_400, "operations", "value", "999 kFLOP"),
        (999_999, "operations", "value", "1 MFLOP"),
        (math.nan, "number", "value", "NaN"),
        (-math.inf, "number", "change", "−∞"),
    ],
)
def test_numbers_are_said_in_their_unit(value: float, unit: Unit, form: Form, text: str) -> None:
    """A person reads points and percent, and never a minus before nothing."""
    assert said(value, unit, form) == text


@pytest.mark.parametrize(
    ("bound", "unit", "form", "text"),
    [
        (0.0004, "fraction", "change", "+0.04 points"),
        (-0.12, "fraction", "change", "−12.0 points"),
        (0.9995, "fraction", "value", "99.95 %"),
        (1.005, "seconds", "ratio", "1.005×"),
        (1_234_567, "operations", "value", "1.234567 MFLOP"),
        (0.123456, "number", "value", "0.123456"),
        (math.nextafter(0, 1), "fraction", "change", "0.0 points"),
        (math.nextafter(0.95, 1), "fraction", "value", "95.0 %"),
    ],
)
def test_a_bound_is_said_as_it_was_written(bound: float, unit: Unit, form: Form, text: str) -> None:
    """A claim of "at most 0.04 points" is not reported as one of none, nor 1.005 as 1.00."""
    assert said(bound, unit, form, in_full=True) == text
