"""Networks that are looked at, built of the layers of those that were looked at before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import Ablation, AblationError, configure, insert, remove, replace
from pytest_ablation.edited import EditedModel
from pytest_ablation.network import anatomy, blueprint, spare, weightless
from pytest_ablation.network.anatomy import Anatomy
from tests.test_surgery import attention, gated, nested, residual, siamese


@keras.saving.register_keras_serializable(package="tests")
class Doubling(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer of a user's own, which may keep anything of its calls."""

    def call(self, x: Any) -> Any:
        """Return twice what is given."""
        return 2 * x


def chain() -> keras.Model:
    """Return a chain whose layers Keras names, with one of the user's own."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Dropout(0.5, name="drop"),
            Doubling(name="doubling"),
            layers.LayerNormalization(),
            layers.Flatten(),
            layers.Dense(3),
            layers.Dense(3),
        ]
    )


EDITS = [
    configure(layers.Dropout, rate=0.1),
    configure(layers.Dense, units=2, repair=True),
    configure(layers.Conv2D, filters=6),
    configure(layers.Conv2D, kernel_size=1, repair=True),
    configure(layers.MultiHeadAttention, num_heads=1),
    remove(layers.Dropout),
    remove(layers.Conv2D, repair=True),
    replace(layers.Dense, lambda old: layers.Dense(old.units, activation="tanh")),
    insert(layers.Dropout(0.2), after=layers.Dense),
]
NETWORKS = [chain, residual, gated, nested, attention, siamese]


def looked_at(network: Callable[[], keras.Model], edit: Ablation) -> Anatomy | str:
    """Return what there is to say of a variant, or why there is none, and let go of its network."""
    edited = EditedModel(network, edit.model_steps, None)
    try:
        said = anatomy.of(weightless.looked_at(edited))
    except AblationError as error:
        return str(error)
    for each in weightless.forget(edited):
        spare.let_go(each)
    return said


def built(network: keras.Model, edit: Ablation) -> Anatomy | str:
    """Return the same of a variant that is built anew, of a network with weights."""
    try:
        return anatomy.of(edit(network))
    except AblationError as error:
        return str(error)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_variant_is_the_same_whatever_was_looked_at_before(
    network: Callable[[], keras.Model],
) -> None:
    """A fingerprint, a cost or an error that hung on the tests before it would be luck."""
    written = blueprint.fresh(network)
    expected = [built(written, edit) for edit in EDITS]
    for order in (1, -1):
        assert [looked_at(network, edit) for edit in EDITS[::order]] == expected[::order]


def test_the_layers_of_a_network_let_go_are_used_again() -> None:
    """Else each of a thousand variants takes the time to make and build all of its layers."""
    first, second = (
        EditedModel(chain, configure("drop", rate=rate).model_steps, None) for rate in (0.1, 0.2)
    )
    made = set(weightless.looked_at(first).layers)
    for each in weightless.forget(first):
        spare.let_go(each)
    again = [layer.name for layer in weightless.looked_at(second).layers if layer in made]
    assert again == ["conv2d", "layer_normalization", "flatten", "dense", "dense_1"]


def test_a_network_that_is_in_use_keeps_its_layers() -> None:
    """What another looks at meanwhile shares no layer with it, nor does a network to be trained."""
    kept, other = (EditedModel(chain, EDITS[0].model_steps, None) for _ in range(2))
    network = weightless.looked_at(kept)
    weightless.looked_at(other)
    for each in weightless.forget(other):
        spare.let_go(each)
    trained = EDITS[0](blueprint.fresh(chain))
    for another in (weightless.looked_at(other), trained):
        assert not set(network.layers) & set(another.layers)
    assert trained.predict(np.zeros((1, 8, 8, 3)), verbose=0).shape == (1, 3)
