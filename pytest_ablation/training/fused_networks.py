"""Networks of several seeds of an arm on JAX: built, and their variables as one on the device."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import keras
import numpy as np

from pytest_ablation import arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import Trial
from pytest_ablation.network.precision import built_in
from pytest_ablation.network.weightless import without_weights
from pytest_ablation.recipe import Recipe
from pytest_ablation.training import fit
from pytest_ablation.training.augmentation import Augmenting
from pytest_ablation.training.device import sees_gpu
from pytest_ablation.training.examples import as_input, as_label


@dataclass(eq=False)
class Networks:
    """Networks of several seeds, and one without weights of which all can be compiled before.

    Attributes:
        trials: One a network, and alike but for their seeds; those of one seed share a network.
        recipe: How they are trained.
        data: Examples, of which the shapes count.
    """

    trials: Sequence[Trial]
    recipe: Recipe
    data: Dataset

    def __post_init__(self) -> None:
        self._outline = _outlined(self.trials[0], self.recipe, self.data)

    @property
    def model(self) -> Any:
        """A network that programs are made of, which are given the variables of all."""
        return self.models[0] if self._outline is None else self._outline

    @cached_property
    def models(self) -> list[Any]:
        """A network a trial, compiled, with its initial weights and all variables of a training."""
        made = {each.seed: fit.compiled(each) for each in {t.seed: t for t in self.trials}.values()}
        models, outline = [*made.values()], self._outline
        # Some layers are built when they are called.
        is_whole = outline is not None and len(models[0].weights) == len(outline.weights)
        for model in models:
            # Callbacks ask a network's metrics whether more is better.
            if self.recipe.callbacks or not is_whole:
                _complete(model, self.recipe.precision, self.data)
                model.reset_metrics()  # one of the user's own may begin otherwise than it is made
            model.optimizer.build(model.trainable_variables)
        return [made[trial.seed] for trial in self.trials]

    def initial(self) -> Any:
        """Return the variables that all start from, as `stacked` does."""
        if self._outline is not None and sees_gpu():
            _compile_initial(self._outline)
        return stacked(self.models)

    def shapes(self) -> Any:
        """Return what `stacked` gives of all, without its values."""
        count = len(self.trials)
        return tuple([_shape(each, count) for each in part] for part in _parts(self.model))


def _outlined(trial: Trial, recipe: Recipe, data: Dataset) -> Any | None:
    """Return a trial's network, compiled, with all variables that a training has and no weights.

    Of a network that has code of the user's own, or cannot do without weights, there is none. The
    recipe's optimizer is this network's from now on.
    """
    if trial.sources:
        return None
    with suppress(Exception):
        with without_weights():
            model = fit.compiled(trial, recipe)
            _complete(model, recipe.precision, data)
        _build_optimizer(model)
        return model
    return None


def _build_optimizer(model: Any) -> None:
    """Make the variables of a model's optimizer, without values where it can do without."""
    optimizer = model.optimizer
    settings = optimizer.get_config()
    try:
        with without_weights():
            optimizer.build(model.trainable_variables)
    except ValueError:  # Nadam and Adafactor make some of numbers
        model.optimizer = type(optimizer).from_config(settings)
        model.optimizer.build(model.trainable_variables)


def _compile_initial(outline: Any) -> None:
    """Have JAX compile what makes a network's variables, all at once.

    Each is a program of its own, and of a network that is built one waits for another.
    """
    variables = [*outline.variables, *outline.optimizer.variables]
    with suppress(Exception), ThreadPoolExecutor() as threads:
        list(threads.map(lambda variable: variable.value, variables))  # computed, having none


def _complete(model: Any, precision: str, data: Dataset) -> None:
    """Make the variables of a model's losses and metrics, from shapes.

    Computed operation by operation, each would be a program to be compiled.
    """
    given, labels = _one(data)

    def measure(values: Any, answers: Any) -> None:
        with keras.StatelessScope([*zip(model.variables, values, strict=True)]):
            model._compute_loss(given, labels, answers, None, training=False)
            model.compute_metrics(given, labels, answers)

    with keras.StatelessScope():  # at its end the variables made in it get their values
        with built_in(precision):  # layers of the user's own may make theirs when they are called
            answers = jax.eval_shape(partial(model, training=False), given)
        jax.eval_shape(measure, [*map(_shape, model.variables)], answers)


def complete_augmenting(augmenting: Augmenting, data: Dataset) -> None:
    """Make the variables of layers that augment, as `_complete` does of a model's."""
    with keras.StatelessScope():
        jax.eval_shape(partial(augmenting.changed, compute=augmenting), *_one(data))


def stacked(models: Sequence[Any]) -> Any:
    """Return networks' variables with a first axis over the networks, on the device.

    Stacked by numpy: on a device each shape would be a program to be compiled.
    """
    parts = zip(*map(_parts, models), strict=True)
    alike = ([*zip(*part, strict=True)] for part in parts)
    return jax.device_put(
        tuple([np.stack([np.asarray(each.value) for each in of]) for of in part] for part in alike)
    )


def give_back(models: Sequence[Any], variables: Any) -> None:
    """Give each network its variables, of those that are stacked."""
    held = jax.device_get(variables)
    for i, model in enumerate(models):
        for own, values in zip(_parts(model), held, strict=True):
            for variable, value in zip(own, values, strict=True):
                variable.assign(value[i])


def _one(data: Dataset) -> tuple[Any, Any]:
    """Return one example and its label."""
    x, y = (arrays.taken(part, slice(0, 1)) for part in (data.x_test, data.y_test))
    return as_input(x), as_label(y)


def _shape(tensor: Any, *before: int) -> Any:
    shape = (*before, *tensor.shape)
    return jax.ShapeDtypeStruct(shape, tensor.dtype)  # type: ignore[no-untyped-call]


def _parts(model: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return a model's variables as Keras's step takes and gives them, but those of metrics."""
    return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
