"""Ablations in numbers: a parameter a layer, block, setting, class or pair."""

from __future__ import annotations

from dataclasses import replace as with_fields
from functools import partial
from typing import Any

import keras
import pytest
from keras import layers

from pytest_ablation import (
    AblationError,
    all_pairs,
    configure,
    leave_one_out,
    one_at_a_time,
    remove,
)
from tests.test_plugin import write
from tests.test_surgery import nested, residual
from tests.tiny import EXPERIMENT, RECIPE, net


def written(parameters: list[Any]) -> dict[str, str]:
    """Return the ablations as they are written, by their ids."""
    return {parameter.id: repr(parameter.values[0]) for parameter in parameters}


def test_one_layer_at_a_time() -> None:
    """Each selected layer becomes one parameter, named after it; nested ones by their path."""
    assert written(leave_one_out(net, layers.Dropout)) == {
        "drop1": 'remove("drop1")',
        "drop2": 'remove("drop2")',
    }
    assert list(written(leave_one_out(nested, "*dense1"))) == ["encoder/dense1", "dense1"]
    with pytest.raises(AblationError, match="no Conv2D layer"):
        leave_one_out(net, layers.Conv2D)


def test_one_class_of_layers_at_a_time() -> None:
    """By type, all layers of a class go together."""
    assert written(leave_one_out(residual, "block*", by=type)) == {
        "BatchNormalization": "remove(BatchNormalization)",
        "Conv2D": 'remove("block1_conv", "block2_conv1", "block2_skip", "block2_conv2")',
        "Add": "remove(Add)",
    }


def test_what_cannot_be_left_out_is_skipped_unless_it_was_named(suite: pytest.Pytester) -> None:
    """A sweep over all layers is not red for those that nobody could leave out, and hides none."""
    write(
        suite,
        """
import keras
from dataclasses import replace as with_fields
from tiny import EXPERIMENT

def merged():
    given = keras.Input((4, 4, 3))
    x = layers.Flatten(name="flatten")(given)
    y = layers.Dense(48, name="dense")(x)
    x = layers.Add(name="add")([x, layers.Dropout(0.5)(y)])
    return keras.Model(given, layers.Dense(2, activation="softmax", name="classes")(x))

@pytest.fixture(scope="session")
def experiment():
    return with_fields(EXPERIMENT, model=merged)

@pytest.mark.parametrize("variant", leave_one_out(merged, by=type), indirect=True)
def test_all(variant):
    assert variant.params >= 0

@pytest.mark.parametrize("variant", leave_one_out(merged, layers.Add), indirect=True)
def test_named(variant):
    assert variant.params >= 0
""",
    )
    result = suite.runpytest("-rs")
    result.assert_outcomes(passed=1, skipped=3, errors=1)
    result.stdout.fnmatch_lines(['*SKIPPED*remove(Add): 2 tensors enter "add": from*'])
    result.stdout.no_fnmatch_line("*will end in an error*test_all*")


def test_one_block_at_a_time() -> None:
    """A prefix gives the blocks whose names begin with it, and a function any other groups."""
    blocks = leave_one_out(residual, by="block", repair=True)
    assert written(blocks) == {
        "block1": 'remove("block1_*", repair=True)',
        "block2": 'remove("block2_*", repair=True)',
    }
    for block in blocks:
        edited = block.values[0](residual())  # type: ignore[operator] # an Ablation
        assert edited.output_shape == (None, 2)
    halves = leave_one_out(net, by=lambda layer: layer.name[-1] if layer.name[-1] in "12" else None)
    assert written(halves) == {
        "1": 'remove("dense1", "drop1")',
        "2": 'remove("dense2", "drop2")',
    }
    with pytest.raises(AblationError, match=r'by="blok"\): no layer is in any group'):
        leave_one_out(residual, by="blok")


def test_one_part_of_a_recipe_at_a_time() -> None:
    """Each setting that could be left out is, and each layer of the augmentation by itself."""
    flip, noise = layers.RandomFlip("horizontal"), layers.GaussianNoise(0.1)
    stop = partial(keras.callbacks.EarlyStopping, patience=3)
    recipe = with_fields(
        RECIPE,
        weight_decay=1e-4,
        label_smoothing=0.1,
        augmentation=(flip, noise),
        callbacks=(stop,),
        class_weight={1: 2.0},
    )
    assert written(leave_one_out(recipe)) == {
        "weight_decay": "train_with(weight_decay=None)",
        "label_smoothing": "train_with(label_smoothing=0.0)",
        "augmentation-RandomFlip": "train_with(augmentation=(GaussianNoise))",
        "augmentation-GaussianNoise": "train_with(augmentation=(RandomFlip))",
        "callbacks": "train_with(callbacks=())",
        "class_weight": "train_with(class_weight=None)",
    }
    assert list(written(leave_one_out(recipe, "weight_decay"))) == ["weight_decay"]
    with pytest.raises(AblationError, match="'weight_deca' is none of its settings"):
        leave_one_out(recipe, "weight_deca")
    with pytest.raises(AblationError, match="has no settings that could be left out"):
        leave_one_out(RECIPE)


def test_one_class_of_the_data_at_a_time() -> None:
    """Each class is left out of the training; the same one twice is the same ablation."""
    parameters = leave_one_out(EXPERIMENT.data)
    assert written(parameters) == {
        "dark": "feed_with(without_class('dark'))",
        "bright": "feed_with(without_class('bright'))",
    }
    assert parameters[0].values == leave_one_out(EXPERIMENT.data, "dark")[0].values


def test_pairs_are_sums() -> None:
    """Every two ablations are added up once, and know what they are the sum of."""
    a, b, c = remove("drop1"), remove("drop2"), configure("dense1", units=4)
    pairs: list[Any] = [parameter.values[0] for parameter in all_pairs(a, b, c)]
    assert [repr(pair) for pair in pairs] == [repr(a + b), repr(a + c), repr(b + c)]
    assert pairs[0].parts == (a, b)
    assert [parameter.values[0] for parameter in one_at_a_time(a, b)] == [a, b]
    with pytest.raises(AblationError, match="at least two"):
        all_pairs(a)
    with pytest.raises(AblationError, match="'drop1' is no ablation"):
        one_at_a_time("drop1")  # type: ignore[arg-type] # the mistake
