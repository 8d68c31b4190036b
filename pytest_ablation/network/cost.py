"""What a network costs to compute: the floating point operations of each layer, for one example.

How much one call takes is in `operations` and `layer_operations`; here it is found what is called,
and on what shapes.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from textwrap import shorten
from typing import Any

import keras
from keras import layers

from pytest_ablation.network import layer_operations, operations, weightless
from pytest_ablation.network.naming import WHOLE
from pytest_ablation.network.operations import Call, Shape
from pytest_ablation.network.source import source_hash

BACKWARD = 2  # a step's backward pass computes two products for each of the forward one's


@dataclass(frozen=True)
class Uncounted:
    """A layer, or a part of it, whose operations are not known.

    Attributes:
        name: The layer's name, its networks' before it: "encoder/attention".
        why: What it is, and why it cannot be counted.
        call: Its class, settings and shapes as text; calls that have it equal cost the same.
    """

    name: str
    why: str
    call: str


@dataclass(frozen=True)
class Cost:
    """The floating point operations of one example's forward pass.

    Attributes:
        layers: Operations by the layer's name, its networks' before it: "encoder/conv1".
        uncounted: What is not in them.
    """

    layers: Mapping[str, int]
    uncounted: tuple[Uncounted, ...] = ()

    @cached_property
    def flops(self) -> int:
        """All operations that are counted."""
        return sum(self.layers.values())

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the layers that are not counted, or not wholly."""
        return tuple(dict.fromkeys(part.name for part in self.uncounted))


def of(model: keras.Model, example: Shape | None = None) -> Cost:
    """Return the floating point operations of one example's forward pass in training.

    They are counted from the graph, at the shapes that one example gives each call: a shared layer
    counts at each of its calls, and a network within the network layer by layer. A multiplication
    and an addition are two; what else counts, and what does not, is in `operations`. Normalisation
    takes its statistics and dropout its mask, as in training. A layer or function of the user's own
    is followed through the Keras operations that it consists of; what does anything else is named
    as not counted, and so is a layer on a size that is not known.

    Args:
        model: A built network, with or without weights.
        example: Shape of an example, for sizes that a network of one input leaves open.
    """
    try:
        # Within the scope nothing that a layer assigns stays, as the state of its masks, and no
        # weights are made that the network does without.
        with weightless.without_weights():
            return _of_model(model, example)
    except Exception as error:  # a layer of the user's own may raise anything when asked for shapes
        why = f"its shapes cannot be followed ({_raised(error)})"
        return Cost({}, (Uncounted(WHOLE, why, why),))


def of_a_step(forward: int) -> int:
    """Return an example's operations in a training step: forward, and twice that backward."""
    return (1 + BACKWARD) * forward


def _of_model(model: keras.Model, example: Shape | None) -> Cost:
    if not _is_graph(model):
        if example is None:
            why = f"{type(model).__name__} computes in a way of its own, on shapes not known"
            return Cost({}, (Uncounted(WHOLE, why, why),))
        return _counted(model, (keras.KerasTensor((1, *example)),), {}, WHOLE)[0]
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if example is not None and len(shapes) == 1 and len(shapes[0]) == len(example) + 1:
        given = zip(shapes[0][1:], example, strict=True)
        shapes = [(shapes[0][0], *(size or real for size, real in given))]
    inputs = [
        keras.KerasTensor((shape[0] or 1, *shape[1:]), dtype=tensor.dtype)
        for shape, tensor in zip(shapes, model.inputs, strict=True)
    ]
    cost, _ = _of_graph(model, inputs, "")
    batch = shapes[0][0] or 1
    return replace(cost, layers={name: count // batch for name, count in cost.layers.items()})


def _is_graph(model: Any) -> bool:
    """Tell whether a network is a graph of layers, and computes as Keras has it."""
    is_one = isinstance(model, keras.Function) or (
        isinstance(model, keras.Sequential) and bool(getattr(model, "inputs", None))
    )
    return is_one and type(model).call.__module__.startswith("keras.")


def _of_graph(
    graph: Any, inputs: Sequence[Any], path: str, weights: Sequence[Any] = ()
) -> tuple[Cost, list[Any]]:
    """Return a graph's cost on inputs of given shapes, and what those of its outputs are.

    What is computed of those inputs alone that are weights is no example's.
    """
    found = []
    of_weights = {id(weight): weight for weight in weights}

    def counting(operation: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            cost, outputs = _counted(operation, args, kwargs, path + operation.name)
            given = keras.tree.flatten((args, kwargs))
            tensors = [each for each in given if isinstance(each, keras.KerasTensor)]
            if of_weights and all(id(each) in of_weights for each in tensors):
                of_weights.update((id(each), each) for each in keras.tree.flatten(outputs))
            else:
                found.append(cost)
            return outputs

        return call

    function = keras.Function(graph.inputs, graph.outputs)
    # Private, and the only way to go through the calls of a graph with other shapes than those it
    # was built with: a None would stay None, and a network within another keep its own size.
    outputs = function._run_through_graph(list(inputs), operation_fn=counting)
    return _sum(found), outputs


def _counted(operation: Any, args: Any, kwargs: Any, path: str) -> tuple[Cost, Any]:
    """Return the cost of one call, and its result as tensors without values."""
    if _is_graph(operation):
        return _of_graph(operation, keras.tree.flatten(args[0]), f"{path}/")
    outputs = _outputs(operation, args, kwargs)
    for kind, within in _COMPOSED:
        if isinstance(operation, kind) and type(operation).call is kind.call:
            return within(operation, args, outputs, path), outputs
    is_layer = isinstance(operation, keras.layers.Layer)
    count = (layer_operations if is_layer else operations).count_of(operation)
    if count is None:
        return _of_own_call(operation, args, kwargs, path), outputs
    return _of_call(count, operation, args, kwargs, outputs, path), outputs


def _outputs(operation: Any, args: Any, kwargs: Any) -> Any:
    outputs = operation.compute_output_spec(*args, **kwargs)
    if _open_shape(outputs) and not _open_shape((args, kwargs)):
        # Some layers repeat a None of their settings; what they compute has a size.
        return keras.Operation.compute_output_spec(operation, *args, **kwargs)
    return outputs


def _open_shape(structure: Any) -> Sequence[int | None] | None:
    """Return the first of the tensors' shapes that is not wholly known, if any is."""
    shapes = [x.shape for x in keras.tree.flatten(structure) if hasattr(x, "shape")]
    return next((shape for shape in shapes if None in shape), None)


def _of_call(
    count: operations.Count, operation: Any, args: Any, kwargs: Any, outputs: Any, path: str
) -> Cost:
    """Return the cost of a call of what `operations` knows."""
    if count is operations.nothing:
        return Cost({path: 0})
    parts: list[Uncounted] = []

    def of_function(function: Any, shape: Shape) -> int:
        if (known := operations.FUNCTIONS.get(function)) is not None:
            return known * math.prod(shape)
        is_keras = inspect.isfunction(function) and function.__module__.startswith("keras.")
        cost = (_of_keras_function if is_keras else _of_elementwise)(function, shape)
        parts.extend(replace(part, name=path) for part in cost.uncounted)
        return cost.flops

    if (size := _open_shape((args, kwargs, outputs))) is not None:
        return _of_open_size(operation, args, kwargs, path, size)
    output = tuple(keras.tree.flatten(outputs)[0].shape)
    try:
        counted = count(Call(operation, args, kwargs, output, of_function))
    except NotImplementedError as error:
        return _uncounted(operation, args, kwargs, path, str(error))
    return Cost({path: counted}, tuple(parts))


# ------------------------------------------------------------------- layers that have layers


def _of_time_distributed(layer: Any, args: Any, _outputs: Any, path: str) -> Cost:
    sequence = args[0]
    step = keras.KerasTensor((sequence.shape[0], *sequence.shape[2:]), dtype=sequence.dtype)
    return _times(sequence.shape[1], _counted(layer.layer, (step,), {}, path)[0], layer, args, path)


def _of_recurrent(layer: Any, args: Any, _outputs: Any, path: str) -> Cost:
    """Return the cost of as many steps of the cell; masks of dropout in it are left out."""
    sequence = args[0]
    batch, steps = sequence.shape[:2]
    step = keras.KerasTensor((batch, *sequence.shape[2:]), dtype=sequence.dtype)
    states = keras.tree.map_structure(
        lambda size: keras.KerasTensor((batch, size), dtype=sequence.dtype), layer.cell.state_size
    )
    states = states if isinstance(states, list | tuple) else [states]
    cell = _of_own_call(layer.cell, (step, states), {}, path, training=False)
    return _times(steps, cell, layer, args, path)


def _of_bidirectional(layer: Any, args: Any, outputs: Any, path: str) -> Cost:
    both = [
        _counted(each, args[:1], {}, path)[0]
        for each in (layer.forward_layer, layer.backward_layer)
    ]
    merged = {"sum": 1, "mul": 1, "ave": 2}.get(layer.merge_mode, 0)
    if not merged or _open_shape(outputs):
        return _sum(both)
    size = keras.tree.flatten(outputs)[0].shape
    return _sum([*both, Cost({path: merged * math.prod(size)})])


def _of_wrapped(layer: Any, args: Any, _outputs: Any, path: str) -> Cost:
    return _counted(layer.layer, args, {}, path)[0]


_COMPOSED = (
    (layers.TimeDistributed, _of_time_distributed),
    (layers.Bidirectional, _of_bidirectional),
    (layers.SpectralNormalization, _of_wrapped),
    *((kind, _of_recurrent) for kind in (layers.RNN, layers.SimpleRNN, layers.GRU, layers.LSTM)),
)


def _times(steps: int | None, cost: Cost, layer: Any, args: Any, path: str) -> Cost:
    """Return the cost of so many steps of a layer."""
    if steps is None:
        return _of_open_size(layer, args, {}, path, args[0].shape)
    return Cost(
        {name: steps * count for name, count in cost.layers.items()},
        tuple(replace(part, call=f"{steps} × {part.call}") for part in cost.uncounted),
    )


# ------------------------------------------------------------------------- what is the user's own


def _of_own_call(layer: Any, args: Any, kwargs: Any, path: str, *, training: bool = True) -> Cost:
    """Return the cost of a layer with a call of its own, by the Keras operations in it."""
    if not isinstance(layer, keras.layers.Layer) and type(layer).__module__.startswith("keras."):
        why = f"the arithmetic of {type(layer).__name__} is not known"
        return _uncounted(layer, args, kwargs, path, why)
    if "training" in inspect.signature(layer.call).parameters:
        # Where the user says nothing, Keras notes the default of the layer's signature.
        kwargs = {**kwargs, "training": training}
    cost = _of_function(layer.call, args, kwargs, path, layer)
    if not cost.uncounted:
        return cost
    whole = _uncounted(layer, args, kwargs, path, cost.uncounted[0].why)
    return replace(cost, uncounted=whole.uncounted)


def _of_function(
    function: Any, args: Any, kwargs: Any, path: str, layer: keras.layers.Layer | None = None
) -> Cost:
    """Return the cost of what a function does with tensors, by the Keras operations in it.

    Args:
        function: Which, a layer's call or any other.
        args: What it is given, with tensors without values.
        kwargs: Likewise, by name.
        path: The name of the layer that it is of.
        layer: Whose call it is.
    """
    try:
        graph, weights = _followed(function, args, kwargs, layer)
        cost, _ = _of_graph(graph, graph.inputs, "", weights)
    except Exception as error:  # whatever a user's function raises on tensors without values
        owner = getattr(function, "__self__", function)  # of a method, its layer
        name = owner.__qualname__ if inspect.isroutine(owner) else type(owner).__name__
        why = f"{name} is not made of Keras operations alone ({_raised(error)})"
        return _uncounted(function, args, kwargs, path, why)
    return Cost({path: cost.flops}, tuple(replace(part, name=path) for part in cost.uncounted))


def _followed(
    function: Any, args: Any, kwargs: Any, layer: keras.layers.Layer | None
) -> tuple[Any, list[Any]]:
    """Return what a function does with tensors as a graph, and which of its inputs are weights."""
    try:
        return _graph(function, args, kwargs, []), []
    except Exception:
        # An array before an operator, as in `self.scale * x`, takes no tensor without a value.
        if layer is not None:
            with suppress(Exception), _weights_as_tensors(layer) as weights:
                return _graph(function, args, kwargs, weights), weights
        raise


def _graph(function: Any, args: Any, kwargs: Any, weights: Sequence[Any]) -> Any:
    inputs = [*weights]

    def entered(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        inputs.append(keras.Input(batch_shape=value.shape, dtype=value.dtype))
        return inputs[-1]

    args, kwargs = keras.tree.map_structure(entered, (args, kwargs))
    return keras.Function(inputs, function(*args, **kwargs))


@contextmanager
def _weights_as_tensors(layer: keras.layers.Layer) -> Iterator[list[Any]]:
    """Have a layer's weights be tensors without values meanwhile, and give these."""
    tensors: dict[int, Any] = {}

    def tensor(value: Any) -> Any:
        if isinstance(value, keras.Variable):
            new = keras.Input(batch_shape=value.shape, dtype=value.dtype)
            return tensors.setdefault(id(value), new)
        if isinstance(value, dict):
            return {name: tensor(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return (list if isinstance(value, list) else tuple)(map(tensor, value))
        return value

    before = dict(vars(layer))
    try:
        # Past what Keras does where an attribute of a layer is set.
        vars(layer).update({name: tensor(value) for name, value in before.items()})
        yield list(tensors.values())
    finally:
        vars(layer).update(before)


def _of_elementwise(function: Any, shape: Shape) -> Cost:
    return _of_function(function, (keras.KerasTensor(shape),), {}, "")


_of_keras_function = cache(_of_elementwise)  # which variants have by the thousand


def _of_open_size(
    operation: Any, args: Any, kwargs: Any, path: str, shape: Sequence[int | None]
) -> Cost:
    why = f"{type(operation).__name__} is called on a size that is not known, {_said(shape)}"
    return _uncounted(operation, args, kwargs, path, why)


def _uncounted(operation: Any, args: Any, kwargs: Any, path: str, why: str) -> Cost:
    shapes = [_said(x.shape) for x in keras.tree.flatten((args, kwargs)) if hasattr(x, "shape")]
    settings: Any = {}
    if isinstance(operation, keras.layers.Layer):
        settings = {k: v for k, v in operation.get_config().items() if k not in ("name", "dtype")}
    kind = operation if inspect.isroutine(operation) else type(operation)
    call = [kind.__qualname__, source_hash(kind), json.dumps(settings, default=str)]
    return Cost({path: 0}, (Uncounted(path, why, " ".join([*call, *shapes])),))


def _sum(costs: Iterable[Cost]) -> Cost:
    counts: dict[str, int] = {}
    uncounted: list[Uncounted] = []
    for cost in costs:
        for name, count in cost.layers.items():
            counts[name] = counts.get(name, 0) + count
        uncounted += cost.uncounted
    return Cost(counts, tuple(uncounted))


def _raised(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}", 100, placeholder=" …")


def _said(shape: Sequence[int | None]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape[1:]) or "a number"
