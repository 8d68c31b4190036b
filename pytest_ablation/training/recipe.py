"""A recipe as canonical JSON, and as what `keras.Model.compile` takes."""

from __future__ import annotations

import json
from typing import Any

import keras

from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import Recipe, canonical_json
from pytest_ablation.network import blueprint
from pytest_ablation.network.blueprint import source_hash


def serialized(recipe: Recipe) -> str:
    """Return the recipe as canonical JSON; an optimizer's name stands for its default settings.

    Raises:
        AblationError: An optimizer that Keras does not know.
    """
    try:
        optimizer = keras.optimizers.get(recipe.optimizer)
    except ValueError as error:
        raise AblationError(
            f"Recipe(optimizer={recipe.optimizer!r}): Keras knows no such optimizer."
        ) from error
    config = keras.saving.serialize_keras_object(optimizer)
    # Keras numbers the names of optimizers over the whole process; they mean nothing.
    config["config"]["name"] = config["class_name"].lower()
    return canonical_json(
        {
            **vars(recipe),
            "optimizer": config,
            "loss": _serialized(recipe.loss),
            "metrics": [_serialized(metric) for metric in recipe.metrics],
        }
    )


def deserialized(recipe: str) -> Recipe:
    """Return the recipe with a new optimizer, loss and metrics of its own."""
    settings = json.loads(recipe)
    return Recipe(
        **{
            **settings,
            "optimizer": blueprint.deserialized(settings["optimizer"]),
            "loss": _deserialized(settings["loss"]),
            "metrics": tuple(_deserialized(metric) for metric in settings["metrics"]),
        }
    )


def sources(recipe: Recipe) -> dict[str, str]:
    """Return the SHA-256 of the source of each loss and metric that is not Keras's own."""
    result = {}
    for thing in (recipe.optimizer, recipe.loss, *recipe.metrics):
        kind = thing if callable(thing) and hasattr(thing, "__qualname__") else type(thing)
        if kind.__module__.partition(".")[0] not in ("keras", "builtins"):
            result[f"{kind.__module__}:{kind.__qualname__}"] = source_hash(kind)
    return result


def _serialized(thing: Any) -> Any:
    if isinstance(thing, str):
        return thing
    config = keras.saving.serialize_keras_object(thing)
    if config["class_name"] == "function" and config["module"] == "builtins":
        config["module"] = thing.__module__  # which Keras leaves out, and another process needs
    return config


def _deserialized(thing: Any) -> Any:
    return thing if isinstance(thing, str) else blueprint.deserialized(thing)
