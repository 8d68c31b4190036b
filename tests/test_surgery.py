"""Edits of networks that are graphs: branches, nested networks, shared layers, several ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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
    remove,
    replace,
    shortcut,
)
from pytest_ablation.network import anatomy, blueprint, difference, weightless
from tests.backend import on_jax


def names(model: keras.Model) -> list[str]:
    """Return the layers' names, in order, without the inputs'."""
    return [layer.name for layer in model.layers if not isinstance(layer, layers.InputLayer)]


def takes(model: keras.Model, name: str) -> list[str]:
    """Return the names of the layers that give a layer what it takes."""
    config = next(each for each in model.get_config()["layers"] if each["name"] == name)
    tensors = keras.tree.flatten(
        [[node["args"], node["kwargs"]] for node in blueprint_json(config["inbound_nodes"])]
    )
    return [each for each in tensors if isinstance(each, str) and each in operations(model)]


def blueprint_json(nodes: Any) -> list[dict[str, Any]]:
    """Return the nodes with the names of layers in the place of Keras tensors."""

    def named(value: Any) -> Any:
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return value["config"]["keras_history"][0]
        if isinstance(value, dict):
            return {key: named(each) for key, each in value.items()}
        return [named(each) for each in value] if isinstance(value, list | tuple) else None

    return [named(node) for node in nodes]


def operations(model: keras.Model) -> set[str]:
    """Return the names of layers and operations."""
    return {operation.name for operation in model.operations}


def residual() -> keras.Model:
    """Return two residual blocks: one around an identity, one around a projection."""
    given = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(given)
    y = layers.BatchNormalization(name="block1_norm")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="block1_conv")(y)
    x = layers.Add(name="block1_add")([x, y])
    y = layers.BatchNormalization(name="block2_norm")(x)
    y = layers.Conv2D(8, 3, strides=2, padding="same", name="block2_conv1")(y)
    y = layers.Conv2D(8, 3, padding="same", name="block2_conv2")(y)
    skip = layers.Conv2D(8, 1, strides=2, name="block2_skip")(x)
    x = layers.Add(name="block2_add")([skip, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(given, layers.Dense(2, name="classes")(x))


def gated() -> keras.Model:
    """Return a squeeze-and-excite gate and a concatenation of three, written with operations."""
    given = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(given)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="se_squeeze")(x)
    gate = layers.Conv2D(2, 1, activation="relu", name="se_reduce")(gate)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="se_expand")(gate)
    x = layers.Multiply(name="se_excite")([x, gate])
    branches = [layers.Conv2D(2, size, padding="same", name=f"arm{size}")(x) for size in (1, 3, 5)]
    x = layers.Concatenate(name="arms")(branches)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = x + layers.Dense(6, name="side")(layers.Flatten(name="flatten")(given))
    return keras.Model(given, layers.Dense(2, name="classes")(x))


def nested() -> keras.Model:
    """Return a network with an encoder that is called twice, and a head of its own."""
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, activation="relu", name="dense1"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(4, name="dense2"),
        ],
        name="encoder",
    )
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    x = layers.Concatenate(name="both")([encoder(left), encoder(right)])
    x = layers.Dense(3, name="dense1")(x)
    return keras.Model([left, right], {"same": layers.Dense(1, name="out")(x), "code": x})


def attention() -> keras.Model:
    """Return a small transformer block on token ids, whose padding is masked."""
    given = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 8, mask_zero=True, name="embed")(given)
    own = keras.Input((6, 6), dtype="bool", name="visible")
    y = layers.MultiHeadAttention(2, 4, name="attend")(
        x, x, attention_mask=own, use_causal_mask=True
    )
    x = layers.LayerNormalization(name="norm")(layers.Add(name="add")([x, y]))
    x = layers.LSTM(4, name="lstm")(x)
    return keras.Model([given, own], layers.Dense(2, name="classes")(x))


def test_a_region_goes_as_one() -> None:
    """A glob takes a whole residual block out, and its neighbours join."""
    edited = remove("block1_*")(residual())
    assert names(edited) == [name for name in names(residual()) if not name.startswith("block1")]
    assert takes(edited, "block2_norm") == ["stem"]


def test_a_class_takes_each_of_its_layers_out_by_itself() -> None:
    """Layers that stand apart go apart: what entered each leaves it."""
    edited = remove(layers.BatchNormalization)(residual())
    assert takes(edited, "block1_conv") == ["stem"]
    assert takes(edited, "block2_conv1") == ["block1_add"]


def test_a_merge_alone_is_refused_with_the_edit_that_would_do() -> None:
    """Of two tensors that enter, which one stays is the user's to say."""
    message = (
        r'remove\("block1_add"\): 2 tensors enter "block1_add": from "stem" and "block1_conv"\. '
        r'Say which of them goes: cut\("stem", into="block1_add"\)'
    )
    with pytest.raises(AblationError, match=message):
        remove("block1_add")(residual())


def siamese() -> keras.Model:
    """Return a network whose merge has both of its inputs from one layer that is called twice."""
    given, shared = keras.Input((4,), name="vector"), layers.Dense(4, name="shared")
    x = layers.Multiply(name="both")([shared(given), shared(layers.Dense(4, name="turned")(given))])
    return keras.Model(given, layers.Dense(2, name="classes")(x))


@pytest.mark.parametrize(
    ("network", "edit", "merge"),
    [
        (residual, remove("block2_add"), "block2_add"),
        (siamese, remove("both"), "both"),
        (siamese, cut("shared", into="both"), "both"),
    ],
)
def test_the_edit_that_a_message_names_can_be_done(
    network: Callable[[], keras.Model], edit: Ablation, merge: str
) -> None:
    """Who copies a suggestion gets a network, also where both inputs are of a shared layer."""
    with pytest.raises(AblationError) as caught:
        edit(network())
    branch = re.findall(rf'cut\("(\w+)", into="{merge}"\)', str(caught.value))[-1]
    assert merge not in names(cut(branch, into=merge)(network()))


def test_a_merge_of_one_layers_tensors_names_no_cut() -> None:
    """Where no layer tells two tensors apart, no cut is suggested that would take both."""
    with pytest.raises(AblationError, match=r"a cut cannot name it\. Write .* use\(that_function"):
        remove("state")(recurrent(1, 2))


def test_the_shortcut_is_the_shortest_way() -> None:
    """Identities and projections go, and with them what only they needed."""
    edited = cut(shortcut, into=layers.Add)(residual())
    assert "block2_skip" not in names(edited)
    assert takes(edited, "pool") == ["block2_conv2"]
    assert takes(edited, "block2_norm") == ["block1_conv"]
    assert edited.count_params() == residual().count_params() - (4 * 8 + 8)


def test_a_branch_is_cut_by_any_layer_that_is_its_own() -> None:
    """A branch is named by the layer that ends it, or by one before that."""
    model = residual()
    by_end = cut("block2_conv2", into="block2_add")(model)
    by_start = cut("block2_norm", into="block2_add")(model)
    assert blueprint.of(by_end) == blueprint.of(by_start)
    assert takes(by_end, "pool") == ["block2_skip"]


def test_a_merge_of_three_stays_with_two() -> None:
    """What is left of a concatenation is still concatenated."""
    edited = cut("arm3", into=layers.Concatenate, repair=True)(gated())
    assert takes(edited, "arms") == ["arm1", "arm5"]


def test_a_gate_is_one_edit_in_either_way() -> None:
    """Taking a gate's region out, and cutting its branch, is the same network."""
    model = blueprint.fresh(gated)
    by_region = remove("se_*")(model)
    by_branch = cut("se_*", into=layers.Multiply)(model)
    assert blueprint.of(by_region) == blueprint.of(by_branch)
    assert takes(by_region, "arm1") == ["conv"]


def test_a_plus_is_an_add() -> None:
    """A merge written as an operation is found by the layer that does the same."""
    edited = cut("side", into=layers.Add)(gated())
    assert operations(gated()) - operations(edited) >= {"side"}
    assert takes(edited, "classes") == ["pool"]


def test_nested_networks_are_edited_where_they_stand() -> None:
    """A layer is found within a network, which stays one, shared by all its calls."""
    edited = remove("encoder/dense1")(nested())
    encoder = edited.get_layer("encoder")
    assert [layer.name for layer in encoder.layers] == ["drop", "dense2"]
    assert edited.count_params() == (6 * 4 + 4) + (8 * 3 + 3) + (3 + 1)
    assert takes(edited, "both") == ["encoder", "encoder"]
    assert edited.output_names == nested().output_names
    assert set(edited.output) == {"same", "code"}


def test_a_glob_means_all_layers_of_that_name_and_a_path_one() -> None:
    """What is called alike in two networks is told apart by its path."""
    both = configure("*dense1", use_bias=False)(nested())
    assert both.count_params() == nested().count_params() - 5 - 3
    one, other = (
        configure(name, use_bias=False)(nested()) for name in ("dense1", "encoder/dense1")
    )
    biases = [
        [each.get_layer("dense1").use_bias for each in (model, model.get_layer("encoder"))]
        for model in (one, other)
    ]
    assert biases == [[False, True], [True, False]]


def test_attention_loses_its_mask_and_stays() -> None:
    """A mask is an input of attention that it can do without."""
    edited = cut("visible", into=layers.MultiHeadAttention)(attention())
    assert takes(edited, "attend") == ["embed", "embed"]
    assert [given.name for given in edited.inputs] == ["tokens", "visible"]
    x = np.ones((2, 6), np.int32), np.ones((2, 6, 6), bool)
    assert edited.predict(x, verbose=0).shape == (2, 2)


def test_what_a_layer_is_called_with_is_set_like_a_setting() -> None:
    """A causal mask is no setting of attention, but an argument of its call."""
    edited = configure("attend", use_causal_mask=False)(attention())
    node = next(each for each in edited.get_config()["layers"] if each["name"] == "attend")
    assert node["inbound_nodes"][0]["kwargs"]["use_causal_mask"] is False


def test_attention_and_recurrence_go_although_masks_enter_them() -> None:
    """A mask is no second tensor that could take a layer's place."""
    edited = remove("attend", "add")(attention())
    assert takes(edited, "norm") == ["embed"]
    edited = remove("lstm", repair=True)(attention())
    assert "lstm_pooling" in names(edited)


def test_shapes_that_no_longer_fit_are_said_with_the_edit_that_would_do() -> None:
    """The error names the layer, both shapes and where they come from."""
    message = (
        r'Add "block2_add" cannot take what comes before it, 4 × 4 × 8 from "block2_skip" and '
        r'8 × 8 × 8 from "block2_conv2": .* With repair=True, remove\("block2_conv1"\) would pool '
        r'or project to the shape that "block2_conv1" gave\.'
    )
    with pytest.raises(AblationError, match=message):
        remove("block2_conv1")(residual())


@pytest.mark.parametrize(
    ("ablation", "added"),
    [
        (remove("block2_conv1", repair=True), ["block2_conv1_pooling", "block2_conv1_projection"]),
        (configure("block2_conv2", filters=6, repair=True), ["block2_conv2_projection"]),
        (configure("block2_skip", strides=1, repair=True), ["block2_skip_pooling"]),
        (remove("pool", repair=True), ["pool_pooling"]),
        (remove("classes", repair=True), ["classes_projection"]),
    ],
)
def test_repair_makes_fit_what_does_not(ablation: Ablation, added: list[str]) -> None:
    """A pooling and a projection bring a tensor to the shape that was there, where it is needed."""
    edited = ablation(residual())
    assert [name for name in names(edited) if name not in names(residual())] == added
    assert edited.output_shape == residual().output_shape


def test_what_takes_the_place_of_a_shared_layer_is_shared() -> None:
    """A projection in the place of a layer that is called twice is one, called twice."""
    given = keras.Input((4,), name="vector")
    shared = layers.Dense(3, name="shared")
    other = layers.Dense(4, name="other")(given)
    x = layers.Add(name="add")([shared(given), shared(other)])
    model = keras.Model(given, layers.Dense(2, name="out")(x))
    with pytest.raises(AblationError, match="With repair=True"):
        remove("shared")(keras.Model(given, x))
    edited = remove("shared", repair=True)(keras.Model(given, x))
    assert takes(edited, "add") == ["shared_projection", "shared_projection"]
    assert remove("shared")(model).count_params() == model.count_params() - 15 + 2


@pytest.mark.parametrize(
    ("shape", "dtype", "kept", "gone"),
    [
        ((6,), "int32", layers.MultiHeadAttention(2, 4, name="attend"), layers.Embedding(9, 8)),
        pytest.param(
            *((8, 8, 3), "uint8", layers.Conv2D(4, 3, name="conv"), layers.Rescaling(1 / 255)),
            marks=pytest.mark.skipif(
                keras.backend.backend() == "torch",
                reason="PyTorch tells what a convolution does not take in its first step alone",
            ),
        ),
    ],
)
def test_what_cannot_be_computed_is_said_before_training(
    shape: tuple[int, ...], dtype: str, kept: Any, gone: Any
) -> None:
    """Keras builds attention on a matrix and a convolution on bytes; the first step would fail.

    On JAX it would not: there a convolution takes bytes, and the edit is done.
    """
    given = keras.Input(shape, dtype=dtype)
    x = gone(given)
    x = kept(x, x) if len(shape) == 1 else kept(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(2, name="out")(x) if len(shape) > 1 else layers.Reshape((48, 1))(x)
    model = keras.Model(given, layers.GlobalAveragePooling1D()(x) if len(shape) == 1 else x)
    if keras.backend.backend() == "jax" and dtype == "uint8":
        assert remove(type(gone))(model)(np.zeros((1, *shape), dtype)).shape == (1, 2)
        return
    with pytest.raises(AblationError, match=r"cannot be computed|cannot take"):
        remove(type(gone))(model)


@pytest.mark.parametrize(
    ("layer", "setting"),
    [
        (layers.LSTM(4), {"units": 2}),
        (layers.Bidirectional(layers.GRU(2)), {"merge_mode": "sum"}),
    ],
)
def test_a_layer_of_layers_in_a_sequential_is_edited_as_in_any(
    layer: Any, setting: dict[str, Any]
) -> None:
    """A recurrent layer of another width is no error where the network is a Sequential."""
    inputs = [keras.Input((5, 1)), layers.Dense(3, name="in")]
    model = keras.Sequential([*inputs, layer, layers.Dense(1, name="out")])
    edited = configure(type(layer), **setting)(model)
    assert edited.get_layer("out").kernel.shape == (2, 1)


def test_repair_does_nothing_where_all_fits() -> None:
    """A network that can be built is left as the edit made it."""
    asked, plain = (remove("block1_*", repair=repair)(residual()) for repair in (True, False))
    assert blueprint.of(asked) == blueprint.of(plain)


def test_what_is_not_edited_keeps_its_settings() -> None:
    """Precision, regularisation and freezing of the other layers stay."""

    def network() -> keras.Model:
        given = keras.Input((4,))
        x = layers.Dense(
            4, kernel_regularizer="l2", dtype="mixed_bfloat16", trainable=False, name="kept"
        )(given)
        return keras.Model(given, layers.Dense(2, name="out")(layers.ReLU(name="relu")(x)))

    kept = remove("relu")(network()).get_layer("kept")
    assert kept.dtype_policy.name == "mixed_bfloat16"
    assert isinstance(kept.kernel_regularizer, keras.regularizers.L2)
    assert not kept.trainable


def test_a_shared_layer_stays_shared() -> None:
    """A layer that is called twice has its weights once, edited or not."""

    def network() -> keras.Model:
        shared = layers.Dense(4, name="shared")
        given = keras.Input((4,))
        x = shared(layers.ReLU(name="relu")(shared(given)))
        return keras.Model(given, layers.Dense(2, name="out")(x))

    assert remove("relu")(network()).count_params() == network().count_params()
    smaller = configure("shared", use_bias=False)(network())
    assert smaller.count_params() == network().count_params() - 4
    followed = insert(layers.BatchNormalization(name="norm"), after="shared")(network())
    assert followed.count_params() == network().count_params() + 4 * 4
    assert takes(followed, "out") == ["norm"]


def masked() -> keras.Model:
    """Return a network whose steps of zeros are masked, by a layer and by an argument."""
    given, kept = keras.Input((6, 3), name="series"), keras.Input((6,), dtype="bool", name="kept")
    x = layers.Masking(name="masking")(given)
    x = layers.LSTM(4, return_sequences=True, name="lstm1")(layers.Dense(4, name="dense")(x))
    return keras.Model([given, kept], layers.LSTM(2, name="lstm2")(x, mask=kept))


def test_a_mask_goes_with_the_layer_that_gives_it() -> None:
    """Without its Masking, or mask_zero, a network does not mask; masks of the user's own stay."""
    assert takes(blueprint.fresh(masked), "lstm1") == ["dense", "any"]
    for edited in (remove("masking")(masked()), remove("dense")(remove("masking")(masked()))):
        assert takes(edited, "lstm1") in (["dense"], ["series"])
        assert takes(edited, "lstm2") == ["lstm1", "kept"]
    for edit in (
        configure("embed", mask_zero=False),
        replace("embed", layers.Embedding(10, 8)),
    ):
        assert takes(edit(attention()), "lstm") == ["norm"]


def test_a_mask_stays_with_the_layers_that_others_leave() -> None:
    """What an edit leaves in place is masked as before, and so is what it puts there."""
    for edit in (remove("dense"), replace("lstm1", layers.GRU(4, return_sequences=True))):
        assert takes(edit(masked()), "lstm1")[1:] == ["any"]
    assert takes(insert(layers.Dropout(0.1), after="dense")(masked()), "lstm1")[1:] == ["any"]


def test_a_part_that_is_not_trained_stays_so() -> None:
    """A frozen network within the network is not trained in a variant either."""

    def network() -> keras.Model:
        base = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="one")], name="base")
        base.trainable = False
        base.layers[0].trainable = True
        given = keras.Input((4,))
        return keras.Model(
            given, layers.Dense(2, name="out")(layers.ReLU(name="relu")(base(given)))
        )

    base = remove("relu")(network()).get_layer("base")
    assert not base.trainable
    assert base.layers[0].trainable


def test_a_value_that_is_no_setting_is_refused() -> None:
    """Whatever is given as a setting, the answer is one line."""
    for value in (object, "nonsense"):
        with pytest.raises(AblationError, match='"stem" refuses it') as caught:
            configure("stem", kernel_initializer=value)(residual())
        assert "\n" not in str(caught.value)


def test_a_subclassed_model_names_use() -> None:
    """What a model's own call does with its layers cannot be read, and that is said."""

    class Own(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
        """A model whose call is code."""

        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x: Any) -> Any:
            """Return what the one layer gives."""
            return self.dense(x)

    with pytest.raises(AblationError, match=r"Own is a subclassed model.*use\(that_function\)"):
        remove("dense")(Own())


class Unsaying(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer around another, whose configuration Keras cannot give."""

    def __init__(self, inner: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x: Any) -> Any:
        """Return what the layer in it gives."""
        return self.inner(x)


class Rated(keras.Model):  # type: ignore[misc]
    """A graph of layers with a setting of its own, which its configuration leaves out."""

    def __init__(self, inputs: Any = None, outputs: Any = None, rate: float = 1, **kw: Any) -> None:
        super().__init__(inputs, outputs, **kw)
        self.rate = rate


@pytest.mark.parametrize("inner", [layers.Dense(2), lambda x: 2 * x])
def test_a_layer_that_gives_no_configuration_is_named(inner: Any) -> None:
    """Which layer needs a get_config is said in one line, and not by a traceback."""

    def network() -> keras.Model:
        inside = keras.Sequential([keras.Input((3,)), Unsaying(inner, name="own")], name="inside")
        return keras.Sequential([keras.Input((3,)), inside, layers.Dense(2, name="out")])

    for use in (blueprint.of, configure("out", use_bias=False)):
        with pytest.raises(AblationError, match='Unsaying "inside/own" gives no configuration'):
            use(blueprint.fresh(network))


def test_a_graph_that_only_its_class_can_make_is_refused() -> None:
    """A Functional subclass with more to its `__init__` is an error that says what to do."""

    def network() -> keras.Model:
        given = keras.Input((3,))
        return Rated(given, layers.Dense(2)(layers.Dense(3)(given)), 3.0)

    with pytest.raises(AblationError, match=r"is a subclassed model.*use\(that_function\)"):
        remove("dense*")(network())
    for _ in range(2):  # of the second, Keras numbers the names on
        with pytest.raises(AblationError, match="cannot be rebuilt from its configuration"):
            blueprint.build(blueprint.of(blueprint.fresh(network)), 0)


class Doubling(keras.Sequential):  # type: ignore[misc] # Keras is Any to mypy
    """A chain of layers whose answer is twice that of its last one."""

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        """Return the layers' answer, twice."""
        return 2 * super().call(x, training=training, mask=mask)


class Scaled(keras.Sequential):  # type: ignore[misc]
    """A chain of layers with a setting of its own, which Keras is told how to make again."""

    def __init__(self, layers: Any = None, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(layers, **kwargs)
        self.scale = scale

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "scale": self.scale}

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None) -> Any:
        """Return one of these settings."""
        made = [keras.saving.deserialize_keras_object(each) for each in config["layers"]]
        return cls(made, config["scale"], name=config["name"])


class Unsaid(keras.Sequential):  # type: ignore[misc]
    """A chain of layers with a setting that its configuration leaves out."""

    def __init__(self, layers: Any = None, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(layers, **kwargs)
        self.scale = scale


class Whole(keras.Sequential):  # type: ignore[misc]
    """A chain that makes its layers itself."""

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        super().__init__([*chained()[:1], layers.Dense(width), *chained()[1:]], **kwargs)


def chained() -> list[Any]:
    """Return the layers of a chain."""
    sizes = [layers.Dense(4, name="one"), layers.ReLU(name="relu"), layers.Dense(2, name="two")]
    return [keras.Input((3,)), *sizes]


@pytest.mark.parametrize(
    ("given", "edit"),
    [
        (chained(), remove("relu")),
        (chained(), configure("one", units=3)),
        (chained(), replace("two", layers.Dense(5), repair=True)),
        (chained()[1:], remove("relu")),
    ],
)
def test_a_sequential_of_ones_own_class_stays_one(given: list[Any], edit: Ablation) -> None:
    """A network's own `train_step`, `compute_loss` or `call` is the variant's too."""
    edited: Any = edit(Scaled(given, 3.0, name="chain"))
    assert (type(edited), edited.scale, edited.name) == (Scaled, 3.0, "chain")


def test_a_sequential_of_ones_own_class_within_a_network_stays_one() -> None:
    """An edit anywhere leaves what a nested chain computes as it was."""
    inner = Doubling(chained(), name="inner")
    model = keras.Sequential([keras.Input((3,)), inner, layers.Dense(2, name="out")])
    for edit in (remove("inner/relu"), configure("out", use_bias=False)):
        edited = edit(model).get_layer("inner")
        x = np.ones((2, 3), np.float32)
        last = keras.Model(edited.inputs[0], edited.layers[-1].output)
        doubled, once = (keras.ops.convert_to_numpy(each(x)) for each in (edited, last))
        assert np.allclose(doubled, 2 * once)


@pytest.mark.parametrize("kind", [Unsaid, Whole])
def test_a_sequential_that_only_its_class_can_make_is_refused(kind: Any) -> None:
    """No edit leaves a network's own settings out, or its own class, without a word."""
    model = kind() if kind is Whole else kind(chained(), 3.0)
    with pytest.raises(AblationError, match=r"is a subclassed model.*use\(that_function\)"):
        remove("relu")(model)


def test_a_sequential_of_ones_own_class_has_one_configuration() -> None:
    """How many networks were built before changes no fingerprint, and is no difference."""

    def network() -> keras.Model:
        return Doubling([keras.Input((3,)), layers.Dense(2, name="two")], name="chain")

    assert blueprint.of(network()) == blueprint.of(network())
    nested = [keras.Sequential([keras.Input((3,)), network()]) for _ in range(2)]
    before, after = (
        anatomy.of(each) for each in (nested[0], configure("*two", use_bias=False)(nested[1]))
    )
    assert [change.name for change in difference.of(before, after)] == ["chain/two"]


@pytest.mark.parametrize(
    ("network", "ablation", "message"),
    [
        (residual, cut(shortcut, into="classes"), 'one tensor enters "classes": it is no merge'),
        (residual, cut("pool", into="block1_add"), "enters none of the layers: \"block1_add\""),
        (residual, cut("stem", into="block1_add") + cut("stem", into="block1_add"), "no layer"),
        (residual, cut("block*", into="block2_add"), 'all that enters "block2_add" would go'),
        (nested, cut(shortcut, into="both"), '"both" comes from no common layer: it has no'),
        (gated, cut(shortcut, into="arms"), 'no one shortcut: the ways of "arm1", "arm3"'),
        (nested, configure("encoder", units=3), "a network within the network has no settings"),
        (residual, configure("stem", name="other"), 'the name of "stem" is no setting'),
        (nested, remove("image"), r'no layer of that name\. Layers: encoder, encoder/dense1, '),
        (residual, remove(lambda layer: layer.units > 1), 'of "stem", of Conv2D, raised'),
        (attention, replace("attend", layers.Conv2D(8, 1)), 'Conv2D "attend" cannot take'),
        (residual, replace("block1_add", layers.Dense(4)), r'2 input tensors\. Put a layer'),
        (residual, replace("block1_add", layers.ReLU()), 'it gives 2 tensors, and was to make one'),
        (gated, replace(layers.Add, layers.ReLU()), r'cut\("side", into="add'),
        (nested, remove("encoder"), None),
    ],
)  # fmt: skip
def test_a_wrong_edit_of_a_graph_says_what_is_wrong(
    network: Callable[[], keras.Model], ablation: Ablation, message: str | None
) -> None:
    """What cannot be done is refused in one line, in the names of the user's layers."""
    if message is None:
        assert "encoder" not in names(ablation(network()))
        return
    with pytest.raises(AblationError, match=message) as caught:
        ablation(network())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", [residual, gated, nested, attention])
def test_reading_and_building_changes_nothing(network: Callable[[], keras.Model]) -> None:
    """A network with no edit's trace is the network that the user wrote, layer for layer."""
    from pytest_ablation.network import assembly, reading

    model = blueprint.fresh(network)
    again = assembly.assembled(reading.read(model))
    assert blueprint.of(again) == blueprint.of(model)


def test_edits_add_up_on_graphs() -> None:
    """Halves that could not be built alone are no error in a sum that can."""
    whole = configure("block2_conv2", filters=6) + configure("block2_skip", filters=6)
    assert whole(residual()).get_layer("block2_add").output.shape == (None, 4, 4, 6)
    tanh = configure(having(activation="relu"), activation="tanh") + remove("block2_norm")
    assert tanh.describe(residual()) == "activation relu → tanh, remove block2_norm"


EVERYWHERE: tuple[tuple[Callable[[], keras.Model], Ablation], ...] = (
    (residual, remove("block1_*")),
    (residual, cut(shortcut, into=layers.Add)),
    (residual, remove("block2_conv1", repair=True)),
    (residual, replace(layers.BatchNormalization, layers.LayerNormalization())),
    (residual, insert(layers.Dropout(0.1), after="*conv*")),
    (gated, cut("se_*", into=layers.Multiply)),
    (gated, configure(layers.Conv2D, use_bias=False)),
    (nested, remove("encoder/dense1")),
    (attention, cut("visible", into="attend")),
)


def edited_everywhere() -> list[str]:
    """Return networks edited in many ways, as canonical JSON."""
    with weightless.without_weights():  # on JAX they take a minute to compile
        return [blueprint.of(edit(blueprint.fresh(network))) for network, edit in EVERYWHERE]


def test_an_edit_gives_the_same_network_on_every_backend(tmp_path: Path) -> None:
    """What an edit gives does not depend on Keras's backend: a study is the same on each."""
    script = (
        "import json; from tests.test_surgery import edited_everywhere as edited\n"
        "print(json.dumps(edited()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        env=on_jax(tmp_path),
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    networks = edited_everywhere()
    assert json.loads(told.stdout.splitlines()[-1]) == networks
    assert len(set(networks)) == len(networks)


def recurrent(*places: int) -> keras.Model:
    """Return a network that takes some of the tensors that a recurrent layer gives."""
    given = keras.Input((5, 3))
    every = layers.LSTM(4, return_state=True, name="lstm")(given)
    taken = [every[place] for place in places]
    x = layers.Concatenate(name="state")(taken) if len(taken) > 1 else taken[0]
    return keras.Model(given, layers.Dense(2, name="out")(x))


def test_a_layer_that_gives_fewer_tensors_is_said() -> None:
    """A setting that takes away an output that others take is refused in one line."""
    with pytest.raises(AblationError, match='"lstm" now gives fewer tensors than are taken'):
        configure("lstm", return_state=False)(recurrent(1, 2))


def test_what_is_put_after_several_tensors_is_put_where_it_does_something() -> None:
    """The first tensor is meant, or the only one that is taken; else the edit says that it cannot
    tell, and never leaves the network as it was.
    """
    edit = insert(layers.Dropout(0.5, name="drop"), after="lstm")
    assert takes(edit(recurrent(0, 2)), "state") == ["drop", "lstm"]
    assert takes(edit(recurrent(1)), "out") == ["drop"]
    with pytest.raises(AblationError, match='"lstm" gives, the first tensor is not taken, and 2'):
        edit(recurrent(1, 2))


def test_a_merge_written_as_a_plus_is_replaced_like_one() -> None:
    """What takes the place of ``a + b`` is given both as a list, as it expects them."""
    edited = replace(layers.Add, layers.Multiply())(gated())
    assert [type(each) for each in edited.layers].count(layers.Multiply) == 2


def translator() -> keras.Model:
    """Return an encoder whose states a decoder starts from, and attention over what it gives."""
    source, target = keras.Input((5, 3), name="source"), keras.Input((4, 2), name="target")
    every, *state = layers.LSTM(4, return_sequences=True, return_state=True, name="encoder")(source)
    x = layers.LSTM(4, return_sequences=True, name="decoder")(target, initial_state=state)
    x = layers.Concatenate(name="both")([x, layers.Attention(name="attend")([x, every])])
    x = layers.TimeDistributed(layers.Dense(5), name="each")(x)
    return keras.Model(
        [source, target], layers.Dense(2, name="out")(layers.GlobalMaxPooling1D(name="pool")(x))
    )


def transformer() -> keras.Model:
    """Return a block of self-attention."""
    given = keras.Input((5, 8), name="series")
    y = layers.MultiHeadAttention(2, 4, name="attend")(given, given)
    x = layers.GlobalMaxPooling1D(name="pool")(layers.Add(name="add")([given, y]))
    return keras.Model(given, layers.Dense(2, name="out")(x))


@pytest.mark.parametrize(
    ("network", "edit", "layer", "before"),
    [
        (translator, cut("attend", into="both"), "each", ["decoder"]),
        (translator, configure(layers.LSTM, units=3), "each", ["both"]),
        (translator, remove("decoder", repair=True), "attend", ["decoder_projection", "encoder"]),
        (transformer, replace("attend", layers.Dense(8)), "add", ["series", "attend"]),
        (transformer, replace("attend", layers.Identity()), "attend", ["series"]),
        (translator, configure("each", layer=layers.Dense(7)), "pool", ["each"]),
    ],
)
def test_layers_of_layers_and_of_sequences_are_edited_as_any(
    network: Callable[[], keras.Model], edit: Ablation, layer: str, before: list[str]
) -> None:
    """Wrappers take another width, states are no input to be left with, and query is value."""
    edited = edit(network())
    assert takes(edited, layer) == before
    given = [np.ones((2, *each.shape[1:]), np.float32) for each in edited.inputs]
    assert edited(given if len(given) > 1 else given[0]).shape == (2, 2)


def test_several_tensors_are_repaired_each_by_itself() -> None:
    """Output and states of one layer are not brought to their shapes by one shared projection."""
    edited = configure("encoder", units=3, repair=True)(translator())
    added = [name for name in names(edited) if name not in names(translator())]
    assert added == [f"encoder{number}_projection" for number in ("", "_1", "_2")]
    assert names(configure("encoder", units=2, repair=True)(edited)) == names(edited)
