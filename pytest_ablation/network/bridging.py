"""What all edits of a graph share: where they apply, and the bridges that tensors come over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any, TypeAlias

from pytest_ablation.network.graph import (
    Bridge,
    Graph,
    Node,
    Ref,
    Site,
    refs_in,
)

Edited: TypeAlias = tuple[Graph, list[str]]


@dataclass(frozen=True)
class Asked:
    """What an edit brings with it.

    Attributes:
        edit: The edit, as it is written.
        repair: Whether shapes that no longer fit may be made to.
    """

    edit: str
    repair: bool


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


def outermost(chosen: Iterable[Site]) -> list[Site]:
    """Return the sites that are in no other chosen one."""
    chosen = list(chosen)
    keys = {site.key for site in chosen}
    return [site for site in chosen if keys.isdisjoint(site.within)]


def is_opened(site: Site) -> bool:
    """Tell a network within the network that was read as a graph too."""
    return site.key != id(site.layer)


def leaving(graph: Graph, region: set[int]) -> list[Ref]:
    """Return the tensors of a region that are taken outside of it."""
    taken = [ref for n, node in graph.nodes.items() if n not in region for ref in node.refs]
    return [ref for ref in dict.fromkeys([*taken, *refs_in(graph.outputs)]) if ref.node in region]


def bridged(graph: Graph, old: Ref, new: Ref, wanted: Any, name: str, asked: Asked) -> Graph:
    """Return the graph with a tensor replaced by another that comes over a bridge."""
    number = graph.free
    bridge = Bridge(name, wanted, asked.repair, asked.edit, old.place)
    graph = graph.with_node(number, Node(bridge, (new,)), after=new.node)
    graph = graph.redirected({old: Ref(number)}, but=number)
    return with_fields(graph, shapes={**graph.shapes, Ref(number): wanted})


def name_of(graph: Graph, ref: Ref) -> str:
    """Return the name of the layer that gives a tensor."""
    layer = graph.nodes[graph.source(ref).node].layer
    return str(layer.name) if layer is not None else "the input"


def names_of(graph: Graph, region: set[int]) -> list[str]:
    """Return the names of a region's layers."""
    nodes = (graph.nodes[number] for number in sorted(region))
    return [str(node.layer.name) for node in nodes if not isinstance(node.layer, Bridge)]


def told(graph: Graph, refs: Iterable[Ref]) -> str:
    """Return the names of the layers that give tensors, as a list in a sentence."""
    quoted = [f'"{name_of(graph, ref)}"' for ref in refs]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
