"""Layers that bring a tensor from one shape to another: a pooling, then a 1×1 projection."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from pytest_ablation.network.graph import Shape

POOLINGS = {1: layers.AveragePooling1D, 2: layers.AveragePooling2D, 3: layers.AveragePooling3D}
GLOBAL_POOLINGS = {
    1: layers.GlobalAveragePooling1D,
    2: layers.GlobalAveragePooling2D,
    3: layers.GlobalAveragePooling3D,
}
PROJECTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}


def adapters(given: Shape, wanted: Shape, name: str) -> list[Any]:
    """Return the layers that make a tensor fit; none where poolings and projections cannot.

    Args:
        given: The tensor's shape, batch included.
        wanted: The shape to bring it to.
        name: What the layers' names begin with.
    """
    rank = len(given) - 2
    is_first = keras.config.image_data_format() == "channels_first"
    places, channels = _parted(given, is_first=is_first)
    wanted_places: Shape
    if len(wanted) == 2 and rank in GLOBAL_POOLINGS:
        wanted_places, wanted_channels = (), wanted[-1]
        found = [GLOBAL_POOLINGS[rank](name=f"{name}_pooling")]
    elif len(wanted) == len(given):
        wanted_places, wanted_channels = _parted(wanted, is_first=is_first)
        if not _may_pool(places, wanted_places):
            return []
        found = _poolings(places, wanted_places, name)
    else:
        return []
    if channels != wanted_channels:
        if wanted_channels is None or channels is None:
            return []
        kind = PROJECTIONS.get(len(wanted_places))
        projection = f"{name}_projection"
        if kind is None:
            found.append(layers.Dense(wanted_channels, name=projection))
        else:
            found.append(kind(wanted_channels, 1, name=projection))
    return found


def _parted(shape: Shape, *, is_first: bool) -> tuple[Shape, int | None]:
    """Return a shape's places and its channels."""
    if is_first and len(shape) > 2:
        return shape[2:], shape[1]
    return shape[1:-1], shape[-1]


def _may_pool(given: Shape, wanted: Shape) -> bool:
    return all(
        one == other or (one is not None and other is not None and one >= other)
        for one, other in zip(given, wanted, strict=True)
    )


def _poolings(given: Shape, wanted: Shape, name: str) -> list[Any]:
    """Return the pooling, without padding, that leaves as many places as are wanted."""
    if given == wanted:
        return []
    strides = [1 if n is None or m is None else n // m for n, m in zip(given, wanted, strict=True)]
    sizes = [
        1 if n is None or m is None else n - (m - 1) * stride
        for n, m, stride in zip(given, wanted, strides, strict=True)
    ]
    kind = POOLINGS.get(len(given))
    if kind is None:
        return []
    return [kind(tuple(sizes), strides=tuple(strides), name=f"{name}_pooling")]
