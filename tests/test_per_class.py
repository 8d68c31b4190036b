"""Accuracy class by class."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_ablation import per_class
from pytest_ablation.run import Run
from tests.test_report import runs

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])


def right(*each: list[int], tested: int = 0) -> tuple[Run, ...]:
    """Return runs that got these examples right, by place."""
    made = []
    for seed, places in enumerate(each):
        bits = np.isin(np.arange(len(LABELS)), places)
        correct = base64.b64encode(np.packbits(bits).tobytes()).decode()
        made.append(replace(runs(0.5, 0.5)[0], seed=seed, correct=correct, tested=tested))
    return tuple(made)


def test_each_class_has_its_change() -> None:
    """Shares of each class's own examples, means over the seeds, and the seeds' own changes."""
    baseline = right([0, 1, 4, 8], [0, 1, 4, 9])
    variant = right([0, 1, 2, 3], [0, 1, 8, 9])

    cat, dog, third = per_class.of(variant, baseline, LABELS, ["cat", "dog"])

    assert (cat.name, cat.baseline, cat.variant, cat.change) == ("cat", 0.5, 0.75, 0.25)
    assert (cat.low, cat.high) == (0.0, 0.5)
    assert (dog.name, dog.change) == ("dog", -0.25)
    assert (third.name, third.baseline, third.variant) == ("class 2", 0.5, 0.5)
    assert (third.low, third.high) == (-0.5, 0.5)


def test_only_seeds_that_both_arms_have_are_compared() -> None:
    """A seed that one arm alone was trained with changes nothing."""
    (cat, *_) = per_class.of(right([0]), right([0], [0, 1, 2, 3]), LABELS, ())

    assert (cat.baseline, cat.variant) == (0.25, 0.25)


@pytest.mark.parametrize(
    "labels",
    [LABELS.astype(float), np.eye(10), np.array([]), LABELS[:3], LABELS - 1, {"a": LABELS}, None],
    ids=["floats", "one-hot", "none", "of other data", "negative", "several", "nothing"],
)
def test_what_is_no_class_has_no_change(labels: Any) -> None:
    """Regressions, several outputs and other test sets have no table of classes, and no error."""
    assert per_class.of(right([0]), right([1]), labels, ()) == ()


def test_labels_in_a_column_are_labels() -> None:
    """Keras's own CIFAR-10 has its labels as a column."""
    column = LABELS.reshape(-1, 1)

    assert len(per_class.of(right([0]), right([1]), column, ())) == 3


def test_runs_that_do_not_say_have_no_change() -> None:
    """A trainer that tells no examples, or tells of a sample of them, costs nobody the report."""
    silent = (replace(right([0])[0], correct=""),)

    assert per_class.of(silent, right([0]), LABELS, ()) == ()
    assert per_class.of(right([0], tested=5), right([0]), LABELS, ()) == ()
    assert per_class.of((), right([0]), LABELS, ()) == ()
