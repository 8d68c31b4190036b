"""The Keras trainer: one trial from its plain data to its run, through public Keras 3 API only."""

from __future__ import annotations

import base64
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from pytest_ablation.data.sample import stratified
from pytest_ablation.experiment import Dataset, Progress, Run, Trial
from pytest_ablation.network import blueprint
from pytest_ablation.training import checkpoint
from pytest_ablation.training import recipe as recipes
from pytest_ablation.training.device import host, keep_freed_memory

CURVE_EXAMPLES = 1_000
EVALUATION_BATCH = 500
WARM_UP_STEPS = 5
CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.02  # of a training's time, at most, for the checkpoints at epochs' ends

Array: TypeAlias = NDArray[Any]


def train(trial: Trial, data: Dataset, progress: Callable[[Progress], None]) -> Run:
    """Train one trial, from its last checkpoint where there is one.

    Args:
        trial: What to train.
        data: Its data, at the profile's size.
        progress: Called at the end of every epoch. Where it has a ``checkpoint``, a file, the
            unfinished state is kept there: weights, optimizer, random state, position in the data
            and the curves so far. So a training that was killed ends with the same numbers as one
            that was not.

    Returns:
        The run. A training whose loss becomes NaN or infinite ends at once and is evaluated as it
        stands.
    """
    started = time.perf_counter()
    recipe = recipes.deserialized(trial.recipe)
    assert recipe.steps_per_epoch is not None
    model = compiled(trial)
    keeper = _Keeper(getattr(progress, "checkpoint", None), trial.fingerprint, model)
    state = keeper.resumed() or _State()
    before = state.wall
    stream = batches(data, recipe.batch_size, trial.seed, skip=state.steps)
    chosen = stratified(data.y_test, CURVE_EXAMPLES)
    curve = data.x_test[chosen], data.y_test[chosen]

    while state.epoch < recipe.epochs and state.diverged is None:
        while state.steps_of_epoch < recipe.steps_per_epoch:
            _step(model, *next(stream), state)
            state.wall = before + time.perf_counter() - started
            if not math.isfinite(state.sums["loss"]):
                state.diverged = state.epoch + 1
                break
            keeper.keep_at_a_step(state)
        logs = {name: total / state.steps_of_epoch for name, total in state.sums.items()}
        logs |= {f"val_{name}": value for name, value in _evaluated(model, *curve)[0].items()}
        state.end_epoch(logs)
        state.wall = before + time.perf_counter() - started
        keeper.keep_at_an_epoch(state)
        progress(_progress(state, recipe.epochs, logs))

    metrics, predictions = _evaluated(model, data.x_test, data.y_test)
    seen = stratified(data.y_train, len(data.y_test))
    train_metrics, _ = _evaluated(model, data.x_train[seen], data.y_train[seen])
    return Run(
        fingerprint=trial.fingerprint,
        seed=trial.seed,
        metrics=metrics | {f"train_{name}": value for name, value in train_metrics.items()},
        curves={name: tuple(values) for name, values in state.curves.items()},
        seconds_per_step=float(np.median(state.durations[WARM_UP_STEPS:] or state.durations)),
        wall=before + time.perf_counter() - started,
        params=model.count_params(),
        steps=state.steps,
        diverged=state.diverged,
        correct=_packed(predictions, data.y_test),
        host=host(),
    )


@dataclass
class _State:
    """Where a training is, besides its variables.

    Attributes:
        epoch: Epochs done.
        steps_of_epoch: Steps done of the next one.
        sums: Of its logs, over those steps.
        curves: One value an epoch done.
        durations: Seconds of each step.
        wall: Seconds so far, those before an interruption included.
        diverged: The epoch in which the loss became NaN or infinite.
    """

    epoch: int = 0
    steps_of_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    wall: float = 0.0
    diverged: int | None = None

    @property
    def steps(self) -> int:
        """Steps done in all."""
        return len(self.durations)

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

    def resumed(self) -> _State | None:
        """Give the model the variables last kept, and return where the training was."""
        kept = checkpoint.load(self._path, self._fingerprint) if self._path else None
        if kept is None:
            return None
        state, values = kept
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        return _State(**state)

    def keep_at_a_step(self, state: _State) -> None:
        """Keep the state where the last time is half a minute ago."""
        if time.perf_counter() - self._last >= CHECKPOINT_SECONDS:
            self._keep(state)

    def keep_at_an_epoch(self, state: _State) -> None:
        """Keep the state, unless epochs are so short that this would slow the training down."""
        if self._cost <= CHECKPOINT_SHARE * state.wall:
            self._keep(state)

    def _keep(self, state: _State) -> None:
        if self._path is None:
            return
        started = time.perf_counter()
        with warnings.catch_warnings():
            # Keras 3.15 on TensorFlow asks NumPy 2 for a copy in the old way.
            warnings.simplefilter("ignore", DeprecationWarning)
            arrays = [keras.ops.convert_to_numpy(variable) for variable in self._variables()]
        checkpoint.save(self._path, self._fingerprint, asdict(state), arrays)
        self._last = time.perf_counter()
        self._cost += self._last - started

    def _variables(self) -> list[Any]:
        # A model's variables include the state of its random layers.
        optimizer = self._model.optimizer
        if not optimizer.built:
            optimizer.build(self._model.trainable_variables)
        return [*self._model.variables, *optimizer.variables]


def compiled(trial: Trial) -> keras.Model:
    """Return the trial's network with its initial weights, ready to train."""
    keep_freed_memory()
    recipe = recipes.deserialized(trial.recipe)
    model = blueprint.build(trial.model, trial.seed)
    model.compile(optimizer=recipe.optimizer, loss=recipe.loss, metrics=list(recipe.metrics))
    return model


def batches(
    data: Dataset, batch_size: int, seed: int, *, skip: int = 0
) -> Iterator[tuple[Array, Array]]:
    """Yield training batches without end, full ones only: examples and labels.

    Each pass has every example once, in an order that (seed, pass) decide, and a batch may hold
    the end of one pass and the start of the next. So every epoch has all its steps: Keras 3.15's
    own handling of arrays cuts the epoch in which a pass ends.

    Args:
        data: Whose training examples.
        batch_size: Examples a batch.
        seed: What the order derives from.
        skip: Batches to leave out at the start.
    """
    n = len(data.x_train)
    passes, begun = divmod(skip * batch_size, n)
    order = np.empty(0, dtype=np.int64)
    while True:
        while len(order) < batch_size:
            shuffled = np.random.default_rng([seed, passes]).permutation(n)
            order = np.concatenate([order, shuffled[begun:]])
            passes, begun = passes + 1, 0
        chosen, order = order[:batch_size], order[batch_size:]
        yield as_input(data.x_train[chosen]), as_label(data.y_train[chosen])


def as_input(x: Array) -> Array:
    """Return examples as the network takes them: uint8 images as float32 in 0…1."""
    return np.divide(x, 255, dtype=np.float32) if x.dtype == np.uint8 else np.asarray(x)


def as_label(y: Array) -> Array:
    """Return labels as the loss takes them: whole numbers as int32."""
    return y.astype(np.int32) if y.dtype.kind in "ui" else np.asarray(y)


def _step(model: keras.Model, x: Array, y: Array, state: _State) -> None:
    """Take one training step.

    Step by step and not by `fit`, whose pipeline on TensorFlow sits idle for 5 to 60 seconds before
    it lets `fit` return.
    """
    started = time.perf_counter()
    logs = model.train_on_batch(x, y, return_dict=True)
    state.durations.append(time.perf_counter() - started)
    state.steps_of_epoch += 1
    state.sums = {name: state.sums.get(name, 0.0) + float(value) for name, value in logs.items()}


def _progress(state: _State, epochs: int, logs: Mapping[str, float]) -> Progress:
    return Progress(
        epoch=state.epoch,
        epochs=epochs,
        accuracy=logs.get("accuracy", math.nan),
        seconds_left=state.wall / state.epoch * (epochs - state.epoch),
    )


def _evaluated(model: keras.Model, x: Array, y: Array) -> tuple[dict[str, float], Array]:
    """Return the loss and each compiled metric in inference mode, and the predictions."""
    predictions = np.concatenate(
        [
            model.predict_on_batch(as_input(x[i : i + EVALUATION_BATCH]))
            for i in range(0, len(x), EVALUATION_BATCH)
        ]
    )
    given = keras.ops.convert_to_tensor(as_label(y))
    predicted = keras.ops.convert_to_tensor(predictions)
    model.reset_metrics()
    metrics = model.compute_metrics(None, given, predicted)
    model.reset_metrics()
    loss = model.compute_loss(None, given, predicted, training=False)
    return {name: float(value) for name, value in {**metrics, "loss": loss}.items()}, predictions


def _packed(predictions: Array, labels: Array) -> str:
    """Return whether each class was predicted right, as packed bits in base64."""
    if labels.ndim != 1 or labels.dtype.kind not in "ui" or predictions.ndim != 2:
        return ""
    if predictions.shape[1] == 1:
        chosen = (predictions[:, 0] > 0.5).astype(np.int64)
    else:
        chosen = predictions.argmax(axis=1)
    return base64.b64encode(np.packbits(chosen == labels).tobytes()).decode()
