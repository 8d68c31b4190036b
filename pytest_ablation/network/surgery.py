"""What each edit does to a network's graph, nested networks and shared layers included.

Every function returns the edited graph and the names of the layers that it touched. Nothing is
built here: whether the layers fit, `assembly` finds.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace as with_fields
from typing import Any

import keras

from pytest_ablation.errors import AblationError, UnbuildableError
from pytest_ablation.network import layer as layers
from pytest_ablation.network.bridging import (
    Asked,
    Edited,
    at_levels,
    bridged,
    is_opened,
    leaving,
    name_of,
    names_of,
    outermost,
    told,
)
from pytest_ablation.network.cutting import NO_BRANCH, cut_of_one
from pytest_ablation.network.graph import (
    Bridge,
    Graph,
    Node,
    Ref,
    Site,
    refs_in,
    sites,
)
from pytest_ablation.network.layer import LayerOrFunction
from pytest_ablation.network.selecting import select
from pytest_ablation.selectors import Selector

SWITCHES = ("return_attention_scores", "use_causal_mask")


def remove(graph: Graph, selectors: Sequence[Selector], asked: Asked) -> Edited:
    """Take the selected layers out.

    Those that are connected go as one region: the one tensor that enters it takes the place of all
    that leaves it.

    Raises:
        AblationError: Nothing is selected, or several tensors enter a region.
    """
    known = sites(graph)
    chosen = outermost({s.key: s for each in selectors for s in select(known, each)}.values())
    return at_levels(graph, chosen, lambda level, keys: _without(level, keys, asked)), _paths(
        chosen
    )


def replace(graph: Graph, selector: Selector, by: LayerOrFunction, asked: Asked) -> Edited:
    """Put another layer in the place of each selected one."""
    chosen = outermost(select(sites(graph), selector))
    new = {site.key: layers.in_place_of(site.layer, by) for site in chosen}
    return _with_layers(graph, chosen, new, asked), _paths(chosen)


def configure(graph: Graph, selector: Selector, config: Mapping[str, Any], asked: Asked) -> Edited:
    """Change settings of the selected layers, or what they are called with.

    Raises:
        AblationError: A setting that a layer does not have, or a value that it refuses.
    """
    chosen = [site for site in select(sites(graph), selector) if not is_opened(site)]
    if not chosen:
        raise AblationError(
            f'a network within the network has no settings. Name the layers in it: "{selector}/*".'
        )
    calls = {site.key: _arguments(site.layer, config) for site in chosen}
    new = {
        site.key: layers.configured(
            site.layer, {k: v for k, v in config.items() if k not in calls[site.key]}
        )
        for site in chosen
    }

    def called(level: Graph, keys: set[int]) -> Graph:
        nodes = {
            number: with_fields(node, kwargs={**node.kwargs, **calls[id(node.layer)]})
            if id(node.layer) in keys
            else node
            for number, node in level.nodes.items()
        }
        return with_fields(level, nodes=nodes)

    edited = at_levels(graph, [site for site in chosen if calls[site.key]], called)
    return _with_layers(edited, chosen, new, asked), _paths(chosen)


def insert(graph: Graph, layer: LayerOrFunction, after: Selector, asked: Asked) -> Edited:
    """Put a copy of a layer after each selected one, called as often as that is.

    Of several tensors that the selected one gives it takes the first, or else the only one that is
    taken.

    Raises:
        AblationError: Others are taken, and not the first.
    """
    known = sites(graph)
    chosen = outermost(select(known, after))
    taken = {site.name for site in known}
    new: dict[int, Any] = {}
    for site in chosen:
        new[site.key] = layers.behind(site.layer, layer, taken)
        taken.add(new[site.key].name)

    def inserted(level: Graph, keys: set[int]) -> Graph:
        for number, node in list(level.nodes.items()):
            if id(node.layer) in keys:
                ref = _main(level, number)
                level = _followed(level, ref, Node(new[id(node.layer)], (ref,)), asked)
        return level

    return at_levels(graph, chosen, inserted), _paths(chosen)


def _paths(chosen: Sequence[Site]) -> list[str]:
    return [site.path for site in chosen]


# --------------------------------------------------------------------------------------- insert


def _main(graph: Graph, number: int) -> Ref:
    """Return the tensor of a node that is meant where one is."""
    taken = leaving(graph, {number})
    if Ref(number) in taken or not taken:
        return Ref(number)
    if len(taken) > 1:
        raise AblationError(
            f'of what "{name_of(graph, taken[0])}" gives, the first tensor is not taken, and '
            f"{len(taken)} others are: which is meant is not known. Write the network that you "
            "mean as a function: use(that_function)."
        )
    return taken[0]


def _followed(graph: Graph, ref: Ref, node: Node, asked: Asked) -> Graph:
    """Return the graph with a node after a tensor, and a bridge after that."""
    number = graph.free
    name = node.layer.name
    graph = graph.with_node(number, node, after=ref.node)
    graph = graph.redirected({ref: Ref(number)}, but=number)
    return bridged(graph, Ref(number), Ref(number), graph.shapes.get(ref), name, asked)


# --------------------------------------------------------------------------------------- remove


def _without(graph: Graph, keys: set[int], asked: Asked) -> Graph:
    gone = {number for number, node in graph.nodes.items() if id(node.layer) in keys}
    for number, node in graph.nodes.items():
        is_inner = isinstance(node.layer, Bridge) and node.refs[0].node in gone
        if is_inner and not gone.isdisjoint(graph.takers(Ref(number))):
            gone.add(number)
    for region in _regions(graph, gone):
        entering = _entering(graph, region)
        for ref in leaving(graph, region):
            wanted, name = graph.shapes.get(ref), name_of(graph, ref)
            graph = bridged(graph, ref, entering, wanted, name, asked)
    return graph.pruned()


def _regions(graph: Graph, gone: set[int]) -> list[set[int]]:
    """Return the selected nodes in connected parts."""
    regions: list[set[int]] = []
    for number in graph.nodes:
        if number not in gone:
            continue
        region = {number}
        near = {ref.node for ref in graph.nodes[number].refs}
        for other in [r for r in regions if not r.isdisjoint(near)]:
            region |= other
            regions.remove(other)
        regions.append(region)
    return regions


def _entering(graph: Graph, region: set[int]) -> Ref:
    """Return the one tensor that enters a region; masks and states do not count beside others."""
    taken = [
        (ref, _is_aside(key))
        for number in sorted(region)
        for key, ref in _keyed(graph.nodes[number])
        if ref.node not in region
    ]
    data = [ref for ref, is_aside in taken if not is_aside] or [ref for ref, _ in taken]
    entering = {graph.source(ref): ref for ref in data}
    if len(entering) == 1:
        return next(iter(entering.values()))
    names = names_of(graph, region)
    what = f'"{names[0]}"' if len(names) == 1 else f"what would go ({', '.join(names[:4])})"
    if not entering:
        raise UnbuildableError(f"nothing enters {what}, so nothing could take its place.")
    sources = [name_of(graph, ref) for ref in entering]
    takes = {n: set(map(graph.source, graph.nodes[n].refs)) for n in sorted(region)}
    merges = [n for n, refs in takes.items() if next(iter(entering)) in refs and len(refs) > 1]
    cutting = cut_of_one(graph, merges[0]) if merges else f'cut("{sources[0]}", into="{names[-1]}")'
    raise UnbuildableError(
        f"{len(entering)} tensors enter {what}: from {told(graph, entering)}. "
        + (f"Say which of them goes: {cutting}, or another." if cutting else NO_BRANCH)
    )


def _is_aside(key: str) -> bool:
    """Tell whether an argument of a call is none that a layer could be left out for."""
    return key.endswith("mask") or key in ("initial_state", "training", *SWITCHES)


def _keyed(node: Node) -> list[tuple[str, Ref]]:
    """Return the tensors that a node takes, each with the keyword it is given by, if it is."""
    return [
        *(("", ref) for ref in refs_in(node.args)),
        *((key, ref) for key, value in node.kwargs.items() for ref in refs_in(value)),
    ]


# ---------------------------------------------------------------------------- replace, configure


def _with_layers(
    graph: Graph, chosen: Sequence[Site], new: Mapping[int, Any], asked: Asked
) -> Graph:
    def renewed(level: Graph, keys: set[int]) -> Graph:
        numbers = [n for n, node in level.nodes.items() if id(node.layer) in keys]
        nodes = dict(level.nodes)
        for number in numbers:
            node = nodes[number]
            layer = new[id(node.layer)]
            args, kwargs = _passed(node, layer)
            nodes[number] = Node(layer, args, kwargs, _is_merge(level, number))
        level = with_fields(level, nodes=nodes)
        for number in numbers:
            for ref in leaving(level, {number}):
                name = level.nodes[number].layer.name
                level = bridged(level, ref, ref, level.shapes.get(ref), name, asked)
        return level

    return at_levels(graph, chosen, renewed)


def _is_merge(graph: Graph, number: int) -> bool:
    """Tell whether a node makes one tensor of several."""
    node = graph.nodes[number]
    layer = node.layer.model if isinstance(node.layer, Graph) else node.layer
    tensors = set(map(graph.source, refs_in(node.args)))
    return node.must_merge or (
        len(tensors) > 1 and not isinstance(layer.output, list | tuple | dict)
    )


def _passed(node: Node, layer: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what another layer takes of what the old one was called with.

    A merge takes a list of what an operation, as ``a + b``, or attention takes one by one; what
    takes one tensor takes that which attention is given as query and as value.
    """
    parameters = inspect.signature(layer.call).parameters
    kinds = {each.kind.name for each in parameters.values()}
    takes_all = "VAR_KEYWORD" in kinds
    kwargs = {key: each for key, each in node.kwargs.items() if takes_all or key in parameters}
    most = len([name for name in parameters if not _is_aside(name)]) - takes_all
    args = node.args
    is_one_by_one = len(args) == len(refs_in(args)) and "VAR_POSITIONAL" not in kinds
    if isinstance(layer, keras.layers.Layer) and is_one_by_one and most < len(args):
        args = ([*args],) if len(set(args)) > 1 else args[:1]
    return args, kwargs


def _arguments(layer: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the settings that are no settings of a layer, but arguments of its call."""
    own = layer.get_config()
    if "call" not in dir(layer):
        return {}
    parameters = inspect.signature(layer.call).parameters
    return {key: value for key, value in config.items() if key not in own and key in parameters}
