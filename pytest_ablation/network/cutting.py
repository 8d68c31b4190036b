"""Which input an edit takes away from a merge, and the merge without it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace as with_fields
from typing import Any

from pytest_ablation.errors import AblationError
from pytest_ablation.network.bridging import (
    Asked,
    Edited,
    at_levels,
    bridged,
    is_opened,
    leaving,
    outermost,
    told,
)
from pytest_ablation.network.graph import (
    Bridge,
    Graph,
    Node,
    Ref,
    Site,
    ancestors,
    refs_in,
    sites,
)
from pytest_ablation.network.selecting import select
from pytest_ablation.selectors import Selector, Shortcut

# What one input of these would be alone nobody can say.
NEVER_ALONE = ("Dot", "Subtract")
NO_BRANCH = (
    "No layer gives one of them alone, so a cut cannot name it. Write the network that you mean as "
    "a function: use(that_function)."
)


def cut(graph: Graph, branch: Selector | Shortcut, into: Selector, asked: Asked) -> Edited:
    """Take an input away from each selected merge; with one left, the merge passes it on.

    Args:
        graph: The network.
        branch: The layers that give the input, or stand on its branch alone.
        into: The layers that several tensors enter.
        asked: What the edit brings with it.

    Raises:
        AblationError: Nothing is selected; a layer that one tensor enters; no branch of a merge
            has the selected layers, or more than one way is the shortest.
    """
    known = sites(graph)
    merges = _merges(outermost(select(known, into)))
    keys: set[int] = set()
    if not isinstance(branch, Shortcut):
        keys = {site.key for site in select(known, branch, inputs=True)}
    touched: list[str] = []

    def without_branch(level: Graph, merged: set[int]) -> Graph:
        for number, node in list(level.nodes.items()):
            if id(node.layer) not in merged:
                continue
            inputs = _inputs(level, number)
            gone = _of(level, inputs, keys) if keys else _shortest(level, number, inputs)
            if len(gone) == len(inputs):
                cutting = cut_of_one(level, number)
                raise AblationError(
                    f'all that enters "{node.layer.name}" would go: {told(level, inputs)}. '
                    + (f"One goes with {cutting}." if cutting else NO_BRANCH)
                )
            if gone:
                touched.append(node.layer.name)
                level = _without_inputs(level, number, gone, asked)
        return level

    edited = at_levels(graph, merges, without_branch)
    if not touched:
        where = ", ".join(f'"{site.path}"' for site in merges[:3])
        raise AblationError(f"the branch enters none of the layers: {where}.")
    return edited.pruned(), touched


def cut_of_one(graph: Graph, number: int) -> str:
    """Return what cuts one input of a node, as it is written; empty where no layer names one."""
    inputs = _inputs(graph, number)
    for ref in inputs:
        for near in reversed(ancestors(graph, ref)):
            layer = graph.nodes[near].layer
            is_named = layer is not None and not isinstance(layer, Bridge)
            if is_named and _of(graph, inputs, {id(layer)}) == [ref]:
                return f'cut("{layer.name}", into="{graph.nodes[number].layer.name}")'
    return ""


def _merges(chosen: Sequence[Site]) -> list[Site]:
    """Return those of the layers that several tensors enter.

    Raises:
        AblationError: Of none that is so, or one is a network.
    """
    merges = [site for site in chosen if site.is_merge]
    if not merges:
        raise AblationError(
            f'one tensor enters "{chosen[0].path}": it is no merge, and nothing would be left.'
        )
    if networks := [site.path for site in merges if is_opened(site)]:
        raise AblationError(
            f'"{networks[0]}" is a network within the network: what its inputs are for is not '
            f'known here. Name a merge in it: into="{networks[0]}/…".'
        )
    return merges


def _inputs(graph: Graph, number: int) -> list[Ref]:
    """Return the tensors that enter a node, each once."""
    return list(dict.fromkeys(map(graph.source, graph.nodes[number].refs)))


def _of(graph: Graph, inputs: Sequence[Ref], keys: set[int]) -> list[Ref]:
    """Return the inputs that selected layers give, else those on whose branch alone they are."""
    given = [ref for ref in inputs if id(graph.nodes[ref.node].layer) in keys]
    if given:
        return given
    ways = {ref: set(ancestors(graph, ref)) for ref in inputs}
    alone = {
        ref: way - set().union(*(other for each, other in ways.items() if each != ref))
        for ref, way in ways.items()
    }
    return [ref for ref, own in alone.items() if any(id(graph.nodes[n].layer) in keys for n in own)]


def _shortest(graph: Graph, number: int, inputs: Sequence[Ref]) -> list[Ref]:
    """Return the input with the shortest way from where all of them parted.

    Raises:
        AblationError: They come from no common layer, or two ways are the shortest.
    """
    name = graph.nodes[number].layer.name
    ways = [ancestors(graph, ref) for ref in inputs]
    common = [
        n
        for n in ancestors(graph, list(inputs))
        if all(n in way for way in ways) and not isinstance(graph.nodes[n].layer, Bridge)
    ]
    if not common:
        raise AblationError(
            f'what enters "{name}" comes from no common layer: it has no shortcut. '
            f"{_branch_named(graph, number)}"
        )
    lengths = [_length(graph, ref, common[-1]) for ref in inputs]
    shortest = [ref for ref, n in zip(inputs, lengths, strict=True) if n == min(lengths)]
    if len(shortest) > 1:
        raise AblationError(
            f'"{name}" has no one shortcut: the ways of {told(graph, shortest)} are equally '
            f"long. {_branch_named(graph, number)}"
        )
    return shortest


def _length(graph: Graph, ref: Ref, start: int) -> int:
    """Return how many layers a tensor has passed since a node, on the shortest way."""
    near, length = {ref.node}, 0
    while start not in near:
        near = {graph.source(each).node for n in near for each in graph.nodes[n].refs}
        length += 1
    return length


def _branch_named(graph: Graph, number: int) -> str:
    cutting = cut_of_one(graph, number)
    return f"Name the branch that goes, as {cutting}." if cutting else NO_BRANCH


def _without_inputs(graph: Graph, number: int, gone: Sequence[Ref], asked: Asked) -> Graph:
    node = graph.nodes[number]
    inputs = _inputs(graph, number)
    left = [ref for ref in inputs if ref not in gone]

    def goes(value: Any) -> bool:
        return isinstance(value, Ref) and graph.source(value) in gone

    args, kwargs, needed = _dropped(node, goes)
    lists = [each for each in args if isinstance(each, list)]
    if not needed and not any(len(refs_in(each)) < 2 for each in lists):
        nodes = {**graph.nodes, number: with_fields(node, args=args, kwargs=kwargs)}
        graph = with_fields(graph, nodes=nodes)
        to = {ref: ref for ref in leaving(graph, {number})}
    elif len(left) == 1 and type(node.layer).__name__ not in NEVER_ALONE:
        kept = next(ref for ref in node.refs if graph.source(ref) == left[0])
        to = dict.fromkeys(leaving(graph, {number}), kept)
    else:
        raise AblationError(
            f'{type(node.layer).__name__} "{node.layer.name}" cannot do without the input from '
            f"{told(graph, gone)}. Put another layer in its place: "
            f'replace("{node.layer.name}", …).'
        )
    for old, new in to.items():
        name = node.layer.name
        graph = bridged(graph, old, new, graph.shapes.get(old), name, asked)
    return graph


def _dropped(
    node: Node, goes: Callable[[Any], bool]
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Return a node's arguments without some tensors, and whether it cannot be called so."""
    needed = False
    parameters = list(inspect.signature(node.layer.call).parameters.values())
    args: list[Any] = []
    for place, value in enumerate(node.args):
        if isinstance(value, list | tuple):
            args.append([each for each in value if not goes(each)])
            continue
        is_optional = place < len(parameters) and parameters[place].default is not inspect._empty
        needed = needed or (goes(value) and not is_optional)
        args.append(None if goes(value) else value)
    kwargs: dict[str, Any] = {}
    for key, value in node.kwargs.items():
        if any(map(goes, refs_in(value))):
            default = next((p.default for p in parameters if p.name == key), None)
            needed = needed or default is inspect._empty
        else:
            kwargs[key] = value
    return tuple(args), kwargs, needed
