"""A recipe as canonical JSON, and as what `keras.Model.compile` takes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any

import keras

from pytest_ablation import arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import canonical_json
from pytest_ablation.network import configuration, naming
from pytest_ablation.network.faithful import left_out
from pytest_ablation.network.source import is_keras, source_hash
from pytest_ablation.recipe import SEVERAL, Recipe, leaves
from pytest_ablation.settings import plain
from pytest_ablation.training import (
    augmentation,
    callbacks,
    fractions,
    outputs,
    smoothing,
    weighting,
)

# What a recipe leaves out of its JSON: runs from before it had them keep their fingerprints.
_UNSET = {"label_smoothing": 0.0, "augmentation": [], "callbacks": [], "loss_weights": None}
_OF_KERAS = ("optimizer", "learning_rate", "weight_decay", "loss", "metrics", *SEVERAL)
_OF_THRESHOLDS = (
    keras.metrics.Precision,
    keras.metrics.Recall,
    keras.metrics.TruePositives,
    keras.metrics.TrueNegatives,
    keras.metrics.FalsePositives,
    keras.metrics.FalseNegatives,
)


def serialized(recipe: Recipe) -> str:
    """Return the recipe as canonical JSON; an optimizer's name stands for its default settings.

    Args:
        recipe: The recipe, its steps an epoch known.

    Raises:
        AblationError: An optimizer that Keras does not know, a metric of several numbers, or a
            setting that does not suit the optimizer, the loss, or a training in another process.
    """
    _check_metrics(recipe)
    if recipe.label_smoothing:
        smoothing.smoothed(recipe.loss, recipe.label_smoothing)
    settings = {
        **{
            name: plain(value, f"Recipe({name}=…)")
            for name, value in recipe.of_a_trial.items()
            if name not in _OF_KERAS
        },
        "optimizer": _optimizer(recipe),
        "loss": _serialized(recipe.loss, "loss"),
        "metrics": _serialized(recipe.metrics, "metrics"),
        "augmentation": augmentation.serialized(recipe.augmentation),
        "callbacks": callbacks.serialized(recipe.callbacks),
    }
    return canonical_json(
        {
            name: value
            for name, value in settings.items()
            if name not in _UNSET or value != _UNSET[name]
        }
    )


def _check_metrics(recipe: Recipe) -> None:
    """See that each metric is one number: a training has no place for more.

    Raises:
        AblationError: One is not.
    """
    for thing in leaves(recipe.metrics):
        metric = thing
        if isinstance(thing, str):
            with contextlib.suppress(ValueError):  # some names `compile` alone understands
                metric = keras.metrics.get(thing)
        kind = type(metric).__name__
        if isinstance(metric, keras.metrics.FBetaScore) and metric.average is None:
            said = f'class: write {kind}(average="macro")'
        elif isinstance(metric, keras.metrics.R2Score) and metric.class_aggregation is None:
            said = f'output: write {kind}(class_aggregation="uniform_average")'
        elif isinstance(metric, _OF_THRESHOLDS) and len(metric.thresholds) > 1:
            said = f"threshold: write one {kind}(thresholds=…) for each"
        else:
            continue
        raise AblationError(f"Recipe(metrics=…): {kind} gives a number for each {said}.")


def check(recipe: Recipe, data: Dataset, model: keras.Model) -> None:
    """See that a recipe and a network suit the data.

    Raises:
        AblationError: They do not.
    """
    outputs.check(recipe, data, model)
    _check_states(model)
    augmentation.check(recipe.augmentation, data)
    weighting.check(recipe.class_weight, data)
    if recipe.label_smoothing:
        smoothing.check(model)
    examples = arrays.count(data.y_train)
    if recipe.held_out(examples) >= examples:
        raise AblationError(
            f"Recipe(validation_split={recipe.validation_split:g}): of {examples:,} training "
            "examples none would be left."
        )
    fractions.check(data, model)


def _check_states(model: keras.Model) -> None:
    """See that no layer goes on from a batch to the next: which examples come next is by lot."""
    for path, layer in naming.layers(model):
        if getattr(layer, "stateful", False):
            raise AblationError(
                f'the layer "{path}" is stateful: it would go on from the sequences of a batch to '
                "those of the next, which are any others, since a training shuffles its examples. "
                "Give it stateful=False, and what belongs together as one sequence."
            )


def deserialized(recipe: str) -> Recipe:
    """Return the recipe with a new optimizer, loss, metrics, layers and callbacks of its own."""
    settings = json.loads(recipe)
    return Recipe(
        **{
            **settings,
            "optimizer": configuration.deserialized(settings["optimizer"]),
            "loss": _deserialized(settings["loss"]),
            "metrics": _deserialized(settings["metrics"]),
            "augmentation": augmentation.deserialized(settings.get("augmentation", [])),
            "callbacks": callbacks.deserialized(settings.get("callbacks", [])),
        }
    )


def averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Tell whether an optimizer ends with an average of the weights."""
    return bool(getattr(optimizer, "inner_optimizer", optimizer).use_ema)


def sources(recipe: Recipe) -> dict[str, str]:
    """Return the hash of the source of each class or function that is not Keras's own."""
    things = [recipe.optimizer, *leaves(recipe.loss), *leaves(recipe.metrics)]
    kinds = [
        thing if callable(thing) and hasattr(thing, "__qualname__") else type(thing)
        for thing in things
    ]
    configs = [_optimizer(recipe), augmentation.serialized(recipe.augmentation)]
    kinds += [thing for _, thing in configuration.own_objects(configs)]
    kinds += callbacks.named(recipe.callbacks)
    return {
        f"{kind.__module__}:{kind.__qualname__}": source_hash(kind)
        for kind in kinds
        if not is_keras(kind)
    }


def shortened(recipe: Recipe, share: float) -> Recipe:
    """Return the recipe with a learning-rate schedule that is over in a share of the steps.

    What the schedule, and any schedule within it, has in steps is taken to be so by its setting's
    name: decay_steps, warmup_steps, first_decay_steps, boundaries.
    """
    changes: dict[str, Any] = {}
    if isinstance(recipe.learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        config = _shortened(_serialized(recipe.learning_rate, "learning_rate"), share)
        changes["learning_rate"] = configuration.deserialized(config)
    if isinstance(recipe.optimizer, keras.optimizers.Optimizer):
        config = _serialized(recipe.optimizer, "optimizer")
        for each in _nested(config):
            if isinstance(rate := each["config"].get("learning_rate"), dict):
                each["config"]["learning_rate"] = _shortened(rate, share)
                changes["optimizer"] = configuration.deserialized(config)
    return replace(recipe, **changes)


def _nested(optimizer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an optimizer's configuration, and that of the one in it, as a loss's scaler has one."""
    yield optimizer
    if isinstance(inner := optimizer["config"].get("inner_optimizer"), dict):
        yield from _nested(inner)


def _shortened(config: Any, share: float, in_steps: bool = False) -> Any:
    if isinstance(config, dict):
        return {
            name: _shortened(each, share, name.endswith("_steps") or name == "boundaries")
            for name, each in config.items()
        }
    if isinstance(config, list):
        return [_shortened(each, share, in_steps) for each in config]
    if not in_steps or not isinstance(config, int | float) or not config:
        return config
    return max(1, round(config * share)) if isinstance(config, int) else config * share


def _optimizer(recipe: Recipe) -> dict[str, Any]:
    """Return the optimizer's configuration, the recipe's learning rate and decay within it."""
    try:
        config = _of_optimizer(keras.optimizers.get(recipe.optimizer))
    except ValueError as error:
        raise AblationError(
            f"Recipe(optimizer={recipe.optimizer!r}): Keras knows no such optimizer."
        ) from error
    changes = {"learning_rate": _learning_rate(recipe), "weight_decay": recipe.weight_decay}
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        return config
    for name in changes:
        if name not in config["config"]:
            raise AblationError(
                f"Recipe({name}=…): {config['class_name']} has no such setting. Give it to the "
                "optimizer itself."
            )
    # Built and asked again, so that 0.1 said here is 0.1 said in the optimizer, to the last bit.
    built = configuration.deserialized({**config, "config": {**config["config"], **changes}})
    return _of_optimizer(built)


def _of_optimizer(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if any(getattr(inner, f"_exclude_from_weight_decay{what}", None) for what in ("", "_pattern")):
        raise AblationError(
            f"Recipe(optimizer={type(inner).__name__} …): what exclude_from_weight_decay() was "
            "told is not in the optimizer's configuration, of which each training builds its own. "
            "Give a class of your own that excludes it in its __init__."
        )
    with warnings.catch_warnings():
        # Keras 3.15 on JAX asks NumPy 2 for a copy of the learning rate in the old way.
        warnings.simplefilter("ignore", DeprecationWarning)
        config: dict[str, Any] = _serialized(optimizer, "optimizer")
    # Keras numbers the names of optimizers over the whole process; they mean nothing.
    for each in _nested(config):
        each["config"]["name"] = each["class_name"].lower()
    return config


def _learning_rate(recipe: Recipe) -> Any:
    rate = recipe.learning_rate
    schedule = keras.optimizers.schedules.LearningRateSchedule
    if callable(rate) and not isinstance(rate, schedule):
        assert recipe.steps_per_epoch is not None
        made = rate(recipe.epochs * recipe.steps_per_epoch)
        if not isinstance(made, schedule | float | int):
            name = getattr(rate, "__name__", "…")
            raise AblationError(
                f"Recipe(learning_rate={name}): {name}(steps) returned {type(made).__name__}; "
                "return a Keras schedule or a number."
            )
        rate = made
    return _serialized(rate, "learning_rate") if isinstance(rate, schedule) else rate


def _serialized(thing: Any, setting: str) -> Any:
    """Return a setting as Keras writes it.

    Raises:
        AblationError: What another process could not make again, or would make otherwise.
    """
    if thing is None or isinstance(thing, str):
        return thing
    if isinstance(thing, Mapping):
        return {str(name): _serialized(each, setting) for name, each in thing.items()}
    if isinstance(thing, list | tuple):
        return [_serialized(each, setting) for each in thing]
    asked = f"Recipe({setting}=…)"
    if problem := _cannot_be_found(thing):
        raise AblationError(
            f"{asked}: {problem} cannot be found by another process; write a function at the top "
            "level of a module."
        )
    try:
        config = keras.saving.serialize_keras_object(thing)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise AblationError(f"{asked}: {configuration.first_line(error)}.") from error
    if is_keras(type(thing)) and isinstance(config["config"], dict):
        config["config"] |= _left_out_by_keras(thing, config["config"])
    if name := next(left_out(thing, config["config"], untold=True), ""):
        kind = type(thing).__name__
        raise AblationError(
            f"{asked}: {kind}.get_config() leaves out {name}, and another process would train with "
            f"{kind}'s default."
        )
    if config["class_name"] == "function" and config["module"] == "builtins":
        config["module"] = thing.__module__  # which Keras leaves out, and another process needs
    return config


def _left_out_by_keras(thing: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a loss or metric of Keras's was given, and does not tell.

    Keras 3.15 forgets the delta of Huber, and an axis.
    """
    given = getattr(thing, "_fn_kwargs", {})  # private: nothing else has them
    usual = inspect.signature(type(thing)).parameters
    return {
        name: value
        for name, value in given.items()
        if name in usual and name not in config and value != usual[name].default
    }


def _cannot_be_found(thing: Any) -> str:
    """Return the name of a function that only this process has; empty for all others."""
    if isinstance(thing, functools.partial):
        return f"functools.partial({getattr(thing.func, '__name__', '…')}, …)"
    if not isinstance(thing, FunctionType) or "<" not in thing.__qualname__:
        return ""
    is_whole = thing.__name__ == "<lambda>" and not thing.__closure__
    return "" if is_whole and not thing.__code__.co_names else thing.__qualname__


def _deserialized(thing: Any) -> Any:
    if isinstance(thing, list):
        return [_deserialized(each) for each in thing]
    if isinstance(thing, dict) and not {"class_name", "config"} <= set(thing):
        return {name: _deserialized(each) for name, each in thing.items()}
    return configuration.deserialized(thing) if isinstance(thing, dict) else thing
