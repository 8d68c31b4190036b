"""Selectors as data, and how selectors, layers and settings are said in a message."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_ablation.errors import AblationError

if TYPE_CHECKING:
    import keras


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
