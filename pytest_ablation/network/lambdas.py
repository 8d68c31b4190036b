"""Python's lambdas in a network, of which a copy built of its configuration has the code alone."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import keras
import numpy as np

from pytest_ablation.errors import AblationError
from pytest_ablation.network.source import is_keras


def check(layer: keras.layers.Layer) -> None:
    """Refuse Python's lambdas, in a layer or a network, that no copy of it could call.

    Keras writes a lambda's code, and numbers and texts from around it, and nothing else that it
    uses: its copy has none of the module's names.

    Raises:
        AblationError: There is such a lambda.
    """
    within = layer._flatten_layers()
    found = [each for each in within if isinstance(each, keras.layers.Lambda)]
    used = {each.name: names for each in found if (names := _not_written(each))}
    # Keras reads those of its other layers back in no case.
    others = {each.name for each in within if is_keras(type(each)) and each not in found}
    if not used and not any(map(_has_one, within)):
        return
    try:
        written = dict(_lambdas(keras.saving.serialize_keras_object(layer)))
    except (NotImplementedError, TypeError, ValueError):  # said where a copy is asked for
        return
    for name, setting in written.items():
        if name in others:
            raise AblationError(
                f'the {setting} of "{name}" is a lambda, which a copy of the network could not '
                "have; write a function with a name at the top level of a module."
            )
    for name in written.keys() & used.keys():  # others are made by a layer of the user's own
        raise AblationError(
            f'the lambda of the Lambda layer "{name}" uses {", ".join(used[name])}, which a copy '
            "of the network could not find; write a function with a name at the top level of a "
            "module."
        )


def _not_written(layer: keras.layers.Lambda) -> list[str]:
    """Return the names that the lambdas of a layer use, and that Keras does not write with them."""
    found: dict[str, None] = {}
    for each in (layer.function, layer.mask, vars(layer).get("_output_shape")):
        if not isinstance(each, FunctionType) or each.__name__ != "<lambda>":
            continue
        code = each.__code__
        arguments = code.co_varnames[: code.co_argcount]
        around = zip(code.co_freevars, each.__closure__ or (), strict=True)
        found |= dict.fromkeys(name for name in _globals(code) if name in each.__globals__)
        found |= dict.fromkeys(name for name, cell in around if not _is_plain(cell.cell_contents))
        found |= dict.fromkeys(arguments[len(arguments) - len(each.__defaults__ or ()) :])
        found |= dict.fromkeys(each.__kwdefaults__ or ())
    return list(found)


def _globals(code: CodeType) -> Iterator[str]:
    """Yield the names that code looks up in its module, or among Python's own."""
    yield from (each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _is_plain(value: Any) -> bool:
    """Tell whether Keras writes a value as it is."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str | np.generic)


def _has_one(layer: keras.layers.Layer) -> bool:
    """Tell whether a layer has a lambda as one of its settings."""
    has = [each for each in vars(layer).values() if isinstance(each, FunctionType)]
    return any(each.__name__ == "<lambda>" for each in has)


def _lambdas(config: Any) -> Iterator[tuple[str, str]]:
    """Yield the layers' names in a configuration that has lambdas' code, and a setting each."""
    if isinstance(config, list | tuple):
        for value in config:
            yield from _lambdas(value)
    if not isinstance(config, dict):
        return
    for setting, each in config.items():
        if isinstance(each, dict) and "name" in config:
            # Of an activation Keras writes the code alone.
            has_code = setting.endswith("activation") and "value" in each
            if has_code or each.get("class_name") == "__lambda__":
                yield str(config["name"]), setting
        yield from _lambdas(each)
