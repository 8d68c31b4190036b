"""Keras's configurations, with what is the user's own in them found again."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

import keras
from keras.src.saving.serialization_lib import SafeModeScope  # private: no from_config takes it

from pytest_ablation.network import lambdas
from pytest_ablation.network.other_backends import spare_tensorflow
from pytest_ablation.network.source import is_keras

spare_tensorflow()  # before Keras writes anything


def deserialized(config: Any) -> Any:
    """Return the Keras object of a configuration, the user's own classes and functions found.

    The configuration comes from the user's own study, never from a file.
    """
    own = dict(own_objects(config))
    return keras.saving.deserialize_keras_object(config, custom_objects=own, safe_mode=False)


def from_config(layer: Any, config: Mapping[str, Any]) -> Any:
    """Return a layer of the class of another, its own classes and functions found likewise.

    Raises:
        AblationError: As of `lambdas.check`.
    """
    if isinstance(layer, keras.layers.Layer):  # and no operation
        lambdas.check(layer)
    said = with_modules(_unbuilt(dict(config)), modules([layer]))
    with keras.saving.custom_object_scope(dict(own_objects(said))), SafeModeScope(False):
        return type(layer).from_config(said)


def own_objects(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the user's own classes and functions that a configuration names, by the name there."""
    if isinstance(config, list):
        for value in config:
            yield from own_objects(value)
    if not isinstance(config, dict):
        return
    module, kind, name = (config.get(key) for key in ("module", "class_name", "registered_name"))
    if isinstance(module, str) and module.partition(".")[0] not in ("keras", "builtins"):
        found = sys.modules.get(module) or importlib.import_module(module)
        own = str(config["config"] if kind == "function" else kind)
        if hasattr(found, own):
            yield own if kind == "function" else str(name), getattr(found, own)
    for value in config.values():
        yield from own_objects(value)


def own_functions(layers: Iterable[Any]) -> list[FunctionType]:
    """Return the functions, of the user's own, that layers have among their settings."""
    values = [
        value
        for layer in layers
        for value in vars(layer).values()
        if isinstance(value, FunctionType) and value.__qualname__.isidentifier()
    ]
    return list(dict.fromkeys(each for each in values if not is_keras(each)))


def modules(layers: Iterable[Any]) -> dict[str, str]:
    """Return the module of each function among the settings of layers."""
    return {each.__name__: each.__module__ for each in own_functions(layers)}


def with_modules(config: Any, modules: Mapping[str, str]) -> Any:
    """Return a configuration that says where functions are, of which Keras writes the name."""
    if not modules:
        return config
    if isinstance(config, list | tuple):
        return [with_modules(value, modules) for value in config]
    if not isinstance(config, dict):
        return config
    name = config.get("config")
    if config.get("class_name") == "function" and isinstance(name, str) and name in modules:
        return {**config, "module": modules[name], "registered_name": name}
    return {key: with_modules(value, modules) for key, value in config.items()}


def _unbuilt(config: Any) -> Any:
    """Return the configuration without the shapes that layers within the layer were built for."""
    if isinstance(config, list):
        return [_unbuilt(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}


def first_line(error: BaseException) -> str:
    """Return what Keras says is wrong, without what it puts before it."""
    said = re.sub(r"\x1b\[\d+m", "", str(error))
    said = re.split("Exception encountered: |Error encountered:", said)[-1]
    lines = [line for line in said.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        del lines[0]
    if not lines:
        return type(error).__name__
    return re.split(" Make sure custom| Inputs received:| for '{{node", lines[0])[0].strip(" .")
