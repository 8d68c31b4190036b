"""Networks as canonical JSON: names, initial weights and random masks that only they decide."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import AblationError, configure, insert, remove, replace
from pytest_ablation.network import blueprint, weightless
from tests.tiny import net


def unnamed() -> keras.Model:
    """Return a network whose layers Keras names, but for one that looks as if it did."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3),
            layers.Dense(3, name="dense_first"),
            layers.Dense(2),
        ]
    )


@keras.saving.register_keras_serializable("tests")
class Scale(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer of a user's own whose weights come from an initializer without a seed."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Make one weight a feature."""
        self.scale = self.add_weight(shape=shape[-1:], initializer="random_normal")

    def call(self, x: object) -> object:
        """Scale the features."""
        return x * self.scale


def scaled() -> keras.Model:
    """Return a network with layers of a user's own."""
    return keras.Sequential(
        [keras.Input((4,)), Scale(name="first"), Scale(name="second"), layers.Dense(2, name="out")]
    )


def slope(x: Any) -> Any:
    """Return an activation of a user's own."""
    return x * 0.5


class Block(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer of a user's own that leaves it to Keras to build the layers in it."""

    def __init__(self, units: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.units = units
        self.dense, self.drop = layers.Dense(units), layers.Dropout(0.5)

    def call(self, x: Any) -> Any:
        """Return what the layers give."""
        return self.drop(self.dense(x))

    def compute_output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape with as many features as units."""
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "units": self.units}


def blocks() -> keras.Model:
    """Return a network of blocks, one in a layer of Keras's, and of functions."""
    return keras.Sequential(
        [
            keras.Input((3, 4)),
            Block(4, name="first"),
            Block(4, name="second"),
            layers.TimeDistributed(Block(4), name="third"),
            layers.Dense(4, activation=slope, name="dense"),
            layers.Lambda(slope, name="own"),
            layers.Lambda(lambda x: x + 1, name="anonymous"),
        ]
    )


def sequence() -> keras.Model:
    """Return a network of layers that have layers."""
    given = keras.Input((3, 4))
    x = layers.MultiHeadAttention(2, 4, name="first")(given, given)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="second")(x)
    x = layers.RNN([layers.LSTMCell(4), layers.GRUCell(4)], return_sequences=True, name="third")(x)
    return keras.Model(given, layers.TimeDistributed(layers.Dense(2), name="last")(x))


@pytest.mark.parametrize("network", [unnamed, sequence, blocks])
def test_a_network_is_the_same_json_however_often_it_was_built(
    network: Callable[[], keras.Model],
) -> None:
    """A fingerprint does not depend on what Keras built before in this process."""
    first, second = (blueprint.of(blueprint.fresh(network)) for _ in range(2))
    assert first == second


def test_names_are_those_of_a_first_build() -> None:
    """What Keras numbers over the whole process is numbered within the network."""
    assert [layer.name for layer in blueprint.fresh(unnamed).layers] == [
        "dense",
        "dense_first",
        "dense_1",
    ]


def test_a_function_that_returns_no_model_is_named() -> None:
    """A model function that forgets its return says so."""

    def forgot() -> None:
        net()

    with pytest.raises(AblationError, match=r"forgot\(\) returned NoneType"):
        blueprint.fresh(forgot)


@pytest.mark.parametrize(
    ("network", "gone"),
    [
        (net, "drop1"),
        (net, "drop*"),
        (scaled, "first"),
        (blocks, "first"),
        (blocks, "own"),
        (sequence, "first"),
    ],
)
def test_variant_and_baseline_start_from_equal_weights(
    network: Callable[[], keras.Model], gone: str
) -> None:
    """With one seed, every layer that a variant shares with its baseline starts the same."""
    model = blueprint.fresh(network)
    baseline = blueprint.build(blueprint.of(model), seed=3)
    variant = blueprint.build(blueprint.of(remove(gone)(model)), seed=3)
    shared = [layer for layer in variant.layers if layer.weights]
    assert len(shared) >= 2
    for layer in shared:
        for ours, theirs in zip(
            layer.get_weights(), baseline.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_another_seed_gives_other_weights() -> None:
    """Seeds are independent repetitions, and so are layers of one shape."""
    network = blueprint.of(scaled())
    one, other = (blueprint.build(network, seed) for seed in (0, 1))
    weights = [
        model.get_layer(name).get_weights()[0]
        for model in (one, other)
        for name in ("first", "second")
    ]
    assert all(not np.array_equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_dropout_masks_stay_when_another_layer_goes() -> None:
    """Taking a layer out does not shift the random numbers of those after it."""
    model = blueprint.fresh(net)
    x = np.ones((5, 8), np.float32)
    masks = [
        np.asarray(
            keras.ops.convert_to_numpy(
                blueprint.build(blueprint.of(each), 0).get_layer("drop2")(x, training=True)
            )
        )
        for each in (model, remove("drop1")(model))
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert 0 < np.count_nonzero(masks[0]) < masks[0].size


def test_a_seed_of_the_users_own_still_makes_each_repetition_another() -> None:
    """A seed written into a layer does not make all seeds of a study the same."""

    def seeded() -> keras.Model:
        start = keras.initializers.GlorotUniform(seed=1)
        return keras.Sequential(
            [keras.Input((4,)), layers.Dense(3, kernel_initializer=start, name="dense1")]
        )

    one, other = (blueprint.build(blueprint.of(seeded()), seed) for seed in (0, 1))
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


def test_sources_name_what_is_not_kerass_own() -> None:
    """A trial knows the source of the user's layers, so editing one makes another trial."""
    assert list(blueprint.sources(scaled())) == [f"{__name__}:Scale"]
    assert blueprint.sources(net()) == {}


class Own(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network of a class of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x: Any) -> Any:
        """Compute what no graph of layers says."""
        return 2 * self.dense(x)


def test_the_class_of_a_network_counts_as_source() -> None:
    """Its call, its step or its loss is the user's own: runs of another are not reused for it."""
    assert list(blueprint.sources(Own())) == [f"{__name__}:Own"]


class Sparse(keras.regularizers.Regularizer):  # type: ignore[misc] # Keras is Any to mypy
    """A penalty of the user's own."""

    def __call__(self, x: Any) -> Any:
        """Return it."""
        return keras.ops.sum(keras.ops.abs(x))

    def get_config(self) -> dict[str, Any]:
        """Return the settings, of which there are none."""
        return {}


def test_the_source_of_what_a_layer_was_given_is_part_of_a_trial() -> None:
    """An edit of one's own regularizer trains anew, in a cell within a layer too."""
    cell = layers.GRUCell(2, kernel_regularizer=Sparse(), bias_regularizer="l2")
    network = keras.Sequential([keras.Input((4, 3)), layers.RNN(cell)])
    assert list(blueprint.sources(network)) == [f"{__name__}:Sparse"]


def loaded() -> keras.Model:
    """Return a network that computes with its weights while it is built."""
    model = net()
    layer = model.get_layer("dense1")
    layer.set_weights([np.ones_like(weight) for weight in layer.get_weights()])
    return model


@pytest.mark.parametrize("function", [net, loaded])
def test_a_network_that_is_looked_at_is_the_network_that_is_trained(
    function: Callable[[], keras.Model],
) -> None:
    """What is read off a network without weights is what training builds; once for all who ask."""
    looked_at, trained = weightless.looked_at(function), blueprint.fresh(function)
    assert blueprint.of(looked_at) == blueprint.of(trained)
    one, other = (blueprint.summary(model).splitlines()[1:] for model in (looked_at, trained))
    assert one == other  # below the title, where Keras has numbered the two
    assert looked_at.count_params() == trained.count_params()
    assert weightless.looked_at(function) is looked_at


def test_layers_within_a_layer_start_apart() -> None:
    """Query and key of attention, and both ways of a sequence, do not start as one and the same."""
    built = blueprint.build(blueprint.of(blueprint.fresh(sequence)), seed=0)
    attention, both = built.get_layer("first"), built.get_layer("second")
    assert not np.array_equal(attention.query_dense.kernel, attention.key_dense.kernel)
    ways = [each.cell.kernel for each in (both.forward_layer, both.backward_layer)]
    assert not np.array_equal(*ways)


def test_random_masks_within_a_layer_are_those_of_the_seed_and_its_name() -> None:
    """Taking a layer out leaves the masks within another, of the user's own, as they were."""
    model = blueprint.fresh(blocks)
    networks = [blueprint.of(each) for each in (model, remove("first")(model))]
    states = [
        blueprint.build(each, seed=1).get_layer("second").drop.seed_generator.state.numpy()
        for each in networks
    ]
    assert np.array_equal(states[0], states[1])


def test_functions_and_layers_within_layers_count_as_source() -> None:
    """Changing the body of an activation, or of a layer in a wrapper, trains the network anew."""
    named = {name.rpartition(":")[2] for name in blueprint.sources(blueprint.fresh(blocks))}
    assert named == {"Block", "slope"}


def test_a_layer_in_two_networks_is_refused() -> None:
    """A copy would have its weights twice, and a study of it would be of another network."""

    def network() -> keras.Model:
        given, shared = keras.Input((4,)), layers.Dense(4, name="shared")
        inner = keras.Model(given, shared(given), name="inner")
        return keras.Model(given, inner(shared(given)))

    message = 'the layer "shared" is in two networks, as "shared" and as "inner/shared"'
    for act in (weightless.looked_at, lambda function: remove("shared")(function())):
        with pytest.raises(AblationError, match=message):
            act(network)


def adapted(layer: keras.layers.Layer, seen: Any) -> keras.Model:
    """Return a network with a layer that has learned of data, in a network within it."""
    layer.adapt(seen)
    first = keras.Sequential([keras.Input((3,)), layer], name="first")
    given = keras.Input((3,))
    return keras.Model(given, layers.Dense(2, name="out")(layers.Dropout(0.5)(first(given))))


SEEN = np.random.default_rng(0).normal([5, 6, 7], [1, 2, 3], (50, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: adapted(layers.Normalization(), SEEN),
        lambda: adapted(layers.Normalization(axis=None), SEEN),
        lambda: adapted(layers.Discretization(num_bins=4), SEEN.ravel()),
    ],
)
def test_what_was_learned_of_data_before_training_stays(make: Callable[[], keras.Model]) -> None:
    """Baseline and variant have the statistics that the user's function has adapted."""
    model = weightless.looked_at(make)
    expected = make().get_layer("first")(SEEN)
    for network in (model, remove(layers.Dropout)(model), remove(layers.Dropout)(make())):
        built = blueprint.build(blueprint.of(network), seed=0).get_layer("first")
        np.testing.assert_allclose(built(SEEN), expected, rtol=1e-5)
    assert blueprint.of(model) == blueprint.of(blueprint.fresh(make))


def test_statistics_that_would_be_others_make_another_network() -> None:
    """Another mean is another trial, and a layer that has learned nothing is no copy of one."""
    model, other = (adapted(layers.Normalization(name="norm"), x) for x in (SEEN, SEEN + 1))
    assert blueprint.of(model) != blueprint.of(other)
    assert model.get_layer("first").get_layer("norm").input_mean is None
    plain = replace("first/norm", layers.Normalization())(model)
    np.testing.assert_allclose(plain.get_layer("first")(SEEN), SEEN)


def test_a_vocabulary_stays() -> None:
    """Words have the numbers in every copy that were learned; how often they are is refused."""
    seen = np.array([3, 5, 5, 8, 8, 8])

    def network(mode: str) -> keras.Model:
        layer = layers.IntegerLookup(output_mode=mode, name="words")
        layer.adapt(seen)
        return keras.Sequential([keras.Input((2,), dtype="int64"), layer])

    for mode in ("int", "multi_hot"):
        model = network(mode)
        built = blueprint.build(blueprint.of(model), seed=0)
        np.testing.assert_array_equal(built(seen.reshape(3, 2)), model(seen.reshape(3, 2)))
    with pytest.raises(AblationError, match=r"give the layer .* vocabulary= and idf_weights="):
        blueprint.of(network("tf_idf"))


@pytest.mark.parametrize(
    ("layer", "seen", "change", "learned"),
    [
        (
            *(layers.Discretization(num_bins=4, name="first"), SEEN.ravel()),
            *({"num_bins": 6}, {"bin_boundaries": [1.0, 2.0]}),
        ),
        pytest.param(
            *(layers.IntegerLookup(max_tokens=4, name="first"), np.array([3, 5, 5, 8])),
            *({"max_tokens": 9}, {"vocabulary": [3, 8]}),
            marks=pytest.mark.skipif(
                keras.backend.backend() == "jax", reason="JAX does not trace a lookup"
            ),
        ),
    ],
)
def test_what_data_was_learned_by_is_not_changed_alone(
    layer: keras.layers.Layer, seen: Any, change: dict[str, Any], learned: dict[str, Any]
) -> None:
    """The layer would do as before, and the finding say that another number of bins changes it."""
    layer.adapt(seen)
    model = keras.Sequential([keras.Input((1,), dtype=str(seen.dtype)), layer])
    with pytest.raises(AblationError, match=r'"first" has its \w+ from adapt\(\).*use\(that_func'):
        configure("first", **change)(model)
    as_before = {name: layer.get_config()[name] for name in change}
    with pytest.raises(AblationError, match="nothing would change"):
        configure("first", **as_before)(model)
    changed = configure("first", **change, **learned)(model).get_layer("first").get_config()
    assert changed.items() >= (change | learned).items()


FACTOR = 3.0


def with_lambda(function: Callable[[Any], Any]) -> keras.Model:
    """Return a network with a layer of a lambda."""
    scaling = layers.Lambda(function, name="scaling")
    return keras.Sequential([keras.Input((8,)), scaling, layers.Dense(1, name="last")])


def times(value: Any) -> Callable[[Any], Any]:
    """Return a lambda that uses nothing but a value from around it."""
    return lambda x: x * (max(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("function", "used"),
    [
        (lambda x: x * FACTOR, "FACTOR"),
        (lambda x: keras.ops.abs(x) * FACTOR, "keras, FACTOR"),
        (lambda x: sum(x * FACTOR for _ in range(2)), "FACTOR"),
        (lambda x, power=2: x**power, "power"),
        (times(np.ones(8, "float32")), "value"),
    ],
)
def test_a_lambda_that_no_copy_could_call_is_refused(
    function: Callable[[Any], Any], used: str
) -> None:
    """It is said before anything is edited or trained, with the layer and what to write.

    Else a copy has no weights, and a training ends in a NameError.
    """
    said = re.escape(f'the lambda of the Lambda layer "scaling" uses {used}, which')
    with pytest.raises(AblationError, match=said):
        blueprint.fresh(lambda: with_lambda(function))
    with pytest.raises(AblationError, match=said):
        blueprint.of(with_lambda(function))
    added = insert(layers.Lambda(function, name="other"), after="scaling")
    with pytest.raises(AblationError, match=f'"other" uses {used}'):
        added(with_lambda(lambda x: x))


@pytest.mark.parametrize("kind", [layers.Dense, layers.SimpleRNN])
def test_an_activation_that_no_copy_could_have_is_refused(kind: Any) -> None:
    """Keras writes a lambda's code, and cannot read it: its message was of that code alone."""
    shape = (8,) if kind is layers.Dense else (8, 1)
    for activation, said in (
        (lambda x: x * 2, 'the activation of "doubling" is a lambda, which'),
        (Doubling(), "cannot be copied: .* a class must implement the `get_config"),
    ):
        layer = kind(2, activation=activation, name="doubling")
        with pytest.raises(AblationError, match=said):
            blueprint.of(keras.Sequential([keras.Input(shape), layer]))


class Doubling:
    """An activation that is an object."""

    def __call__(self, x: Any) -> Any:
        """Return twice of it."""
        return x * 2


class Squaring(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer of a user's own that makes a lambda itself."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.squared = layers.Lambda(lambda x: keras.ops.square(x) * FACTOR)

    def call(self, x: Any) -> Any:
        """Return a multiple of the squares."""
        return self.squared(x)


@pytest.mark.parametrize(
    "network",
    [
        partial(with_lambda, lambda x: x.__abs__() * abs(-3.0)),
        partial(with_lambda, times(FACTOR)),
        partial(with_lambda, times([1.0, FACTOR])),
        lambda: keras.Sequential([keras.Input((8,)), Squaring(), layers.Dense(1)]),
    ],
)
def test_a_lambda_that_a_copy_can_call_is_none_to_refuse(
    network: Callable[[], keras.Model],
) -> None:
    """Numbers around it, what Python has, and what a layer of one's own makes are all there."""
    model = blueprint.fresh(network)
    built = blueprint.build(blueprint.of(model), seed=0)
    built.set_weights(model.get_weights())
    x = np.arange(16, dtype="float32").reshape(2, 8)
    one, other = (keras.ops.convert_to_numpy(each(x)) for each in (built, model))
    np.testing.assert_allclose(one, other, rtol=1e-6)
