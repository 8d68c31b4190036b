"""Smoothed labels are Keras's, and for numbered classes what Keras would give for one-hot ones."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import losses

from pytest_ablation import AblationError
from pytest_ablation.training import smoothing

CLASSES = np.array([0, 2, 1], np.int32)
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]
PREDICTED = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.2, 0.6, 0.2]], np.float32)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        ("categorical_crossentropy", ONE_HOT),
        (losses.CategoricalCrossentropy(), ONE_HOT),
        ("CategoricalCrossentropy", ONE_HOT),
        (losses.categorical_crossentropy, ONE_HOT),
        ("sparse_categorical_crossentropy", CLASSES),
        (losses.SparseCategoricalCrossentropy(), CLASSES[:, None]),
    ],
)
def test_labels_are_smoothed(loss: Any, labels: Any) -> None:
    """However a loss is written, its labels are smoothed alike; the plain one is what it was."""
    expected = losses.CategoricalCrossentropy(label_smoothing=0.2)(ONE_HOT, PREDICTED)
    assert float(smoothing.smoothed(loss, 0.2)(labels, PREDICTED)) == pytest.approx(float(expected))
    whole = keras.losses.CategoricalCrossentropy()(ONE_HOT, PREDICTED)
    assert float(smoothing.plain(loss)(labels, PREDICTED)) == pytest.approx(float(whole))


def test_settings_of_the_loss_stay() -> None:
    """A loss of logits stays one, for each pixel too."""
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    pixels, logits = CLASSES.reshape(1, 3, 1), PREDICTED.reshape(1, 3, 3)
    one_hot = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    smoothed = smoothing.smoothed(loss, 0.1)(pixels, logits)
    assert float(smoothed) == pytest.approx(float(one_hot(ONE_HOT.reshape(1, 3, 3), logits)))


@pytest.mark.parametrize(
    "loss", ["mse", ["binary_crossentropy"], losses.SparseCategoricalCrossentropy(ignore_class=0)]
)
def test_other_losses_know_no_smoothing(loss: Any) -> None:
    """Smoothing that would not happen is an error."""
    with pytest.raises(AblationError, match=r"^Recipe\(label_smoothing="):
        smoothing.smoothed(loss, 0.1)
