"""Training and test examples as a network takes them, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pytest_ablation import arrays
from pytest_ablation.arrays import Arrays
from pytest_ablation.data.sample import stratified
from pytest_ablation.dataset import Dataset
from pytest_ablation.recipe import Recipe
from pytest_ablation.training.device import sees_gpu

CURVE_EXAMPLES = 1_000
DEVICE_SHARE = 0.2  # of a GPU's memory, at most, for a data set that need not be there


def batches(
    data: Dataset,
    batch_size: int,
    seed: int,
    *,
    skip: int = 0,
    on_device: bool = False,
) -> Iterator[tuple[Any, Any]]:
    """Yield training batches without end, full ones only: examples and labels.

    Each pass has every example once, in an order that (seed, pass) decide, and a batch may hold
    the end of one pass and the start of the next. So every epoch has all its steps: Keras 3.15's
    own handling of arrays cuts the epoch in which a pass ends.

    Args:
        data: Whose training examples.
        batch_size: Examples a batch.
        seed: What the order derives from.
        skip: Batches to leave out at the start.
        on_device: Whether the examples lie on the device that trains; what is yielded then does.
    """
    taken = _from_device(data) if on_device else _from_memory(data)
    for chosen in order(arrays.count(data.x_train), batch_size, seed, skip=skip):
        yield taken(chosen)


def _from_memory(data: Dataset) -> Callable[[NDArray[np.int64]], tuple[Any, Any]]:
    def taken(chosen: NDArray[np.int64]) -> tuple[Any, Any]:
        x, y = arrays.taken(data.x_train, chosen), arrays.taken(data.y_train, chosen)
        return as_input(x), as_label(y)

    return taken


def _from_device(data: Dataset) -> Callable[[NDArray[np.int64]], tuple[Any, Any]]:
    """Return what takes examples from copies of all on Keras's device, equal to the bit."""
    x, y = (
        arrays.mapped(lambda a: ops.convert_to_tensor(np.ascontiguousarray(a)), part)
        for part in (data.x_train, as_label(data.y_train))
    )

    def taken(chosen: NDArray[np.int64]) -> tuple[Any, Any]:
        at = ops.convert_to_tensor(chosen.astype(np.int32))
        parts = [arrays.mapped(lambda a: ops.take(a, at, axis=0), part) for part in (x, y)]
        return arrays.mapped(scaled, parts[0]), parts[1]

    return taken


def should_be_on_device(data: Dataset, recipe: Recipe) -> bool:
    """Tell whether batches for steps one by one had better come from the device that trains.

    On PyTorch a step of the CIFAR-10 network took 9.2 ms so, in the place of 11.1 (NVIDIA H200).
    What augments examples takes them from memory, and texts have no place on a device.
    """
    if keras.backend.backend() != "torch" or recipe.augmentation or not sees_gpu():
        return False
    import torch

    each = arrays.each((data.x_train, data.y_train))
    size = sum(array.nbytes for array in each)
    is_numbers = all(array.dtype.kind in "uifb" for array in each)
    return is_numbers and size <= DEVICE_SHARE * torch.cuda.mem_get_info()[1]


def order(n: int, batch_size: int, seed: int, *, skip: int = 0) -> Iterator[NDArray[np.int64]]:
    """Yield which of `n` examples each batch has, as `batches` does."""
    passes, begun = divmod(skip * batch_size, n)
    left = np.empty(0, dtype=np.int64)
    while True:
        while len(left) < batch_size:
            shuffled = np.random.default_rng([seed, passes]).permutation(n)
            left = np.concatenate([left, shuffled[begun:]])
            passes, begun = passes + 1, 0
        chosen, left = left[:batch_size], left[batch_size:]
        yield chosen


def split(data: Dataset, recipe: Recipe) -> tuple[Dataset, tuple[Any, Any]]:
    """Return the data as it is trained on, and the examples and labels to measure each epoch on.

    These are of the test examples, or of those that the recipe holds out of training.
    """
    count = recipe.held_out(arrays.count(data.y_train))
    if not count:
        return data, _curve_examples(data.x_test, data.y_test)
    held = stratified(data.y_train, count)
    seen = np.setdiff1d(np.arange(arrays.count(data.y_train)), held)
    (x, y), (x_held, y_held) = (
        [arrays.taken(part, chosen) for part in (data.x_train, data.y_train)]
        for chosen in (seen, held)
    )
    return replace(data, x_train=x, y_train=y), _curve_examples(x_held, y_held)


def _curve_examples(x: Arrays, y: Arrays) -> tuple[Any, Any]:
    chosen = stratified(y, CURVE_EXAMPLES)
    return arrays.taken(x, chosen), arrays.taken(y, chosen)


def final_examples(data: Dataset) -> list[tuple[Any, Any]]:
    """Return what a trained network is measured on: the test set, and as many training examples."""
    seen = stratified(data.y_train, arrays.count(data.y_test))
    sample = arrays.taken(data.x_train, seen), arrays.taken(data.y_train, seen)
    return [(data.x_test, data.y_test), sample]


def as_input(x: Arrays) -> Any:
    """Return examples as the network takes them: uint8 images as float32 in 0…1."""
    return arrays.mapped(
        lambda a: np.divide(a, 255, dtype=np.float32) if a.dtype == np.uint8 else np.asarray(a), x
    )


def scaled(x: Any) -> Any:
    """Return a tensor of examples as the network takes it, equal to what `as_input` gives.

    To the bit, and so by a table: XLA divides by a constant as it multiplies by its inverse.
    """
    if keras.backend.standardize_dtype(x.dtype) != "uint8":
        return x
    table = ops.convert_to_tensor(as_input(np.arange(256, dtype=np.uint8)))
    return ops.take(table, ops.cast(x, "int32"), axis=0)


def as_tensors(examples: Any) -> Any:
    """Return arrays of examples, or labels, as tensors of Keras's backend."""
    return arrays.mapped(ops.convert_to_tensor, examples)


def as_step(*batch: Any) -> tuple[Any, ...]:
    """Return examples, labels and what else is of a batch as a step takes them.

    On PyTorch that is as tensors: `train_on_batch` makes none of arrays, as `fit` does.
    """
    return tuple(map(as_tensors, batch)) if keras.backend.backend() == "torch" else batch


def as_label(y: Arrays) -> Any:
    """Return labels as the loss takes them: whole numbers as int32."""
    return arrays.mapped(lambda a: a.astype(np.int32) if a.dtype.kind in "ui" else np.asarray(a), y)
