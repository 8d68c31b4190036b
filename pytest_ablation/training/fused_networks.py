"""Networks of several seeds of an arm on JAX: built, and their variables as one on the device."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import jax
import keras
import numpy as np

from pytest_ablation import arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import Trial
from pytest_ablation.network import blueprint
from pytest_ablation.network.precision import built_in
from pytest_ablation.network.weightless import without_weights
from pytest_ablation.recipe import Recipe
from pytest_ablation.training import fit
from pytest_ablation.training.augmentation import Augmenting
from pytest_ablation.training.device import sees_gpu
from pytest_ablation.training.examples import as_input, as_label


def built(
    trials: Sequence[Trial], recipe: Recipe, augmenting: Augmenting | None, data: Dataset
) -> list[Any]:
    """Return the networks of trials, compiled, with all variables that a training has.

    Args:
        trials: Alike but for their seeds; those of one seed share a network.
        recipe: How they are trained.
        augmenting: What augments their examples, if anything does; its variables are made too.
        data: Examples, of which the shapes count.
    """
    if sees_gpu() and not trials[0].sources:
        _compile_initial(trials[0], recipe.precision)
    of_seed = {trial.seed: trial for trial in trials}
    made = {seed: fit.compiled(trial) for seed, trial in of_seed.items()}
    models = [made[trial.seed] for trial in trials]
    # Callbacks ask a network's metrics whether more is better.
    for model in models if recipe.callbacks else models[:1]:
        _build(model, recipe.precision, augmenting, data)
    for model in models:
        model.optimizer.build(model.trainable_variables)
    return models


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


def _compile_initial(trial: Trial, precision: str) -> None:
    """Have JAX compile what makes a network's weights, and an optimizer's zeros, all at once.

    Each is a program of its own, and of a network that is built one waits for another.
    """
    with suppress(Exception), built_in(precision), without_weights():
        variables = blueprint.build(trial.model, trial.seed).variables

        def make(variable: Any) -> None:
            initial = variable.value  # computed, since it has none
            keras.ops.zeros(initial.shape, initial.dtype)

        with ThreadPoolExecutor() as threads:
            list(threads.map(make, variables))


def _build(model: Any, precision: str, augmenting: Augmenting | None, data: Dataset) -> None:
    """Make the variables of a model's losses and metrics, and of layers that augment, from shapes.

    Computed operation by operation, each would be a program to be compiled.
    """
    x, y = (arrays.taken(part, slice(0, 1)) for part in (data.x_test, data.y_test))
    given, labels = as_input(x), as_label(y)
    specification = arrays.mapped(lambda a: keras.KerasTensor(a.shape, a.dtype.name), given)
    with built_in(precision):  # layers of the user's own may make theirs when they are called
        specified = model.compute_output_spec(specification)
    answers = keras.tree.map_structure(
        lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype),  # type: ignore[no-untyped-call]
        specified,
    )

    def measure(given: Any, answers: Any, labels: Any) -> Any:
        model._compute_loss(given, labels, answers, None, training=False)
        model.compute_metrics(given, labels, answers)

    with keras.StatelessScope([(each, each.value) for each in model.variables]):
        jax.eval_shape(measure, given, answers, labels)
    if augmenting is not None:
        with keras.StatelessScope():
            jax.eval_shape(partial(augmenting.changed, compute=augmenting), given, labels)


def _parts(model: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return a model's variables as Keras's step takes and gives them, but those of metrics."""
    return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
