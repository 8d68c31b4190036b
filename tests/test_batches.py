"""Data that comes in batches is read once, whole, and is the same data each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pytest_ablation import DataError, Dataset

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20) % 2
PAIRS = [(X[i : i + 8], Y[i : i + 8]) for i in (0, 8, 16)]


class Own(keras.utils.PyDataset):  # type: ignore[misc] # Keras is Any to mypy
    """Batches of the user's own."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        return PAIRS[i]


class Endless(keras.utils.PyDataset):  # type: ignore[misc] # as above
    """A PyDataset without a length."""

    @property
    def num_batches(self) -> None:
        """No number."""

    def __getitem__(self, i: int) -> Any:
        return PAIRS[0]


def read(train: Any) -> Dataset:
    """Return the data with these training batches."""
    return Dataset.read(name="own", train=train, test=PAIRS, classes=("even", "odd"))


def from_tf() -> Any:
    """Return the pairs as a tf.data.Dataset."""
    return tf.data.Dataset.from_tensor_slices((X, Y))


@pytest.mark.parametrize(
    "train",
    [
        lambda: PAIRS,
        lambda: Own(),
        lambda: from_tf().batch(7),
        lambda: from_tf().shuffle(20).batch(8).prefetch(1),
    ],
    ids=["list", "PyDataset", "tf.data", "shuffled"],
)
def test_batches_of_any_kind_are_the_same_data(train: Callable[[], Any]) -> None:
    """Whole batches or not, shuffled or not, the examples decide what the data is."""
    data = read(train())
    assert data.fingerprint == read(PAIRS).fingerprint
    assert sorted(data.x_train[:, 0]) == list(X[:, 0])
    np.testing.assert_array_equal(data.x_train[:, 0] // 3 % 2, data.y_train)
    assert data.classes == ("even", "odd")


def test_batches_may_be_of_several_inputs() -> None:
    """Each input and each output is an array of its own."""
    pairs = tf.data.Dataset.from_tensor_slices(({"a": X, "b": Y}, (Y, X))).batch(6)
    data = read(pairs)
    assert data.x_train["a"].shape == (20, 3)
    np.testing.assert_array_equal(data.x_train["b"], data.y_train[0])


def forever() -> Iterator[Any]:
    """Yield batches without end."""
    yield from itertools.repeat(PAIRS[0])


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (lambda: from_tf().batch(4).repeat(), "repeats without end; leave out repeat"),
        (lambda: from_tf().filter(lambda x, y: y > 0).batch(4), "does not know its length"),
        (lambda: Endless(), "the Endless does not know its length"),
        (forever, r"list\(itertools.islice\(own: train, batches\)\)"),
        (from_tf, r"batch\(64\)"),
        (lambda: [(X, Y, Y)], "sample weights"),
        (lambda: [X], r"a batch is a ndarray, and should be a pair"),
        (lambda: (X, Y), r"Arrays go in as Dataset\(x_train"),
        (lambda: [(X, Y), (X[:, :2], Y)], r"shapes \(2,\) and \(3,\); pad all"),
        (lambda: [(X, Y), ({"a": X}, Y)], "unequal structure"),
        (lambda: [], "no batches"),
    ],
)
def test_what_cannot_be_read_is_said(train: Callable[[], Any], said: str) -> None:
    """Batches without end do not hang the session; each mistake gets a line with the remedy."""
    with pytest.raises(DataError, match=said) as error:
        read(train())
    assert "\n" not in str(error.value)
