"""A Keras network read off as a graph in plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace as with_fields
from typing import Any

import keras

from pytest_ablation.errors import AblationError
from pytest_ablation.network import chain, masks
from pytest_ablation.network.blueprint import check_sharing, without_config
from pytest_ablation.network.graph import UNMASKED, Graph, Node, Ref, Shape, refs_in


def read(model: Any) -> Graph:
    """Return a Sequential or Functional model as a graph.

    Raises:
        AblationError: Another kind of model, one whose configuration Keras cannot give, or one
            with a layer that stands in two networks.
    """
    if not isinstance(model, keras.Model):
        raise AblationError(f"a {type(model).__name__} is not a Keras model.")
    check_sharing(model)
    try:
        return _read(model)
    except NotImplementedError as error:
        raise without_config(model) from error


def _read(model: keras.Model) -> Graph:
    if chain.is_one(model):
        return _chain(model)
    if isinstance(model, keras.Sequential):
        raise AblationError(
            f"{type(model).__name__} is a subclassed model: none of its class can be made of other "
            "layers and what its get_config gives, so they cannot be edited. Write the edited "
            "network as a function and name it: use(that_function)."
        )
    config = _config(model)
    if config is None:
        raise AblationError(
            f"{type(model).__name__} is a subclassed model: what its call does with its layers "
            "cannot be read, so they cannot be edited. Write the edited network as a function and "
            "name it: use(that_function)."
        )
    return _functional(model, config)


def _config(model: keras.Model) -> dict[str, Any] | None:
    """Return a Functional model's configuration; None of any other model."""
    if not hasattr(model, "operations"):
        return None
    try:
        config: dict[str, Any] = model.get_config()
    except NotImplementedError:
        return None
    return config if "input_layers" in config else None


def _chain(model: keras.Sequential) -> Graph:
    configs = model.get_config()["layers"]
    if configs and configs[0]["class_name"] == "InputLayer" and not getattr(model, "inputs", None):
        raise AblationError(
            f'the shapes in "{model.name}" are not known: a layer of your own in it must have '
            "compute_output_shape."
        )
    given = None
    if model.built and configs and configs[0]["class_name"] == "InputLayer":
        given = keras.layers.InputLayer.from_config(configs[0]["config"])
    nodes = {0: Node(given, ())}
    shapes = {Ref(0): model.input_shape} if given is not None else {}
    for number, layer in enumerate(model.layers, start=1):
        nodes[number] = Node(_layer(layer), (Ref(number - 1),))
        if given is not None:
            shapes[Ref(number)] = layer.output.shape
    return Graph(model, nodes, Ref(0), Ref(len(nodes) - 1), shapes, is_chain=True)


def _functional(model: keras.Model, config: Mapping[str, Any]) -> Graph:
    operations = {operation.name: operation for operation in model.operations}
    calls = [
        (layer["name"], place, call)
        for layer in config["layers"]
        for place, call in enumerate(layer["inbound_nodes"] or [None])
    ]
    numbers = {(name, place): number for number, (name, place, _) in enumerate(calls)}
    layers = {name: _layer(operation) for name, operation in operations.items()}
    shapes: dict[Ref, Shape] = {}

    def tensor(history: Any) -> Ref:
        name, call, place = history
        return Ref(numbers[name, call], place)

    def parsed(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(map(parsed, value))
        if not isinstance(value, dict):
            return value
        kind = value.get("class_name")
        if kind == "__keras_tensor__":
            ref = tensor(value["config"]["keras_history"])
            shapes[ref] = tuple(value["config"]["shape"])
            return ref
        if kind == "__tuple__":
            return tuple(parsed(each) for each in value["config"]["value"])
        if kind is not None:
            return keras.saving.deserialize_keras_object(value)
        return {key: parsed(each) for key, each in value.items()}

    nodes = {
        number: Node(
            layers[name],
            tuple(parsed(call["args"])) if call else (),
            parsed(call["kwargs"]) if call else {},
        )
        for number, (name, _, call) in enumerate(calls)
    }
    nodes = _with_masks_left_to_keras(nodes, model, numbers)
    inputs = _ends(config["input_layers"], tensor)
    outputs = _ends(config["output_layers"], tensor)
    for ends, tensors in ((inputs, model.inputs), (outputs, model.outputs)):
        shapes |= {ref: each.shape for ref, each in zip(refs_in(ends), tensors, strict=True)}
    return Graph(model, nodes, inputs, outputs, shapes).pruned()


def _with_masks_left_to_keras(
    nodes: Mapping[int, Node], model: keras.Model, numbers: Mapping[tuple[str, int], int]
) -> dict[int, Node]:
    """Return the nodes without the masks that Keras gives their layers by itself.

    Keras notes a mask, as of Embedding(mask_zero=True), as an argument of each call that it gave it
    to. Left there, it would outlast the layer that it comes from. Where it is what the arguments'
    own masks are, the edited network gets it by being built.
    """
    tensors: dict[Ref, Any] = {}
    called = {id(call) for calls in model._nodes_by_depth.values() for call in calls}
    for operation in model.operations:
        calls = [each for each in operation._inbound_nodes if id(each) in called]
        for place, call in enumerate(calls):
            number = numbers[operation.name, place]
            tensors |= {Ref(number, n): each for n, each in enumerate(call.output_tensors)}

    def given(structure: Any) -> list[Any]:
        found = (masks.of(tensors[ref]) for ref in refs_in(structure))
        return [mask for mask in found if mask is not None]

    return {
        number: with_fields(node, kwargs=_kept(node, tensors, given))
        if node.layer is not None and refs_in(node.args)
        else node
        for number, node in nodes.items()
    }


def _kept(
    node: Node, tensors: Mapping[Ref, Any], given: Callable[[Any], list[Any]]
) -> dict[str, Any]:
    """Return the keywords that a call has besides the masks that Keras gives by itself."""
    kwargs = dict(node.kwargs)
    for key, argument in masks.maskable(
        _called(node.layer), node.args, node.kwargs, refs_in
    ).items():
        own, noted = given(argument), [tensors[ref] for ref in refs_in(kwargs.get(key))]
        if masks.same(own, noted):
            kwargs.pop(key, None)
        elif own and not noted:
            kwargs[key] = UNMASKED
    return kwargs


def _called(layer: Any) -> Callable[..., Any]:
    call: Callable[..., Any] = layer.model.call if isinstance(layer, Graph) else layer.call
    return call


def _ends(written: Any, tensor: Callable[[Any], Ref]) -> Any:
    """Return a model's inputs or outputs: Keras writes a tensor as [layer, node, index]."""
    if isinstance(written, dict):
        return {key: _ends(each, tensor) for key, each in written.items()}
    if len(written) == 3 and isinstance(written[0], str) and isinstance(written[1], int):
        return tensor(written)
    return [_ends(each, tensor) for each in written]


def _layer(layer: Any) -> Any:
    """Return what stands for a layer in a graph: a nested network is one itself."""
    if chain.is_one(layer) or (isinstance(layer, keras.Model) and _config(layer) is not None):
        return _read(layer)
    return layer
