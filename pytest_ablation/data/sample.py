"""A fixed part of a data set that keeps the shares of its classes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ablation.data import maps
from pytest_ablation.experiment import Dataset


def stratified(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return the sorted positions of a fixed sample with each class's share kept.

    Args:
        labels: Shape (n,) of whole numbers: classes. Any other labels are sampled evenly.
        count: How many to choose; all where there are no more.

    Returns:
        Positions, shape (min(count, n),): the same for the same labels and count.
    """
    n = len(labels)
    if count >= n:
        return np.arange(n)
    by_class = np.zeros(n, dtype=np.int64)
    if labels.ndim == 1 and labels.dtype.kind in "ui":
        by_class = labels.astype(np.int64)
    shuffled = np.random.default_rng(0).permutation(n)
    # Each example's place within its class, as a fraction of the class: the lowest are chosen.
    order = shuffled[np.argsort(by_class[shuffled], kind="stable")]
    _, starts, counts = np.unique(by_class[order], return_index=True, return_counts=True)
    place = np.empty(n)
    place[order] = (np.arange(n) - np.repeat(starts, counts) + 0.5) / np.repeat(counts, counts)
    return np.sort(np.argsort(place, kind="stable")[:count])


@cache
def opened(entry: Path, training: float, test: int | None) -> Dataset:
    """Return the data of an entry of memory maps, reduced; a process does this once."""
    return reduced(maps.opened(entry), training, test)


def reduced(data: Dataset, training: float, test: int | None) -> Dataset:
    """Return the data set with a fraction of its training and at most `test` test examples."""
    if training == 1.0 and test is None:
        return data
    chosen = stratified(data.y_train, max(1, round(len(data.y_train) * training)))
    tested = stratified(data.y_test, test or len(data.y_test))
    return replace(
        data,
        x_train=np.asarray(data.x_train[chosen]),
        y_train=np.asarray(data.y_train[chosen]),
        x_test=data.x_test[tested] if test else data.x_test,
        y_test=data.y_test[tested] if test else data.y_test,
    )
