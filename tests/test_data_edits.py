"""Ready edits of the data do what they say, on any data that allows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_ablation import (
    AblationError,
    Dataset,
    feed_with,
    share,
    shuffled_labels,
    without_channel,
    without_class,
)
from tests.tiny import EXPERIMENT, data

TINY = data()
ONE_HOT = replace(TINY, y_train=np.eye(2)[TINY.y_train], y_test=np.eye(2)[TINY.y_test])


def fed(edit: Any, to: Dataset = TINY) -> Dataset:
    """Return the data that the edited experiment is trained on; its test labels never change."""
    result = feed_with(edit)(replace(EXPERIMENT, data=to)).data
    np.testing.assert_array_equal(result.y_test, to.y_test)
    return result


@pytest.mark.parametrize(
    ("edit", "said", "written"),
    [
        (without_class("dark"), 'feed with no "dark" to train on', "without_class('dark')"),
        (without_class(3), "feed with no 3 to train on", "without_class(3)"),
        (without_channel(2), "feed with channel 2 zeroed", "without_channel(2)"),
        (share(0.5), "feed with half of the training examples", "share(0.5)"),
        (share(0.1), "feed with 10 % of the training examples", "share(0.1)"),
        (shuffled_labels(), "feed with training labels shuffled", "shuffled_labels(1.0)"),
        (
            shuffled_labels(0.3, seed=2),
            "feed with 30 % of the training labels shuffled",
            "shuffled_labels(0.3, seed=2)",
        ),
    ],
)
def test_an_edit_says_what_it_does(edit: Any, said: str, written: str) -> None:
    """Reports and test ids read as a person would say it."""
    assert str(feed_with(edit)) == said
    assert repr(edit) == written


@pytest.mark.parametrize("to", [TINY, ONE_HOT, replace(TINY, y_train=TINY.y_train[:, None])])
def test_a_class_is_left_out_of_the_training(to: Dataset) -> None:
    """By its name or its label, whatever form labels have; it stays in the test set."""
    dark = fed(without_class("bright"), to)
    assert len(dark.x_train) == 150
    np.testing.assert_array_equal(dark.x_train, TINY.x_train[TINY.y_train == 0])
    assert dark.fingerprint == fed(without_class(1), to).fingerprint
    assert len(dark.x_test) == 100


def test_a_channel_is_zero_in_training_and_test() -> None:
    """What the network cannot learn from, it is not shown afterwards."""
    red = fed(without_channel(-1))
    for x, before in ((red.x_train, TINY.x_train), (red.x_test, TINY.x_test)):
        assert not x[..., 2].any()
        np.testing.assert_array_equal(x[..., :2], before[..., :2])
    by_name = replace(TINY, x_train={"a": TINY.x_train}, x_test={"a": TINY.x_test})
    assert not fed(without_channel(0, of="a"), by_name).x_test["a"][..., 0].any()


def test_a_share_has_each_class_in_its_part() -> None:
    """Half of the examples are half of each class."""
    half = fed(share(0.5))
    assert np.bincount(half.y_train).tolist() == [75, 75]


def test_shuffled_labels_are_the_same_ones_elsewhere() -> None:
    """As many of each class as before, only at other examples; a part of them where asked."""
    all_of_them, some = fed(shuffled_labels()), fed(shuffled_labels(0.2, seed=1))
    for result in (all_of_them, some):
        np.testing.assert_array_equal(result.x_train, TINY.x_train)
        assert np.bincount(result.y_train).tolist() == [150, 150]
    assert 0 < (some.y_train != TINY.y_train).sum() <= 60
    assert (all_of_them.y_train != TINY.y_train).sum() > 100
    assert fed(shuffled_labels()).fingerprint == all_of_them.fingerprint


@pytest.mark.parametrize(
    ("edit", "to", "said"),
    [
        (without_class("brite"), TINY, 'without_class.*Classes: dark, bright.*mean "bright"'),
        (without_class(7), TINY, "no training example of that class. Labels: 0, 1"),
        (without_class("dark"), replace(TINY, classes=()), "names no classes; give the label"),
        (without_class(0), replace(TINY, y_train=TINY.x_train), "the labels are no classes"),
        (without_channel(3), TINY, r"without_channel\(3\): no such channel; channels are 0…2"),
        (
            without_channel(0, of="b"),
            replace(TINY, x_train={"a": TINY.x_train}),
            "which input\\? Write of=…, one of a",
        ),
    ],
)
def test_what_is_not_there_is_said(edit: Any, to: Dataset, said: str) -> None:
    """A misspelled class is an error that names those there are."""
    with pytest.raises(AblationError, match=said):
        feed_with(edit)(replace(EXPERIMENT, data=to))


@pytest.mark.parametrize("wrong", [lambda: share(1), lambda: share(0), lambda: shuffled_labels(2)])
def test_a_fraction_is_one(wrong: Callable[[], Any]) -> None:
    """Half is 0.5, and not 50; it is said where it is written."""
    with pytest.raises(AblationError, match="a fraction is above 0"):
        wrong()
