"""What each edit does to a network's graph, nested networks and shared layers included.

Every function returns the edited graph and the names of the layers that it touched. Nothing is
built here: whether the layers fit, `assembly` finds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any, TypeAlias

import keras

from pytest_ablation.errors import AblationError, UnbuildableError
from pytest_ablation.network import layer as layers
from pytest_ablation.network.graph import (
    Bridge,
    Graph,
    Node,
    Ref,
    Site,
    ancestors,
    mapped,
    refs_in,
    sites,
)
from pytest_ablation.network.layer import LayerOrFunction
from pytest_ablation.selectors import Selector, Shortcut, select

Edited: TypeAlias = tuple[Graph, list[str]]

# What one input of these would be alone nobody can say.
NEVER_ALONE = ("Dot", "Subtract")
SWITCHES = ("return_attention_scores", "use_causal_mask")
NO_BRANCH = (
    "No layer gives one of them alone, so a cut cannot name it. Write the network that you mean as "
    "a function: use(that_function)."
)


@dataclass(frozen=True)
class Asked:
    """What an edit brings with it.

    Attributes:
        edit: The edit, as it is written.
        repair: Whether shapes that no longer fit may be made to.
    """

    edit: str
    repair: bool


def remove(graph: Graph, selectors: Sequence[Selector], asked: Asked) -> Edited:
    """Take the selected layers out.

    Those that are connected go as one region: the one tensor that enters it takes the place of all
    that leaves it.

    Raises:
        AblationError: Nothing is selected, or several tensors enter a region.
    """
    known = sites(graph)
    chosen = _outermost({s.key: s for each in selectors for s in select(known, each)}.values())
    return at_levels(graph, chosen, lambda level, keys: _without(level, keys, asked)), _paths(
        chosen
    )


def replace(graph: Graph, selector: Selector, by: LayerOrFunction, asked: Asked) -> Edited:
    """Put another layer in the place of each selected one."""
    chosen = _outermost(select(sites(graph), selector))
    new = {site.key: layers.in_place_of(site.layer, by) for site in chosen}
    return _with_layers(graph, chosen, new, asked), _paths(chosen)


def configure(graph: Graph, selector: Selector, config: Mapping[str, Any], asked: Asked) -> Edited:
    """Change settings of the selected layers, or what they are called with.

    Raises:
        AblationError: A setting that a layer does not have, or a value that it refuses.
    """
    chosen = [site for site in select(sites(graph), selector) if not _is_network(site)]
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
    chosen = _outermost(select(known, after))
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
    merges = _merges(_outermost(select(known, into)))
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
                cutting = _cutting(level, number)
                raise AblationError(
                    f'all that enters "{node.layer.name}" would go: {_from(level, inputs)}. '
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
    return type(one) is type(other) and layers.config(one) == layers.config(other)


# ------------------------------------------------------------------------------------ selected


def _outermost(chosen: Iterable[Site]) -> list[Site]:
    """Return the sites that are in no other chosen one."""
    chosen = list(chosen)
    keys = {site.key for site in chosen}
    return [site for site in chosen if keys.isdisjoint(site.within)]


def _paths(chosen: Sequence[Site]) -> list[str]:
    return [site.path for site in chosen]


def _is_network(site: Site) -> bool:
    return site.key != id(site.layer)


def at_levels(
    graph: Graph, chosen: Sequence[Site], edit: Callable[[Graph, set[int]], Graph]
) -> Graph:
    """Return the graph edited wherever chosen layers stand: itself, and networks within it."""
    by_level: dict[int | None, set[int]] = {}
    for site in chosen:
        by_level.setdefault(site.within[-1] if site.within else None, set()).add(site.key)

    def edited(level: Graph, key: int | None) -> Graph:
        nested = [n.layer for n in level.nodes.values() if isinstance(n.layer, Graph)]
        new = {id(each): edited(each, id(each)) for each in nested}
        changed = {old: each for old, each in new.items() if old != id(each)}
        if changed:
            level = level.with_layers(changed)
        keys = by_level.get(key)
        return edit(level, keys) if keys else level

    return edited(graph, None)


# -------------------------------------------------------------------------------------- bridges


def _followed(graph: Graph, ref: Ref, node: Node, asked: Asked) -> Graph:
    """Return the graph with a node after a tensor, and a bridge after that."""
    number = graph.free
    name = node.layer.name
    graph = graph.with_node(number, node, after=ref.node)
    graph = graph.redirected({ref: Ref(number)}, but=frozenset([number]))
    return _bridged(graph, {Ref(number): Ref(number)}, graph.shapes.get(ref), name, asked)


def _bridged(graph: Graph, to: Mapping[Ref, Ref], wanted: Any, name: str, asked: Asked) -> Graph:
    """Return the graph with each tensor replaced by another that comes over a bridge."""
    for old, new in to.items():
        number = graph.free
        bridge = Bridge(name, wanted, asked.repair, asked.edit, old.place)
        graph = graph.with_node(number, Node(bridge, (new,)), after=new.node)
        graph = graph.redirected({old: Ref(number)}, but=frozenset([number]))
        graph = with_fields(graph, shapes={**graph.shapes, Ref(number): wanted})
    return graph


def leaving(graph: Graph, region: set[int]) -> list[Ref]:
    """Return the tensors of a region that are taken outside of it."""
    taken = [ref for n, node in graph.nodes.items() if n not in region for ref in node.refs]
    return [ref for ref in dict.fromkeys([*taken, *refs_in(graph.outputs)]) if ref.node in region]


def _main(graph: Graph, number: int) -> Ref:
    """Return the tensor of a node that is meant where one is."""
    taken = leaving(graph, {number})
    if Ref(number) in taken or not taken:
        return Ref(number)
    if len(taken) > 1:
        raise AblationError(
            f'of what "{_name(graph, taken[0])}" gives, the first tensor is not taken, and '
            f"{len(taken)} others are: which is meant is not known. Write the network that you "
            "mean as a function: use(that_function)."
        )
    return taken[0]


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
            name = graph.nodes[graph.source(ref).node].layer.name
            graph = _bridged(graph, {ref: entering}, graph.shapes.get(ref), name, asked)
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
    names = _names(graph, region)
    what = f'"{names[0]}"' if len(names) == 1 else f"what would go ({', '.join(names[:4])})"
    if not entering:
        raise UnbuildableError(f"nothing enters {what}, so nothing could take its place.")
    sources = [_name(graph, ref) for ref in entering]
    takes = {n: set(map(graph.source, graph.nodes[n].refs)) for n in sorted(region)}
    merges = [n for n, refs in takes.items() if next(iter(entering)) in refs and len(refs) > 1]
    cutting = _cutting(graph, merges[0]) if merges else f'cut("{sources[0]}", into="{names[-1]}")'
    raise UnbuildableError(
        f"{len(entering)} tensors enter {what}: from {_and(sources)}. "
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
                level = _bridged(level, {ref: ref}, level.shapes.get(ref), name, asked)
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


# ------------------------------------------------------------------------------------------ cut


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
    if networks := [site.path for site in merges if _is_network(site)]:
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
            f'"{name}" has no one shortcut: the ways of {_from(graph, shortest)} are equally '
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
    cutting = _cutting(graph, number)
    return f"Name the branch that goes, as {cutting}." if cutting else NO_BRANCH


def _cutting(graph: Graph, number: int) -> str:
    """Return what cuts one input of a node, as it is written; empty where no layer names one."""
    inputs = _inputs(graph, number)
    for ref in inputs:
        for near in reversed(ancestors(graph, ref)):
            layer = graph.nodes[near].layer
            is_named = layer is not None and not isinstance(layer, Bridge)
            if is_named and _of(graph, inputs, {id(layer)}) == [ref]:
                return f'cut("{layer.name}", into="{graph.nodes[number].layer.name}")'
    return ""


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
            f"{_from(graph, gone)}. Put another layer in its place: "
            f'replace("{node.layer.name}", …).'
        )
    for old, new in to.items():
        name = node.layer.name
        graph = _bridged(graph, {old: new}, graph.shapes.get(old), name, asked)
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


# ---------------------------------------------------------------------------------------- words


def _name(graph: Graph, ref: Ref) -> str:
    layer = graph.nodes[graph.source(ref).node].layer
    return str(layer.name) if layer is not None else "the input"


def _names(graph: Graph, region: set[int]) -> list[str]:
    nodes = (graph.nodes[number] for number in sorted(region))
    return [str(node.layer.name) for node in nodes if not isinstance(node.layer, Bridge)]


def _and(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _from(graph: Graph, refs: Sequence[Ref]) -> str:
    return _and([_name(graph, ref) for ref in refs])
