"""A trainer of the user's own: its name, the function behind it, and what decides its numbers.

Of a user's function a name, ``module:function``, is all that reaches another process; the source
and the packages that its module stands on are in the fingerprint of what it trains.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, TypeAlias

from pytest_ablation.errors import AblationError

Function: TypeAlias = Callable[..., Any]

SHAPE = "train(trial, data, progress)"
# They run the study, and decide no number of a training that is not theirs.
NOT_OF_A_TRAINING = {"pytest", "_pytest", "pytest_ablation"}


def named(train: str | Function) -> str:
    """Return a trainer as "module:function".

    Args:
        train: A function ``train(trial, data, progress)``, or its name already.

    Raises:
        AblationError: A name of another form, or a function that no other process would find.
    """
    if isinstance(train, str):
        if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", train):
            raise AblationError(
                f'Experiment(train="{train}"): write "module:function", or pass the function.'
            )
        return train
    if not callable(train):
        raise AblationError(
            f"Experiment(train={train!r}): pass a function {SHAPE}, or its name as "
            '"module:function".'
        )
    module, name = getattr(train, "__module__", None), getattr(train, "__qualname__", None)
    if not module or not name or "<" in name or _namespace(train) is None:
        said = name or type(train).__name__
        raise AblationError(
            f"Experiment(train={said}): a worker process must find the trainer by its name. Write "
            f"it as a function at the top level of a module: def {SHAPE}."
        )
    _check_shape(train, f"Experiment(train={name})")
    return f"{module}:{name}"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a trainer is made of.

    Attributes:
        function: The function.
        sources: SHA-256 of the source of its module and of each module of the user's own that is
            imported there, at its top or within a function, and so on; by module.
        versions: Versions of the packages that these modules import, by the package's name.
        files: The files of those modules that are imported, by module, for other processes.
    """

    function: Function
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def found(train: str | Function) -> Function:
    """Return the function behind a trainer.

    Raises:
        AblationError: There is no such module or function, or it is not of a trainer's shape.
    """
    if not isinstance(train, str):
        return train
    try:
        function: Function = pkgutil.resolve_name(train)
    except (ImportError, AttributeError) as error:
        raise AblationError(f'Experiment(train="{train}"): {error}.') from error
    _check_shape(function, f'Experiment(train="{train}")')
    return function


def made_of(train: str | Function) -> Made:
    """Return what a trainer is made of.

    Modules that are neither Python's own nor installed are the user's. What is read from files, and
    what a module imports by a name that it computes, is not seen.

    Raises:
        AblationError: As `found` does.
    """
    function = found(train)
    first = named(train).partition(":")[0]
    namespace = _namespace(function) or {}
    file = namespace.get("__file__") or _file_of(first)
    sources: dict[str, str] = {}
    versions: dict[str, str] = {}
    files = {first: str(file)} if file else {}
    left = [(first, Path(file))] if file else []
    while left:
        module, path = left.pop()
        if module in sources:
            continue
        source = path.read_bytes()
        sources[module] = hashlib.sha256(source).hexdigest()
        if module in sys.modules:
            files.setdefault(module, str(path))
        for name in _imported(source, module, is_package=path.stem == "__init__"):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in NOT_OF_A_TRAINING:
                continue
            place = _file_of(name)
            if place is not None and not is_installed(place):
                left.append((name, Path(place)))
            elif place is not None or _file_of(top) is None:
                versions |= _versions(top)
    return Made(function=function, sources=sources, versions=versions, files=files)


# ------------------------------------------------------------------------------- the function


def _namespace(function: Function) -> Mapping[str, Any] | None:
    """Return the names of the module in which the function is found; None where it is in none.

    Of two conftest.py files pytest keeps the last as the module "conftest": a function of the first
    is found among its own globals.
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    for names in (vars(module) if module else {}, getattr(function, "__globals__", {})):
        thing: Any = names
        for part in function.__qualname__.split("."):
            thing = thing.get(part) if isinstance(thing, Mapping) else getattr(thing, part, None)
        if thing is function:
            return names
    return None


def _check_shape(function: Function, said: str) -> None:
    with suppress(ValueError):  # of some that are not written in Python the shape is not known
        try:
            inspect.signature(function).bind("trial", "data", "progress")
        except TypeError as error:
            raise AblationError(f"{said}: it is called as {SHAPE}: {error}.") from error


# --------------------------------------------------------------------------------- its imports


def _imported(source: bytes, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the names of what a module imports anywhere, whether these are modules or in one."""
    package = module if is_package else module.rpartition(".")[0]
    with suppress(SyntaxError, ValueError):  # a compiled module
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                yield from (each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                with suppress(ImportError):
                    base = importlib.util.resolve_name(base, package)
                    yield base
                    yield from (f"{base}.{each.name}" for each in node.names)


def _file_of(module: str) -> str | None:
    """Return a module's file, importing nothing; None where there is no such module, or no file."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    within: Sequence[str] | None = None
    name = spec = None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, within)
        if spec is None:
            return None
        within = spec.submodule_search_locations or ()
    return spec.origin if spec and spec.has_location else None


def is_installed(file: str) -> bool:
    """Tell whether a module's file came with a package, and is not the user's own."""
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


@cache
def version(package: str) -> str:
    """Return a package's version, which takes 0.3 ms to find."""
    return importlib.metadata.version(package)


def _versions(module: str) -> dict[str, str]:
    """Return the versions of the packages that a module came with."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return {module: version(module)}
    return {name: version(name) for name in _packages().get(module, ())}


@cache
def _packages() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
