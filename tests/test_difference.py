"""What an ablation changed: a line a layer, a setting, and what of the data is other."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest
from keras import layers

from pytest_ablation import Ablation, configure, cut, insert, remove, replace, shortcut
from pytest_ablation.network import anatomy, blueprint, difference
from tests.test_surgery import attention, gated, nested, residual
from tests.tiny import net


def changes(function: Callable[[], keras.Model], ablation: Ablation) -> list[str]:
    """Return a line a layer that the ablation changed."""
    model = blueprint.fresh(function)
    edited = ablation(model)
    return [*map(str, difference.of(anatomy.of(model), anatomy.of(edited)))]


def test_layers_that_went_came_and_changed_are_named() -> None:
    """Each line says what happened to a layer, and what that adds to or takes from the costs."""
    edit = remove("drop1") + configure("dense2", units=4) + insert(layers.ReLU(), after="dense1")
    assert changes(net, edit) == [
        "− drop1 (Dropout): −32 FLOP",
        "+ dense1_re_lu (ReLU): +16 FLOP",
        "~ dense2: units 8 → 4, −68 parameters, −136 FLOP",
        "~ classes: −8 parameters, −16 FLOP",
    ]


def test_another_kind_of_layer_is_named_with_both() -> None:
    """A layer that was replaced keeps its name and says what it was and is."""
    lines = changes(net, replace("drop1", layers.GaussianNoise(0.1)))
    assert lines[0].startswith("~ drop1 (Dropout → GaussianNoise)")


def test_what_enters_a_merge_is_named_where_it_changed() -> None:
    """A cut branch shows, with the layers that only it needed."""
    lines = changes(gated, cut("arm3", into="arms", repair=True))
    assert [line.partition(":")[0] for line in lines] == [
        "− arm3 (Conv2D)",
        "+ arms_projection (Conv2D)",
        "~ arms",
    ]
    assert "takes arm1, arm3, arm5 → arm1, arm5" in lines[2]
    assert [line.partition(" (")[0] for line in changes(residual, cut(shortcut, into="*add"))] == [
        "− block1_add",
        "− block2_skip",
        "− block2_add",
    ]


def test_what_a_layer_is_called_with_is_named() -> None:
    """A causal mask that went is no setting of the layer, and shows like one."""
    lines = changes(attention, configure("attend", use_causal_mask=False))
    assert lines == ["~ attend: use_causal_mask True → False"]


def test_settings_that_read_alike_are_told_apart_by_their_own() -> None:
    """An edit of a regularizer's strength says the strength, not its name twice."""
    model = blueprint.fresh(net)
    old, new = (
        configure("dense1", kernel_regularizer=keras.regularizers.L2(strength))(model)
        for strength in (0.25, 0.5)
    )
    lines = [*map(str, difference.of(anatomy.of(old), anatomy.of(new)))]
    assert lines == ["~ dense1: kernel_regularizer.l2 0.25 → 0.5"]
    several = ({"callbacks": [{"class_name": "Stop", "config": {"patience": n}}]} for n in (1, 2))
    assert difference.of_settings(*several) == ("callbacks.0.patience 1 → 2",)


def test_layers_of_nested_networks_are_named_by_their_path() -> None:
    """Two layers of one name in two networks are told apart."""
    lines = changes(nested, remove("encoder/dense1"))
    assert lines[0].startswith("− encoder/dense1 (Dense): −35 parameters")
    assert lines[1].startswith("~ encoder/dense2: +4 parameters")


@pytest.mark.parametrize("function", [net, residual, gated, nested, attention])
def test_a_network_does_not_differ_from_itself(function: Callable[[], keras.Model]) -> None:
    """Nothing is said of what stayed."""
    model = blueprint.fresh(function)
    assert difference.of(anatomy.of(model), anatomy.of(model)) == ()


def test_each_layer_is_listed_with_its_shape_and_parameters() -> None:
    """A network beside another is read line by line: class, what it gives, what it learns."""
    told = anatomy.of(blueprint.fresh(net)).lines

    assert told["dense1"] == "dense1 (Dense) 16, 784"
    assert told["drop1"] == "drop1 (Dropout) 16"
    assert list(told)[-1] == "classes"


@pytest.mark.parametrize("function", [attention, gated, nested, residual])
def test_any_network_is_listed(function: Callable[[], keras.Model]) -> None:
    """Nested, shared and merged layers are named as they are where they are changed."""
    model = blueprint.fresh(function)
    told = anatomy.of(model).lines

    assert all(said.startswith(name) for name, said in told.items())
    assert told
    assert "None" not in "".join(told.values())


def test_a_layer_used_at_several_places_is_listed_once() -> None:
    """A shared layer has one line, and none fails for giving several outputs."""
    shared = layers.Dense(4, name="shared")
    x = keras.Input((4,), name="x")
    both = layers.Add(name="both")([shared(x), shared(shared(x))])
    model = keras.Model(x, [both, layers.LSTM(3, return_state=True, name="lstm")(both[:, None])[0]])

    told = anatomy.of(model).lines

    assert told["shared"].startswith("shared (Dense)")
    assert told["lstm"].startswith("lstm (LSTM)")
