"""Bytes, which reach a network as fractions in 0…1, and what in it would take them for bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import AblationError, Dataset
from pytest_ablation.training import fractions

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8)
CODES = IMAGES[:, 0, :, 0] % 5


def of(x: Any, y: Any = None) -> Dataset:
    """Return a data set of examples, the same ones in training and test."""
    y = np.arange(12) % 2 if y is None else y
    return Dataset(name="bytes", x_train=x, y_train=y, x_test=x, y_test=y)


def network(first: Callable[[Any], Any], shape: tuple[int, ...] = (4, 4, 3)) -> keras.Model:
    """Return a network that does something to its examples first."""
    given = keras.Input(shape)
    return keras.Model(given, layers.Dense(2)(layers.Flatten()(first(given))))


def adapted(layer: Any, examples: Any) -> Any:
    """Return a layer that has learned of examples."""
    layer.adapt(examples)
    return layer


MOBILE = keras.applications.mobilenet_v2.preprocess_input
RESNET = keras.applications.resnet.preprocess_input


def flipped(x: Any) -> Any:
    """Return images augmented and scaled, as in Keras's guide to fine-tuning."""
    return MOBILE(keras.Sequential([layers.RandomFlip()])(x))


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (MOBILE, "divides them again, by 127.5"),
        (flipped, "divides them again, by 127.5"),
        (RESNET, "shifts them by 123.68"),
        (lambda x: x * (1 / 255), "divides them again, by 255"),
        (lambda x: adapted(layers.Normalization(name="norm"), IMAGES)(x), '"norm" takes a mean of'),
        (
            lambda x: keras.Sequential([layers.Rescaling(1 / 255, name="scale")], name="in")(x),
            '"in/scale" divides them again',
        ),
    ],
)
def test_what_scales_images_of_bytes_once_more_is_refused(
    first: Callable[[Any], Any], said: str
) -> None:
    """A pretrained network would see its images all but black, and be found worth nothing."""
    with pytest.raises(AblationError, match=f"as fractions in 0…1, and its .*{said}"):
        fractions.check(of(IMAGES), network(first))
    fractions.check(of(IMAGES.astype("f")), network(first))


@pytest.mark.parametrize(
    "first",
    [
        lambda x: MOBILE(layers.Rescaling(255.0)(x)),
        lambda x: RESNET(x * 255.0),
        lambda x: (x - 0.5) / 0.25 + 1,
        lambda x: layers.Rescaling(2.0, offset=-1.0)(x),
        lambda x: adapted(layers.Normalization(), IMAGES / 255)(x),
        lambda x: layers.Conv2D(2, 3)(x) / 100,
    ],
)
def test_a_network_of_fractions_takes_images_of_bytes(first: Callable[[Any], Any]) -> None:
    """Who scales fractions as such, or makes bytes of them again first, is not refused."""
    fractions.check(of(IMAGES), network(first))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Embedding(5, 2, name="codes"),
        layers.CategoryEncoding(5, name="codes"),
        layers.IntegerLookup(vocabulary=[0, 1, 2, 3, 4], name="codes"),
        layers.Discretization([2.0, 4.0], name="codes"),
    ],
)
def test_codes_of_bytes_are_refused(layer: Any) -> None:
    """As fractions all of them would be of one category, and no category would tell anything."""
    with pytest.raises(AblationError, match=r'its layer "codes" (takes whole numbers|has bound)'):
        fractions.check(of(CODES), network(layer, (4,)))
    fractions.check(of(CODES.astype("int32")), network(layer, (4,)))


def test_each_input_is_looked_at_for_itself() -> None:
    """Bytes beside whole numbers are no mistake where it is the numbers that are codes."""
    pixels, codes = keras.Input((4,), name="pixels"), keras.Input((4,), name="codes", dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(5, 2, name="embed")(codes))
    model = keras.Model([pixels, codes], layers.Dense(2)(layers.concatenate([pixels, embedded])))
    whole = CODES.astype("int32")
    fractions.check(of({"codes": whole, "pixels": CODES}), model)
    fractions.check(of((CODES, whole)), model)
    for wrong in ({"codes": CODES, "pixels": whole}, (whole, CODES)):
        with pytest.raises(AblationError, match='"embed" takes whole numbers'):
            fractions.check(of(wrong), model)


def test_an_autoencoder_is_not_to_give_bytes() -> None:
    """Its loss would be of fractions beside numbers up to 255."""
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(3, 3, padding="same")])
    with pytest.raises(
        AblationError, match=r"reach the loss as they are, up to \d+\. Give y_train"
    ):
        fractions.check(of(IMAGES, IMAGES), model)
    fractions.check(of(IMAGES, IMAGES / 255), model)
    fractions.check(of(IMAGES, IMAGES > 99), model)
