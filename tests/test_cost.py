"""What networks cost: against XLA's count, published ones, and arithmetic by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import pytest
import tensorflow as tf
from keras import layers

from pytest_ablation.network import blueprint, cost, weightless
from tests.xla import NETWORKS


@pytest.fixture(scope="module")
def counts_under_jax() -> dict[str, tuple[int, float]]:
    """Our count and XLA's of each network, under JAX."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.xla"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    )
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_count_is_that_of_xla(
    name: str, counts_under_jax: dict[str, tuple[int, float]]
) -> None:
    """A layer's operations are those that a compiler finds in it, whatever Keras runs on."""
    function, apart = NETWORKS[name]
    counted = cost.of(weightless.looked_at(function))
    ours, by_xla = counts_under_jax[name]
    assert counted.uncounted == ()
    assert counted.flops == ours
    assert counted.flops == pytest.approx(by_xla, rel=apart)


PUBLISHED = {  # multiply-adds of one 224 × 224 image, in millions
    "VGG16": 15_300,  # He et al., 2015, section 4.1
    "ResNet50": 3_800,  # He et al., 2015, table 1
    "MobileNet": 569,  # Howard et al., 2017, table 4
    "MobileNetV2": 300,  # Sandler et al., 2018, table 4
    "EfficientNetB0": 390,  # Tan and Le, 2019, table 2
    "ConvNeXtTiny": 4_500,  # Liu et al., 2022, table 1
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_architectures_cost_what_was_published(name: str) -> None:
    """In kernels, halved to multiply-adds as papers have them, within what they round off."""
    model = weightless.looked_at(lambda: getattr(keras.applications, name)(weights=None))
    counted = cost.of(model)
    kernels = sum(counted.layers[path] for path, layer in leaves(model) if has_kernel(layer))
    assert counted.uncounted == ()
    assert kernels / 2e6 == pytest.approx(PUBLISHED[name], rel=0.02)
    assert kernels < counted.flops < 1.15 * kernels  # the rest: normalisation and activations


def leaves(model: keras.Model, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the layers of a network, those of networks in it too, with their paths."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer, f"{path}{layer.name}/")
        else:
            yield path + layer.name, layer


def has_kernel(layer: keras.layers.Layer) -> bool:
    """Tell whether a layer is dense or a convolution."""
    kinds = (layers.Dense, layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
    return isinstance(layer, kinds)


def shared() -> keras.Model:
    """Return a network with a network that is called twice, on images of two sizes."""
    within = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, name="conv"),
            layers.GlobalAveragePooling2D(name="pool"),
        ],
        name="within",
    )
    small, large = keras.Input((10, 10, 3)), keras.Input((20, 20, 3))
    both = layers.Add(name="add")([within(small, training=False), within(large)])
    return keras.Model([small, large], {"both": both})


def test_a_shared_network_counts_at_each_call_and_its_size() -> None:
    """Sharing saves parameters and no time, and each call has the size of its own input."""
    places = 8 * 8 + 18 * 18
    assert cost.of(weightless.looked_at(shared)).layers == {
        "within/conv": (2 * 27 + 1) * 4 * places,
        "within/pool": 4 * places,
        "add": 4,
    }


def of_one(make: Callable[[], keras.layers.Layer], *shape: int | None) -> cost.Cost:
    """Return the cost of a network of one layer."""
    with keras.StatelessScope(initialize_variables=False):
        return cost.of(keras.Sequential([keras.Input(shape), make()]))


@pytest.mark.parametrize(
    ("make", "flops"),
    [
        (lambda: layers.Embedding(10, 4), 0),
        (layers.Flatten, 0),
        (lambda: layers.Dropout(0.5), 2 * 24),
        (lambda: layers.Dropout(0.0), 0),
        (layers.BatchNormalization, 6 * 24),
        (lambda: layers.BatchNormalization(trainable=False), 2 * 24),
        (lambda: layers.UpSampling1D(2), 0),
        (lambda: layers.PReLU(), 5 * 24),
        (lambda: layers.Softmax(), 5 * 24),
        (lambda: layers.LSTM(3, dropout=0.5, name="lstm"), 6 * 3 * (2 * 4 * (4 + 3) + 8 + 14 + 4)),
        (lambda: layers.SpectralNormalization(layers.Dense(2)), 6 * 2 * (2 * 4 + 1)),
        (lambda: layers.Dense(2, activation=layers.ReLU()), 6 * 2 * (2 * 4 + 2)),
    ],
)
def test_layers_by_hand(make: Callable[[], keras.layers.Layer], flops: int) -> None:
    """What papers leave out is counted as the documentation says."""
    counted = of_one(make, 6, 4)
    assert (counted.flops, counted.uncounted) == (flops, ())


class Scaled(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer of a user's own, made of Keras operations and a layer of Keras's."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Make one weight a feature."""
        self.scale = self.add_weight(shape=shape[-1:])
        self.dense = layers.Dense(2)
        self.dense.build(shape)

    def call(self, x: Any, training: bool = False) -> Any:
        """Scale, and while it trains add noise."""
        x = self.dense(x * self.scale)
        return x + keras.random.normal(keras.ops.shape(x)) if training else x


class Foreign(layers.Layer):  # type: ignore[misc] # likewise
    """A layer of a user's own that is TensorFlow's."""

    def __init__(self, times: int = 1, **settings: Any) -> None:
        super().__init__(**settings)
        self.times = times

    def call(self, x: Any) -> Any:
        """Do what is none of Keras's operations."""
        return tf.nn.relu(x)

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the shape, which stays."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Return the settings."""
        return {**super().get_config(), "times": self.times}


class Twice(layers.Dense):  # type: ignore[misc] # likewise
    """A layer of Keras's that computes in a way of its own."""

    def call(self, x: Any) -> Any:
        """Double the output."""
        return 2 * super().call(x)


def test_a_layer_of_ones_own_is_counted_by_the_operations_in_it() -> None:
    """A user's block of Keras layers and operations counts, without a word about its cost."""
    counted = of_one(lambda: Scaled(name="scaled"), 6, 4)
    assert counted == cost.Cost({"scaled": 6 * 4 + 6 * 2 * 9 + 6 * 2})
    assert of_one(lambda: Twice(2), 6, 4).flops == 6 * 2 * 9 + 6 * 2


class Weighing(layers.Layer):  # type: ignore[misc] # likewise
    """A layer of a user's own that does something with its weights."""

    def __init__(self, weigh: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.weigh = weigh

    def build(self, shape: tuple[int, ...]) -> None:
        """Make weights of each kind, and in each kind of collection."""
        self.scale = self.add_weight(shape=shape[-1:])
        self.slope = self.add_weight(shape=())
        self.kept = self.add_weight(shape=shape[-1:], trainable=False)
        self.several = [self.add_weight(shape=shape[-1:]), (self.add_weight(shape=()), "name")]
        self.named = {"matrix": self.add_weight(shape=(5, shape[-2]))}

    def call(self, x: Any) -> Any:
        """Do it."""
        return self.weigh(self, x)


@pytest.mark.parametrize(
    ("weigh", "flops"),
    [
        (lambda layer, x: x * layer.scale, 24),
        (lambda layer, x: layer.scale * x, 24),
        (lambda layer, x: layer.slope * x, 24),
        (lambda layer, x: -layer.scale * x, 24),
        (lambda layer, x: layer.kept - x / layer.scale, 2 * 24),
        (lambda layer, x: 1 / (1 + keras.ops.exp(layer.slope)) * x, 24),
        (lambda layer, x: keras.ops.exp(layer.scale * x), 2 * 24),
        (lambda layer, x: layer.several[0] * x + layer.several[1][0], 2 * 24),
        (lambda layer, x: layer.named["matrix"] @ x, 2 * 5 * 6 * 4),
    ],
)
def test_a_layers_own_weights_may_stand_before_an_operator(
    weigh: Callable[[Any, Any], Any], flops: int
) -> None:
    """What is done with an example counts wherever the weight is written, on each backend.

    What is done with weights alone does not: it is once a step, and not once an example.
    """
    with keras.StatelessScope(initialize_variables=False):
        model = keras.Sequential([keras.Input((6, 4)), Weighing(weigh)])
        before = dict(vars(model.layers[0]))
        counted = cost.of(model)
    assert (counted.flops, counted.uncounted) == (flops, ())
    after = vars(model.layers[0])
    assert all(after[name] is value for name, value in before.items())


def test_what_cannot_be_counted_is_named() -> None:
    """A user is told which layers a count leaves out and why; what is known still counts."""
    counted = of_one(lambda: Foreign(name="mine"), 6, 4)
    assert counted.unknown == ("mine",)
    assert "Foreign is not made of Keras operations alone" in counted.uncounted[0].why
    in_part = of_one(lambda: layers.Dense(2, activation=tf.nn.relu, name="dense"), 6, 4)
    assert in_part.layers == {"dense": 6 * 2 * 9}
    assert in_part.unknown == ("dense",)
    steps = of_one(lambda: layers.TimeDistributed(Foreign(), name="steps"), 6, 4)
    assert steps.unknown == ("steps",)


def test_calls_that_cannot_be_counted_are_told_apart_by_settings_and_shapes() -> None:
    """Two arms whose unknown layers differ are never taken for equal."""
    makes = (lambda: Foreign(), lambda: Foreign(name="other"), lambda: Foreign(times=2))
    one, renamed, twice = (of_one(make, 6, 4).uncounted[0].call for make in makes)
    assert one == renamed
    assert len({one, twice, of_one(makes[0], 5, 4).uncounted[0].call}) == 3


def test_a_size_left_open_is_named_or_taken_from_the_data() -> None:
    """A network for images of any size costs what the study's own images cost."""
    model = keras.Sequential([keras.Input((None, 8)), layers.Conv1D(4, 3, name="conv")])
    assert cost.of(model).unknown == ("conv",)
    assert "?×8" in cost.of(model).uncounted[0].why
    assert cost.of(model, (10, 8)) == cost.Cost({"conv": 8 * 4 * (2 * 3 * 8 + 1)})


def test_a_fixed_batch_is_shared_among_its_examples() -> None:
    """The cost is that of an example, however many of them the network wants at once."""
    model = keras.Sequential([keras.Input(batch_shape=(32, 8)), layers.Dense(4)])
    assert cost.of(model).flops == 4 * (2 * 8 + 1)


def test_counting_leaves_a_network_as_it_was() -> None:
    """A network that was counted is the one that is trained, and gets no weights by it."""

    def network() -> keras.Model:
        return keras.Sequential([keras.Input((6, 4)), layers.LSTM(3), layers.Dense(2)])

    model = weightless.looked_at(network)
    before = blueprint.of(model)
    assert cost.of(model) == cost.of(model)
    assert blueprint.of(model) == before
    assert all(weight._value is None for weight in model.trainable_weights)
