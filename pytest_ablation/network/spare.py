"""Layers of networks that were looked at and let go, of which the next ones are built.

Of a thousand variants nearly all layers recur: to make one and build it takes Keras 0.7 ms, to call
one that is there a third of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, ref

import keras

from pytest_ablation.network import masks
from pytest_ablation.network.layer import copied
from pytest_ablation.network.weightless import is_without_weights

# Of each layer, those met last: a sweep over a layer's size gives the next layer new ones.
MOST_SHAPES = 8


@dataclass
class _Calls:
    """A layer on tensors of certain shapes.

    Attributes:
        gives: A tensor like the one that it gives; None where it gives several.
        spare: Copies of it that were built for such tensors, and are in no network.
    """

    gives: Any
    spare: list[keras.layers.Layer] = field(default_factory=list)


_CALLS: WeakKeyDictionary[keras.layers.Layer, dict[str, _Calls]] = WeakKeyDictionary()
_COPIES: WeakKeyDictionary[keras.layers.Layer, ref[keras.layers.Layer]] = WeakKeyDictionary()


def copy(layer: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    """Return a copy of a layer or operation, a spare one where the network is only looked at.

    Args:
        layer: The layer.
        args: What the copy will be called with, where that is known.
        kwargs: By name.
    """
    if not isinstance(layer, keras.layers.Layer) or not is_without_weights():
        return copied(layer)
    calls = _CALLS.get(layer, {}).get(_key(args, kwargs or {}))
    new = calls.spare.pop() if calls and calls.spare else copied(layer)
    _COPIES[new] = ref(layer)
    return new


def gives(layer: Any, new: Any, tensor: Any) -> Any:
    """Return what a layer will give for a tensor, as far as can be told before it is called.

    Args:
        layer: The layer.
        new: The copy of it that will be called.
        tensor: The tensor, of which the shape and the type count; None where it is not known.

    Returns:
        A tensor of that shape, or None.
    """
    if tensor is None:
        return None
    if calls := _CALLS.get(layer, {}).get(_key([tensor], {})):
        return calls.gives
    try:
        return new.compute_output_spec(tensor) if _is_plain(new) else None
    except Exception:  # whatever a layer raises of what it cannot take
        return None


def let_go(network: keras.Model) -> None:
    """Keep the layers of a network that nobody looks at any more."""
    for new in network._flatten_layers(include_self=False):
        copied_from = _COPIES.pop(new, None)
        layer = copied_from() if copied_from else None
        if layer is None or not new._inbound_nodes:
            continue
        # Private: what Keras notes of the calls that made the network.
        call = new._inbound_nodes[0]
        key = _key(call.arguments.args, call.arguments.kwargs)
        calls = _CALLS.setdefault(layer, {})
        called = calls[key] = calls.pop(key) if key in calls else _Calls(_blank(call.outputs))
        if len(calls) > MOST_SHAPES:
            del calls[next(iter(calls))]
        if _is_plain(new):
            new._inbound_nodes.clear()
            new._outbound_nodes.clear()
            called.spare.append(new)


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Tell whether a layer is as it was when it was built: Keras's own, with no layers in it."""
    is_input = isinstance(layer, keras.layers.InputLayer)  # what it gives is made with it
    return type(layer).__module__.startswith("keras.") and not layer._layers and not is_input


def _key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the shapes of the tensors that a layer is called with; masks build none."""
    named = {
        name: _shapes(value)
        for name, value in sorted(kwargs.items())
        if masks.tensors(value) and not name.endswith("mask")
    }
    return f"{[_shapes(value) for value in args]} {named}"


def _shapes(structure: Any) -> list[str]:
    return [str(tensor.shape) for tensor in masks.tensors(structure)]


def _blank(outputs: Sequence[Any]) -> Any:
    """Return a tensor like an output, that no network has."""
    only = outputs[0] if len(outputs) == 1 else None
    return None if only is None else keras.KerasTensor(only.shape, only.dtype)
