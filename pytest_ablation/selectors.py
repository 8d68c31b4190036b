"""Which layers an edit means, and how selectors, layers and settings are said in a message."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_ablation.errors import AblationError, did_you_mean

if TYPE_CHECKING:
    import keras

    from pytest_ablation.network.graph import Site


@dataclass(frozen=True)
class Having:
    """Selects the layers that have these settings; see `having`."""

    config: Mapping[str, Any]

    def __str__(self) -> str:
        return settings(self.config)

    def __repr__(self) -> str:
        return f"having({self})"


Selector: TypeAlias = "type | str | Callable[[keras.layers.Layer], bool] | Having"


def having(**config: Any) -> Having:
    """Select the layers that have these settings, as in ``having(activation="relu")``.

    A setting is compared as the layer understands it: ``having(pool_size=2)`` finds a layer whose
    pool is (2, 2).
    """
    if not config:
        raise AblationError("having(): name at least one setting, as having(activation='relu').")
    return Having(config)


@dataclass(frozen=True)
class Shortcut:
    """What is cut by ``cut(shortcut, into=layers.Add)``.

    At each merge it is the input with the shortest way from where the branches parted: the identity
    or the projection around a residual block, the skip connection of a U-Net.
    """

    def __str__(self) -> str:
        return "shortcut"

    def __repr__(self) -> str:
        return "shortcut"


shortcut = Shortcut()


def select(sites: Sequence[Site], selector: Selector, *, inputs: bool = False) -> list[Site]:
    """Return the selected layers.

    Args:
        sites: All layers.
        selector: Which of them.
        inputs: Whether what only gives the network an input is meant too; else it must be named.

    Raises:
        AblationError: None is selected.
    """
    from pytest_ablation.network import layer as layers

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
        own = [site.layer for site in sites if not layers.is_network(site.layer)]
        found = [s for s in sites if s.layer in own and layers.has(s.layer, selector.config)]
        known = sorted({key for layer in own for key in layers.config(layer)})
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
    from pytest_ablation.network import layer as layers

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
    from pytest_ablation.network import layer as layers

    return layers.is_operation(site.layer) and type(site.layer).__name__ == kind.__name__


def _listing(sites: Sequence[Site], most: int = 40) -> str:
    names = [site.path for site in sites]
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return f" Layers: {', '.join(names[:most])}{more}."


def checked(selector: Selector, asked: str) -> Selector:
    """Return the selector; an AblationError where it is nothing that selects layers."""
    if isinstance(selector, Shortcut):
        raise AblationError(f"{asked}: shortcut is for cut(shortcut, into=layers.Add).")
    if not isinstance(selector, str | type | Having) and not callable(selector):
        raise AblationError(
            f"{asked}: {selector!r} selects no layers. Name them by a layer class, a glob on "
            "their names, a function of a layer, or having(setting=value)."
        )
    return selector


def words(selectors: Sequence[Selector]) -> str:
    """Return how a person would say which layers these are."""
    return ", ".join(map(word, selectors))


def word(thing: Any) -> str:
    """Return how a person would say a selector, a layer, a function or a setting."""
    if isinstance(thing, Having):
        return f"layers with {thing}"
    if isinstance(thing, str | Shortcut):
        return str(thing)
    return getattr(thing, "__name__", "") or type(thing).__name__


def code(thing: Any) -> str:
    """Return how it is written in a test, as far as that is short."""
    if isinstance(thing, str):
        return f'"{thing}"'
    is_plain = is_dataclass(thing) and not isinstance(thing, type)
    return repr(thing) if is_plain else word(thing)


def settings(config: Mapping[str, Any]) -> str:
    """Return settings as they are written in a call: ``pool_size=4, padding='same'``."""
    return ", ".join(f"{key}={_value(value)}" for key, value in config.items())


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        within = ", ".join(map(_value, value))
        return f"[{within}]" if isinstance(value, list) else f"({within})"
    if isinstance(value, partial):
        return f"{word(value.func)}({settings(value.keywords)})"
    if isinstance(value, float):
        return repr(float(value))  # NumPy's too
    if isinstance(value, str | int | bool | dict | None):
        return repr(value)
    return word(value)
