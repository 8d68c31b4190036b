"""A layer that takes units of another's output away: set to zero, to their mean, or shuffled."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class Lesioned(keras.layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Puts something else in the place of some channels of what it is given.

    Which channels and what, its weights say, so that a network is compiled once for all lesions of
    a layer.

    Args:
        axis: Of the channels.
        shuffled: Whether the place is taken by another example's channel, and not by a constant.
        seed: What decides which example's.
    """

    def __init__(self, axis: int, shuffled: bool, seed: int, **settings: Any) -> None:
        super().__init__(**{**settings, "trainable": False})
        self.axis, self.shuffled, self.seed = axis, shuffled, seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the mask, 1 where a channel is taken away, and the constants, a number a channel."""
        sizes = [1] * len(shape)
        sizes[self.axis] = int(shape[self.axis] or 1)
        self.mask = self.add_weight(shape=sizes, initializer="zeros", name="mask")
        self.constants = self.add_weight(shape=sizes, initializer="zeros", name="constants")

    def call(self, x: Any) -> Any:
        """Return the output of the layer without its channels."""
        other: Any = self.constants
        if self.shuffled:
            lot = keras.random.uniform((keras.ops.shape(x)[0],), seed=self.seed)
            other = keras.ops.take(x, keras.ops.argsort(lot), axis=0)
        mask = keras.ops.cast(self.mask, x.dtype)
        return x * (1 - mask) + keras.ops.cast(other, x.dtype) * mask

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape that it is given."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        own = {"axis": self.axis, "shuffled": self.shuffled, "seed": self.seed}
        return {**super().get_config(), **own}


def channels(layer: Any) -> tuple[int, int]:
    """Return the axis of a layer's channels and how many there are; 0 where that is not known."""
    shape = layer.output.shape
    is_first = keras.config.image_data_format() == "channels_first"
    if "data_format" in (config := layer.get_config()):
        is_first = config["data_format"] == "channels_first"
    axis = 1 if is_first and len(shape) > 2 else len(shape) - 1
    return axis, int(shape[axis] or 0)


def mask_of(units: tuple[int, ...], layer: Lesioned) -> np.ndarray:
    """Return the mask that takes some channels away, or all where none is named."""
    mask = np.zeros(layer.mask.shape, np.float32)
    mask.reshape(-1)[list(units) if units else slice(None)] = 1
    return mask
