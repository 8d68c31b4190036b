"""Experiment, recipe and dataset refuse what cannot be, and know all else by its content."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from pytest_ablation import AblationError, DataError, Dataset, Experiment, Recipe
from tests.tiny import net

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


def experiment(**changes: Any) -> Experiment:
    """Return an experiment, its recipe or its metric changed."""
    told = {name: changes.pop(name) for name in ("metric", "mode") if name in changes}
    return Experiment(
        net, Recipe(**{"optimizer": "sgd", "loss": "mse", **changes}), dataset(), **told
    )


@pytest.mark.parametrize(
    ("changes", "metric", "less_is_better"),
    [
        ({"loss": "binary_crossentropy"}, "accuracy", False),
        ({}, "loss", True),
        ({"metrics": ("mae", "mse")}, "mae", True),
        ({"metrics": ("auc", "accuracy")}, "accuracy", False),
        ({"metrics": keras.metrics.AUC(name="auc")}, "auc", False),
        ({"metrics": keras.metrics.RootMeanSquaredError()}, "root_mean_squared_error", True),
        ({"metrics": "MeanAbsoluteError"}, "MeanAbsoluteError", True),
        ({"metrics": ("mae", "r2_score"), "metric": "r2_score"}, "r2_score", False),
        ({"metrics": "mae", "mode": "max"}, "mae", False),
        ({"loss": {"a": "mse"}, "metrics": {"a": "mae"}, "metric": "a_mae"}, "a_mae", True),
    ],
)
def test_an_experiment_has_a_main_metric(
    changes: dict[str, Any], metric: str, less_is_better: bool
) -> None:
    """Accuracy where there is one, else the first metric, else the loss; its name says the way."""
    found = experiment(**changes)
    assert (found.main_metric, found.less_is_better) == (metric, less_is_better)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": "mae", "metric": "mea"}, r'metric "mea". Metrics: mae, loss. .* "mae"\?'),
        ({"mode": "up"}, r"Experiment\(mode='up'\)"),
    ],
)
def test_a_main_metric_that_is_not_measured_is_refused(changes: dict[str, Any], said: str) -> None:
    """A slip in its name is found when the experiment is written."""
    with pytest.raises(AblationError, match=said):
        experiment(**changes)
