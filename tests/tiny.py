"""A tiny experiment that trains in a second; tests copy this file into their suites."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from pytest_ablation import Dataset, Experiment, Recipe


def net() -> keras.Model:
    """Return two hidden layers, each with its Dropout."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Flatten(name="flatten"),
            layers.Dense(16, activation="relu", name="dense1"),
            layers.Dropout(0.5, name="drop1"),
            layers.Dense(8, activation="relu", name="dense2"),
            layers.Dropout(0.5, name="drop2"),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )


def with_weights(function: Callable[[], keras.Model], value: float) -> Callable[[], keras.Model]:
    """Return a function that gives another's network weights, all of one value."""

    def given() -> keras.Model:
        model = function()
        model.set_weights([np.full(variable.shape, value, "f") for variable in model.weights])
        return model

    return given


def data() -> Dataset:
    """Two classes of small images, dark and bright."""
    random = np.random.default_rng(0)
    y = np.arange(400, dtype=np.uint8) % 2
    x = (random.integers(0, 128, (400, 4, 4, 3)) + 100 * y[:, None, None, None]).astype(np.uint8)
    return Dataset(
        name="dark and bright",
        x_train=x[:300],
        y_train=y[:300],
        x_test=x[300:],
        y_test=y[300:],
        classes=("dark", "bright"),
        source="made for the test",
    )


RECIPE = Recipe(
    optimizer="adam",
    loss="sparse_categorical_crossentropy",
    batch_size=16,
    steps_per_epoch=8,
    epochs=6,
)
EXPERIMENT = Experiment(net, RECIPE, data())
