"""The Keras trainer: one trial from its plain data to its run."""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pytest_ablation.arrays import Arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationWarning
from pytest_ablation.experiment import Trial
from pytest_ablation.network import blueprint, given
from pytest_ablation.network.precision import built_in
from pytest_ablation.recipe import Recipe
from pytest_ablation.run import Progress, Run
from pytest_ablation.training import (
    augmentation,
    callbacks,
    checkpoint,
    initial,
    smoothing,
    step,
    weighting,
)
from pytest_ablation.training import recipe as recipes
from pytest_ablation.training.device import host, keep_freed_memory
from pytest_ablation.training.evaluation import Measured, evaluated, overrides
from pytest_ablation.training.examples import (
    batches,
    final_examples,
    should_be_on_device,
    split,
)
from pytest_ablation.training.weighting import Given

WARM_UP_STEPS = 5
CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.02  # of a training's time, at most, for the checkpoints at epochs' ends


def train(trial: Trial, data: Dataset, progress: Callable[[Progress], None]) -> Run:
    """Train one trial, from its last checkpoint where there is one.

    Args:
        trial: What to train.
        data: Its data, at the profile's size.
        progress: Called at the end of every epoch. Where it has a ``checkpoint``, a file, the
            unfinished state is kept there: weights, optimizer, random state, position in the data
            and the curves so far. So a training that was killed ends with the same numbers as one
            that was not. A training with callbacks, whose state is their own, starts anew. Where it
            has ``weights``, a file, the trained ones are kept there.

    Returns:
        The run. A training whose loss becomes NaN or infinite ends at once and is evaluated as it
        stands.
    """
    started = time.perf_counter()
    recipe = recipes.deserialized(trial.recipe)
    assert recipe.steps_per_epoch is not None
    model = compiled(trial)
    data, curve = split(data, recipe)
    loss = smoothing.plain(recipe.loss) if recipe.label_smoothing else None
    step_of = weighting.added(augmentation.of(recipe.augmentation, trial.seed), recipe.class_weight)
    tell = callbacks.made(
        recipe.callbacks, model, epochs=recipe.epochs, steps=recipe.steps_per_epoch
    )
    kept_in = getattr(progress, "checkpoint", None) if not recipe.callbacks else None
    keeper = _Keeper(kept_in, trial.fingerprint, model)
    state = keeper.resumed() or State()
    before = state.wall
    on_device = should_be_on_device(data, recipe)
    stream = batches(data, recipe.batch_size, trial.seed, skip=state.steps, on_device=on_device)

    model.stop_training = False
    tell("on_train_begin")
    while state.epoch < recipe.epochs and state.diverged is None and not model.stop_training:
        tell("on_epoch_begin", state.epoch)
        if model.stop_training and not state.steps_of_epoch:
            break
        while state.steps_of_epoch < recipe.steps_per_epoch and not model.stop_training:
            tell("on_train_batch_begin", state.steps_of_epoch)
            _step(model, recipe.precision, step_of, *next(stream), state)
            tell("on_train_batch_end", state.steps_of_epoch - 1, state.logs)
            state.wall = before + time.perf_counter() - started
            if not math.isfinite(state.sums.get("loss", 0.0)):  # or none is told
                state.diverged = state.epoch + 1
                break
            keeper.keep_at_a_step(state)
        logs = state.logs
        measured, _ = evaluated(model, *curve, loss)
        logs |= {f"val_{name}": value for name, value in measured.items()}
        state.end_epoch(logs)
        tell("on_epoch_end", state.epoch - 1, dict(logs))
        state.wall = before + time.perf_counter() - started
        keeper.keep_at_an_epoch(state)
        progress(progress_of(state, recipe.epochs, logs))
    # Where the optimizer averages weights, the average is what was trained.
    model.optimizer.finalize_variable_values(model.trainable_variables)
    tell("on_train_end")
    if weights := getattr(progress, "weights", None):
        keep_weights(weights, trial, model)
    finally_measured = [evaluated(model, *each, loss) for each in final_examples(data)]
    state.wall = before + time.perf_counter() - started
    return finished(trial, model, state, finally_measured)


def keep_weights(path: Path, trial: Trial, model: keras.Model) -> None:
    """Write a network's weights to a file; a full disk costs a warning."""
    try:
        checkpoint.save(path, trial.fingerprint, {}, values(model.weights))
    except OSError as error:
        warnings.warn(
            AblationWarning(
                f"the trained weights cannot be kept in {path.parent} ({error.strerror}): a lesion "
                "of this network trains it anew."
            ),
            stacklevel=2,
        )


def finished(trial: Trial, model: keras.Model, state: State, measured: Sequence[Measured]) -> Run:
    """Return the run of a training that has ended.

    Args:
        trial: What was trained.
        model: Its network.
        state: Where the training ended.
        measured: What it gave on each of `final_examples`.
    """
    (metrics, correct), (train_metrics, _) = measured
    return Run(
        fingerprint=trial.fingerprint,
        seed=trial.seed,
        metrics=metrics | {f"train_{name}": value for name, value in train_metrics.items()},
        curves={name: tuple(each) for name, each in state.curves.items()},
        seconds_per_step=float(np.median(state.durations[WARM_UP_STEPS:] or state.durations)),
        wall=state.wall,
        params=model.count_params(),
        steps=state.steps,
        diverged=state.diverged,
        correct=correct,
        host=host(),
    )


@dataclass
class State:
    """Where a training is, besides its variables.

    Attributes:
        epoch: Epochs done.
        steps_of_epoch: Steps done of the next one.
        sums: Of its logs, over those steps.
        curves: One value an epoch done.
        durations: Seconds of each step.
        wall: Seconds so far, those before an interruption included.
        diverged: The epoch in which the loss became NaN or infinite.
        stopped: Whether a callback ended it, where several train at once.
    """

    epoch: int = 0
    steps_of_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    wall: float = 0.0
    diverged: int | None = None
    stopped: bool = False

    @property
    def steps(self) -> int:
        """Steps done in all."""
        return len(self.durations)

    @property
    def logs(self) -> dict[str, float]:
        """The means of the epoch so far."""
        return {name: total / self.steps_of_epoch for name, total in self.sums.items()}

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """Take the epoch's values into the curves and start the next."""
        for name, value in logs.items():
            self.curves.setdefault(name, []).append(value)
        self.epoch, self.steps_of_epoch, self.sums = self.epoch + 1, 0, {}


class _Keeper:
    """Keeps and brings back a training's unfinished state, if it has a file for it."""

    def __init__(self, path: Path | None, fingerprint: str, model: keras.Model) -> None:
        self._path, self._fingerprint, self._model = path, fingerprint, model
        self._last, self._cost = time.perf_counter(), 0.0

    def resumed(self) -> State | None:
        """Give the model the variables last kept, and return where the training was."""
        kept = checkpoint.load(self._path, self._fingerprint) if self._path else None
        if kept is None:
            return None
        state, kept_values = kept
        for variable, value in zip(self._variables(), kept_values, strict=True):
            variable.assign(value)
        return State(**state)

    def keep_at_a_step(self, state: State) -> None:
        """Keep the state where the last time is half a minute ago."""
        if time.perf_counter() - self._last >= CHECKPOINT_SECONDS:
            self._keep(state)

    def keep_at_an_epoch(self, state: State) -> None:
        """Keep the state, unless epochs are so short that this would slow the training down."""
        if self._cost <= CHECKPOINT_SHARE * state.wall:
            self._keep(state)

    def _keep(self, state: State) -> None:
        if self._path is None:
            return
        started = time.perf_counter()
        checkpoint.keep(self._path, self._fingerprint, asdict(state), values(self._variables()))
        self._last = time.perf_counter()
        self._cost += self._last - started

    def _variables(self) -> list[Any]:
        # A model's variables include the state of its random layers.
        optimizer = self._model.optimizer
        if not optimizer.built:
            optimizer.build(self._model.trainable_variables)
        return [*self._model.variables, *optimizer.variables]


def values(variables: Sequence[Any]) -> list[NDArray[Any]]:
    """Return what Keras variables hold, as arrays."""
    with warnings.catch_warnings():
        # Keras 3.15 on TensorFlow asks NumPy 2 for a copy in the old way.
        warnings.simplefilter("ignore", DeprecationWarning)
        return [keras.ops.convert_to_numpy(variable) for variable in variables]


def compiled(trial: Trial, recipe: Recipe | None = None) -> keras.Model:
    """Return the trial's network with its initial weights, ready to train.

    Args:
        trial: Which.
        recipe: Its recipe, if it has been read; the optimizer is this network's from now on.
    """
    keep_freed_memory()
    recipe = recipe or recipes.deserialized(trial.recipe)
    with built_in(recipe.precision):
        model = blueprint.build(trial.model, trial.seed)
        if trial.initial_weights:
            given.start(model, initial.found(trial.initial_weights))
        compile_as(model, recipe)
    return model


def compile_as(model: keras.Model, recipe: Recipe) -> None:
    """Make a network ready to be trained and evaluated as a recipe says."""
    loss = recipe.loss
    if recipe.label_smoothing:
        loss = smoothing.smoothed(loss, recipe.label_smoothing)
    metrics = recipe.metrics if isinstance(recipe.metrics, Mapping) else list(recipe.metrics)
    # Of no metrics Keras wants labels for all outputs nonetheless, unless it is told of none.
    model.compile(
        optimizer=recipe.optimizer,
        loss=loss,
        metrics=metrics or None,
        loss_weights=recipe.loss_weights,
    )
    if overrides(type(model), "train_step"):
        model.train_step = _without_no_weights(model.train_step)


def _without_no_weights(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a network's own step that is given a batch as `fit` gives it.

    `train_on_batch` says of examples without weights that they have none, and Keras's guide to such
    steps begins with `x, y = data`.
    """

    @functools.wraps(step)
    def given(*before: Any) -> Any:
        *state, data = before  # on JAX the state comes first
        if isinstance(data, tuple) and len(data) == 3 and data[2] is None:
            data = data[:2]
        return step(*state, data)

    return given


def _step(
    model: keras.Model, precision: str, step_of: Given, x: Arrays, y: Arrays, state: State
) -> None:
    """Take one training step; augmenting its examples is part of it, and of its time."""
    started = time.perf_counter()
    logs = step.take(model, precision, *step_of(state.steps, x, y))
    state.durations.append(time.perf_counter() - started)
    state.steps_of_epoch += 1
    state.sums = {name: state.sums.get(name, 0.0) + float(value) for name, value in logs.items()}


def progress_of(state: State, epochs: int, logs: Mapping[str, float]) -> Progress:
    """Return where a training is, to tell of it as it begins or at the end of an epoch."""
    an_epoch = state.wall / state.epoch if state.epoch else math.nan
    return Progress(
        epoch=state.epoch,
        epochs=epochs,
        accuracy=logs.get("accuracy", math.nan),
        seconds_left=an_epoch * (epochs - state.epoch),
    )
