"""The Keras trainer: one trial from its plain data to its run, through public Keras 3 API only."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from pytest_ablation.data.sample import stratified
from pytest_ablation.experiment import Dataset, Progress, Run, Trial
from pytest_ablation.network import blueprint
from pytest_ablation.training import recipe as recipes

CURVE_EXAMPLES = 1_000
EVALUATION_BATCH = 500
WARM_UP_STEPS = 5

Array: TypeAlias = NDArray[Any]


def train(trial: Trial, data: Dataset, progress: Callable[[Progress], None]) -> Run:
    """Train one trial.

    Args:
        trial: What to train.
        data: Its data, at the profile's size.
        progress: Called at the end of every epoch.

    Returns:
        The run. A training whose loss becomes NaN or infinite ends at once and is evaluated as it
        stands.
    """
    started = time.perf_counter()
    recipe = recipes.deserialized(trial.recipe)
    assert recipe.steps_per_epoch is not None
    model = compiled(trial)
    watch = _Watch(recipe.epochs, progress)
    curve = stratified(data.y_test, CURVE_EXAMPLES)
    history = model.fit(
        batches(data, recipe.batch_size, trial.seed),
        epochs=recipe.epochs,
        steps_per_epoch=recipe.steps_per_epoch,
        validation_data=(as_input(data.x_test[curve]), as_label(data.y_test[curve])),
        shuffle=False,  # the stream is shuffled
        validation_batch_size=min(EVALUATION_BATCH, len(curve)),
        callbacks=[watch],
        verbose=0,
    ).history

    metrics, predictions = _evaluated(model, data.x_test, data.y_test)
    seen = stratified(data.y_train, len(data.y_test))
    train_metrics, _ = _evaluated(model, data.x_train[seen], data.y_train[seen])
    return Run(
        fingerprint=trial.fingerprint,
        seed=trial.seed,
        metrics=metrics | {f"train_{name}": value for name, value in train_metrics.items()},
        curves={name: tuple(map(float, values)) for name, values in history.items()},
        seconds_per_step=watch.seconds_per_step,
        wall=time.perf_counter() - started,
        params=model.count_params(),
        steps=watch.steps,
        diverged=watch.diverged,
        correct=_packed(predictions, data.y_test),
    )


def compiled(trial: Trial) -> keras.Model:
    """Return the trial's network with its initial weights, ready to train."""
    recipe = recipes.deserialized(trial.recipe)
    model = blueprint.build(trial.model, trial.seed)
    model.compile(optimizer=recipe.optimizer, loss=recipe.loss, metrics=list(recipe.metrics))
    return model


def batches(data: Dataset, batch_size: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Yield training batches without end, full ones only: examples and labels.

    Each pass has every example once, in an order that (seed, pass) decide, and a batch may hold
    the end of one pass and the start of the next. So every epoch has all its steps: Keras 3.15's
    own handling of arrays cuts the epoch in which a pass ends.
    """
    order = np.empty(0, dtype=np.int64)
    passes = 0
    while True:
        while len(order) < batch_size:
            shuffled = np.random.default_rng([seed, passes]).permutation(len(data.x_train))
            order = np.concatenate([order, shuffled])
            passes += 1
        chosen, order = order[:batch_size], order[batch_size:]
        yield as_input(data.x_train[chosen]), as_label(data.y_train[chosen])


def as_input(x: Array) -> Array:
    """Return examples as the network takes them: uint8 images as float32 in 0…1."""
    return np.divide(x, 255, dtype=np.float32) if x.dtype == np.uint8 else np.asarray(x)


def as_label(y: Array) -> Array:
    """Return labels as the loss takes them: whole numbers as int32."""
    return y.astype(np.int32) if y.dtype.kind in "ui" else np.asarray(y)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc] # Keras is Any to mypy
    """Times the steps, tells the progress, and ends a training whose loss is no number."""

    def __init__(self, epochs: int, progress: Callable[[Progress], None]) -> None:
        super().__init__()
        self.epochs = epochs
        self.progress = progress
        self.durations: list[float] = []
        self.epoch = 0
        self.diverged: int | None = None
        self.started = self.step_started = time.perf_counter()

    @property
    def steps(self) -> int:
        return len(self.durations)

    @property
    def seconds_per_step(self) -> float:
        return float(np.median(self.durations[WARM_UP_STEPS:] or self.durations))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch + 1

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.step_started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        loss = float(logs["loss"])
        self.durations.append(time.perf_counter() - self.step_started)
        if not math.isfinite(loss):
            self.diverged = self.epoch
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        elapsed = time.perf_counter() - self.started
        self.progress(
            Progress(
                epoch=self.epoch,
                epochs=self.epochs,
                accuracy=float(logs.get("accuracy", math.nan)),
                seconds_left=elapsed / self.epoch * (self.epochs - self.epoch),
            )
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
