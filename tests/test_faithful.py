"""A copy of a network that would be another network is refused, before anything trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import AblationError
from pytest_ablation.network import blueprint, weightless


class Block(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer made of layers."""

    def __init__(self, units: int = 4, **settings: Any) -> None:
        super().__init__(**settings)
        self.units = units
        self.first, self.second = layers.Dense(units), layers.Dense(units)

    def call(self, x: Any) -> Any:
        """Return what both make of it."""
        return self.second(self.first(x))

    def get_config(self) -> dict[str, Any]:
        """Return the settings."""
        return {**super().get_config(), "units": self.units}


class Scaled(layers.Dense):  # type: ignore[misc] # Keras is Any to mypy
    """A layer whose configuration leaves out a setting."""

    def __init__(self, units: int, gain: float = 1.0, **settings: Any) -> None:
        super().__init__(units, **settings)
        self.factor = gain

    def call(self, x: Any) -> Any:
        """Return what it makes of its input."""
        return self.factor * super().call(x)


class Tied(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A head with the weights of another layer."""

    def __init__(self, embedding: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.embedding = embedding

    def build(self, shape: Any) -> None:
        """Have the other layer's weights made."""
        if not self.embedding.built:
            self.embedding.build(None)

    def call(self, x: Any) -> Any:
        """Return a number a word."""
        return keras.ops.matmul(x, keras.ops.transpose(self.embedding.embeddings))

    def get_config(self) -> dict[str, Any]:
        """Return the settings."""
        embedding = keras.saving.serialize_keras_object(self.embedding)
        return {**super().get_config(), "embedding": embedding}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Tied:
        """Return a layer of its settings."""
        return cls(keras.saving.deserialize_keras_object(config.pop("embedding")), **config)


class Whole(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network whose call is code of its own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.body, self.head = layers.Dense(4), layers.Dense(1)

    def call(self, x: Any) -> Any:
        """Return what its layers make of it."""
        return self.head(self.body(x))

    def get_config(self) -> dict[str, Any]:
        """Return the settings, of which there are none."""
        return {"name": self.name}


def of(*parts: layers.Layer) -> keras.Model:
    """Return a network of layers."""
    return keras.Sequential([keras.Input((8,)), *parts, layers.Dense(1, name="out")])


def plain() -> keras.Model:
    """Return a network that is what its configuration says, a frozen layer included."""
    model = of(layers.Dense(4, name="first", kernel_regularizer="l2"), Block(4, name="block"))
    model.get_layer("first").trainable = False
    return model


def part_frozen() -> keras.Model:
    """Return a network in which part of a layer was frozen."""
    model = of(Block(4, name="block"))
    model.get_layer("block").first.trainable = False
    return model


def weight_frozen() -> keras.Model:
    """Return a network in which one weight was frozen."""
    model = of(layers.Dense(4, name="first"))
    model.get_layer("first").kernel.trainable = False
    return model


def top_frozen() -> keras.Model:
    """Return a network that is frozen, and whose last layer is not."""
    model = of(layers.Dense(4, name="first"))
    model.trainable = False
    model.layers[-1].trainable = True
    return model


def whole_frozen() -> keras.Model:
    """Return a network of a class of its own, part of it frozen."""
    model = Whole()
    model(np.zeros((1, 8), "f"))
    model.body.trainable = False
    return model


def regularized() -> keras.Model:
    """Return a network to one of whose weights a regularizer was given."""
    model = of(layers.Dense(4, name="first"))
    model.get_layer("first").kernel.regularizer = keras.regularizers.L2(0.5)
    return model


def constrained() -> keras.Model:
    """Return a network to one of whose weights a constraint was given."""
    model = of(layers.Dense(4, name="first"))
    model.get_layer("first").kernel.constraint = keras.constraints.MaxNorm(1.0)
    return model


def left_out() -> keras.Model:
    """Return a network with a layer whose configuration leaves out a setting."""
    return of(Scaled(4, gain=0.0, name="scaled"))


def at_its_default() -> keras.Model:
    """Return one where what is left out is at its default."""
    return of(Scaled(4, name="scaled"))


def tied() -> keras.Model:
    """Return a network of two layers with the same weights."""
    words = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(9, 8, name="words")
    x = layers.GlobalAveragePooling1D()(embedding(words))
    return keras.Model(words, Tied(embedding, name="head")(x))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (part_frozen, '"block": its kernel is not trained, and in a copy, .* it is.'),
        (weight_frozen, '"first": its kernel is not trained'),
        (top_frozen, '"out": its kernel is not trained'),
        (whole_frozen, "Whole: its kernel is not trained"),
        (regularized, '"first": the regularizer of its kernel is not .* kernel_regularizer='),
        (constrained, '"first": the constraint of its kernel is not .* kernel_constraint='),
        (left_out, r'"scaled": Scaled.get_config\(\) leaves out gain'),
        (tied, '"head" shares its embeddings with "words"'),
    ],
)
def test_what_a_configuration_does_not_tell_is_refused(
    function: Callable[[], keras.Model], message: str
) -> None:
    """Each training builds a copy: it would train what is frozen here, or train it otherwise."""
    for look in (blueprint.fresh, weightless.looked_at):
        with pytest.raises(AblationError, match=message):
            look(function)


@pytest.mark.parametrize("function", [plain, at_its_default, Whole])
def test_what_a_configuration_tells_is_taken(function: Callable[[], keras.Model]) -> None:
    """What can be copied is studied, whatever its layers are made of."""
    model = weightless.looked_at(function)
    built = blueprint.build(blueprint.of(model), seed=0)
    assert len(built.trainable_variables) == len(model.trainable_variables)
