"""Outputs of a network, and the losses, metrics and labels that are said to be theirs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import AblationError, Dataset, Recipe
from pytest_ablation.training import outputs

X = np.zeros((6, 4), np.float32)
KINDS = np.arange(6) % 3
ONE_HOT = np.eye(3)[KINDS]
SPARSE = "sparse_categorical_crossentropy"
LOSSES = {"kind": SPARSE, "size": "mse"}
LABELS = {"kind": KINDS, "size": X[:, 0]}


def of(y: Any) -> Dataset:
    """Return a data set with labels, the same ones in training and test."""
    return Dataset(name="made", x_train=X, y_train=y, x_test=X, y_test=y)


def classifying() -> keras.Model:
    """Return a network that tells one of three classes."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])


def two_out(*, by_name: bool) -> keras.Model:
    """Return a network that tells a class and a number."""
    given = keras.Input((4,))
    told = {name: layers.Dense(n, name=name)(given) for name, n in (("kind", 3), ("size", 1))}
    return keras.Model(given, told if by_name else list(told.values()))


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("changes", "labels", "said"),
    [
        ({"loss": {**LOSSES, "sizes": "mse"}}, LABELS, r'no output "sizes".*Did you mean "size"\?'),
        ({"metrics": {"kinds": "acc"}}, LABELS, r'metrics=…\): the network has no output "kinds"'),
        ({"loss_weights": {"kin": 2.0}}, LABELS, r"loss_weights=…\): the network has no output"),
        ({"loss_weights": {"kind": 2.0}}, LABELS, r'none for "size".*1\.0 leaves it as it is'),
        ({}, {"kind": KINDS, "sizes": X[:, 0]}, r'labels: the network has no output "sizes"'),
        (
            {},
            {**LABELS, "kind": KINDS + 1},
            r"y_train has labels from 1 to 3, .* 3 classes: 0 to 2",
        ),
    ],
)
def test_what_is_of_no_output_is_refused(
    by_name: bool, changes: dict[str, Any], labels: Any, said: str
) -> None:
    """A slip in a name is a sentence, before anything trains, and no traceback of Keras's."""
    recipe = Recipe(**{"optimizer": "adam", "loss": LOSSES, **changes})
    with pytest.raises(AblationError, match=said):
        outputs.check(recipe, of(labels), two_out(by_name=by_name))


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"metrics": {"kind": ["acc"]}}, LABELS),
        ({"loss_weights": {"kind": 2.0, "size": 1.0}}, tuple(LABELS.values())),
        ({"loss": list(LOSSES.values()), "metrics": [["acc"], ["mae"]]}, LABELS),
        ({"loss": {"size": "mse"}, "loss_weights": {"size": 2.0}}, {"size": X[:, 0]}),
        ({"loss": "mse"}, {"kind": ONE_HOT, "size": X[:, 0]}),
    ],
)
def test_what_keras_takes_is_taken(by_name: bool, changes: dict[str, Any], labels: Any) -> None:
    """Losses and labels by name, in order, of some outputs alone, or one loss of all."""
    recipe = Recipe(**{"optimizer": "adam", "loss": LOSSES, **changes})
    outputs.check(recipe, of(labels), two_out(by_name=by_name))


@pytest.mark.parametrize(
    ("loss", "labels", "said"),
    [
        (SPARSE, ONE_HOT, 'takes numbers of classes.*write loss="categorical_crossentropy"'),
        (keras.losses.CategoricalCrossentropy(), KINDS, 'one-hot.*write loss="sparse_categ'),
        (SPARSE, KINDS - 1, "has labels from -1 to 1, and the network tells 3 classes"),
        (keras.losses.SparseCategoricalCrossentropy(), KINDS + 1, "has labels from 1 to 3"),
        (SPARSE, np.array(["a", "b", "c"])[KINDS], r"is of texts.*numpy\.unique"),
        ("sparse_crossentropy", KINDS, r'Keras knows no "sparse_crossentropy"\. Did you mean'),
    ],
)
def test_labels_that_do_not_suit_a_loss_are_refused(loss: Any, labels: Any, said: str) -> None:
    """On JAX the loss of a class that a network does not have is 0: it trained to wrong numbers."""
    with pytest.raises(AblationError, match=said):
        outputs.check(Recipe("adam", loss), of(labels), classifying())


def test_labels_that_suit_a_loss_are_taken() -> None:
    """Of any shape and type that Keras takes, those that the loss ignores included."""
    ignoring = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    for loss, labels in (
        *((SPARSE, KINDS), (SPARSE, KINDS[:, None]), (SPARSE, KINDS.astype("f")), ("mse", ONE_HOT)),
        *(("ce", KINDS), ("categorical_crossentropy", ONE_HOT), (ignoring, KINDS - 1)),
    ):
        outputs.check(Recipe("adam", loss), of(labels), classifying())


def test_a_metric_that_keras_does_not_know_is_refused() -> None:
    """What is meant is said, and what `compile` alone understands is known."""
    with pytest.raises(AblationError, match=r'no "acuracy"\. Did you mean "accuracy"\?'):
        outputs.check(Recipe("adam", SPARSE, metrics=["acuracy"]), of(KINDS), classifying())
    outputs.check(Recipe("adam", "mse", metrics=["acc", "bce"]), of(ONE_HOT), classifying())


@pytest.mark.parametrize("labels", [KINDS, KINDS[:, None]])
@pytest.mark.parametrize("metric", [keras.metrics.F1Score("macro"), "categorical_accuracy", "auc"])
def test_a_metric_that_wants_a_label_for_each_output_is_refused(metric: Any, labels: Any) -> None:
    """Of numbers of classes it ended in a traceback, or was another number without a word."""
    recipe = Recipe("adam", SPARSE, metrics=["accuracy", metric])
    with pytest.raises(AblationError, match=r"y_train has .* network's 3 outputs .*to_categorical"):
        outputs.check(recipe, of(labels), classifying())
    by_name = Recipe("adam", LOSSES, metrics={"kind": [metric], "size": ["mae"]})
    with pytest.raises(AblationError, match="compares each"):
        outputs.check(by_name, of({**LABELS, "kind": labels}), two_out(by_name=True))


def own_metric(y: Any, answers: Any) -> Any:
    """Return what a user's own metric makes of numbers of classes."""
    return keras.ops.max(answers, axis=-1) + 0.0 * y


def test_a_metric_that_takes_numbers_of_classes_is_taken() -> None:
    """Keras's own for them, of one output, and what is the user's own."""
    takes_numbers = [keras.metrics.MeanIoU(3, sparse_y_pred=False), own_metric, "acc"]
    takes_numbers += ["sparse_top_k_categorical_accuracy"]
    outputs.check(Recipe("adam", SPARSE, metrics=takes_numbers), of(KINDS), classifying())
    one_hot = Recipe("adam", "categorical_crossentropy", metrics=["auc", "f1_score"])
    outputs.check(one_hot, of(ONE_HOT), classifying())
    alone = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")])
    outputs.check(Recipe("adam", "bce", metrics=["auc", "mae"]), of(KINDS % 2), alone)
