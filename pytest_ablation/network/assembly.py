"""A graph built as a Keras network, of copies of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from pytest_ablation.errors import AblationError, UnbuildableError
from pytest_ablation.network import chain, masks, naming, spare
from pytest_ablation.network.adapter import adapters
from pytest_ablation.network.configuration import first_line
from pytest_ablation.network.graph import (
    UNMASKED,
    Bridge,
    Graph,
    Node,
    Ref,
    Shape,
    ancestors,
    mapped,
    refs_in,
    sites,
)
from pytest_ablation.network.layer import said_shape, said_shapes
from pytest_ablation.network.naming import keras_name
from pytest_ablation.network.weightless import without_weights


class _MisfitError(Exception):
    """A layer cannot take what comes to it, or the network would give something else.

    Attributes:
        advice: What to write instead where no repair would do.
    """

    advice = "Write the network that you mean as a function: use(that_function)."


def assembled(graph: Graph) -> keras.Model:
    """Return the network of a graph, of copies of its layers, freshly initialised.

    Where a layer cannot take what comes to it, the last bridge that may is made to fit.

    Raises:
        UnbuildableError: A layer that cannot take what comes before it, or another output shape.
    """
    try:
        return _fitted(graph, lambda bridge: bridge.repair)[0]
    except _MisfitError as misfit:
        advice = _advice(graph) or misfit.advice
        raise UnbuildableError(f"{misfit} {advice}") from misfit.__cause__


def _fitted(
    graph: Graph, may_fit: Callable[[Bridge], bool]
) -> tuple[keras.Model, tuple[Bridge, ...]]:
    fitted: tuple[Bridge, ...] = ()
    while True:
        assembly = _Assembly(fitted)
        try:
            return assembly.network(graph), fitted
        except _MisfitError:
            candidates = [bridge for bridge in assembly.unfit if may_fit(bridge)]
            if not candidates:
                raise
            fitted += (candidates[-1],)


def _advice(graph: Graph) -> str:
    """Return which repair would do; empty where none would."""
    try:
        with without_weights():
            _, fitted = _fitted(graph, lambda bridge: True)
    except _MisfitError:
        return ""
    asked = " and ".join(dict.fromkeys(bridge.edit for bridge in fitted if not bridge.repair))
    names = [f'"{name}"' for name in dict.fromkeys(bridge.name for bridge in fitted)]
    after = ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])
    return f"With repair=True, {asked} would pool or project to the shape that {after} gave."


class _Assembly:
    """One attempt to build a network.

    Attributes:
        unfit: The bridges passed whose tensor is of another shape than before, in order.
    """

    def __init__(self, fitted: tuple[Bridge, ...]) -> None:
        self._fitted = fitted
        self._copies: dict[int, Any] = {}
        self._masking: list[Any] = []
        self._names: set[str] = set()
        self._shared: dict[tuple[Any, ...], list[Any]] = {}
        self._is_doubtful = self._is_another_shape = self._is_composed = False
        self.unfit: list[Bridge] = []

    def network(self, graph: Graph) -> keras.Model:
        """Return the network, if it gives what the model gave that the graph was read from."""
        self._names = {site.name for site in sites(graph)}
        model = self._built(graph)
        if graph.is_unbuilt:
            return model
        before, after = (_shapes(each.outputs) for each in (graph.model, model))
        if before != after:
            raise _MisfitError(f"the network would give {said_shapes(after)} in place of "
                               f"{said_shapes(before)}.")  # fmt: skip
        if self._is_doubtful or (self._is_another_shape and self._is_composed):
            _follow(model)
        return model

    def _unbuilt(self, graph: Graph) -> keras.Model:
        inner = list(_inner(graph))
        if any(_is_bridge(node) and node.layer.repair for node in inner):
            raise AblationError(
                f'shapes can be repaired where they are known: give "{graph.name}" a keras.Input '
                "as its first layer, or build it."
            )
        copies = [self._copy(node.layer) for node in inner if not _is_bridge(node)]
        if not copies:
            raise UnbuildableError("no layer would be left.")
        return chain.made(graph.model, copies)

    def _built(self, graph: Graph) -> keras.Model:
        if graph.is_unbuilt:
            return self._unbuilt(graph)
        if graph.is_chain and not self._fitted and (network := self._chained(graph)) is not None:
            return network
        tensors: dict[Ref, Any] = {}
        called: list[Any] = []
        given = {ref.node for ref in refs_in(graph.inputs)}
        for number in given:
            copy = self._copy(graph.nodes[number].layer)
            tensors[Ref(number)] = copy.output
            called.append(copy)
        for number in ancestors(graph, graph.outputs):
            if number not in given:
                called += self._call(graph, number, tensors)
        if len(called) == len(given):
            raise UnbuildableError("no layer would be left.")
        if graph.is_chain:
            return _frozen_as(graph.model, chain.made(graph.model, called))
        kind = keras.Model if isinstance(graph.model, keras.Sequential) else type(graph.model)
        ends = (_given(graph, tensors, each) for each in (graph.inputs, graph.outputs))
        return _frozen_as(graph.model, kind(*ends, name=graph.name))

    def _chained(self, graph: Graph) -> keras.Model | None:
        """Return a chain of layers as Keras calls them, in half the time; None where one refuses.

        Then they are called one by one, which tells the one that refuses. So they are where one
        gives another shape than was told of it, for which the next may not be built.
        """
        [entry] = refs_in(graph.inputs)
        called = [self._copy(graph.nodes[entry.node].layer)]
        told = [called[0].output]
        crossed: list[tuple[Bridge, Any]] = []
        for node in _inner(graph):
            if _is_bridge(node):
                crossed.append((node.layer, called[-1]))
            else:
                called.append(self._copy(node.layer, told[-1:]))
                told.append(spare.gives(node.layer, called[-1], told[-1]))
        if len(called) == 1:
            return None
        try:
            network = chain.made(graph.model, called)
            is_so = all(
                tensor is None or layer.output.shape == tensor.shape
                for layer, tensor in zip(called, told, strict=True)
            )
        except Exception:
            is_so = False
        if not is_so:
            self._copies.clear()
            return None
        for bridge, before in crossed:
            self._crossing(bridge, before.output, id(graph))
        self._is_composed |= any(layer._layers for layer in called)
        return _frozen_as(graph.model, network)

    def _call(self, graph: Graph, number: int, tensors: dict[Ref, Any]) -> list[Any]:
        """Call a node's layer; return the layers that were called."""
        node = graph.nodes[number]
        if isinstance(node.layer, Bridge):
            tensors[Ref(number)] = _given(graph, tensors, node.refs[0])
            called = self._crossing(node.layer, tensors[Ref(number)], id(graph))
            for layer in called:
                tensors[Ref(number)] = layer(tensors[Ref(number)])
            return called
        args, kwargs = (_given(graph, tensors, each) for each in (node.args, dict(node.kwargs)))
        layer = self._copy(node.layer, args, kwargs)
        is_layer = isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.Model)
        self._is_composed |= is_layer and bool(layer._layers)
        try:
            given = masks.given(layer, args, kwargs)
            self._name_masks(masks.tensors(given))
            told = {key: value for key, value in kwargs.items() if value is not UNMASKED}
            result = layer(*args, **{**told, **given})
        except _MisfitError:
            raise
        except Exception as error:
            raise _refused(graph, node, layer, tensors, first_line(error)) from error
        results = keras.tree.flatten(result)
        if node.must_merge and len(results) > 1:
            said = f"it gives {len(results)} tensors, and was to make one of them"
            raise _refused(graph, node, layer, tensors, said)
        self._is_doubtful |= len(results) > 1 and any(isinstance(each, list) for each in args)
        tensors |= {Ref(number, place): tensor for place, tensor in enumerate(results)}
        return [layer]

    def _name_masks(self, tensors: Sequence[Any]) -> None:
        """Give the operations that compute masks the names that a first build would give."""
        own = {id(copy) for copy in self._copies.values()}
        for operation in (tensor._keras_history.operation for tensor in tensors):
            is_known = id(operation) in own or operation in self._masking
            if is_known or isinstance(operation, keras.layers.Layer):
                continue
            self._masking.append(operation)
            self._name_masks(operation._inbound_nodes[0].input_tensors)
            operation.name = kind = keras_name(type(operation).__name__)
            count = 0
            while operation.name in self._names:
                count += 1
                operation.name = f"{kind}_{count}"
            self._names.add(operation.name)

    def _crossing(self, bridge: Bridge, tensor: Any, level: int) -> list[Any]:
        """Return the layers that make a tensor fit; none where it does, or is not to."""
        self._is_doubtful |= "float" not in tensor.dtype
        if bridge.wanted is None or tuple(tensor.shape[1:]) == bridge.wanted[1:]:
            return []
        # What takes the place of a layer that is called twice is called twice.
        key = level, bridge.name, bridge.place, tuple(tensor.shape[1:]), bridge.wanted[1:]
        if key in self._shared:
            return self._shared[key]
        layers = adapters(tensor.shape, bridge.wanted, self._unused(bridge.name))
        if bridge in self._fitted:
            self._names |= {layer.name for layer in layers}
            self._shared[key] = layers
            return layers
        if layers:
            self.unfit.append(bridge)
        self._is_another_shape = True
        self._is_doubtful |= len(tensor.shape) != len(bridge.wanted)
        return []

    def _unused(self, name: str) -> str:
        """Return what the names of layers in the place of another begin with."""
        begun, count = name, 0
        while not self._names.isdisjoint((f"{begun}_pooling", f"{begun}_projection")):
            count += 1
            begun = f"{name}_{count}"
        return begun

    def _copy(
        self, layer: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if id(layer) not in self._copies:
            is_nested = isinstance(layer, Graph)
            new = self._built(layer) if is_nested else spare.copy(layer, args, kwargs)
            self._copies[id(layer)] = new
        return self._copies[id(layer)]


def _given(graph: Graph, tensors: Mapping[Ref, Any], structure: Any) -> Any:
    """Return a structure with the tensors in it, each of which must have been given by a layer."""

    def tensor(ref: Ref) -> Any:
        if ref not in tensors:
            layer = graph.nodes[ref.node].layer
            raise _MisfitError(
                f'"{layer.name}" now gives fewer tensors than are taken from it, which are at '
                f"least {ref.place + 1}."
            )
        return tensors[ref]

    return mapped(tensor, structure)


def _follow(model: keras.Model) -> None:
    """Have the network computed on tensors without values.

    Not all layers refuse what they cannot take when they are called to build a network: attention
    takes a tensor of another rank, a convolution whole numbers, a wrapper what the layer in it
    does not. It takes as long as building, and is done only where an edit may have brought a layer
    to it.
    """
    graph = naming.graph_of(model)
    try:
        keras.Operation.compute_output_spec(model, graph._inputs_struct)
    except Exception as error:  # whatever a layer raises of what it cannot take
        raise _MisfitError(f"the network cannot be computed: {first_line(error)}.") from error


def _frozen_as(model: keras.Model, network: keras.Model) -> keras.Model:
    """Return a network that is not trained where the model is not; its layers stay as they are."""
    if not model.trainable:
        layers = [(layer, layer.trainable) for layer in network._flatten_layers(include_self=False)]
        network.trainable = False
        for layer, is_trainable in layers:
            layer.trainable = is_trainable
    return network


def _inner(graph: Graph) -> Iterator[Node]:
    given = {ref.node for ref in refs_in(graph.inputs)}
    return (graph.nodes[n] for n in ancestors(graph, graph.outputs) if n not in given)


def _is_bridge(node: Node) -> bool:
    return isinstance(node.layer, Bridge)


def _shapes(tensors: list[Any]) -> list[Shape]:
    return [tuple(tensor.shape) for tensor in tensors]


def _refused(
    graph: Graph, node: Node, layer: Any, tensors: Mapping[Ref, Any], why: str
) -> _MisfitError:
    """Return an error that says which layer refuses what, of which shape and from where."""
    came = [
        f"{said_shape(tensors[ref].shape)} from {_origin(graph, ref)}"
        for ref in dict.fromkeys(node.refs)
    ]
    misfit = _MisfitError(
        f'{type(layer).__name__} "{layer.name}" cannot take what comes before it, '
        f"{' and '.join(came)}: {why}."
    )
    if node.must_merge:
        *others, branch = (_origin(graph, ref) for ref in node.refs)
        cutting = f', or take one of them away: cut({branch}, into="{layer.name}")'
        misfit.advice = (
            "Put a layer there that makes one tensor of several, as Multiply does"
            f"{'' if branch in others else cutting}."
        )
    return misfit


def _origin(graph: Graph, ref: Ref) -> str:
    layer = graph.nodes[graph.source(ref).node].layer
    return f'"{layer.name}"' if layer is not None else "the input"
