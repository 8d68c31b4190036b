"""Edits: what they change, how they are said, and what is refused before anything trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as with_fields
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import (
    Ablation,
    AblationError,
    configure,
    feed_with,
    having,
    insert,
    leave_one_out,
    remove,
    replace,
    train_with,
    use,
)
from tests.tiny import EXPERIMENT, net


def names(model: keras.Model) -> list[str]:
    """Return the layers' names, in order."""
    return [layer.name for layer in model.layers]


def image_net() -> keras.Model:
    """Return a network with a pooling, whose strides follow its size."""
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Conv2D(4, 3, activation="relu", name="conv2"),
            layers.Flatten(name="flatten"),
            layers.Dense(2, name="classes"),
        ]
    )


def functional_net() -> keras.Model:
    """Return the tiny network's like as a Functional model."""
    given = keras.Input((4, 4, 3))
    return keras.Model(given, layers.Dense(2, activation="softmax")(layers.Flatten()(given)))


@pytest.mark.parametrize(
    "selector",
    [layers.Dropout, "drop*", lambda layer: layer.name.startswith("drop"), having(rate=0.5)],
    ids=["class", "glob", "predicate", "having"],
)
def test_each_kind_of_selector_finds_the_layers(selector: Any) -> None:
    """Class, glob, predicate and setting name the same layers."""
    assert names(remove(selector)(net())) == ["flatten", "dense1", "dense2", "classes"]


def test_an_edit_leaves_the_model_it_is_given_as_it_was() -> None:
    """The user's own network is never changed."""
    model = net()
    before = model.get_config()
    remove("drop*")(model)
    assert model.get_config() == before


def test_replace_puts_a_copy_in_each_place_under_the_old_name() -> None:
    """A replaced layer keeps its name, so later edits and reports still find it."""
    edited = replace(layers.Dropout, layers.GaussianNoise(0.1))(net())
    assert names(edited) == names(net())
    assert isinstance(edited.get_layer("drop1"), layers.GaussianNoise)
    assert edited.get_layer("drop1") is not edited.get_layer("drop2")


def test_replace_takes_a_function_of_the_old_layer() -> None:
    """A function builds each new layer from the one it replaces."""
    edited = replace("dense*", lambda old: layers.Dense(2 * old.units))(net())
    assert [edited.get_layer(name).units for name in ("dense1", "dense2")] == [32, 16]


def test_insert_puts_a_named_copy_after_each_selected_layer() -> None:
    """Inserted layers are named after their place, whatever Keras has numbered before."""
    edited = insert(layers.BatchNormalization(), after="dense*")(net())
    assert "dense1_batch_normalization" in names(edited)
    assert names(edited).index("dense2_batch_normalization") == names(edited).index("dense2") + 1


def test_configure_lets_what_was_not_given_follow() -> None:
    """Strides that were left to follow the pool's size follow it still."""
    edited = configure("pool1", pool_size=4)(image_net())
    assert edited.get_layer("pool1").strides == (4, 4)
    assert edited.get_layer("pool1").pool_size == (4, 4)


def test_having_understands_settings_as_the_layer_does() -> None:
    """A setting written short finds the layer that keeps it long."""
    assert "pool1" not in names(remove(having(pool_size=2))(image_net()))


def test_edits_add_up_in_order_before_anything_is_built() -> None:
    """A half that could not be built alone is no error in a sum that can."""
    half = configure("pool1", pool_size=8)
    with pytest.raises(AblationError, match='Conv2D "conv2" cannot take'):
        half(image_net())
    assert names((half + remove("conv2"))(image_net())) == ["conv1", "pool1", "flatten", "classes"]


def test_an_edited_network_starts_afresh() -> None:
    """Weights trained into the given model are not carried over."""
    model = net()
    model.get_layer("dense1").set_weights([np.full((48, 16), 7.0), np.full(16, 7.0)])
    assert not np.any(remove("drop1")(model).get_layer("dense1").get_weights()[0] == 7.0)


def test_an_ablation_says_itself_as_a_person_would() -> None:
    """It prints in words, and with a network at hand says how many layers it touched."""
    ablation = remove(layers.Dropout) + train_with(epochs=3)
    assert str(ablation) == "remove Dropout, train with epochs=3"
    assert ablation.describe(net()) == "remove Dropout (2 layers), train with epochs=3"
    assert remove("*2").describe(net()) == "remove *2 (dense2, drop2)"
    swapped = configure(having(activation="relu"), activation="tanh")
    assert swapped.describe(net()) == "activation relu → tanh (2 layers)"


def test_a_wrapper_is_a_function_of_the_old_layer() -> None:
    """A class of Keras's that takes a layer may stand where a function old → new may."""
    edited = replace("dense1", layers.SpectralNormalization)(net())
    assert edited.get_layer("dense1").layer.units == 16


@pytest.mark.parametrize(
    ("ablation", "message"),
    [
        (remove("drop4"), r'remove\("drop4"\): no layer of that name\. Layers: flatten, dense1, '
         r'drop1, dense2, drop2, classes\. Did you mean "drop2"\?'),
        (remove("conv*"), r'no layer matches "conv\*"'),
        (remove(layers.Conv2D), r"no Conv2D layer\. Kinds of layer: Flatten, Dense, Dropout"),
        (remove(lambda layer: False), "is true of no layer"),
        (remove(having(rat=0.5)), r'no layer has a setting "rat"\. Did you mean "rate"\?'),
        (remove(having(rate=0.7)), r"no layer has rate=0\.7"),
        (configure("drop1", rat=8), r'Dropout "drop1" has no setting "rat"\. Did you mean "rate"'),
        (configure("dense1", units="many"), r'Dense "dense1" refuses it: '),
        (configure("dense1", units=16), "nothing would change"),
        (configure("drop*", rate=0.5), "nothing would change"),
        (replace("drop1", layers.Dropout(0.5)), "nothing would change"),
        (replace("drop1", lambda old: "x"), "'x' is not a Keras layer"),
        (replace("drop1", layers.Identity), r"Identity is a class: write Identity\(…\), or a func"),
        (insert(layers.BatchNormalization, after="dense1"), "BatchNormalization is a class: write"),
        (remove("classes"), "the network would give 8 in place of 2"),
        (remove("*"), "no layer would be left"),
        (remove("*") + remove("drop1"), "no layer of that name"),
        (use(net), "nothing would change"),
    ],
)  # fmt: skip
def test_a_wrong_edit_says_what_is_wrong(ablation: Ablation, message: str) -> None:
    """What matches nothing, changes nothing or cannot be built is refused in the user's terms."""
    with pytest.raises(AblationError, match=message) as caught:
        ablation(net())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: remove(), "name what to remove"),
        (lambda: remove(3), "3 selects no layers"),  # type: ignore[arg-type] # the mistake
        (lambda: configure("x"), "name a setting"),
        (lambda: having(), "name at least one setting"),
        (lambda: train_with(), "name a setting"),
        (lambda: train_with(epoch=3), "no setting 'epoch'.*Did you mean \"epochs\""),
        (lambda: use(3), "pass a function"),  # type: ignore[arg-type] # the mistake
        (lambda: use(net()), "pass a function"),
        (lambda: feed_with(3), "pass a function"),  # type: ignore[arg-type] # the mistake
    ],
)
def test_a_wrong_call_is_refused_where_it_is_written(
    call: Callable[[], object], message: str
) -> None:
    """What can be known to be wrong without a network is refused at once."""
    with pytest.raises(AblationError, match=message):
        call()


def test_use_studies_another_network() -> None:
    """`use` takes any network, Functional ones too, and edits may follow where they can."""
    assert use(functional_net)(net()).count_params() == functional_net().count_params()
    smaller = use(image_net) + remove("conv2")
    assert "conv2" not in names(smaller(net()))


def test_train_with_changes_the_recipe_and_nothing_else() -> None:
    """The edited experiment has the new setting, and the old network and data."""
    edited = train_with(batch_size=32)(EXPERIMENT)
    assert edited.recipe == with_fields(EXPERIMENT.recipe, batch_size=32)
    assert (edited.model, edited.data) == (EXPERIMENT.model, EXPERIMENT.data)
    with pytest.raises(AblationError, match="nothing would change"):
        train_with(batch_size=16)(EXPERIMENT)


def test_one_setting_written_in_several_ways_is_one_edit() -> None:
    """A list, a tuple and one thing alone are the same variant, and not two names of one."""
    stop = partial(keras.callbacks.EarlyStopping, patience=3)
    several: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("callbacks", ((), [], None)),
        ("callbacks", ((stop,), [stop], stop)),
        ("metrics", (("mse",), ["mse"], "mse")),
        ("learning_rate", (0.1, np.float64(0.1))),
    )
    for name, written in several:
        ways = [train_with(**{name: value}) for value in written]
        assert len(set(map(repr, ways))) == 1
        assert all(way == ways[0] for way in ways)
    for ablation in (train_with(callbacks=[]), train_with(augmentation=())):
        with pytest.raises(AblationError, match="the recipe is so already"):
            ablation(EXPERIMENT)


def test_train_with_is_no_edit_of_a_bare_network() -> None:
    """A recipe's edit says that it needs an Experiment."""
    with pytest.raises(AblationError, match="apply it to an Experiment"):
        train_with(epochs=3)(net())


def test_feed_with_changes_the_data() -> None:
    """The function's data set is the one studied, under a fingerprint of its own."""
    half = feed_with(lambda d: with_fields(d, x_train=d.x_train[:100], y_train=d.y_train[:100]))
    edited = half(EXPERIMENT)
    assert len(edited.data.x_train) == 100
    assert edited.data.fingerprint != EXPERIMENT.data.fingerprint


def test_feed_with_refuses_what_changes_nothing_or_is_no_dataset() -> None:
    """Data as before, or something else in its place, is an error."""
    with pytest.raises(AblationError, match="nothing would change"):
        feed_with(lambda d: with_fields(d, name="renamed"))(EXPERIMENT)
    with pytest.raises(AblationError, match="return a Dataset"):
        feed_with(lambda d: None)(EXPERIMENT)  # type: ignore[arg-type,return-value] # the mistake


def test_leave_one_out_gives_a_parameter_a_layer() -> None:
    """Each selected layer becomes one parameter, named after it."""
    parameters = leave_one_out(net, layers.Dropout)
    assert [parameter.id for parameter in parameters] == ["drop1", "drop2"]
    assert [repr(parameter.values[0]) for parameter in parameters] == [
        'remove("drop1")',
        'remove("drop2")',
    ]
    with pytest.raises(AblationError, match="no Conv2D layer"):
        leave_one_out(net, layers.Conv2D)


def unbuilt() -> keras.Model:
    """Return a network that takes its shapes from the first examples."""
    return keras.Sequential(
        [
            layers.Flatten(name="flatten"),
            layers.Dense(8, name="dense"),
            layers.Dense(2, name="classes"),
        ]
    )


def test_a_network_without_an_input_has_its_shapes_from_the_data() -> None:
    """An edit is checked, and repaired, as if the network said them."""
    experiment = with_fields(EXPERIMENT, model=unbuilt)
    with pytest.raises(AblationError, match="the network would give 4 × 4 × 2 in place of 2"):
        remove("flatten")(experiment)
    edited: Any = remove("flatten", repair=True)(experiment)
    assert "flatten_pooling" in names(edited.model())
    assert str(use(unbuilt)) == "use unbuilt"
    with pytest.raises(AblationError, match="the network is so already"):
        use(unbuilt)(experiment)
    convolved = layers.Conv2D(4, 3, name="conv")
    table = with_fields(EXPERIMENT.data, x_train=np.ones((300, 5)), x_test=np.ones((100, 5)))
    wrong = with_fields(EXPERIMENT, model=lambda: keras.Sequential([convolved]), data=table)
    with pytest.raises(AblationError, match=r"examples, of shape \(5\): .*expected min_ndim"):
        remove("conv")(wrong)


def test_a_network_that_is_built_by_hand_or_by_a_call_is_edited_as_any() -> None:
    """One that is not built is edited too, where no shape matters."""
    by_hand, by_call = unbuilt(), unbuilt()
    by_hand.build((None, 4, 4, 3))
    by_call(np.ones((2, 4, 4, 3)))
    for model in (by_hand, by_call):
        assert remove("dense")(model).count_params() == 48 * 2 + 2
        with pytest.raises(AblationError, match="in place of 2"):
            remove("flatten")(model)
    assert names(remove("dense")(unbuilt())) == ["flatten", "classes"]
    whole = keras.Sequential([unbuilt(), layers.Softmax(name="softmax")])
    assert names(remove("dense")(whole).layers[0]) == ["flatten", "classes"]
    with pytest.raises(AblationError, match=r"give .* a keras\.Input as its first layer"):
        remove("flatten", repair=True)(unbuilt())
