"""What a network costs to compute: the multiplications and additions of its kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

KERNELS = ("kernel", "_kernel", "depthwise_kernel", "pointwise_kernel")
# Each kernel is applied once at every place of their output; transposed ones, of their input.
COUNTED = (
    layers.Dense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
BACKWARD = 2  # a step's backward pass computes two products for each of the forward one's


def flops(model: keras.Model) -> tuple[int, tuple[str, ...]]:
    """Return the floating point operations of one example's forward pass, in its kernels.

    A multiplication and an addition are two. Biases, activations, pooling and normalisation, some
    hundredths of the whole in common networks, are left out.

    Args:
        model: A built network.

    Returns:
        The operations, and the layers with weights that are not counted, by name.
    """
    total, unknown = 0, []
    for layer in _leaves(model):
        kernels = [k for name in KERNELS if (k := getattr(layer, name, None)) is not None]
        if isinstance(layer, (*COUNTED, *TRANSPOSED)):
            shape = (layer.input if isinstance(layer, TRANSPOSED) else layer.output).shape
            places = math.prod(size or 1 for size in shape[1:-1])
            if layer.get_config().get("data_format") == "channels_first":
                places = math.prod(size or 1 for size in shape[2:])
            total += sum(2 * math.prod(kernel.shape) * places for kernel in _once(kernels))
        elif layer.weights and not isinstance(layer, _CHEAP):
            unknown.append(layer.name)
    return total, tuple(unknown)


def of_a_step(forward: int) -> int:
    """Return an example's operations in a training step: forward, and twice that backward."""
    return (1 + BACKWARD) * forward


_CHEAP = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.Embedding,
    layers.PReLU,
    layers.Dropout,
)


def _leaves(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _once(kernels: list[Any]) -> list[Any]:
    return list({id(kernel): kernel for kernel in kernels}.values())
