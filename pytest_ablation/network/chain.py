"""A Sequential of other layers that is of the class of another, be it a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import keras

from pytest_ablation.errors import AblationError
from pytest_ablation.network.configuration import first_line, from_config

OF_ANY = {"name", "trainable", "dtype", "layers", "build_input_shape"}


def is_one(model: Any) -> bool:
    """Tell a Sequential of whose class one of other layers can be made, set as it is."""
    if not isinstance(model, keras.Sequential):
        return False
    if type(model) is keras.Sequential:
        return True
    try:
        config = model.get_config()
        told = [each["config"]["name"] for each in config["layers"]]
        empty = _empty(model, config)
        return (
            told == [layer.name for layer in model._layers]
            and _needed(type(model)) <= config.keys()
            and not empty._layers
            and empty.name == model.name
            and _settings(empty.get_config()) == _settings(config)
        )
    except Exception:  # whatever a class of the user's own raises
        return False


def made(model: keras.Sequential, layers: Sequence[Any]) -> keras.Sequential:
    """Return a Sequential of layers that is of the class of another, and set and named as it is.

    Raises:
        AblationError: The class does not take the layers.
    """
    if type(model) is keras.Sequential:
        return keras.Sequential(layers, name=model.name)
    network = _empty(model, model.get_config())
    try:
        for place, layer in enumerate(layers, start=1):
            network.add(layer, rebuild=place == len(layers))
    except Exception as error:  # whatever a class of the user's own raises
        raise AblationError(
            f"{type(model).__name__} does not take the edited network's layers: "
            f"{first_line(error)}. Write that network as a function and name it: "
            "use(that_function)."
        ) from error
    return network


def _empty(model: keras.Sequential, config: Mapping[str, Any]) -> keras.Sequential:
    own = {name: value for name, value in config.items() if name != "build_input_shape"}
    return from_config(model, {**own, "layers": []})


def _needed(kind: Any) -> set[str]:
    """Return the names of what a class is made with, besides what any Sequential is."""
    return {
        name
        for name, parameter in list(signature(kind.__init__).parameters.items())[1:]
        if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    } - OF_ANY


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in OF_ANY}
