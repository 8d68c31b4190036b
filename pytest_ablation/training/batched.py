"""Layers of several networks at once, computed in a way that a GPU is fast at.

Of the convolutions of several networks `jax.vmap` makes one grouped convolution, and of the
gradient of their max pooling a scatter, for both of which there are slow kernels only. Here a
convolution is a product of matrices, the patches that it meets by its kernel, and the gradient of a
pooling is put where the greatest value was. A step of the CIFAR-10 network took 123 µs for each of
five seeds so, in the place of 326 (NVIDIA H200).

Where what a convolution gives goes into a max pooling and nowhere else, its activation comes after
that, which is the same for those that never fall. And if the pooling is over two by two, one
product may give all four values of each window, from the part of the input that they meet together:
half of its factors are zeros, but there are two and a half times fewer patches to be moved.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import activations, layers, ops

from pytest_ablation.network.naming import graph_of

MOST_WASTED = 2.0  # times the factors that a convolution needs
MOST_FILTERS = 128
ALIGNED = 16  # bytes, of which matrices' rows must be a multiple for the fast kernels


@contextmanager
def used_by(model: Any) -> Iterator[None]:
    """Have a network's layers computed so meanwhile, those of which it is known how."""
    chosen = {
        layer: partial(call, layer)
        for layer in model._flatten_layers()
        for types, can_be, call in _CALLS
        if type(layer) in types and can_be(layer)
    }
    for layer, pooling in _pooled_alone(model):
        if _is_worth_folding(layer, pooling):
            chosen |= {layer: partial(_phases, layer), pooling: partial(_greatest_phase, layer)}
        else:
            after = partial(_activated_late, layer, pooling)
            chosen |= {layer: partial(_convolved, layer, activates=False), pooling: after}
    for layer, function in chosen.items():
        layer.call = function
    try:
        yield
    finally:
        for layer in chosen:
            del layer.call


def _pooled_alone(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield convolutions, each with the pooling that alone gets what it gives.

    Both are known here, both are called only once, and the activation between them may come last.
    """
    networks = [model, *(each for each in model._flatten_layers() if isinstance(each, keras.Model))]
    graphs = {id(graph): graph for graph in map(graph_of, networks)}.values()
    by_depth = [getattr(graph, "_nodes_by_depth", {}) for graph in graphs]
    nodes = [node for each in by_depth for of_depth in each.values() for node in of_depth]
    calls = Counter(node.operation for node in nodes)
    takers: dict[int, list[Any]] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            takers.setdefault(id(tensor), []).append(node.operation)
    given = {id(tensor) for graph in graphs for tensor in graph.outputs}
    for node in nodes:
        layer, tensors = node.operation, [*map(id, node.outputs)]
        taking = takers.get(tensors[0], [])
        if (
            type(layer) in _CONVOLUTIONS
            and _is_plain_convolution(layer)
            and [*map(type, taking)] in [[each] for each in _POOLINGS]
            and _has_windows_side_by_side(*taking)
            and calls[layer] == calls[taking[0]] == 1
            and not given.intersection(tensors)
            and layer.activation in _NEVER_FALLING
            and layer.activity_regularizer is None
        ):
            yield layer, *taking


def _is_worth_folding(layer: Any, pooling: Any) -> bool:
    """Tell whether one product for all values of a window is faster.

    Not where what is multiplied is small beside what comes of it, nor where the fast kernels are
    limited by the factors, as they are with many filters.
    """
    of_ones = {*layer.strides, *layer.dilation_rate} == {1} and set(pooling.pool_size) == {2}
    wasted = math.prod((size + 1) / size for size in layer.kernel_size)
    met = math.prod(layer.kernel.shape[:-1])
    return (
        of_ones
        and all(size % 2 for size in layer.kernel_size)
        and wasted <= MOST_WASTED
        and layer.filters <= min(met, MOST_FILTERS)
    )


def _phases(layer: Any, inputs: Any) -> Any:
    """Return what a pooling over two by two takes the greatest of, without bias and activation.

    Returns:
        Of images, shape (batch, windows along both axes, 4 × filters).
    """
    kernel = ops.convert_to_tensor(layer.kernel)
    padded = _padded(layer, ops.convert_to_tensor(inputs))
    size, axes = [k + 1 for k in layer.kernel_size], len(layer.kernel_size)
    phases = itertools.product(range(2), repeat=axes)
    shifted = [jnp.pad(kernel, [*((i, 1 - i) for i in each), (0, 0), (0, 0)]) for each in phases]
    matrix = jnp.stack(shifted, axis=-2).reshape(-1, len(shifted) * layer.filters)
    return _product(_patches(padded, size, [2] * axes, [1] * axes), matrix)


def _greatest_phase(layer: Any, phases: Any) -> Any:
    """Return what the pooling gives, with the convolution's bias and activation."""
    *places, width = phases.shape
    side_by_side = phases.reshape(len(phases), -1, layer.filters)
    greatest = _greatest(side_by_side, (width // layer.filters,))
    bias = ops.convert_to_tensor(layer.bias) if layer.use_bias else 0
    return layer.activation(greatest.reshape(*places, layer.filters) + bias)


def _activated_late(layer: Any, pooling: Any, inputs: Any) -> Any:
    """Return the activation of a convolution's greatest values."""
    return layer.activation(_greatest(inputs, tuple(pooling.pool_size)))


@jax.custom_vjp
def _product(patches: Any, matrix: Any) -> Any:
    """Return patches by a matrix, whose gradient comes of transposed copies.

    The fast kernels for float32 want both matrices' rows along what is summed over.
    """
    return patches @ matrix


def _product_forward(patches: Any, matrix: Any) -> tuple[Any, tuple[Any, Any]]:
    return patches @ matrix, (patches, matrix)


def _product_backward(kept: tuple[Any, Any], gradient: Any) -> tuple[Any, Any]:
    patches, matrix = kept
    copies = [each.reshape(-1, each.shape[-1]).T for each in (patches, gradient)]
    kept_apart: Any = jax.lax.optimization_barrier  # JAX says no types here
    of_patches, of_gradient = kept_apart(copies)
    return gradient @ matrix.T, of_patches @ of_gradient.T


_product.defvjp(_product_forward, _product_backward)


def _convolved(layer: Any, inputs: Any, *, activates: bool = True) -> Any:
    """Return what a layer's convolution gives of inputs, shape (batch, …, channels)."""
    kernel = ops.convert_to_tensor(layer.kernel)
    padded = _padded(layer, ops.convert_to_tensor(inputs))
    patches = _patches(padded, layer.kernel_size, layer.strides, layer.dilation_rate)
    matrix = kernel.reshape(-1, layer.filters)
    bias = ops.convert_to_tensor(layer.bias) if layer.use_bias else jnp.zeros((), kernel.dtype)
    if missing := -len(matrix) % max(1, ALIGNED // kernel.dtype.itemsize):
        # A column of ones among what is missing gives the bias, and its gradient, with the product.
        one = jnp.zeros(missing, patches.dtype).at[0].set(1)
        ones = jnp.broadcast_to(one, (*patches.shape[:-1], missing))
        row = jnp.broadcast_to(bias, (1, layer.filters))
        patches = jnp.concatenate([patches, ones], axis=-1)
        matrix = jnp.pad(jnp.concatenate([matrix, row]), ((0, missing - 1), (0, 0)))
        bias = jnp.zeros((), kernel.dtype)
    product = patches @ matrix + bias
    return layer.activation(product) if activates else product


def _patches(
    padded: Any, size: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> Any:
    """Return what of padded inputs each of the kernel's positions meets, as the last axis."""
    reach = _reach(size, dilation)
    spans = [n - r + 1 for n, r in zip(padded.shape[1:-1], reach, strict=True)]
    offsets = itertools.product(*map(range, (0,) * len(size), reach, dilation))
    parts = []
    for offset in offsets:
        cut = [slice(o, o + n, s) for o, n, s in zip(offset, spans, strides, strict=True)]
        parts.append(padded[:, *cut])
    return jnp.concatenate(parts, axis=-1)


def _padded(layer: Any, inputs: Any) -> Any:
    """Return inputs with the zeros around them that a convolution adds."""
    sizes, padding = inputs.shape[1:-1], layer.padding.upper()
    reach = _reach(layer.kernel_size, layer.dilation_rate)
    pads = jax.lax.padtype_to_pads(sizes, reach, layer.strides, padding)
    return jnp.pad(inputs, [(0, 0), *pads, (0, 0)])


def _reach(size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return how far a kernel reaches along each axis."""
    return [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _greatest(inputs: Any, size: tuple[int, ...]) -> Any:
    """Return the greatest value of each window, shape (batch, …, channels)."""
    return _windows(inputs, size).max(_window_axes(size))


def _greatest_forward(inputs: Any, size: tuple[int, ...]) -> tuple[Any, tuple[Any, Any]]:
    windows, axes = _windows(inputs, size), _window_axes(size)
    greatest = windows.max(axes, keepdims=True)
    n = math.prod(size)
    first = jnp.where(windows == greatest, _positions(size), n).min(axes, keepdims=True)
    return greatest.squeeze(axes), (first.astype(np.min_scalar_type(n)), inputs[:0])


def _greatest_backward(size: tuple[int, ...], kept: Any, gradient: Any) -> tuple[Any]:
    first, of_inputs = kept
    axes = _window_axes(size)
    spread = jnp.where(_positions(size) == first, jnp.expand_dims(gradient, axes), 0)
    used = [n * k for n, k in zip(gradient.shape[1:-1], size, strict=True)]
    left = [(0, n - m) for n, m in zip(of_inputs.shape[1:-1], used, strict=True)]
    whole = spread.reshape(len(gradient), *used, gradient.shape[-1])
    return (jnp.pad(whole, [(0, 0), *left, (0, 0)]),)


_greatest.defvjp(_greatest_forward, _greatest_backward)


def _windows(inputs: Any, size: tuple[int, ...]) -> Any:
    """Return windows side by side, shape (batch, n, size, n, size, …, channels)."""
    counts = [n // k for n, k in zip(inputs.shape[1:-1], size, strict=True)]
    used = inputs[:, *(slice(n * k) for n, k in zip(counts, size, strict=True))]
    shape = itertools.chain.from_iterable(zip(counts, size, strict=True))
    return used.reshape(len(inputs), *shape, inputs.shape[-1])


def _window_axes(size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(2, 2 * len(size) + 1, 2))


def _positions(size: tuple[int, ...]) -> Any:
    """Return the number of each place in a window, in a shape that goes with windows."""
    shape = itertools.chain.from_iterable((1, k) for k in size)
    return np.arange(math.prod(size), dtype=np.int32).reshape(*shape, 1)


def _is_plain_convolution(layer: Any) -> bool:
    is_padded_evenly = layer.padding in ("valid", "same")
    return layer.groups == 1 and layer.data_format == "channels_last" and is_padded_evenly


def _has_windows_side_by_side(layer: Any) -> bool:
    is_apart = tuple(layer.pool_size) == tuple(layer.strides) and layer.padding == "valid"
    return is_apart and layer.data_format == "channels_last"


_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_POOLINGS = (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
_NEVER_FALLING = (
    *(activations.elu, activations.exponential, activations.hard_sigmoid, activations.leaky_relu),
    *(activations.linear, activations.relu, activations.relu6, activations.selu),
    *(activations.sigmoid, activations.softplus, activations.softsign, activations.tanh),
)
_CALLS: tuple[tuple[tuple[type, ...], Callable[[Any], bool], Callable[[Any, Any], Any]], ...] = (
    (_CONVOLUTIONS, _is_plain_convolution, _convolved),
    (
        _POOLINGS,
        _has_windows_side_by_side,
        lambda layer, inputs: _greatest(ops.convert_to_tensor(inputs), tuple(layer.pool_size)),
    ),
)
