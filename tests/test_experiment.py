"""Experiment, recipe and dataset refuse what cannot be, and know all else by its content."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_ablation import DataError, Dataset

X, Y = np.zeros((4, 2), np.float32), np.arange(4)


def dataset(**changes: Any) -> Dataset:
    """Return a small dataset, changed."""
    return Dataset(**{"name": "d", "x_train": X, "y_train": Y, "x_test": X, "y_test": Y, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_train": Y[:3]}, "d: 4 training examples, but 3 labels"),
        ({"x_test": X[:0], "y_test": Y[:0]}, "d: no test examples"),
        ({"x_train": {}}, "d: no training examples"),
        ({"x_test": (X, X[:2])}, "d: the arrays of test examples differ in length: 4, 2"),
        ({"y_train": [[1], [1, 2], [3], [4]]}, "d: y_train: .*padded to one"),
    ],
)
def test_data_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    """Examples without labels, and splits without examples, are found before any training."""
    with pytest.raises(DataError, match=said):
        dataset(**changes)


def test_data_of_several_arrays_is_known_by_all_of_them() -> None:
    """A change in the second input makes other data."""
    two = dataset(x_train={"a": X, "b": X})
    assert two.fingerprint == dataset(x_train={"b": X, "a": X}).fingerprint
    assert two.fingerprint != dataset(x_train={"a": X, "b": X + 1}).fingerprint
    assert two.fingerprint != dataset().fingerprint
