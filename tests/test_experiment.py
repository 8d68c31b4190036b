"""Experiment, recipe and dataset refuse what cannot be, and know all else by its content."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from pytest_ablation import (
    AblationError,
    DataError,
    Dataset,
    Experiment,
    Recipe,
    feed_with,
    override,
    remove,
    train_with,
    use,
)
from tests.test_trainer import train
from tests.tiny import EXPERIMENT, RECIPE, data, net

SETTINGS: dict[str, Any] = {"depth": 8, "pca": {"components": 30, "whiten": False}}
OWN = Experiment(SETTINGS, train=train)
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
        ({"y_test": np.array([0, 1, 0, 3_000_000_000])}, "d: test labels beyond 32 bits"),
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
        ({"metrics": keras.metrics.LogCoshError()}, "logcosh", True),
        ({"metrics": "kld"}, "kld", True),
        ({"metrics": keras.metrics.FalsePositives()}, "false_positives", True),
        ({"metrics": keras.metrics.TrueNegatives()}, "true_negatives", False),
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


def test_settings_stand_in_the_place_of_a_network() -> None:
    """Settings and a function make an experiment, with no recipe and no data of Keras's kind."""
    assert OWN.config == SETTINGS
    assert OWN.name == "train"
    assert OWN.trainer == "tests.test_trainer:train"
    assert Experiment(SETTINGS, train=train, name="forest").name == "forest"
    assert Experiment(SETTINGS, train="tests.test_trainer:train").trainer == OWN.trainer


def test_data_of_a_trainers_own_is_known_by_what_is_written() -> None:
    """Another path is another trial; a Dataset is known by its content, as ever."""
    one, two = (Experiment(SETTINGS, data=path, train=train) for path in ("a.csv", "b.csv"))
    assert one.data_fingerprint != two.data_fingerprint
    assert one.data_name == "a.csv"
    mapped = Experiment(SETTINGS, data={"rows": (1, 2)}, train=train)
    assert mapped.data == {"rows": [1, 2]}
    of_arrays = Experiment(SETTINGS, data=data(), train=train)
    assert of_arrays.data_fingerprint == EXPERIMENT.data_fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": SETTINGS}, "settings need a trainer"),
        ({"model": SETTINGS, "train": lambda t, d, p: {}}, "at the top level of a module"),
        ({"model": {"f": print}, "train": train}, r"the settings\.f is of type builtin_function"),
        ({"model": SETTINGS, "train": train, "data": object()}, "data is of type object"),
        ({"model": SETTINGS, "train": train, "recipe": {}}, "is not a Recipe"),
        ({"model": net, "data": data()}, "None is not a Recipe"),
        ({"model": net, "recipe": RECIPE}, "data of type NoneType; pass a Dataset"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: Any, message: str) -> None:
    """A mistake in an experiment is known where it is written."""
    with pytest.raises(AblationError, match=message):
        Experiment(**arguments)


def test_override_changes_settings() -> None:
    """One setting of a component changes alone, and says so as a person would."""
    edit = override(pca={"components": 8}) + override(depth=3)
    edited = edit(OWN)
    assert edited.config == {"depth": 3, "pca": {"components": 8, "whiten": False}}
    assert str(edit) == "set pca.components=8, set depth=3"
    assert repr(edit) == "override(pca={'components': 8}) + override(depth=3)"
    assert OWN.config == SETTINGS


def test_data_of_a_trainers_own_can_be_changed() -> None:
    """feed_with works on a path as on a Dataset."""
    experiment = Experiment(SETTINGS, data="a.csv", train=train)
    other: Any = feed_with(lambda path: path.replace("a", "b"))  # type: ignore[attr-defined] # a path
    assert other(experiment).data == "b.csv"
    with pytest.raises(AblationError, match="nothing would change"):
        feed_with(lambda path: path)(experiment)


@pytest.mark.parametrize(
    ("edit", "experiment", "message"),
    [
        (override(deep=3), OWN, r'override\(deep=3\): there is no setting "deep".*Did you mean'),
        (override(depth=8), OWN, r"override\(depth=8\): the settings are so already"),
        (remove("drop1"), OWN, r'remove\("drop1"\): .*no Keras network to edit.*override\(…\)'),
        (use(net), OWN, r"use\(net\): .*override\(…\)\. Settings: depth, pca\.components"),
        (train_with(epochs=3), OWN, r"no recipe\. Change a setting with override"),
        (override(units=3), EXPERIMENT, r"override\(units=3\): .*train_with\(…\).*configure\(…\)"),
    ],
)
def test_an_edit_of_the_other_kind_names_the_right_one(
    edit: Any, experiment: Experiment, message: str
) -> None:
    """Whoever takes the wrong edit reads which is the right one."""
    with pytest.raises(AblationError, match=message):
        edit(experiment)


def test_override_needs_settings() -> None:
    """An override of nothing, or with what is no data, is refused where it is written."""
    with pytest.raises(AblationError, match="name a setting"):
        override()
    with pytest.raises(AblationError, match=r"override\.depth is of type type"):
        override(depth=int)


def test_a_recipe_of_settings_is_changed_by_train_with() -> None:
    """A trainer that reads a recipe has it edited like Keras's."""
    experiment = Experiment(SETTINGS, Recipe("sgd", "log"), train=train)
    assert train_with(epochs=3)(experiment).recipe.epochs == 3
