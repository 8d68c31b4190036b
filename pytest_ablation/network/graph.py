"""A Keras network as a graph in plain data: read off, edited and built again elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from typing import Any, NamedTuple, TypeAlias

import keras

from pytest_ablation.network import layer

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

    def redirected(self, to: Mapping[Ref, Ref], *, but: int) -> Graph:
        """Return it with other tensors taken in the place of some, by all nodes but one."""

        def turned(ref: Ref) -> Ref:
            return to.get(ref, ref)

        nodes = {
            number: node
            if number == but
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
    found: set[int] = set()
    inner: list[Site] = []
    for number, node in graph.nodes.items():
        layer = node.layer.model if isinstance(node.layer, Graph) else node.layer
        if layer is None or isinstance(layer, Bridge) or id(node.layer) in found:
            continue
        where = path + str(layer.name)
        is_merge = len(set(map(graph.source, node.refs))) > 1
        inner.append(Site(where, layer, id(node.layer), within, number in given, is_merge))
        found.add(id(node.layer))
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


def same(before: Graph, after: Graph) -> bool:
    """Tell whether two graphs are of the same layers, set alike and connected alike."""
    (one, one_ends), (other, other_ends) = (
        _without_bridges(each.pruned()) for each in (before, after)
    )
    if one.keys() != other.keys() or one_ends != other_ends:
        return False
    return all(
        (node.args, node.kwargs) == (other[number].args, other[number].kwargs)
        and _alike(node.layer, other[number].layer)
        for number, node in one.items()
    )


def _without_bridges(graph: Graph) -> tuple[dict[int, Node], Any]:
    nodes = {
        number: Node(
            node.layer, mapped(graph.source, node.args), mapped(graph.source, dict(node.kwargs))
        )
        for number, node in graph.nodes.items()
        if not isinstance(node.layer, Bridge)
    }
    return nodes, mapped(graph.source, graph.outputs)


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, Graph) and isinstance(other, Graph):
        return same(one, other)
    return type(one) is type(other) and layer.config(one) == layer.config(other)
