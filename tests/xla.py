"""Networks whose operations XLA counts too; run as a program under JAX, it prints its counts.

XLA's are those of the program that Keras writes, before XLA rewrites it: functions (exp, tanh, …)
and arithmetic added up. Its count of a loop is that of one turn, so recurrent layers are unrolled.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import layers

from pytest_ablation.network import cost, weightless

Network = Callable[[], keras.Model]


def chain(shape: tuple[int, ...], *made: Callable[[], keras.layers.Layer]) -> Network:
    """Return a function that gives a network of layers one after the other."""
    return lambda: keras.Sequential([keras.Input(shape), *(make() for make in made)])


def graph(function: Callable[..., object], *shapes: tuple[int, ...]) -> Network:
    """Return a function that gives a network of what a function does with inputs."""

    def network() -> keras.Model:
        inputs = [keras.Input(shape) for shape in shapes]
        return keras.Model(inputs, function(*inputs))

    return network


def residual(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return a block with a shortcut, and a head."""
    y = layers.Conv2D(8, 1)(x)
    z = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 1)(y)))
    return layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(layers.Add()([y, z])))


def merged(x: keras.KerasTensor, y: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Return all the ways in which two tensors become one."""
    kinds = (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum)
    return [*(kind()([x, y]) for kind in kinds), layers.Dot(axes=2)([x, y])]


def attending(x: keras.KerasTensor, y: keras.KerasTensor) -> keras.KerasTensor:
    """Return attention written down as operations."""
    scores = keras.ops.matmul(x, keras.ops.transpose(y, (0, 2, 1))) / 4.0
    return keras.ops.einsum("bqk,bkd->bqd", keras.ops.softmax(scores), y) + x


IMAGE, SEQUENCE, OTHER = (20, 20, 8), (12, 16), (7, 16)

# Each with how far the two may be apart, and why.
NETWORKS: dict[str, tuple[Network, float]] = {
    "dense": (chain((48,), lambda: layers.Dense(32, "relu"), lambda: layers.Dense(10)), 0),
    "einsum": (
        chain(SEQUENCE, lambda: layers.EinsumDense("abc,cde->abde", (None, 4, 6), bias_axes="de")),
        0,
    ),
    "conv": (chain(IMAGE, lambda: layers.Conv2D(16, 3, strides=2, activation="relu")), 0),
    "conv1d": (chain((50, 8), lambda: layers.Conv1D(16, 5, dilation_rate=2)), 0),
    "conv3d": (chain((8, 8, 8, 2), lambda: layers.Conv3D(4, 3)), 0),
    "grouped": (chain(IMAGE, lambda: layers.Conv2D(16, 3, groups=4)), 0),
    "depthwise": (chain(IMAGE, lambda: layers.DepthwiseConv2D(3, depth_multiplier=2)), 0),
    "separable": (chain(IMAGE, lambda: layers.SeparableConv2D(16, 3, depth_multiplier=2)), 0),
    "transposed": (chain(IMAGE, lambda: layers.Conv2DTranspose(16, 3, strides=2)), 0),
    # Where a kernel meets the padding, XLA counts nothing: 1 − (58 / 60)² of the places here.
    "padded": (chain(IMAGE, lambda: layers.Conv2D(16, 3, padding="same")), 0.07),
    "pooling": (
        chain(IMAGE, lambda: layers.MaxPooling2D(2), lambda: layers.AveragePooling2D(3)),
        0,
    ),
    "residual": (graph(residual, IMAGE), 0.05),  # as XLA takes the batch's variance
    "group norm": (chain(IMAGE, lambda: layers.GroupNormalization(4)), 0.15),  # likewise
    "layer norm": (chain(SEQUENCE, lambda: layers.LayerNormalization()), 0.25),  # and its scale
    "rms norm": (chain(SEQUENCE, lambda: layers.RMSNormalization()), 0.04),  # once a row: √, ε
    "merges": (graph(merged, SEQUENCE, SEQUENCE), 0),
    "operations": (graph(attending, SEQUENCE, OTHER), 0.01),  # n − 1 additions make a sum
    "attention": (graph(lambda x, y: layers.MultiHeadAttention(4, 8)(x, y), SEQUENCE, OTHER), 0.01),
    "grouped attention": (
        graph(lambda x: layers.GroupQueryAttention(8, 4, 2)(x, x), SEQUENCE),
        0.01,
    ),
    "dot attention": (graph(lambda x, y: layers.Attention()([x, y]), SEQUENCE, OTHER), 0.01),
    "sum attention": (
        graph(lambda x, y: layers.AdditiveAttention()([x, y]), SEQUENCE, OTHER),
        0.02,
    ),
    "rnn": (chain(SEQUENCE, lambda: layers.SimpleRNN(6, unroll=True)), 0),
    "lstm": (chain(SEQUENCE, lambda: layers.LSTM(6, unroll=True)), 0),
    "gru": (chain(SEQUENCE, lambda: layers.GRU(6, unroll=True)), 0),
    "cells": (
        chain(
            SEQUENCE,
            lambda: layers.RNN(
                [layers.LSTMCell(6), layers.GRUCell(4, reset_after=False)], unroll=True
            ),
        ),
        0,
    ),
    "both ways": (
        chain(
            SEQUENCE,
            lambda: layers.Bidirectional(
                layers.GRU(6, return_sequences=True, unroll=True), merge_mode="sum"
            ),
        ),
        0,
    ),
    "each step": (
        chain(
            (5, 10, 10, 3),
            lambda: layers.TimeDistributed(
                chain((10, 10, 3), lambda: layers.Conv2D(4, 3), layers.Flatten)()
            ),
        ),
        0,
    ),
    **{
        activation: (chain((100,), partial(layers.Activation, activation)), 0)
        for activation in (
            "exponential",
            "hard_sigmoid",
            "hard_silu",
            "leaky_relu",
            "linear",
            "relu6",
            "sigmoid",
            "silu",
            "softsign",
            "tanh",
        )
    },
}


def counted_by_xla(model: keras.Model) -> float:
    """Return the operations that XLA counts in one example's forward pass in training."""
    import jax

    def forward(trained: object, other: object, inputs: object) -> object:
        return model.stateless_call(trained, other, inputs, training=True)[0]

    def described(variables: list[keras.Variable]) -> list[Any]:
        return [shaped(v.shape, v.dtype) for v in variables]

    shaped: Any = jax.ShapeDtypeStruct

    inputs = [shaped((1, *x.shape[1:]), x.dtype) for x in model.inputs]
    with keras.StatelessScope(initialize_variables=False):  # weights take a minute to compile
        program = jax.jit(forward).lower(
            described(model.trainable_variables),
            described(model.non_trainable_variables),
            inputs if len(inputs) > 1 else inputs[0],
        )
    found: Any = program.cost_analysis()
    return float(found.get("flops", 0) + found.get("transcendentals", 0))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    networks = {name: weightless.looked_at(function) for name, (function, _) in NETWORKS.items()}
    counts = {name: (cost.of(m).flops, counted_by_xla(m)) for name, m in networks.items()}
    print(json.dumps(counts))
