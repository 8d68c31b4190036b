"""Whether a network's outputs are what its recipe and its labels speak of.

Keras says so where a training begins, in a traceback, and of labels beyond the classes on some of
its backends not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError, DataError, did_you_mean
from pytest_ablation.network import naming
from pytest_ablation.network.source import is_keras
from pytest_ablation.recipe import Recipe, leaves

_BY_COMPILE = {"loss": ("crossentropy", "ce"), "metrics": ("accuracy", "acc")}  # to suit labels
_ONE_HOT = (
    *(keras.losses.CategoricalCrossentropy, keras.losses.CategoricalFocalCrossentropy),
    *(keras.losses.categorical_crossentropy, keras.losses.categorical_focal_crossentropy),
)
_NUMBERS = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.sparse_categorical_crossentropy,
)


def check(recipe: Recipe, data: Dataset, model: keras.Model) -> None:
    """See that losses and metrics are known, and the outputs that they and the labels are of.

    A network of the user's own class may make of labels and losses what it likes.

    Raises:
        AblationError: One is not, or the labels are none of the classes of a crossentropy.
    """
    _check_known(recipe.loss, "loss", keras.losses)
    _check_known(recipe.metrics, "metrics", keras.metrics)
    outputs = _outputs(model)
    if not outputs or not is_keras(type(model)):
        return
    if len(outputs) > 1:
        for setting in ("loss", "metrics", "loss_weights"):
            _check_names(f"Recipe({setting}=…)", getattr(recipe, setting), outputs)
        _check_names(f"{data.name}: labels", data.y_train, outputs)
        _check_weights(recipe, outputs)
    for part in ("y_train", "y_test"):
        labels, called = getattr(data, part), f"{data.name}: {part}"
        for place, (name, tensor) in enumerate(outputs.items()):
            loss, given = (_of(each, name, place, outputs) for each in (recipe.loss, labels))
            if isinstance(given, np.ndarray):
                _check_classes(_found(loss), given, tensor.shape, called)
                for metric in _metrics_of(recipe.metrics, name, place, outputs):
                    _check_compared(metric, given, tensor.shape, called)


def _check_known(things: Any, setting: str, module: Any) -> None:
    for thing in leaves(things):
        if not isinstance(thing, str) or thing.lower() in _BY_COMPILE[setting]:
            continue
        try:
            module.get(thing)
        except ValueError as error:
            known = [name for name in dir(module) if not name.startswith("_")]
            raise AblationError(
                f'Recipe({setting}=…): Keras knows no "{thing}".'
                + did_you_mean(thing, (*known, *_BY_COMPILE[setting]))
            ) from error


def _outputs(model: Any) -> dict[str, Any]:
    """Return a network's outputs by name, in order; none where their names are not known."""
    graph = naming.graph_of(model)
    given = getattr(graph, "_outputs_struct", None)
    if isinstance(given, Mapping):
        is_flat = all(isinstance(each, keras.KerasTensor) for each in given.values())
        return {name: given[name] for name in sorted(given)} if is_flat else {}
    tensors, names = keras.tree.flatten(given), getattr(graph, "output_names", None) or ()
    return dict(zip(names, tensors, strict=True)) if len(names) == len(tensors) else {}


def _check_names(asked: str, things: Any, outputs: Mapping[str, Any]) -> None:
    for name in things if isinstance(things, Mapping) else ():
        if name not in outputs:
            raise AblationError(
                f'{asked}: the network has no output "{name}". Outputs: {", ".join(outputs)}.'
                + did_you_mean(name, outputs)
            )


def _check_weights(recipe: Recipe, outputs: Mapping[str, Any]) -> None:
    weights = recipe.loss_weights
    for place, name in enumerate(outputs):
        has_loss = _of(recipe.loss, name, place, outputs) is not None
        if isinstance(weights, Mapping) and has_loss and name not in weights:
            raise AblationError(
                f'Recipe(loss_weights=…): none for "{name}". Give each output that has a loss one: '
                "1.0 leaves it as it is."
            )


def _of(things: Any, name: str, place: int, outputs: Mapping[str, Any]) -> Any:
    """Return what there is of one output: among things by name, in order, or one of all."""
    if len(outputs) == 1:
        return next(iter(leaves(things)), None)
    if isinstance(things, Mapping):
        return things.get(name)
    if isinstance(things, list | tuple):
        return things[place] if len(things) == len(outputs) else None
    return things


def _metrics_of(metrics: Any, name: str, place: int, outputs: Mapping[str, Any]) -> list[Any]:
    own = metrics if len(outputs) == 1 else _of(metrics, name, place, outputs)
    return leaves(own)


def _found(loss: Any) -> Any:
    is_name = isinstance(loss, str) and loss.lower() not in _BY_COMPILE["loss"]
    return keras.losses.get(loss) if is_name else loss


def _check_classes(loss: Any, labels: Any, shape: tuple[int | None, ...], called: str) -> None:
    """See that labels are numbers, one-hot where a loss wants them so, and else of its classes."""
    is_one_hot, is_numbers = (
        any(loss is kind or (isinstance(kind, type) and type(loss) is kind) for kind in kinds)
        for kinds in (_ONE_HOT, _NUMBERS)
    )
    classes = shape[-1] if len(shape) > 1 else None
    if labels.dtype.kind in "US":
        raise DataError(
            f"{called} is of texts, and losses are of numbers. Give the number of each text: "
            "numpy.unique(y, return_inverse=True)[1]."
        )
    if is_one_hot and labels.ndim == len(shape) - 1:
        raise DataError(
            f"{called} has the shape {labels.shape}, and the loss takes labels that are one-hot. "
            'For numbers of classes write loss="sparse_categorical_crossentropy".'
        )
    if not is_numbers or classes is None:
        return
    if labels.ndim == len(shape) and labels.shape[-1] not in (1, None):
        raise DataError(
            f"{called} has the shape {labels.shape}, and the loss takes numbers of classes. For "
            'labels that are one-hot write loss="categorical_crossentropy".'
        )
    ignored = getattr(loss, "ignore_class", None)
    counted = labels if ignored is None else labels[labels != ignored]
    if counted.size and not (counted.min() >= 0 and counted.max() < classes):
        raise DataError(
            f"{called} has labels from {counted.min()} to {counted.max()}, and the network tells "
            f"{classes} classes: 0 to {classes - 1}."
        )


def _check_compared(metric: Any, labels: Any, shape: tuple[int | None, ...], called: str) -> None:
    """See that there is a label for each output that a metric compares with its own.

    Of numbers of classes Keras's metrics end in a traceback, or are others without a word.
    """
    outputs = shape[-1] if len(shape) > 1 else None
    is_one_each = labels.shape[-1] == 1 if labels.ndim == len(shape) else labels.ndim < len(shape)
    if outputs in (None, 1) or not is_one_each:
        return
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
    if name.lower() in _BY_COMPILE["metrics"] or "sparse" in name.lower():
        return
    found = keras.metrics.get(metric)
    is_of_users = not is_keras(found) or type(found) is keras.metrics.MeanMetricWrapper
    if is_of_users or getattr(found, "sparse_y_true", False):
        return
    raise DataError(
        f"{called} has the shape {labels.shape}, and the metric {name} compares each of the "
        f"network's {outputs} outputs with a label of its own. Give labels that are one-hot, "
        'keras.utils.to_categorical(y), and loss="categorical_crossentropy"; or leave it out.'
    )
