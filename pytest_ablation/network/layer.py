"""What an edit does to a single layer: a copy, other settings, another layer in its place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.network import adapted, faithful
from pytest_ablation.network.adapted import told_what_was_adapted
from pytest_ablation.network.configuration import first_line, from_config
from pytest_ablation.network.naming import keras_name
from pytest_ablation.network.source import is_keras

Layer: TypeAlias = keras.layers.Layer
LayerOrFunction: TypeAlias = Layer | Callable[[Layer], Layer]


def configured(layer: Layer, settings: Mapping[str, Any]) -> Layer:
    """Return a copy of the layer with some settings changed.

    Settings that the layer derived from others, because they were not given, are derived anew.

    Raises:
        AblationError: A setting that the layer does not have, or a value that it refuses.
    """
    own = config(layer)
    if "name" in settings:
        raise AblationError(
            f'the name of "{layer.name}" is no setting: it decides what random numbers the layer '
            "starts from, and nothing else."
        )
    for name in settings:
        if name not in own:
            raise AblationError(
                f'{type(layer).__name__} "{layer.name}" has no setting "{name}".'
                + did_you_mean(name, own)
            )
    adapted.check(layer, own, settings)
    for name, value in settings.items():
        if isinstance(value, (keras.layers.Layer, *faithful.PARTS)):
            faithful.check_told(value, f'the {name} of "{layer.name}"')
    kept = {k: v for k, v in own.items() if k in settings or not _is_derived(layer, k, own)}
    told = {name: _serialized(value) for name, value in settings.items()}
    try:
        new = from_config(layer, {**kept, **told})
        new.get_config()
    except Exception as error:  # whatever a layer raises of a value that it does not take
        raise AblationError(
            f'{type(layer).__name__} "{layer.name}" refuses it: {first_line(error)}.'
        ) from error
    return new


def is_operation(layer: Any) -> bool:
    """Tell an operation, as ``a + b`` puts one into a network, from a layer."""
    return not isinstance(layer, keras.layers.Layer)


def is_network(layer: Any) -> bool:
    """Tell a network within a network from a layer."""
    return isinstance(layer, keras.Model)


def config(layer: Any) -> dict[str, Any]:
    """Return a layer's settings; none of one that does not say them."""
    try:
        with told_what_was_adapted(layer):
            return dict(layer.get_config())
    except NotImplementedError:
        return {}


def has(layer: Layer, settings: Mapping[str, Any]) -> bool:
    """Tell whether the layer has these settings: whether giving them to it changes nothing."""
    own = config(layer)
    if not all(name in own for name in settings):
        return False
    try:
        told = {name: _serialized(value) for name, value in settings.items()}
        return bool(config(from_config(layer, {**own, **told})) == own)
    except Exception:  # whatever a layer raises of a value that it does not take
        return False


def in_place_of(old: Layer, by: LayerOrFunction) -> Layer:
    """Return a copy of a layer, or what the function makes of the old one, under the old name."""
    return copied(_made(by, old), old.name)


def behind(anchor: Layer, layer: LayerOrFunction, taken: Collection[str]) -> Layer:
    """Return a copy of a layer, or what the function makes of the anchor, under a name of its own.

    The name is the layer's where the user gave one, else the anchor's with the layer's kind.
    """
    new = _made(layer, anchor)
    kind = keras_name(type(new).__name__)
    own_name = not new.name.startswith(kind)
    name = new.name if own_name and new.name not in taken else f"{anchor.name}_{kind}"
    count = 1
    while name in taken:
        count += 1
        name = f"{anchor.name}_{kind}_{count}"
    return copied(new, name)


def copied(layer: Any, name: str = "") -> Any:
    """Return a copy of a layer or operation, of its settings and without its weights.

    Raises:
        AblationError: A layer whose configuration does not give its settings.
    """
    named = {"name": name} if name else {}
    try:
        with told_what_was_adapted(layer):
            own = layer.get_config()
        return from_config(layer, {**own, **named})
    except AblationError:
        raise
    except Exception as error:  # whatever a layer of the user's own raises
        raise AblationError(
            f'{type(layer).__name__} "{layer.name}" cannot be copied from its configuration: '
            f"{first_line(error)}. Its get_config must give what its __init__ takes."
        ) from error


def said_shape(shape: tuple[int | None, ...]) -> str:
    """Return a shape as people write it, without the batch: ``32 × 32 × 3``."""
    return " × ".join("any" if size is None else str(size) for size in shape[1:]) or "a number"


def said_shapes(shapes: Sequence[tuple[int | None, ...]]) -> str:
    """Return several shapes."""
    return ", ".join(map(said_shape, shapes))


def _is_derived(layer: Layer, name: str, config: Mapping[str, Any]) -> bool:
    """Tell whether a setting stands where the layer puts it if it is not given (None)."""
    parameter = inspect.signature(type(layer).__init__).parameters.get(name)
    if parameter is None or parameter.default is not None or config[name] is None:
        return False
    without = {key: value for key, value in config.items() if key != name}
    try:
        return bool(from_config(layer, without).get_config()[name] == config[name])
    except Exception:  # the layer does not do without it
        return False


def _serialized(value: Any) -> Any:
    """Return a setting as a configuration has it, where it is a layer."""
    if isinstance(value, keras.layers.Layer):
        return keras.saving.serialize_keras_object(value)
    return value


def _made(by: LayerOrFunction, old: Layer) -> Layer:
    if isinstance(by, type) and is_keras(by) and not issubclass(by, keras.layers.Wrapper):
        raise AblationError(
            f"{by.__name__} is a class: write {by.__name__}(…), or a function old → new layer."
        )
    made = by if isinstance(by, keras.layers.Layer) else by(old)
    if not isinstance(made, keras.layers.Layer):
        raise AblationError(f"{made!r} is not a Keras layer.")
    faithful.check_told(made, f'"{made.name}"')
    return made
