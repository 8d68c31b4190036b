"""Edits on public architectures, built without weights: parameters, a forward pass, a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import (
    Ablation,
    AblationError,
    configure,
    cut,
    having,
    insert,
    leave_one_out,
    remove,
    replace,
    shortcut,
)
from pytest_ablation.network import blueprint, weightless

SHAPE = (64, 64, 3)
# A Dense layer on an image that is no longer pooled has thousands of millions.
MOST_TRAINED = 100_000_000
TOP: dict[str, Any] = {"weights": None, "classes": 10, "input_shape": SHAPE}


def family(name: str, **settings: Any) -> Callable[[], keras.Model]:
    """Return a function that builds an architecture of keras.applications."""

    def build() -> keras.Model:
        return getattr(keras.applications, name)(**{**TOP, **settings})

    build.__name__ = name
    return build


FAMILIES = [
    family("ResNet50"),
    family("ResNet50V2"),
    family("DenseNet121"),
    family("MobileNet", alpha=0.25),
    family("MobileNetV2", alpha=0.35),
    family("MobileNetV3Small"),
    family("EfficientNetB0"),
    family("EfficientNetV2B0"),
    family("ConvNeXtTiny"),
    family("Xception", input_shape=(71, 71, 3)),
    family("InceptionV3", input_shape=(75, 75, 3)),
    family("VGG16"),
]

EDITS = [
    remove(layers.BatchNormalization),
    remove(layers.LayerNormalization),
    remove(layers.Activation),
    remove(layers.ReLU),
    remove(layers.Dropout),
    remove(layers.MaxPooling2D, repair=True),
    remove(layers.GlobalAveragePooling2D, repair=True),
    remove("*_se_*"),
    replace(layers.BatchNormalization, layers.LayerNormalization()),
    replace(layers.MaxPooling2D, layers.AveragePooling2D(2), repair=True),
    configure(having(activation="relu"), activation="tanh"),
    configure(layers.Dropout, rate=0.7),
    configure(layers.DepthwiseConv2D, kernel_size=5),
    configure(layers.Conv2D, kernel_size=1, repair=True),
    insert(layers.Dropout(0.1), after=layers.Add),
    cut(shortcut, into=layers.Add),
    cut("*se_expand", into=layers.Multiply),
]


def counted(model: keras.Model) -> int:
    """Return a network's parameters by the textbook, from settings and shapes, not from weights."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += counted(layer)
        elif layer.weights:
            total += _parameters(layer)
    return total


def _parameters(layer: Any) -> int:
    config = layer.get_config()
    channels = layer.input.shape[-1]
    bias = 1 if config.get("use_bias") else 0
    if isinstance(layer, layers.DepthwiseConv2D):
        multiplier = config["depth_multiplier"]
        return int(channels * multiplier * (math.prod(config["kernel_size"]) + bias))
    if isinstance(layer, layers.SeparableConv2D):
        inner = channels * config["depth_multiplier"]
        outer = config["filters"] * (inner + bias)
        return int(inner * math.prod(config["kernel_size"]) + outer)
    if isinstance(layer, layers.Conv2D):
        taken = math.prod(config["kernel_size"]) * channels // config["groups"]
        return int(config["filters"] * (taken + bias))
    if isinstance(layer, layers.Dense):
        return int(config["units"] * (channels + bias))
    if isinstance(layer, layers.BatchNormalization | layers.LayerNormalization):
        learned = int(config["scale"]) + int(config["center"])
        moving = 2 if isinstance(layer, layers.BatchNormalization) else 0
        return int((learned + moving) * channels)
    if isinstance(layer, layers.Normalization):
        return 2 * int(channels) + 1
    assert type(layer).__name__ == "LayerScale", type(layer)
    return int(channels)


def looked_at(function: Callable[[], keras.Model], ablation: Ablation) -> keras.Model | str:
    """Return the edited network without weights, or the error that says why there is none."""
    try:
        with weightless.without_weights():
            return ablation(weightless.looked_at(function))
    except AblationError as error:
        return str(error)


def takes_a_step(model: keras.Model) -> bool:
    """Tell whether a network, built as a training builds it, gives numbers and learns from them."""
    built = blueprint.build(blueprint.of(model), seed=0)
    x = np.random.default_rng(0).normal(size=(2, *built.input_shape[1:])).astype(np.float32)
    built.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    before = [np.array(each) for each in built.get_weights()]
    # Before the step: after one on two images, what InceptionV3 gives is no number.
    is_finite = bool(np.isfinite(built.predict_on_batch(x)).all())
    built.train_on_batch(x, np.array([0, 1]))
    return is_finite and any(
        not np.array_equal(a, b) for a, b in zip(before, built.get_weights(), strict=True)
    )


@pytest.mark.parametrize("ablation", EDITS[::3], ids=str)
def test_edits_of_a_public_architecture(ablation: Ablation) -> None:
    """Parameters are as counted by the textbook, or the error is one line that says what to do."""
    function = family("MobileNetV2", alpha=0.35)
    network = looked_at(function, ablation)
    if isinstance(network, str):
        assert "\n" not in network
        assert network.startswith(repr(ablation))
        return
    assert network.count_params() == counted(network)
    assert blueprint.of(network) != blueprint.of(weightless.looked_at(function))


@pytest.mark.slow
@pytest.mark.parametrize("function", FAMILIES, ids=lambda function: function.__name__)
def test_every_edit_of_every_family(function: Callable[[], keras.Model]) -> None:
    """Each gives a network of the right size that takes a step, or one line that says what to do.

    Building takes the most of the time: steps are taken with every third network.
    """
    blocks = leave_one_out(function, by="block", repair=True) if _has_blocks(function) else []
    edits = [*EDITS, *(each.values[0] for each in blocks[:4])]
    done = 0
    for ablation in edits:
        network = looked_at(function, ablation)  # type: ignore[arg-type] # a parameter's value
        if isinstance(network, str):
            assert "\n" not in network
            assert network.startswith(repr(ablation))
            continue
        assert network.count_params() == counted(network), repr(ablation)
        fits = network.count_params() <= MOST_TRAINED
        assert done % 3 or not fits or takes_a_step(network), repr(ablation)
        done += 1
    assert done >= 4


def _has_blocks(function: Callable[[], keras.Model]) -> bool:
    names = [layer.name for layer in weightless.looked_at(function).layers]
    return any(name.startswith("block") for name in names)
