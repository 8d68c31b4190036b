"""How many floating point operations one call of one of Keras's layers takes, by its class.

What counts as one is in `operations`. Layers that only call a function, and those that consist of
others, are not here: `cost` finds what they call.
"""

from __future__ import annotations

import math
from typing import Any

from keras import layers

from pytest_ablation.network.operations import (
    DROPPED,
    SOFTMAX,
    STATISTICS,
    Call,
    Count,
    Shape,
    an_input,
    an_output,
    average_pooling,
    einsum,
    max_pooling,
    nothing,
    root_mean_square,
)


def count_of(layer: layers.Layer) -> Count | None:
    """Return what counts a call of a layer; None where its class is not known.

    A class derived from one of Keras's counts as that one unless it computes in a way of its own.
    """
    kinds: tuple[Any, ...] = type(layer).__mro__
    kind = next((kind for kind in kinds if kind in LAYERS), None)
    return LAYERS[kind] if kind and type(layer).call is kind.call else None


# -------------------------------------------------------------------------------- with kernels


def _dense(call: Call) -> int:
    layer = call.operation
    return _kernel(layer.kernel, math.prod(call.output) // layer.units) + _bias_and_activation(call)


def _einsum_dense(call: Call) -> int:
    layer = call.operation
    operands = [call.inputs[0], tuple(layer.kernel.shape)]
    products = einsum(layer.equation, operands, call.output)
    return products + _bias_and_activation(call, has_bias=layer.bias is not None)


def _convolution(call: Call) -> int:
    layer = call.operation
    places = math.prod(call.output) // layer.filters
    return _kernel(layer.kernel, places) + _bias_and_activation(call)


def _depthwise(call: Call) -> int:
    kernel = call.operation.kernel
    places = math.prod(call.output) // math.prod(kernel.shape[-2:])
    return _kernel(kernel, places) + _bias_and_activation(call)


def _separable(call: Call) -> int:
    layer = call.operation
    places = math.prod(call.output) // layer.filters
    kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    return sum(_kernel(kernel, places) for kernel in kernels) + _bias_and_activation(call)


def _transposed(call: Call) -> int:
    kernel = call.operation.kernel
    places = math.prod(call.inputs[0]) // kernel.shape[-1]
    return _kernel(kernel, places) + _bias_and_activation(call)


def _convolved_lstm(call: Call) -> int:
    """Return the operations of a ConvLSTM: Shi et al., 2015, equation 3, without peepholes."""
    cell = call.operation.cell
    state = cell.compute_output_shape((1, *call.inputs[0][2:]))[0]
    units = math.prod(state)
    kernels = sum(
        _kernel(kernel, units // cell.filters) for kernel in (cell.kernel, cell.recurrent_kernel)
    )
    gates = 3 * call.function(cell.recurrent_activation, state)
    gates += 2 * call.function(cell.activation, state)
    # Four sums of what comes in and what was, and their biases; f·c + i·g and o·h.
    step = kernels + gates + 4 * units * (1 + cell.use_bias) + 4 * units
    return int(call.inputs[0][0] * call.inputs[0][1] * step)


def _kernel(kernel: Any, places: int) -> int:
    return int(2 * math.prod(kernel.shape) * places)


def _bias_and_activation(call: Call, *, has_bias: bool | None = None) -> int:
    layer = call.operation
    bias = math.prod(call.output) if (layer.use_bias if has_bias is None else has_bias) else 0
    return bias + call.function(layer.activation, call.output)


# ----------------------------------------------------------------------------------- attention


def _multi_head_attention(call: Call) -> int:
    """Return the operations of attention: Vaswani et al., 2017, section 3.2."""
    config = call.operation.get_config()
    query, value = call.named["query"], call.named["value"]
    axes = config["attention_axes"] or range(1, len(query) - 1)
    axes = [axes] if isinstance(axes, int) else axes
    return _projected_attention(
        call,
        steps=math.prod(query[axis] for axis in axes),
        looked_at=math.prod(value[axis] for axis in axes),
        heads=(config["num_heads"], config["num_heads"]),
        sizes=(config["key_dim"], config["value_dim"] or config["key_dim"]),
    )


def _grouped_query_attention(call: Call) -> int:
    """Return the operations of attention with fewer keys than queries: Ainslie et al., 2023."""
    config = call.operation.get_config()
    query, value = call.named["query"], call.named["value"]
    return _projected_attention(
        call,
        steps=query[1],
        looked_at=value[1],
        heads=(config["num_query_heads"], config["num_key_value_heads"]),
        sizes=(config["head_dim"], config["head_dim"]),
    )


def _projected_attention(
    call: Call, *, steps: int, looked_at: int, heads: tuple[int, int], sizes: tuple[int, int]
) -> int:
    """Return the operations of a layer that projects, attends and projects back.

    Args:
        call: The call.
        steps: Positions that attend.
        looked_at: Positions that they attend to.
        heads: How many of queries, and of keys and values.
        sizes: Of a key, and of a value.
    """
    config = call.operation.get_config()
    shapes = call.named
    query, value = shapes["query"], shapes["value"]
    key = shapes.get("key", value)
    each, of_key, of_value = heads[0], *sizes
    bias = int(config["use_bias"])

    def projected(shape: Shape, width: int) -> int:
        return math.prod(shape[:-1]) * width * (2 * shape[-1] + bias)

    asked, mixed = math.prod(query[:-1]) * each * of_key, math.prod(query[:-1]) * each * of_value
    scores = math.prod(query[:-1]) * each * looked_at
    total = projected(query, each * of_key)
    total += projected(key, heads[1] * of_key) + projected(value, heads[1] * of_value)
    total += asked + 2 * scores * of_key  # the queries are scaled first
    total += scores * (SOFTMAX + (DROPPED if config["dropout"] else 0)) + 2 * scores * of_value
    total += projected((*query[:-1], each * of_value), call.output[-1])
    if config.get("use_gate"):
        total += projected(query, each * of_value) + 2 * mixed
    return total


def _attention(call: Call) -> int:
    """Return the operations of Luong's dot-product attention, or of its sum of tanh."""
    layer = call.operation
    size = call.inputs[0][-1]
    if layer.score_mode == "dot":
        return _attended(call, 2 * size + layer.use_scale)
    return _attended(call, (3 + layer.use_scale) * size + 1)


def _additive_attention(call: Call) -> int:
    """Return the operations of Bahdanau's attention: the sum of scale · tanh(query + key)."""
    return _attended(call, (3 + call.operation.use_scale) * call.inputs[0][-1])


def _attended(call: Call, operations_a_score: int) -> int:
    query, value = call.inputs[:2]
    scores = math.prod(query[:-1]) * value[-2]
    dropped = DROPPED if call.operation.dropout else 0
    return scores * (operations_a_score + SOFTMAX + dropped + 2 * value[-1])


# ---------------------------------------------------------------- normalisation, pooling, merges


def _batch_normalization(call: Call) -> int:
    statistics = STATISTICS if call.operation.trainable else 0  # a frozen one has its own
    return (statistics + 2) * math.prod(call.output)


def _layer_normalization(call: Call) -> int:
    layer = call.operation
    if layer.rms_scaling:
        return root_mean_square(call)
    scaled = 2 + bool(layer.scale) + bool(layer.center)
    return (STATISTICS + scaled) * math.prod(call.output)


def _merge(call: Call) -> int:
    return (len(call.inputs) - 1) * math.prod(call.output)


def _average(call: Call) -> int:
    return len(call.inputs) * math.prod(call.output)


def _dot(call: Call) -> int:
    layer, (one, other) = call.operation, call.inputs
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    normalized = 3 * (math.prod(one) + math.prod(other)) if layer.normalize else 0
    return 2 * one[axis] * math.prod(call.output) + normalized


def _dropout(call: Call) -> int:
    return DROPPED * math.prod(call.output) if call.operation.rate else 0


def _resized(call: Call) -> int:
    """Return the operations of an interpolation, one axis after the other."""
    layer = call.operation
    taps = {"nearest": 0, "bilinear": 2, "bicubic": 4, "lanczos3": 6, "lanczos5": 10}
    return 2 * 2 * taps[layer.interpolation] * math.prod(call.output)


LAYERS: dict[Any, Count] = {
    **dict.fromkeys(
        (
            layers.ActivityRegularization,
            layers.CenterCrop,
            layers.Concatenate,
            layers.Cropping1D,
            layers.Cropping2D,
            layers.Cropping3D,
            layers.Embedding,
            layers.Flatten,
            layers.Identity,
            layers.InputLayer,
            layers.Permute,
            layers.RepeatVector,
            layers.Reshape,
            layers.UpSampling1D,
            layers.UpSampling3D,
            layers.ZeroPadding1D,
            layers.ZeroPadding2D,
            layers.ZeroPadding3D,
        ),
        nothing,
    ),
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), _convolution),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    **dict.fromkeys(
        (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed
    ),
    **dict.fromkeys((layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D), _convolved_lstm),
    layers.MultiHeadAttention: _multi_head_attention,
    layers.GroupQueryAttention: _grouped_query_attention,
    layers.Attention: _attention,
    layers.AdditiveAttention: _additive_attention,
    layers.BatchNormalization: _batch_normalization,
    layers.GroupNormalization: an_output(STATISTICS + 2),
    layers.LayerNormalization: _layer_normalization,
    layers.RMSNormalization: root_mean_square,
    layers.UnitNormalization: an_output(3),
    layers.Normalization: an_output(2),
    layers.Rescaling: an_output(2),
    **dict.fromkeys(
        (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
        average_pooling,
    ),
    **dict.fromkeys((layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D), max_pooling),
    **dict.fromkeys(
        (
            layers.AdaptiveAveragePooling1D,
            layers.AdaptiveAveragePooling2D,
            layers.AdaptiveAveragePooling3D,
            layers.AdaptiveMaxPooling1D,
            layers.AdaptiveMaxPooling2D,
            layers.AdaptiveMaxPooling3D,
            layers.GlobalAveragePooling1D,
            layers.GlobalAveragePooling2D,
            layers.GlobalAveragePooling3D,
            layers.GlobalMaxPooling1D,
            layers.GlobalMaxPooling2D,
            layers.GlobalMaxPooling3D,
        ),
        an_input(1),
    ),
    **dict.fromkeys(
        (layers.Add, layers.Subtract, layers.Multiply, layers.Maximum, layers.Minimum), _merge
    ),
    layers.Average: _average,
    layers.Dot: _dot,
    **dict.fromkeys(
        (
            layers.Dropout,
            layers.SpatialDropout1D,
            layers.SpatialDropout2D,
            layers.SpatialDropout3D,
        ),
        _dropout,
    ),
    **dict.fromkeys((layers.GaussianNoise, layers.GaussianDropout), an_output(1)),
    layers.AlphaDropout: an_output(4),
    layers.Masking: an_output(2),
    layers.Activation: lambda call: call.function(call.operation.activation, call.output),
    **dict.fromkeys((layers.UpSampling2D, layers.Resizing), _resized),
}
