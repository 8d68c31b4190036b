"""Weights of the classes in the loss that is trained on, as `fit` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError
from pytest_ablation.training.augmentation import Augment

Given = Callable[[int, Any, Any], tuple[Any, ...]]

NO_CLASSES = (
    "Recipe(class_weight=…): the labels do not give each example one class. Numbers of classes do, "
    "and rows that are one-hot; else give the loss its weights."
)


def check(class_weight: Mapping[int, float] | None, data: Dataset) -> None:
    """See that there are such classes.

    Raises:
        AblationError: There are not, or examples have no class each.
    """
    if not class_weight:
        return
    y = data.y_train
    if not isinstance(y, np.ndarray) or y.ndim not in (1, 2) or y.dtype.kind not in "uifb":
        raise AblationError(NO_CLASSES)
    if y.ndim == 2 and y.shape[1] > 1:
        if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
            raise AblationError(NO_CLASSES)
        known = range(y.shape[1])
    else:
        if (y != np.round(y)).any():
            raise AblationError(NO_CLASSES)
        known = range(int(y.max()) + 1)
    if others := [each for each in class_weight if each not in known]:
        raise AblationError(
            f"Recipe(class_weight=…): there is no class {others[0]}. Classes: 0 to {known[-1]}."
        )


def added(augment: Augment, class_weight: Mapping[int, float] | None) -> Given:
    """Return what gives a step's examples, labels and, where classes have them, weights."""
    if not class_weight:
        return augment

    def given(step: int, x: Any, y: Any) -> tuple[Any, ...]:
        x, y = augment(step, x, y)
        return (x, y, *of(class_weight, y))

    return given


def of(class_weight: Mapping[int, float] | None, y: Any) -> tuple[Any, ...]:
    """Return the weights of labels' examples as a tuple of one; an empty one where none are set.

    Of mixed labels it is that of the class with the largest share, as in `fit`.
    """
    if not class_weight:
        return ()
    table = np.ones(max(class_weight) + 2, np.float32)
    for number, weight in class_weight.items():
        table[number] = weight
    if isinstance(y, np.ndarray):
        classes = _classes(np, y).astype(np.int32)
        return (table[np.minimum(classes, len(table) - 1)],)
    classes = ops.minimum(ops.cast(_classes(ops, y), "int32"), len(table) - 1)
    return (ops.take(table, classes, axis=0),)


def _classes(library: Any, y: Any) -> Any:
    if len(y.shape) == 1:
        return y
    return library.argmax(y, -1) if y.shape[-1] > 1 else library.squeeze(y, -1)
