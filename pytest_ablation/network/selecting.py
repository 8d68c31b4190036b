"""Which layers of a graph a selector means."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.network import layer as layers
from pytest_ablation.network.graph import Site
from pytest_ablation.selectors import Having, Selector, code

LISTED = 40  # layers, of those there are


def select(sites: Sequence[Site], selector: Selector, *, inputs: bool = False) -> list[Site]:
    """Return the selected layers.

    Args:
        sites: All layers.
        selector: Which of them.
        inputs: Whether what only gives the network an input is meant too; else it must be named.

    Raises:
        AblationError: None is selected.
    """
    named = [site for site in sites if selector in (site.path, site.name)]
    if isinstance(selector, str) and named:
        return [site for site in named if site.path == selector] or named
    sites = [site for site in sites if inputs or not site.is_input]
    if isinstance(selector, str):
        found = [site for site in sites if _matches(site, selector)]
        problem = f'no layer matches "{selector}".{_listing(sites)}'
        if not set(selector) & set("*?["):
            problem = f"no layer of that name.{_listing(sites)}"
            problem += did_you_mean(selector, [site.path for site in sites])
    elif isinstance(selector, Having):
        own = [site for site in sites if not layers.is_network(site.layer)]
        found = [site for site in own if layers.has(site.layer, selector.config)]
        known = sorted({key for site in own for key in layers.config(site.layer)})
        unknown = [key for key in selector.config if key not in known]
        problem = f"no layer has {selector}.{_listing(sites)}"
        if unknown:
            problem = f'no layer has a setting "{unknown[0]}".{did_you_mean(unknown[0], known)}'
    elif isinstance(selector, type):
        found = [site for site in sites if _is_a(site, selector)]
        kinds = list(dict.fromkeys(type(site.layer).__name__ for site in sites))
        problem = f"no {selector.__name__} layer. Kinds of layer: {', '.join(kinds)}."
        problem += did_you_mean(selector.__name__, kinds)
    else:
        found = [site for site in sites if _is_true(selector, site)]
        problem = f"{code(selector)} is true of no layer.{_listing(sites)}"
    if not found:
        raise AblationError(problem)
    return found


def _is_true(predicate: Callable[[Any], bool], site: Site) -> bool:
    try:
        return not layers.is_operation(site.layer) and bool(predicate(site.layer))
    except Exception as error:
        raise AblationError(
            f'{code(predicate)} of "{site.path}", of {type(site.layer).__name__}, raised '
            f"{type(error).__name__}: {error}"
        ) from error


def _matches(site: Site, glob: str) -> bool:
    return fnmatch.fnmatchcase(site.name, glob) or fnmatch.fnmatchcase(site.path, glob)


def _is_a(site: Site, kind: type) -> bool:
    """Tell whether a layer is of a class; ``a + b`` of two is an `Add`, written in another way."""
    if isinstance(site.layer, kind) or not site.is_merge:
        return isinstance(site.layer, kind)
    return layers.is_operation(site.layer) and type(site.layer).__name__ == kind.__name__


def _listing(sites: Sequence[Site]) -> str:
    names = [site.path for site in sites]
    more = f", … ({len(names)} in all)" if len(names) > LISTED else ""
    return f" Layers: {', '.join(names[:LISTED])}{more}."
