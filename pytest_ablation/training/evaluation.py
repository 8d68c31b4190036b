"""A network's answers in inference mode, and the loss, metrics and correctness of them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pytest_ablation import arrays
from pytest_ablation.arrays import Arrays
from pytest_ablation.network import masks
from pytest_ablation.network.source import is_users
from pytest_ablation.training.device import without_gradients
from pytest_ablation.training.examples import as_input, as_label, as_tensors

EVALUATION_BATCH = 500
MOST_PREDICTED = 1 << 26  # numbers held at a time in an evaluation: 256 MB, or what one batch gives

Measured = tuple[dict[str, float], str]  # loss and metrics by name, and which answers are correct


@without_gradients()
def evaluated(
    model: keras.Model, x: Arrays, y: Arrays, plain: keras.losses.Loss | None = None
) -> Measured:
    """Return the loss and each compiled metric in inference mode, and which answers are correct.

    All predictions are measured at once where they are not too many, as those of each pixel.
    `plain` takes the place of the compiled loss where that is of smoothed labels. A network with an
    evaluation step of its own says by that itself what it measures.
    """
    with _left_as_it_is(model):
        if overrides(type(model), "test_step"):
            return _by_itself(model, x, y)
        return _measured(model, x, y, plain)


@contextmanager
def _left_as_it_is(model: keras.Model) -> Iterator[None]:
    """Have a training go on from where it was before its network was evaluated.

    Some layers count, or draw random numbers, in inference too: recurrent ones with dropout do.
    """
    moving = [variable for layer in model._flatten_layers() for variable in own_state(layer)]
    before = [*map(keras.ops.copy, moving)]
    try:
        yield
    finally:
        for variable, value in zip(moving, before, strict=True):
            variable.assign(value)


def own_state(layer: keras.layers.Layer) -> list[Any]:
    """Return the variables of a layer itself that a call may assign to; weights are not."""
    generators = layer._seed_generators  # private, as those below: nothing else has them
    return [*layer._non_trainable_variables, *(each.state for each in generators)]


def _measured(
    model: keras.Model, x: Arrays, y: Arrays, plain: keras.losses.Loss | None
) -> Measured:
    """Return what the recipe measures, and which answers are correct."""
    n, loss, correct = arrays.count(x), added(model, x), []
    model.reset_metrics()
    for start, stop, (predictions, masked) in predicted(model, x):
        model._clear_losses()  # on TensorFlow those of the graph, without a value
        labels = arrays.taken(y, slice(start, stop))
        given = as_tensors(as_label(labels))
        answers = keras.tree.map_structure(keras.ops.convert_to_tensor, predictions)
        answers = masks.carried(answers, masked)
        # A network of the user's own may have a loss and metrics of its own, of the examples too.
        shown = None
        if is_users(type(model)):
            shown = as_tensors(as_input(arrays.taken(x, slice(start, stop))))
        if plain is None:
            part = model._compute_loss(shown, given, answers, None, training=False)
        else:
            part = plain(given, answers) + sum(model.losses)
        loss += float(part) * ((stop - start) / n)
        metrics = model.compute_metrics(shown, given, answers)
        correct.append(right(predictions, labels))
    model.reset_metrics()
    values = {name: float(value) for name, value in {**metrics, "loss": loss}.items()}
    return values, packed(correct)


def _by_itself(model: keras.Model, x: Arrays, y: Arrays) -> Measured:
    """Return what a network's own evaluation step measures, and which answers are correct."""
    given = as_input(x), as_label(y)
    values = model.evaluate(*given, batch_size=EVALUATION_BATCH, verbose=0, return_dict=True)
    model.reset_metrics()
    try:
        correct = packed(
            [
                right(predictions, arrays.taken(y, slice(start, stop)))
                for start, stop, (predictions, _) in predicted(model, x)
            ]
        )
    except Exception:  # what only trains and measures need not answer, and may fail in any way
        correct = ""
    return {name: float(value) for name, value in values.items()}, correct


@without_gradients()
def added(model: keras.Model, x: Arrays) -> float:
    """Return what layers add to the loss when they are called: the mean over all examples.

    Regularisers of a layer's output do, and layers of the user's own may. On every backend only a
    call that is not compiled tells it; networks without such layers are not called so.
    """
    if not any(_may_add(layer) for layer in model._flatten_layers()):
        return 0.0
    n, total = arrays.count(x), 0.0
    model._clear_losses()
    of_weights = len(model.losses)
    for i in range(0, n, EVALUATION_BATCH):
        part = arrays.taken(x, slice(i, i + EVALUATION_BATCH))
        called(model, part)
        losses = model.losses[: len(model.losses) - of_weights]
        if not losses:
            break
        total += float(sum(keras.ops.sum(each) for each in losses)) * arrays.count(part) / n
    model._clear_losses()
    return total


@without_gradients()
def called(model: keras.Model, x: Arrays) -> Any:
    """Return what a network gives of examples, computed operation by operation."""
    return model(as_tensors(as_input(x)), training=False)


def _may_add(layer: keras.layers.Layer) -> bool:
    return is_users(type(layer)) or layer.activity_regularizer is not None


def overrides(network: type[keras.Model], method: str) -> bool:
    """Tell whether a class of networks has a method of the user's own in the place of Keras's."""
    return getattr(network, method) is not getattr(keras.Model, method)


def predicted(model: keras.Model, x: Arrays) -> Iterator[tuple[int, int, Any]]:
    """Yield the first and last position of as many examples as can be held, and what they give.

    That is the predictions, and the masks that they carry by their places among them: of what is
    padding no loss is taken, and no metric. On every backend only a call that is not compiled tells
    of masks; networks that make none are not called so.
    """
    makes_masks = any(map(masks.makes_one, model._flatten_layers(include_self=False)))
    is_masked = makes_masks and bool(masks.of_all(called(model, arrays.taken(x, slice(1)))))

    def predict(some: slice) -> Any:
        part = arrays.taken(x, some)
        if not is_masked:
            with _answering(model):
                return model.predict_on_batch(as_input(part)), {}
        answers = called(model, part)
        given = answers, masks.of_all(answers)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, given)

    return joined(predict, arrays.count(x), EVALUATION_BATCH)


@contextmanager
def _answering(model: keras.Model) -> Iterator[None]:
    """Have a network predict what it answers, as a loss is given it.

    A prediction step of the user's own may make something else of it, as classes' probabilities of
    logits.
    """
    if not overrides(type(model), "predict_step"):
        yield
        return
    own, model.predict_function = model.predict_function, getattr(model, "_answer_function", None)
    model.predict_step = MethodType(keras.Model.predict_step, model)
    try:
        yield
    finally:
        del model.predict_step
        model._answer_function, model.predict_function = model.predict_function, own


def joined(
    predict: Callable[[slice], Any], n: int, batch: int, axis: int = 0
) -> Iterator[tuple[int, int, Any]]:
    """Yield the first and last position of as many examples as can be held, and what they give.

    Args:
        predict: Gives that for the examples of a slice, as arrays.
        n: How many examples there are.
        batch: How many are predicted at a time.
        axis: Along which examples follow each other in what is predicted.
    """
    start = 0
    parts: list[Any] = []
    for i in range(0, n, batch):
        stop = min(n, i + batch)
        parts.append(predict(slice(i, stop)))
        if stop == n or not fit_together(keras.tree.flatten(parts[-1]), len(parts) + 1):
            joint = parts[0]  # not read where it is all: the device may be at it
            if len(parts) > 1:
                joint = arrays.mapped(lambda *each: np.concatenate(each, axis), *parts)
            yield start, stop, joint
            start, parts = stop, []


def fit_together(predicted: Sequence[Any], batches: int) -> bool:
    """Tell whether what is predicted of so many batches can be held, of which this is one's."""
    numbers: int = sum(math.prod(array.shape) for array in predicted)
    return numbers * batches <= MOST_PREDICTED


def right(predictions: Any, labels: Arrays) -> NDArray[np.bool_] | None:
    """Return whether each class was predicted right, as Keras's accuracy counts.

    None where examples have no class each: the labels are no classes, or several an example.
    """
    if not isinstance(predictions, np.ndarray) or not isinstance(labels, np.ndarray):
        return None
    if predictions.ndim != 2 or labels.ndim not in (1, 2):
        return None
    if predictions.shape[1] == 1:
        given = labels.reshape(len(labels), -1)
        if given.shape[1] != 1 or not np.isin(given, (0, 1)).all():
            return None
        return np.asarray((predictions[:, 0] > 0.5) == given[:, 0])
    classes: NDArray[Any] = labels
    if labels.shape == predictions.shape:
        if not np.isin(labels, (0, 1)).all() or not (labels.sum(axis=1) == 1).all():
            return None
        classes = np.argmax(labels, axis=1)
    elif labels.shape[1:] == (1,):
        classes = labels[:, 0]
    if classes.ndim != 1 or classes.dtype.kind not in "ui":
        return None
    return np.asarray(predictions.argmax(axis=1) == classes)


def packed(correct: list[NDArray[np.bool_] | None]) -> str:
    """Return the parts' truths as packed bits in base64; empty where one part has none."""
    parts = [part for part in correct if part is not None]
    if len(parts) < len(correct):
        return ""
    return base64.b64encode(np.packbits(np.concatenate(parts)).tobytes()).decode()
