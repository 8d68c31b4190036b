"""What in a network would take bytes for bytes, which reach it as fractions in 0…1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.layers.preprocessing.index_lookup import IndexLookup  # private: what lookups share

from pytest_ablation import arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError
from pytest_ablation.network import naming
from pytest_ablation.network.source import is_users

LEAST_SCALE = 0.1  # of what multiplies, below which it is meant for bytes, as 1/255 and 1/127.5 are
_OF_WHOLE_NUMBERS = (
    *(layers.Embedding, layers.CategoryEncoding, layers.Hashing, layers.HashedCrossing),
    IndexLookup,
)
_AS_WHOLE = 'Give x_train and x_test .astype("int32")'
_AS_FLOATS = 'Or give x_train and x_test .astype("float32"), which reach it as they are.'


def check(data: Dataset, model: keras.Model) -> None:
    """See that a network takes as fractions the bytes that reach it so.

    What layers and functions of the user's own do to them is not known.

    Raises:
        AblationError: It does not; or the bytes of images are also what it is to give.
    """
    if not any(array.dtype == np.uint8 for array in arrays.each(data.x_train)):
        return
    said = f"{data.name}: bytes (uint8) reach the network as fractions in 0…1, and"
    for what, mistake in _mistakes(data.x_train, model):
        raise AblationError(f"{said} its {what} {mistake}")
    if _gives_back(data, model):
        raise AblationError(
            f"{said} the labels, which it is to give, reach the loss as they are, up to "
            f"{np.max(data.y_train)}. Give y_train and y_test as fractions too: divided by 255."
        )


def _mistakes(x: Any, model: keras.Model) -> Iterator[tuple[str, str]]:
    """Yield what takes fractions for something else, and what it does with them."""
    paths = {id(layer): path for path, layer in naming.layers(model)}
    if not getattr(model, "inputs", None):  # what it does first is in its own code
        bytes_of = [array.ndim for array in arrays.each(x) if array.dtype == np.uint8]
        for layer, path in ((layer, path) for path, layer in naming.layers(model)):
            kind = layers.Rescaling if max(bytes_of) > 2 else layers.Embedding
            if isinstance(layer, kind) and (mistake := _of_layer(layer)):
                yield f'layer "{path}"', mistake
        return
    graph = naming.graph_of(model)
    for array, tensor in _entries(x, graph):
        for operation, call in _met(graph, tensor):
            kind = "layer" if isinstance(operation, layers.Layer) else "operation"
            what = f'{kind} "{paths.get(id(operation), operation.name)}"'
            if mistake := _of(operation, call, array):
                yield what, mistake
        if "int" in tensor.dtype:
            what = f'input "{tensor.name}"'
            yield what, f"takes whole numbers. {_AS_WHOLE}, or keras.Input no dtype."


def _entries(x: Any, graph: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the arrays of bytes, each with the input that it goes to."""
    tensors = keras.tree.flatten(graph.inputs)
    if isinstance(x, Mapping):
        pairs = [(x[tensor.name], tensor) for tensor in tensors if tensor.name in x]
    else:
        pairs = list(zip(x if isinstance(x, tuple) else [x], tensors, strict=False))
    return (pair for pair in pairs if getattr(pair[0], "dtype", None) == np.uint8)


def _met(graph: Any, tensor: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what takes a tensor, with the call, and what takes what is made of it alone.

    That is up to what has weights, scales it up or is of the user's own.
    """
    for operation in graph.operations:
        for call in operation._inbound_nodes:
            places = [n for n, each in enumerate(call.input_tensors) if each is tensor]
            if not places:
                continue
            if naming.is_graph(operation):
                inner = naming.graph_of(operation)
                yield from _met(inner, keras.tree.flatten(inner.inputs)[places[0]])
            else:
                yield operation, call
            # A stack is of channels in another order, as those who know images by BGR have them.
            is_alone = len(call.input_tensors) == 1 or type(operation).__name__ == "Stack"
            if is_alone and _leaves_fractions(operation, call):
                for each in call.output_tensors:
                    yield from _met(graph, each)


def _leaves_fractions(operation: Any, call: Any) -> bool:
    if not isinstance(operation, layers.Layer):
        return not (type(operation).__name__ == "Multiply" and _constant(call) > 1)
    ends = (layers.Rescaling, layers.Normalization, layers.Lambda)
    within = operation._flatten_layers()
    return not operation.weights and not any(
        isinstance(layer, ends) or is_users(type(layer)) for layer in within
    )


def _of(operation: Any, call: Any, array: Any) -> str:
    """Return what an operation wrongly does to fractions; empty where nothing."""
    if isinstance(operation, layers.Layer):
        # Layers of the user's own may have an Embedding of places beside what they do to images.
        within = operation._flatten_layers() if array.ndim <= 2 else [operation]
        return next(filter(None, map(_of_layer, within)), "")
    constant = _constant(call)
    match type(operation).__name__:
        case "Divide" | "TrueDivide" if constant > 1 / LEAST_SCALE:
            return _divides(constant) if _is_tensor(call.arguments.args[0]) else ""
        case "Multiply" if 0 < constant < LEAST_SCALE:
            return _divides(1 / constant)
        case "Add" | "Subtract" if constant > 1:
            return f"shifts them by {constant:g}. Leave it out. {_AS_FLOATS}"
    return ""


def _of_layer(layer: Any) -> str:
    if isinstance(layer, _OF_WHOLE_NUMBERS):
        return f"takes whole numbers. {_AS_WHOLE}."
    if isinstance(layer, layers.Rescaling) and _most(layer.scale) < LEAST_SCALE:
        return _divides(1 / _most(layer.scale))
    if isinstance(layer, layers.Discretization) and _most(layer.bin_boundaries or 0) > 1:
        return (
            f"has boundaries up to {_most(layer.bin_boundaries):g}. {_AS_FLOATS[3:].capitalize()}"
        )
    if isinstance(layer, layers.Normalization) and layer.built and _most(layer.mean) > 1:
        return (
            f"takes a mean of {_most(layer.mean):g} from them. Have it adapt to fractions, "
            f"x / 255. {_AS_FLOATS}"
        )
    return ""


def _divides(by: float) -> str:
    return f"divides them again, by {by:g}. Leave it out. {_AS_FLOATS}"


def _constant(call: Any) -> float:
    """Return the largest size of the numbers that an operation has beside its tensor; 0 of none."""
    numbers = [each for each in call.arguments.args if not _is_tensor(each)]
    if len(call.arguments.args) != 2 or len(numbers) != 1:
        return 0.0
    try:
        return _most(numbers[0])
    except (TypeError, ValueError):  # no numbers, as of a slice
        return 0.0


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _most(numbers: Any) -> float:
    return float(np.max(np.abs(keras.ops.convert_to_numpy(numbers))))


def _gives_back(data: Dataset, model: keras.Model) -> bool:
    """Tell whether a network gives a number for each byte of its examples, and these are labels."""
    x, y, outputs = data.x_train, data.y_train, getattr(model, "outputs", None) or []
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray) or len(outputs) != 1:
        return False
    is_alike = y.dtype == x.dtype == np.uint8 and y.ndim > 2 and x.shape[1:] == y.shape[1:]
    return is_alike and tuple(outputs[0].shape[1:]) == y.shape[1:] and bool(np.max(y) > 1)
