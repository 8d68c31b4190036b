"""A fixed part of a data set that keeps the shares of its classes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_ablation import arrays
from pytest_ablation.arrays import Arrays
from pytest_ablation.data import maps
from pytest_ablation.dataset import Dataset


def stratified(labels: Arrays, count: int) -> NDArray[np.int64]:
    """Return the sorted positions of a fixed sample with each class's share kept.

    Args:
        labels: Shape (n,) of whole numbers: classes. Any other labels are sampled at random.
        count: How many to choose; all where there are no more.

    Returns:
        Positions, shape (min(count, n),): the same for the same labels and count.
    """
    n = arrays.count(labels)
    if count >= n:
        return np.arange(n)
    by_class = np.zeros(n, dtype=np.int64)
    if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "ui":
        by_class = labels.astype(np.int64)
    shuffled = np.random.default_rng(0).permutation(n)
    # Each example's place within its class, as a fraction of the class: the lowest are chosen.
    order = shuffled[np.argsort(by_class[shuffled], kind="stable")]
    _, starts, counts = np.unique(by_class[order], return_index=True, return_counts=True)
    place = np.empty(n)
    place[order] = (np.arange(n) - np.repeat(starts, counts) + 0.5) / np.repeat(counts, counts)
    # Ties by lot: of more classes than examples are wanted, not those that come first in the data.
    return np.sort(shuffled[np.argsort(place[shuffled], kind="stable")[:count]])


@cache
def opened(entry: Path, training: float, test: int | None) -> Dataset:
    """Return the data of an entry of memory maps, reduced; a process does this once."""
    return reduced(maps.opened(entry), training, test)


def reduced(data: Dataset, training: float, test: int | None) -> Dataset:
    """Return the data set with a fraction of its training and at most `test` test examples."""
    if training == 1.0 and test is None:
        return data
    n, tested = arrays.count(data.y_train), test or arrays.count(data.y_test)
    chosen = stratified(data.y_train, max(1, round(n * training)))
    kept = stratified(data.y_test, tested)
    return replace(
        data,
        x_train=arrays.taken(data.x_train, chosen),
        y_train=arrays.taken(data.y_train, chosen),
        x_test=arrays.taken(data.x_test, kept) if test else data.x_test,
        y_test=arrays.taken(data.y_test, kept) if test else data.y_test,
    )
