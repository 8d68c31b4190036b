"""A copy of a network that would be another network is refused, before anything trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import AblationError, configure, insert, replace
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


class Constant(keras.Initializer):  # type: ignore[misc] # Keras is Any to mypy
    """An initializer whose configuration leaves out its setting."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return weights that are all alike."""
        return keras.ops.full(shape, self.value, dtype)


class Clipped(keras.constraints.Constraint):  # type: ignore[misc] # Keras is Any to mypy
    """A constraint whose configuration leaves out its setting."""

    def __init__(self, limit: float = 2.0) -> None:
        self.limit = limit

    def __call__(self, weight: Any) -> Any:
        """Return the weight, no number of it beyond the limit."""
        return keras.ops.clip(weight, -self.limit, self.limit)


class Starting(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer that makes its own initializer, as any copy of it does."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.starts_from = Constant(5.0)

    def call(self, x: Any) -> Any:
        """Return what it is given."""
        return x


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


class Scaling(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer with settings that are no arguments, some of them known when it is built."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.gain, self.axes = 1.0, [0, 1]
        self.width: int | None = None

    def build(self, shape: tuple[int, ...]) -> None:
        """Note how wide its input is."""
        self.width = int(shape[-1])
        self.last = len(shape) - 1

    def call(self, x: Any) -> Any:
        """Return a multiple of its input."""
        return self.gain * x


class Adversarial(keras.Sequential):  # type: ignore[misc] # Keras is Any to mypy
    """A network with a `compile` that takes more than Keras's."""

    def compile(self, beta: float = 1.0, **settings: Any) -> None:
        """Note its own argument."""
        super().compile(**settings)
        self.beta = beta


class Demanding(keras.Sequential):  # type: ignore[misc] # Keras is Any to mypy
    """One whose `compile` must be given more."""

    def compile(self, critic: Any, **settings: Any) -> None:
        """Note its own argument."""
        super().compile(**settings)
        self.critic = critic


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


def started() -> keras.Model:
    """Return one whose initializer's does, in a layer within a layer."""
    return of(
        layers.SpectralNormalization(layers.Dense(4, kernel_initializer=Constant(5.0)), name="n")
    )


def recurrent() -> keras.Model:
    """Return one whose initializer is Keras's own, which does."""
    cell = layers.SimpleRNN(4, recurrent_initializer=keras.initializers.Identity(0.1), name="rnn")
    return keras.Sequential([keras.Input((8, 1)), cell])


def clipped() -> keras.Model:
    """Return one whose constraint's configuration does."""
    return of(layers.Dense(4, kernel_constraint=Clipped(0.1), name="dense"))


def starting() -> keras.Model:
    """Return one whose layer makes an initializer by itself."""
    return of(Starting(name="starting"), layers.Dense(4, kernel_initializer=Constant()))


def at_its_default() -> keras.Model:
    """Return one where what is left out is at its default."""
    return of(Scaled(4, name="scaled"))


def tied() -> keras.Model:
    """Return a network of two layers with the same weights."""
    words = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(9, 8, name="words")
    x = layers.GlobalAveragePooling1D()(embedding(words))
    return keras.Model(words, Tied(embedding, name="head")(x))


def unscaled() -> keras.Model:
    """Return a network with a layer that is as its class makes it."""
    return of(Scaling(name="scaling"))


def scaled() -> keras.Model:
    """Return one where something was set on the layer afterwards."""
    model = unscaled()
    model.get_layer("scaling").gain = 5.0
    return model


def along_other_axes() -> keras.Model:
    """Return one where what was set is a list."""
    model = unscaled()
    model.get_layer("scaling").axes = [0, 2]
    return model


def uncompiled() -> keras.Model:
    """Return a network of a class with an own `compile`, which a training calls."""
    return Adversarial([keras.Input((8,)), layers.Dense(1)])


def compiled() -> keras.Model:
    """Return one that was compiled with what a training does not know."""
    model = uncompiled()
    model.compile(beta=3.0)
    return model


def demanding() -> keras.Model:
    """Return a network that a training cannot compile."""
    return Demanding([keras.Input((8,)), layers.Dense(1)])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (scaled, '"scaling": its gain is 5.0, and in a copy, .* it is 1.0. Take it in __init__'),
        (along_other_axes, r'"scaling": its axes is \[0, 2\], and in a copy, .* it is \[0, 1\]'),
        (compiled, r"Adversarial.compile\(\) takes beta, .* Have the network take beta in its __i"),
        (demanding, r"Demanding.compile\(\) takes critic, "),
        (part_frozen, '"block": its kernel is not trained, and in a copy, .* it is.'),
        (weight_frozen, '"first": its kernel is not trained'),
        (top_frozen, '"out": its kernel is not trained'),
        (whole_frozen, "Whole: its kernel is not trained"),
        (regularized, '"first": the regularizer of its kernel is not .* kernel_regularizer='),
        (constrained, '"first": the constraint of its kernel is not .* kernel_constraint='),
        (left_out, r'"scaled": Scaled.get_config\(\) leaves out gain'),
        (started, r'"n": Constant.get_config\(\) leaves out value'),
        (recurrent, r'"rnn": Identity.get_config\(\) leaves out gain'),
        (clipped, r'"dense": Clipped.get_config\(\) leaves out limit'),
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


@pytest.mark.parametrize("function", [plain, at_its_default, starting, unscaled, uncompiled, Whole])
def test_what_a_configuration_tells_is_taken(function: Callable[[], keras.Model]) -> None:
    """What can be copied is studied, whatever its layers are made of."""
    model = weightless.looked_at(function)
    built = blueprint.build(blueprint.of(model), seed=0)
    assert len(built.trainable_variables) == len(model.trainable_variables)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            insert(Scaled(4, gain=0.0, name="twice"), after="first"),
            '"twice": Scaled.* leaves out gain',
        ),
        (replace("first", lambda old: Scaled(4, gain=0.0, name="other")), '"other": Scaled.*gain'),
        (
            configure("first", kernel_initializer=Constant(5.0)),
            'the kernel_initializer of "first": Constant.* leaves out value',
        ),
    ],
)
def test_what_an_edit_brings_and_its_configuration_does_not_tell_is_refused(
    edit: Any, said: str
) -> None:
    """The variant would have a default, and the finding say what another setting does."""
    with pytest.raises(AblationError, match=said):
        edit(plain())
