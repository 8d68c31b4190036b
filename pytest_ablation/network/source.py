"""The source of what is the user's own in a network or a recipe, and of what that uses."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from pytest_ablation.trainer import NOT_OF_A_TRAINING, is_installed

MOST_BYTES = 1 << 24  # of what an object holds; a larger one is not looked into
BYTES_A_VALUE = 64
MOST_WITHIN = 20  # objects, each in another


def is_keras(kind: Any) -> bool:
    """Tell whether a class or function is Keras's own, or Python's."""
    return _top(kind) in ("keras", "builtins")


def is_users(kind: Any) -> bool:
    """Tell whether a class or function is neither Keras's, nor Python's, nor of this plugin."""
    return not is_keras(kind) and _top(kind) != "pytest_ablation"


def source_hash(thing: Any) -> str:
    """Return the SHA-256 of a class's or function's source, and of what it uses of the user's own.

    That is what its code names: functions, classes and values of modules that are neither Python's
    nor installed, what those use, and the bases of classes. A value is a number, a text, an array,
    a collection of them, or an object of a class of the user's own or a namespace that holds some.
    What is found by a name that is computed, and other objects, are not seen.
    """
    found: dict[str, str] = {}
    _follow(thing, found)
    first = found.pop(next(iter(found)))
    told = json.dumps([first, found], sort_keys=True) if found else first
    return hashlib.sha256(told.encode()).hexdigest()


def _follow(thing: Any, found: dict[str, str]) -> None:
    """Note a class's or function's source, and that of what it uses."""
    thing = inspect.unwrap(thing)
    name = f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}"
    if name in found:
        return
    found[name] = _text(thing)
    for base in getattr(thing, "__bases__", ()):
        if _is_own(base):
            _follow(base, found)
    for function in _functions(thing):
        for used, value in _used(function):
            if isinstance(value, FunctionType | type) and _is_own(value):
                _follow(value, found)
                continue
            objects = _Objects()
            if (said := _said(value, objects)) is not None:
                found[f"{function.__module__}:{function.__qualname__} {used}"] = said
                for kind in objects.kinds:
                    _follow(kind, found)


@cache
def _text(thing: Any) -> str:
    """Return the source of a class or function; its name where there is none."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return str(getattr(thing, "__qualname__", repr(thing)))


def _functions(thing: Any) -> Iterator[FunctionType]:
    """Yield a function, or those of a class."""
    if isinstance(thing, FunctionType):
        yield thing
    elif isinstance(thing, type):
        for value in vars(thing).values():
            parts = (value, *(getattr(value, name, None) for name in ("__func__", "fget", "func")))
            yield from (inspect.unwrap(each) for each in parts if isinstance(each, FunctionType))


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function's code names outside of it, and its defaults, by name."""
    # Without __file__ and its like, which are others in another place.
    names = {each for each in _names(function.__code__) if not each.startswith("__")}
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        yield name, inspect.unwrap(value) if callable(value) else value
        if isinstance(value, ModuleType) and _is_own(value):
            yield from ((f"{name}.{n}", vars(value)[n]) for n in sorted(names & vars(value).keys()))
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # of a name that is given a value later
            yield name, cell.cell_contents
    defaults = function.__defaults__ or ()
    yield from ((f"default {place}", value) for place, value in enumerate(defaults))
    yield from (function.__kwdefaults__ or {}).items()


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@dataclass
class _Objects:
    """The objects that were met in a value.

    Attributes:
        known: The number of each, by its id: of one that is met again no more is said.
        kinds: The user's own classes that they are of.
        within: In how many of them this is.
        left: Bytes that may be said of what they hold.
    """

    known: dict[int, int] = field(default_factory=dict)
    kinds: dict[type, None] = field(default_factory=dict)
    within: int = 0
    left: int = MOST_BYTES

    def count(self, size: int) -> None:
        """Take in that there is something of so many bytes.

        Raises:
            _TooLargeError: There is too much.
        """
        self.left -= size if self.within else 0
        if self.left < 0 or self.within > MOST_WITHIN:
            raise _TooLargeError


class _TooLargeError(Exception):
    """An object holds more than is looked into."""


def _said(value: Any, objects: _Objects) -> str | None:
    """Return a value as text; None where it is not made of numbers and texts."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        objects.count(len(value) if isinstance(value, str | bytes) else BYTES_A_VALUE)
        return repr(value)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        objects.count(value.nbytes)
        array = np.ascontiguousarray(value)
        return f"{array.dtype.str}{array.shape} {hashlib.sha256(array.data).hexdigest()}"
    if isinstance(value, list | tuple | set | frozenset):
        said = [_said(each, objects) for each in value]
    elif isinstance(value, Mapping):
        said = [_said(each, objects) for pair in value.items() for each in pair]
    else:
        return _said_of_object(value, objects) if _is_looked_into(value) else None
    parts = [each for each in said if each is not None]
    if len(parts) < len(said):
        return None
    return str(sorted(parts) if isinstance(value, set | frozenset) else parts)


def _said_of_object(value: Any, objects: _Objects) -> str | None:
    """Return as text what an object holds, without what is not made of numbers and texts."""
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if id(value) in objects.known:
        return f"{name} {objects.known[id(value)]}"
    objects.known[id(value)] = len(objects.known)
    if _is_own(kind):
        objects.kinds[kind] = None
    objects.within += 1
    try:
        objects.count(BYTES_A_VALUE)
        said = [(each, _said(held, objects)) for each, held in sorted(_held(value).items())]
    except _TooLargeError:
        if objects.within > 1:
            raise
        return None
    finally:
        objects.within -= 1
    return f"{name} {[(each, text) for each, text in said if text is not None]}"


def _held(value: Any) -> dict[str, Any]:
    """Return what an object holds, by name."""
    slots = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    names = [name for each in slots for name in ((each,) if isinstance(each, str) else each)]
    in_slots = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return in_slots | {str(name): held for name, held in getattr(value, "__dict__", {}).items()}


def _is_looked_into(value: Any) -> bool:
    """Tell whether an object is of a class of the user's own that is none of Keras's, or alike."""
    kind = type(value)
    if isinstance(value, type | FunctionType | ModuleType):
        return False
    if kind in (SimpleNamespace, argparse.Namespace):
        return True
    return _is_own(kind) and not any(_top(base) == "keras" for base in kind.__mro__)


def _top(kind: Any) -> str:
    return str(kind.__module__).partition(".")[0]


def _is_own(thing: Any) -> bool:
    """Tell whether a module, or what a class or function is of, is the user's own."""
    name = thing.__name__ if isinstance(thing, ModuleType) else str(thing.__module__)
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in NOT_OF_A_TRAINING or top == "builtins":
        return False
    if isinstance(thing, FunctionType):
        file = thing.__globals__.get("__file__")
    else:
        file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and not is_installed(file)
