"""Which layers an edit means, and how selectors, layers and settings are said in a message."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_ablation.errors import AblationError, did_you_mean

if TYPE_CHECKING:
    import keras

Layers: TypeAlias = "list[keras.layers.Layer]"


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


def select(layers: Layers, selector: Selector) -> list[int]:
    """Return the positions of the selected layers; at least one, else an AblationError."""
    from pytest_ablation.network import surgery

    if isinstance(selector, str):
        found = [i for i, each in enumerate(layers) if fnmatch.fnmatchcase(each.name, selector)]
        problem = f'no layer matches "{selector}".'
        if not set(selector) & set("*?["):
            problem = "no layer of that name." + _listing(layers)
            problem += did_you_mean(selector, [layer.name for layer in layers])
        else:
            problem += _listing(layers)
    elif isinstance(selector, Having):
        found = [i for i, each in enumerate(layers) if surgery.has(each, selector.config)]
        known = sorted({key for layer in layers for key in layer.get_config()})
        unknown = [key for key in selector.config if key not in known]
        problem = f"no layer has {selector}." + _listing(layers)
        if unknown:
            problem = f'no layer has a setting "{unknown[0]}".' + did_you_mean(unknown[0], known)
    elif isinstance(selector, type):
        found = [i for i, each in enumerate(layers) if isinstance(each, selector)]
        kinds = list(dict.fromkeys(type(layer).__name__ for layer in layers))
        problem = f"no {selector.__name__} layer. Kinds of layer: {', '.join(kinds)}."
        problem += did_you_mean(selector.__name__, kinds)
    else:
        found = [i for i, each in enumerate(layers) if selector(each)]
        problem = f"{code(selector)} is true of no layer." + _listing(layers)
    if not found:
        raise AblationError(problem)
    return found


def _listing(layers: Layers, most: int = 40) -> str:
    names = [layer.name for layer in layers]
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return f" Layers: {', '.join(names[:most])}{more}."


def checked(selector: Selector, asked: str) -> Selector:
    """Return the selector; an AblationError where it is nothing that selects layers."""
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
    if isinstance(thing, str):
        return thing
    return getattr(thing, "__name__", "") or type(thing).__name__


def code(thing: Any) -> str:
    """Return how it is written in a test, as far as that is short."""
    if isinstance(thing, str):
        return f'"{thing}"'
    return repr(thing) if isinstance(thing, Having) else word(thing)


def settings(config: Mapping[str, Any]) -> str:
    """Return settings as they are written in a call: ``pool_size=4, padding='same'``."""
    return ", ".join(f"{key}={_value(value)}" for key, value in config.items())


def _value(value: Any) -> str:
    if isinstance(value, str | int | float | bool | tuple | list | dict | None):
        return repr(value)
    return word(value)
