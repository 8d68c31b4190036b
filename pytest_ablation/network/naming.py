"""Layers by their paths, and names that do not depend on what was built before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import keras

WHOLE = "network"  # names one whose call is code of its own, and every one in its configuration


def keras_name(kind: str) -> str:
    """Return the name that Keras gives to the first layer of a class: "conv2d" for Conv2D."""
    name = re.sub(r"\W+", "", kind)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def names(model: keras.Model) -> list[tuple[str, str]]:
    """Return the name of each layer and operation, and Keras's for the first of its class."""
    result = []
    for each in getattr(model, "operations", model.layers):
        result.append((each.name, keras_name(type(each).__name__)))
        if isinstance(each, keras.Model):
            result += names(each)
        elif getattr(each, "_layers", []):
            with suppress(NotImplementedError):  # said where the configuration is needed
                result += _names_within(each.get_config())
    return result


def _names_within(config: Any) -> Iterator[tuple[str, str]]:
    """Yield the names of the layers in a layer's configuration, as of what is bidirectional."""
    if isinstance(config, list | tuple):
        for value in config:
            yield from _names_within(value)
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(config.get("class_name"), str) and isinstance(inner, dict):
            name, kind = inner.get("name"), keras_name(config["class_name"])
            if isinstance(name, str):
                way = re.match("(forward_|backward_)?", name)
                yield name, f"{way[0] if way else ''}{kind}"
        for value in config.values():
            yield from _names_within(value)


def layers(model: keras.Model, path: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield the layers of a graph of layers by path, those of graphs within it too."""
    for layer in model.layers:
        yield path + layer.name, layer
        if is_graph(layer):
            yield from layers(layer, f"{path}{layer.name}/")


def units(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield the layers that are no graphs by path; a network that is no graph is one itself."""
    if not is_graph(model):
        yield "", model
        return
    for path, layer in layers(model):
        if not is_graph(layer):
            yield path, layer


def is_graph(layer: Any) -> bool:
    """Tell a network that is built of its configuration layer by layer."""
    return isinstance(layer, keras.Sequential | keras.Function) and isinstance(layer, keras.Model)


def graph_of(model: Any) -> Any:
    """Return the Functional model that does what a network does: a Sequential has one within it."""
    return getattr(model, "_functional", None) or model  # private: nothing else gives it


def is_chain(config: Mapping[str, Any]) -> bool:
    """Tell the configuration of a Sequential, be it of a user's own class, from another's."""
    inner = config.get("config")
    if config.get("class_name") == "Sequential" or not isinstance(inner, dict):
        return config.get("class_name") == "Sequential"
    match inner.get("layers"):
        case [{"class_name": "InputLayer"}, *_]:
            return "input_layers" not in inner
    return False


def numbered(names: list[tuple[str, str]], given: list[bool]) -> list[str]:
    """Return the names, those that Keras gave numbered from the first of their class."""
    looks_given = [re.fullmatch(rf"{kind}(_\d+)?", name) is not None for name, kind in names]
    auto = [by_keras and looks for by_keras, looks in zip(given, looks_given, strict=True)]
    taken = {name for (name, _), is_auto in zip(names, auto, strict=True) if not is_auto}
    result = []
    for (name, kind), is_auto in zip(names, auto, strict=True):
        if is_auto:
            count, name = 0, kind
            while name in taken:
                count += 1
                name = f"{kind}_{count}"
            taken.add(name)
        result.append(name)
    return result


def with_names(config: Any, renamed: Mapping[str, str]) -> Any:
    """Return the configuration with layers renamed, wherever Keras writes a layer's name."""
    if isinstance(config, list):
        return [with_names(value, renamed) for value in config]
    if not isinstance(config, dict):
        return config
    result = {}
    for key, value in config.items():
        if key == "name" and isinstance(value, str):
            result[key] = renamed.get(value, value)
        elif key == "keras_history" or (key in ("input_layers", "output_layers")):
            result[key] = _renamed_ends(value, renamed)
        else:
            result[key] = with_names(value, renamed)
    return result


def _renamed_ends(ends: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(ends, str):
        return renamed.get(ends, ends)
    if isinstance(ends, dict):
        return {key: _renamed_ends(value, renamed) for key, value in ends.items()}
    return [_renamed_ends(end, renamed) for end in ends] if isinstance(ends, list) else ends
