"""The masks that Keras gives layers by itself, as those of an Embedding with mask_zero."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend import get_keras_mask, set_keras_mask  # private: there is no other way

from pytest_ablation.network.source import is_users


def of(tensor: Any) -> Any:
    """Return the mask that a tensor carries, if it does."""
    return get_keras_mask(tensor)


def makes_one(layer: keras.layers.Layer) -> bool:
    """Tell whether a layer makes a mask, which the layers after it may pass on to the answers."""
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return True
    return is_users(type(layer).compute_mask)


def of_all(structure: Any) -> dict[str, Any]:
    """Return the masks that some of the tensors in a structure carry, by their places in it."""
    found = {str(i): of(tensor) for i, tensor in enumerate(keras.tree.flatten(structure))}
    return {place: mask for place, mask in found.items() if mask is not None}


def carried(structure: Any, masks: Mapping[str, Any]) -> Any:
    """Return a structure of tensors, of which those at some places now carry masks."""
    tensors = keras.tree.flatten(structure)
    for place, mask in masks.items():
        set_keras_mask(tensors[int(place)], mask)
    return structure


def given(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the masks that Keras gives a layer by itself, by the names that it takes them by.

    Keras 3.15 forgets to, as soon as a layer is called with any keyword, and it notes ``training``
    as one of each call.
    """
    masks = {
        key: keras.tree.map_structure(of, argument)
        for key, argument in maskable(layer.call, args, kwargs, tensors).items()
        if key not in kwargs
    }
    return {key: mask for key, mask in masks.items() if tensors(mask)}


def maskable(
    call: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    tensors_in: Callable[[Any], list[Any]],
) -> dict[str, Any]:
    """Return the arguments of a call whose masks it takes, by the names that it takes them by."""
    signature = inspect.signature(call)
    keys = {name for name in signature.parameters if name == "mask" or name.endswith("_mask")}
    if not keys:
        return {}
    bound = signature.bind_partial(*args, **kwargs).arguments
    found = {name: value for name, value in bound.items() if name not in keys and tensors_in(value)}
    is_one = len(found) == 1
    named = {"mask" if is_one else f"{name}_mask": value for name, value in found.items()}
    return {key: value for key, value in named.items() if key in keys}


def tensors(structure: Any) -> list[Any]:
    """Return the tensors in lists, tuples and dicts."""
    return [each for each in keras.tree.flatten(structure) if _is_tensor(each)]


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Tell whether tensors are the same ones, or come by like operations from the same layers."""
    return len(one) == len(other) and all(map(_is_same, one, other))


def _is_same(one: Any, other: Any) -> bool:
    if one is other or not (_is_tensor(one) and _is_tensor(other)):
        return one is other or bool(np.array_equal(one, other))
    (operation, call, place), (another, its_call, its_place) = (
        (each._keras_history.operation, each._keras_history.node_index, each._keras_history[2])
        for each in (one, other)
    )
    if operation is another:
        return (call, place) == (its_call, its_place)
    if isinstance(operation, keras.layers.Layer) or type(operation) is not type(another):
        return False
    arguments = [
        keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
        for node in (operation._inbound_nodes[call], another._inbound_nodes[its_call])
    ]
    return place == its_place and same(*arguments)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)
