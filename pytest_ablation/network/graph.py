"""A Keras network as a graph in plain data: read off a model, edited elsewhere, and built again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from typing import Any, NamedTuple, TypeAlias

import keras

from pytest_ablation.errors import AblationError, UnbuildableError
from pytest_ablation.network import masks
from pytest_ablation.network.adapter import adapters
from pytest_ablation.network.blueprint import check_sharing, keras_name, without_weights
from pytest_ablation.network.layer import copied, first_line, said_shape, said_shapes

Layer: TypeAlias = keras.layers.Layer
Shape: TypeAlias = tuple[int | None, ...]

UNMASKED = "a mask that Keras did not pass on"  # in the place of an argument of a call


@dataclass(frozen=True)
class Ref:
    """A tensor: the output of a node."""

    node: int
    place: int = 0


@dataclass(frozen=True, eq=False)
class Bridge:
    """Where an edit may have changed a shape: passes its tensor on, or makes it fit again.

    Attributes:
        name: Of the layer whose output is missed, or is another now.
        wanted: The shape that was there before; None where it is not known.
        repair: Whether it may be made to fit, by a pooling or a projection.
        edit: The edit, as it is written.
        place: Which of the tensors that the layer gave.
    """

    name: str
    wanted: Shape | None
    repair: bool
    edit: str
    place: int = 0


@dataclass(frozen=True, eq=False)
class Node:
    """One call of a layer. A layer that several nodes have is shared by them.

    Attributes:
        layer: A Keras layer or operation, a nested network as a Graph, or a Bridge.
        args: What it is called with, a Ref in the place of each tensor.
        kwargs: By name.
        must_merge: Whether it has the place of a layer that made one tensor of several.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    must_merge: bool = False

    @property
    def refs(self) -> list[Ref]:
        """The tensors it takes, in order; one taken twice is named twice."""
        return [*refs_in(self.args), *refs_in(dict(self.kwargs))]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network.

    Attributes:
        model: The Keras model that it was read from: an edited one is of its kind and name.
        nodes: By number, in the order in which the model has their layers.
        inputs: The input tensors, in the model's own structure: one, a list or a dict.
        outputs: The output tensors, likewise.
        shapes: Of tensors, as the model has them, batch included.
        is_chain: Whether it is built as a Sequential model.
    """

    model: keras.Model
    nodes: Mapping[int, Node]
    inputs: Any
    outputs: Any
    shapes: Mapping[Ref, Shape]
    is_chain: bool = False

    @property
    def name(self) -> str:
        """The model's."""
        return str(self.model.name)

    @property
    def is_unbuilt(self) -> bool:
        """Whether it is a Sequential model that is built by its first batch."""
        return all(self.nodes[ref.node].layer is None for ref in refs_in(self.inputs))

    @property
    def free(self) -> int:
        """A number for another node."""
        return max(self.nodes, default=-1) + 1

    def takers(self, ref: Ref) -> list[int]:
        """Return the nodes that take a tensor."""
        return [number for number, node in self.nodes.items() if ref in node.refs]

    def source(self, ref: Ref) -> Ref:
        """Return the tensor that bridges pass on."""
        while isinstance(self.nodes[ref.node].layer, Bridge):
            ref = self.nodes[ref.node].refs[0]
        return ref

    def redirected(self, to: Mapping[Ref, Ref], *, but: frozenset[int] = frozenset()) -> Graph:
        """Return it with other tensors taken in the place of some, by all nodes but a few."""

        def turned(ref: Ref) -> Ref:
            return to.get(ref, ref)

        nodes = {
            number: node
            if number in but
            else with_fields(
                node, args=mapped(turned, node.args), kwargs=mapped(turned, dict(node.kwargs))
            )
            for number, node in self.nodes.items()
        }
        return with_fields(self, nodes=nodes, outputs=mapped(turned, self.outputs))

    def with_node(self, number: int, node: Node, *, after: int) -> Graph:
        """Return it with one node more, listed after another."""
        nodes: dict[int, Node] = {}
        for each, known in self.nodes.items():
            nodes[each] = known
            if each == after:
                nodes[number] = node
        return with_fields(self, nodes=nodes)

    def pruned(self) -> Graph:
        """Return it without the nodes that no output needs; inputs stay."""
        needed = {ref.node for ref in refs_in(self.inputs)} | set(ancestors(self, self.outputs))
        return with_fields(self, nodes={n: v for n, v in self.nodes.items() if n in needed})

    def with_layers(self, new: Mapping[int, Any]) -> Graph:
        """Return it with layers in the place of others, given by `id`; also within nested ones."""
        nested = {
            id(node.layer): node.layer.with_layers(new)
            for node in self.nodes.values()
            if isinstance(node.layer, Graph)
        }
        new = {**nested, **new}
        nodes = {
            number: with_fields(node, layer=new.get(id(node.layer), node.layer))
            for number, node in self.nodes.items()
        }
        return with_fields(self, nodes=nodes)


class Site(NamedTuple):
    """A layer where it stands.

    Attributes:
        path: Its name, behind those of the networks that it is nested in: "encoder/dense1".
        layer: The Keras layer, operation or nested model.
        key: `id` of what stands for it in the graph.
        within: The `id`s of the nested graphs that it is in.
        is_input: Whether it only gives the network an input.
        is_merge: Whether several tensors enter it.
    """

    path: str
    layer: Any
    key: int
    within: tuple[int, ...]
    is_input: bool
    is_merge: bool

    @property
    def name(self) -> str:
        """The layer's own name."""
        return str(self.layer.name)


def sites(graph: Graph, path: str = "", within: tuple[int, ...] = ()) -> list[Site]:
    """Return all layers of a graph, each once, a nested network before what is in it."""
    given = {ref.node for ref in refs_in(graph.inputs)}
    found: dict[int, Site] = {}
    inner: list[Site] = []
    for number, node in graph.nodes.items():
        layer = node.layer.model if isinstance(node.layer, Graph) else node.layer
        if layer is None or isinstance(layer, Bridge) or id(node.layer) in found:
            continue
        where = path + str(layer.name)
        is_merge = len(set(map(graph.source, node.refs))) > 1
        inner.append(Site(where, layer, id(node.layer), within, number in given, is_merge))
        found[id(node.layer)] = inner[-1]
        if isinstance(node.layer, Graph):
            below = sites(node.layer, f"{where}/", (*within, id(node.layer)))
            inner += [site for site in below if not site.is_input]
    return inner


# ------------------------------------------------------------------------------------- structure


def refs_in(structure: Any) -> list[Ref]:
    """Return the tensors in lists, tuples and dicts, in order."""
    if isinstance(structure, Ref):
        return [structure]
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, list | tuple):
        return [ref for each in structure for ref in refs_in(each)]
    return []


def mapped(function: Callable[[Ref], Any], structure: Any) -> Any:
    """Return the structure with the function's value in the place of each tensor."""
    if isinstance(structure, Ref):
        return function(structure)
    if isinstance(structure, dict):
        return {key: mapped(function, value) for key, value in structure.items()}
    if isinstance(structure, list):
        return [mapped(function, value) for value in structure]
    if isinstance(structure, tuple):
        return tuple(mapped(function, value) for value in structure)
    return structure


def ancestors(graph: Graph, structure: Any) -> dict[int, None]:
    """Return the nodes that tensors come from, each after those that it takes from itself."""
    order: dict[int, None] = {}
    stack = [(ref.node, False) for ref in reversed(refs_in(structure))]
    while stack:
        number, is_expanded = stack.pop()
        if is_expanded:
            order[number] = None
        elif number not in order:
            stack.append((number, True))
            refs = reversed(graph.nodes[number].refs)
            stack += [(ref.node, False) for ref in refs if ref.node not in order]
    return order


def descendants(graph: Graph, number: int) -> set[int]:
    """Return a node and those that take anything from it."""
    found = {number}
    for each, node in graph.nodes.items():
        if not found.isdisjoint(ref.node for ref in node.refs):
            found.add(each)
    return found


# ---------------------------------------------------------------------------------------- reading


def read(model: Any) -> Graph:
    """Return a Sequential or Functional model as a graph.

    Raises:
        AblationError: Another kind of model, one whose configuration Keras cannot give, or one
            with a layer that stands in two networks.
    """
    if not isinstance(model, keras.Model):
        raise AblationError(f"a {type(model).__name__} is not a Keras model.")
    check_sharing(model)
    return _read(model)


def _read(model: keras.Model) -> Graph:
    if isinstance(model, keras.Sequential):
        return _chain(model)
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
    if isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and _config(layer) is not None
    ):
        return _read(layer)
    return layer


# --------------------------------------------------------------------------------------- building


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
        return keras.Sequential(copies, name=graph.name)

    def _built(self, graph: Graph) -> keras.Model:
        if graph.is_unbuilt:
            return self._unbuilt(graph)
        if graph.is_chain and not self._fitted and (network := self._chained(graph)) is not None:
            return network
        tensors: dict[Ref, Any] = {}
        chain: list[Any] = []
        given = {ref.node for ref in refs_in(graph.inputs)}
        for number in given:
            copy = self._copy(graph.nodes[number].layer)
            tensors[Ref(number)] = copy.output
            chain.append(copy)
        for number in ancestors(graph, graph.outputs):
            if number not in given:
                chain += self._call(graph, number, tensors)
        if len(chain) == len(given):
            raise UnbuildableError("no layer would be left.")
        if graph.is_chain:
            return _frozen_as(graph.model, keras.Sequential(chain, name=graph.name))
        kind = keras.Model if isinstance(graph.model, keras.Sequential) else type(graph.model)
        ends = (_given(graph, tensors, each) for each in (graph.inputs, graph.outputs))
        return _frozen_as(graph.model, kind(*ends, name=graph.name))

    def _chained(self, graph: Graph) -> keras.Model | None:
        """Return a chain of layers as Keras calls them, in half the time; None where one refuses.

        Then they are called one by one, which tells the one that refuses.
        """
        [entry] = refs_in(graph.inputs)
        chain = [self._copy(graph.nodes[entry.node].layer)]
        crossed: list[tuple[Bridge, Any]] = []
        for node in _inner(graph):
            if _is_bridge(node):
                crossed.append((node.layer, chain[-1]))
            else:
                chain.append(self._copy(node.layer))
        if len(chain) == 1:
            return None
        try:
            network = keras.Sequential(chain, name=graph.name)
        except Exception:
            self._copies.clear()
            return None
        for bridge, before in crossed:
            self._crossing(bridge, before.output, id(graph))
        self._is_composed |= any(layer._layers for layer in chain)
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
        layer = self._copy(node.layer)
        is_layer = isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.Model)
        self._is_composed |= is_layer and bool(layer._layers)
        args, kwargs = (_given(graph, tensors, each) for each in (node.args, dict(node.kwargs)))
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

    def _copy(self, layer: Any) -> Any:
        if id(layer) not in self._copies:
            is_nested = isinstance(layer, Graph)
            self._copies[id(layer)] = self._built(layer) if is_nested else copied(layer)
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
    try:
        keras.Operation.compute_output_spec(model, model._inputs_struct)
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
