"""Weights of classes, in the loss that is trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from pytest_ablation import AblationError, Dataset, Experiment, train_with
from pytest_ablation.network.difference import of_settings
from pytest_ablation.training import examples, fit, weighting
from tests.test_fit import trained, trial_of
from tests.tiny import EXPERIMENT

WEIGHTS = {1: 4.0}
WEIGHTED = train_with(class_weight=WEIGHTS, epochs=1)(EXPERIMENT)


def one_hot(experiment: Experiment) -> Experiment:
    """Return the experiment with rows for labels."""
    data = experiment.data
    rows = {name: np.eye(2, dtype="f")[getattr(data, name)] for name in ("y_train", "y_test")}
    recipe = replace(experiment.recipe, loss="categorical_crossentropy")
    return replace(experiment, recipe=recipe, data=replace(data, **rows))


def column(experiment: Experiment) -> Experiment:
    """Return the experiment with its labels in a column."""
    data = experiment.data
    columns = {name: getattr(data, name)[:, None] for name in ("y_train", "y_test")}
    return replace(experiment, data=replace(data, **columns))


@pytest.mark.parametrize("labelled", [lambda given: given, one_hot, column])
def test_classes_weigh_as_in_fit(labelled: Any) -> None:
    """A recipe's weights are those that the user knows, however the labels are written."""
    experiment = labelled(WEIGHTED)
    run, trial = trained(experiment), trial_of(experiment)
    model = fit.compiled(trial)
    stream = examples.batches(experiment.data, 16, trial.seed)
    x, y = (np.concatenate(each) for each in zip(*(next(stream) for _ in range(8)), strict=True))
    past = model.fit(x, y, batch_size=16, shuffle=False, class_weight=WEIGHTS, verbose=0).history
    assert run.curves["loss"] == pytest.approx(past["loss"], rel=1e-4)
    test = examples.as_input(experiment.data.x_test), examples.as_label(experiment.data.y_test)
    theirs = model.evaluate(*test, verbose=0, return_dict=True)
    assert {name: run.metrics[name] for name in theirs} == pytest.approx(theirs, rel=1e-4)


def test_no_weights_and_equal_ones_are_told_apart() -> None:
    """Without any, trials have the names that they had before there were weights."""
    recipes = [
        json.loads(trial_of(train_with(epochs=1, **changes)(EXPERIMENT)).recipe)
        for changes in ({}, {"class_weight": WEIGHTS})
    ]
    assert "class_weight" not in recipes[0]
    assert of_settings(*recipes) == ("class_weight None → 1: 4.0",)
    assert train_with(class_weight=None)(WEIGHTED).recipe.class_weight is None


def test_mixed_labels_have_the_weight_of_their_largest_share() -> None:
    """As in `fit`, of arrays and of tensors."""
    mixed = np.array([[0.7, 0.3], [0.2, 0.8]], "f")
    for labels in (mixed, keras.ops.convert_to_tensor(mixed)):
        (weights,) = weighting.of(WEIGHTS, labels)
        assert keras.ops.convert_to_numpy(weights).tolist() == [1.0, 4.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"cat": 2.0}, "give weights of at least 0 by the numbers of classes"),
        ({0: -1.0}, "give weights of at least 0"),
        (2.0, "give weights of at least 0"),
        ({2: 1.0}, r"there is no class 2. Classes: 0 to 1\."),
    ],
)
def test_weights_that_cannot_be_are_an_error(weights: Any, message: str) -> None:
    """A class that is misspelt would weigh as all others do."""
    with pytest.raises(AblationError, match=message):
        trial_of(train_with(class_weight=weights)(EXPERIMENT))


@pytest.mark.parametrize("labels", [np.ones((300, 2)), np.full(300, 0.5), np.zeros((300, 4, 4))])
def test_labels_without_one_class_an_example_have_no_weights(labels: Any) -> None:
    """Keras takes the largest of several labels, whatever that means there."""
    data = EXPERIMENT.data
    other = Dataset(
        name="other",
        x_train=data.x_train,
        y_train=labels,
        x_test=data.x_test,
        y_test=labels[:100],
    )
    with pytest.raises(AblationError, match="do not give each example one class"):
        weighting.check(WEIGHTS, other)
