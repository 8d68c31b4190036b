"""What an edit does to the layers of a Sequential network: copies, settings, assembly."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import keras

from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.network.blueprint import keras_name

Layer: TypeAlias = keras.layers.Layer
LayerOrFunction: TypeAlias = Layer | Callable[[Layer], Layer]


def layers_of(model: keras.Model) -> list[Layer]:
    """Return the layers of a Sequential network, in order, without its input.

    Raises:
        AblationError: Another kind of model.
    """
    if not isinstance(model, keras.Model):
        raise AblationError(f"a {type(model).__name__} is not a Keras model.")
    if not isinstance(model, keras.Sequential):
        kind = "Functional" if type(model).__name__ == "Functional" else "subclassed"
        raise AblationError(
            f"layers of a {kind} model cannot be edited yet, only those of a Sequential one. "
            "Write the edited network as a function and name it: use(that_function)."
        )
    return list(model.layers)


def configured(layer: Layer, settings: Mapping[str, Any]) -> Layer:
    """Return a copy of the layer with some settings changed.

    Settings that the layer derived from others, because they were not given, are derived anew.

    Raises:
        AblationError: A setting that the layer does not have, or a value that it refuses.
    """
    config = layer.get_config()
    for name in settings:
        if name not in config:
            raise AblationError(
                f'{type(layer).__name__} "{layer.name}" has no setting "{name}".'
                + did_you_mean(name, config)
            )
    kept = {k: v for k, v in config.items() if k in settings or not _is_derived(layer, k, config)}
    try:
        return type(layer).from_config({**kept, **settings})
    except (TypeError, ValueError) as error:
        raise AblationError(
            f'{type(layer).__name__} "{layer.name}" refuses it: {_first_line(error)}'
        ) from error


def has(layer: Layer, settings: Mapping[str, Any]) -> bool:
    """Tell whether the layer has these settings: whether giving them to it changes nothing."""
    config = layer.get_config()
    if not all(name in config for name in settings):
        return False
    try:
        return bool(type(layer).from_config({**config, **settings}).get_config() == config)
    except (TypeError, ValueError):
        return False


def in_place_of(old: Layer, by: LayerOrFunction) -> Layer:
    """Return a copy of a layer, or what the function makes of the old one, under the old name."""
    return _copied(_made(by, old), old.name)


def behind(anchor: Layer, layer: LayerOrFunction, taken: Collection[str]) -> Layer:
    """Return a copy of a layer, or what the function makes of the anchor, under a name of its own.

    The name is the layer's where the user gave one, else the anchor's with the layer's kind.
    """
    new = _made(layer, anchor)
    kind = keras_name(type(new))
    own_name = not new.name.startswith(kind)
    name = new.name if own_name and new.name not in taken else f"{anchor.name}_{kind}"
    count = 1
    while name in taken:
        count += 1
        name = f"{anchor.name}_{kind}_{count}"
    return _copied(new, name)


def same(before: list[Layer], after: list[Layer]) -> bool:
    """Tell whether two lists of layers are of the same kinds and settings."""
    if len(before) != len(after):
        return False
    return all(
        one is other or (type(one) is type(other) and one.get_config() == other.get_config())
        for one, other in zip(before, after, strict=True)
    )


def assembled(layers: list[Layer], like: keras.Model) -> keras.Model:
    """Return a Sequential network of copies of the layers, freshly initialised.

    Args:
        layers: The layers, in order.
        like: The network whose input it takes and whose output shape it must keep.

    Raises:
        AblationError: A layer that cannot take what comes before it, or another output shape.
    """
    copies = [_copied(layer, layer.name) for layer in layers]
    if not copies:
        raise AblationError("no layer would be left.")
    if not like.built:
        return keras.Sequential(copies, name=like.name)
    given = keras.Input(batch_shape=like.input_shape, dtype=like.inputs[0].dtype)
    tensor = given
    for layer in copies:
        try:
            tensor = layer(tensor)
        except (ValueError, TypeError) as error:
            raise AblationError(
                f'{type(layer).__name__} "{layer.name}" cannot take what comes before it, '
                f"{_shape(tensor.shape)}: {_first_line(error)}"
            ) from error
    if tensor.shape != like.output_shape:
        raise AblationError(
            f"the network would give {_shape(tensor.shape)} in place of "
            f"{_shape(like.output_shape)}."
        )
    return keras.Sequential([given, *copies], name=like.name)


def _is_derived(layer: Layer, name: str, config: Mapping[str, Any]) -> bool:
    """Tell whether a setting stands where the layer puts it if it is not given (None)."""
    parameter = inspect.signature(type(layer).__init__).parameters.get(name)
    if parameter is None or parameter.default is not None or config[name] is None:
        return False
    without = {key: value for key, value in config.items() if key != name}
    try:
        return bool(type(layer).from_config(without).get_config()[name] == config[name])
    except (TypeError, ValueError, KeyError):
        return False


def _made(by: LayerOrFunction, old: Layer) -> Layer:
    made = by if isinstance(by, keras.layers.Layer) else by(old)
    if not isinstance(made, keras.layers.Layer):
        raise AblationError(f"{made!r} is not a Keras layer.")
    return made


def _copied(layer: Layer, name: str) -> Layer:
    return type(layer).from_config({**layer.get_config(), "name": name})


def _shape(shape: tuple[int | None, ...]) -> str:
    return " × ".join(str(size) for size in shape[1:]) or "a number"


def _first_line(error: Exception) -> str:
    """Return what Keras says is wrong, without the configuration that it puts before it."""
    return str(error).rpartition("Exception encountered: ")[2].strip().splitlines()[0]
