"""Keras callbacks of a recipe: named in a trial by what makes them, and told of each training."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

import keras

from pytest_ablation.errors import AblationError

STEP = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def serialized(makers: Sequence[Callable[..., Any]]) -> list[dict[str, Any]]:
    """Return the functions that make callbacks as plain data: their names and arguments.

    Raises:
        AblationError: A function or argument that another process could not find.
    """
    plain = []
    for function, args, settings in map(_taken_apart, makers):
        module, _, name = _name(function).partition(":")
        plain.append(
            {
                "module": module,
                "class_name": name,  # as Keras's own configurations have it
                "args": _plain(args),
                "config": _plain(settings),
            }
        )
    return plain


def deserialized(plain: Sequence[dict[str, Any]]) -> tuple[Callable[..., Any], ...]:
    """Return the functions that make callbacks."""
    return tuple(
        functools.partial(
            pkgutil.resolve_name(f"{each['module']}:{each['class_name']}"),
            *_found(each["args"]),
            **_found(each["config"]),
        )
        for each in plain
    )


def named(makers: Sequence[Callable[..., Any]]) -> list[Any]:
    """Return the functions and classes that the makers of callbacks name."""
    found: list[Any] = []
    for function, args, settings in map(_taken_apart, makers):
        given = [*args, *settings.values()]
        found += [function, *(each for each in given if hasattr(each, "__qualname__"))]
    return found


def made(
    makers: Sequence[Callable[..., Any]], model: keras.Model, *, epochs: int, steps: int
) -> Callable[..., None]:
    """Return what tells a training's new callbacks of a moment: ``tell("on_epoch_end", 3, logs)``.

    Raises:
        AblationError: A function returned something else.
    """
    callbacks = []
    for maker in makers:
        given = maker()
        for each in given if isinstance(given, list | tuple) else (given,):
            if not isinstance(each, keras.callbacks.Callback):
                raise AblationError(
                    f"Recipe(callbacks=…): {_name(_taken_apart(maker)[0])} returned "
                    f"{type(each).__name__}; return a Keras callback, or a list of them."
                )
            each.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
            each.set_model(model)
            callbacks.append(each)

    def tell(moment: str, *args: Any) -> None:
        for each in callbacks:
            getattr(each, moment)(*args)

    return tell


def act_between_epochs(makers: Sequence[Callable[..., Any]]) -> bool:
    """Tell whether callbacks surely leave the steps of an epoch alone: Keras's own that do."""
    return all(_acts_between_epochs(_taken_apart(maker)[0]) for maker in makers)


def _acts_between_epochs(function: Any) -> bool:
    plain = keras.callbacks.Callback
    is_keras = str(function.__module__).partition(".")[0] == "keras" and isinstance(function, type)
    if not is_keras or issubclass(function, keras.callbacks.LambdaCallback):
        return False
    return all(getattr(function, name) is getattr(plain, name) for name in STEP)


def _taken_apart(
    maker: Callable[..., Any],
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    if isinstance(maker, functools.partial):
        return maker.func, maker.args, maker.keywords
    return maker, (), {}


def _name(function: Any) -> str:
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if not name or "<" in name:
        raise AblationError(
            f"Recipe(callbacks=…): {name or repr(function)} cannot be found by another process; "
            "write a function at the top level of a module."
        )
    return f"{module}:{name}"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if hasattr(value, "item"):
        return _plain(value.item())
    return {"named": _name(value)}


def _found(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_found(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if set(plain) == {"named"}:
        return pkgutil.resolve_name(plain["named"])
    return {name: _found(each) for name, each in plain.items()}
