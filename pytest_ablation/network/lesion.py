"""A layer that takes units of another's output away, and where it goes in a network.

What takes their place is zero, their mean, or what they are for another example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from pytest_ablation.errors import AblationError
from pytest_ablation.network import layer as layers
from pytest_ablation.network.bridging import at_levels, leaving
from pytest_ablation.network.graph import Graph, Node, Ref, Site, sites


class Lesioned(keras.layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Puts something else in the place of some channels of what it is given.

    Which channels and what, its weights say, so that a network is compiled once for all lesions of
    a layer.

    Args:
        axis: Of the channels.
        shuffled: Whether the place is taken by another example's channel, and not by a constant.
        seed: What decides which example's.

    Attributes:
        watch: Told what the layer is given, where a call is not compiled; None for nobody.
    """

    def __init__(self, axis: int, shuffled: bool, seed: int, **settings: Any) -> None:
        super().__init__(**{**settings, "trainable": False}, autocast=False)
        self.axis, self.shuffled, self.seed = axis, shuffled, seed
        self.supports_masking = True
        self.watch: Callable[[Any], None] | None = None

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the mask, 1 where a channel is taken away, and the constants, a number a channel."""
        sizes = [1] * len(shape)
        if self.axis:
            sizes[self.axis] = int(shape[self.axis] or 1)
        self.mask = self.add_weight(shape=sizes, initializer="zeros", name="mask")
        self.constants = self.add_weight(shape=sizes, initializer="zeros", name="constants")

    def call(self, x: Any) -> Any:
        """Return the output of the layer without its channels."""
        if self.watch is not None:
            self.watch(x)
        other: Any = self.constants
        if self.shuffled:
            lot = keras.random.uniform((keras.ops.shape(x)[0],), seed=self.seed)
            other = keras.ops.take(x, keras.ops.argsort(lot), axis=0)
        mask = keras.ops.cast(self.mask, "bool")
        return keras.ops.where(mask, keras.ops.cast(other, x.dtype), x)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape that it is given."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        own = {"axis": self.axis, "shuffled": self.shuffled, "seed": self.seed}
        return {**super().get_config(), **own}


def units(graph: Graph, site: Site) -> int:
    """Return how many units a layer has: channels of each tensor that it gives.

    Raises:
        AblationError: Its tensors have not as many each, or the number is not known.
    """
    sizes = counts(graph, site)
    if len(set(sizes)) > 1:
        said = " and ".join(map(str, dict.fromkeys(sizes)))
        raise AblationError(
            f'"{site.path}" gives several tensors, of {said} channels: '
            "what a unit of it is cannot be told. Without units all of them go; else name a layer "
            "that takes one of them."
        )
    return sizes[0]


def counts(graph: Graph, site: Site) -> list[int]:
    """Return how many channels each tensor of a layer has, at each call.

    Raises:
        AblationError: The number is not known.
    """
    sizes = [_channels(level, ref, site)[1] for level, ref in _outputs(graph, site.key)]
    if 0 in sizes:
        raise AblationError(
            f'how many channels "{site.path}" has is not known before the network is called: only '
            "all of its output can go, to zero or by shuffling. keras.Input(shape) tells shapes."
        )
    return sizes


def inserted(graph: Graph, path: str, shuffled: bool, seed: int) -> Graph:
    """Return a graph with a `Lesioned` after each tensor that a layer gives, at all its calls."""
    known = sites(graph)
    site = next(each for each in known if each.path == path)
    taken = {each.name for each in known}
    new: dict[int, Lesioned] = {}

    def lesioned(level: Graph, keys: set[int]) -> Graph:
        for number, node in list(level.nodes.items()):
            for ref in leaving(level, {number}) if id(node.layer) in keys else ():
                if ref.place not in new:
                    name = f"{site.name}_lesion"
                    while name in taken:
                        name += "_"
                    taken.add(name)
                    axis, _ = _channels(level, ref, site)
                    new[ref.place] = Lesioned(axis, shuffled, seed, name=name)
                added = level.free
                level = level.with_node(added, Node(new[ref.place], (ref,)), after=number)
                level = level.redirected({ref: Ref(added)}, but=added)
        return level

    return at_levels(graph, [site], lesioned)


def mask_of(units: tuple[int, ...], layer: Lesioned) -> np.ndarray:
    """Return the mask that takes some channels away, or all where none is named."""
    mask = np.zeros(layer.mask.shape, np.float32)
    mask.reshape(-1)[list(units) if units else slice(None)] = 1
    return mask


def _outputs(graph: Graph, key: int) -> Iterator[tuple[Graph, Ref]]:
    """Yield the tensors that a layer gives and others take, at all its calls."""
    for number, node in graph.nodes.items():
        if id(node.layer) == key:
            yield from ((graph, ref) for ref in leaving(graph, {number}))
        elif isinstance(node.layer, Graph):
            yield from _outputs(node.layer, key)


def _channels(graph: Graph, ref: Ref, site: Site) -> tuple[int, int]:
    """Return the axis of a tensor's channels and how many there are; 0 where that is not known."""
    shape = graph.shapes.get(ref)
    if shape is None or len(shape) < 2:
        return 0, int(shape is not None)
    is_first = keras.config.image_data_format() == "channels_first"
    if "data_format" in (config := layers.config(site.layer)):
        is_first = config["data_format"] == "channels_first"
    axis = 1 if is_first and len(shape) > 2 else len(shape) - 1
    return axis, int(shape[axis] or 0)
