"""The Keras trainer: one trial from its plain data to its run, through public Keras 3 API only."""

from __future__ import annotations

import base64
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from pytest_ablation.data.sample import stratified
from pytest_ablation.experiment import Dataset, Progress, Run, Trial
from pytest_ablation.network import blueprint
from pytest_ablation.training import recipe as recipes
from pytest_ablation.training.device import keep_freed_memory

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
    stream = batches(data, recipe.batch_size, trial.seed)
    chosen = stratified(data.y_test, CURVE_EXAMPLES)
    curve = data.x_test[chosen], data.y_test[chosen]

    curves: dict[str, list[float]] = {}
    durations: list[float] = []
    diverged: int | None = None
    for epoch in range(1, recipe.epochs + 1):
        logs = _epoch(model, itertools.islice(stream, recipe.steps_per_epoch), durations)
        if not math.isfinite(logs["loss"]):
            diverged = epoch
        logs |= {f"val_{name}": value for name, value in _evaluated(model, *curve)[0].items()}
        for name, value in logs.items():
            curves.setdefault(name, []).append(value)
        progress(_progress(epoch, recipe.epochs, logs, time.perf_counter() - started))
        if diverged:
            break

    metrics, predictions = _evaluated(model, data.x_test, data.y_test)
    seen = stratified(data.y_train, len(data.y_test))
    train_metrics, _ = _evaluated(model, data.x_train[seen], data.y_train[seen])
    return Run(
        fingerprint=trial.fingerprint,
        seed=trial.seed,
        metrics=metrics | {f"train_{name}": value for name, value in train_metrics.items()},
        curves={name: tuple(values) for name, values in curves.items()},
        seconds_per_step=float(np.median(durations[WARM_UP_STEPS:] or durations)),
        wall=time.perf_counter() - started,
        params=model.count_params(),
        steps=len(durations),
        diverged=diverged,
        correct=_packed(predictions, data.y_test),
    )


def compiled(trial: Trial) -> keras.Model:
    """Return the trial's network with its initial weights, ready to train."""
    keep_freed_memory()
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


def _epoch(
    model: keras.Model, steps: Iterator[tuple[Array, Array]], durations: list[float]
) -> dict[str, float]:
    """Take an epoch's steps and return the means over them; ends at a loss that is no number.

    Step by step and not by `fit`, whose pipeline on TensorFlow sits idle for 5 to 60 seconds before
    it lets `fit` return.
    """
    sums: dict[str, float] = {}
    before = len(durations)
    for x, y in steps:
        started = time.perf_counter()
        logs = model.train_on_batch(x, y, return_dict=True)
        durations.append(time.perf_counter() - started)
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in logs.items()}
        if not math.isfinite(sums["loss"]):
            break
    return {name: total / (len(durations) - before) for name, total in sums.items()}


def _progress(epoch: int, epochs: int, logs: Mapping[str, float], elapsed: float) -> Progress:
    return Progress(
        epoch=epoch,
        epochs=epochs,
        accuracy=logs.get("accuracy", math.nan),
        seconds_left=elapsed / epoch * (epochs - epoch),
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
