"""A trainer of the user's own, called: what it returns is checked and becomes a run."""

from __future__ import annotations

import base64
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import Trial
from pytest_ablation.run import Progress, Run, Watcher
from pytest_ablation.training.device import host

RESERVED = ("curves", "correct", "params")
EXAMPLE = 'return a mapping of metrics, as {"accuracy": 0.93}'


def train(function: Callable[..., Any], trial: Trial, data: Any, watcher: Watcher) -> Run:
    """Have a function train a trial.

    Meanwhile the global generators of `random` and NumPy, and PyTorch's where it is imported, are
    seeded with the trial's seed.

    Args:
        function: Called with the trial, its data, and who is told how it goes and has the file
            ``checkpoint`` for the unfinished state. It returns a mapping of metrics by name, in
            which "curves" holds one value an epoch by name, "correct" one boolean a test example,
            and "params" a number, where there are any of them; or a Run.
        trial: What to train.
        data: Its data, at the profile's size where it is a Dataset.
        watcher: Who is told how it goes.

    Returns:
        The run. Numbers that are not finite are NaN in it; the epoch whose "loss" is the first such
        is the one in which it diverged.

    Raises:
        AblationError: The function returned something else, or told no Progress.
    """
    started = time.perf_counter()

    def tell(progress: Progress) -> None:
        if not isinstance(progress, Progress):
            raise AblationError(
                f"{trial.trainer} told its progress as {type(progress).__name__}: pass a "
                "pytest_ablation.Progress(epoch=…, epochs=…)."
            )
        known = _in_numbers(progress, f"{trial.trainer} told its progress with")
        watcher.tell(_with_time_left(known, time.perf_counter() - started))

    with _seeded(trial.seed):
        returned = function(trial, data, replace(watcher, tell=tell))
    wall = time.perf_counter() - started
    if isinstance(returned, Run):
        if (returned.fingerprint, returned.seed) != (trial.fingerprint, trial.seed):
            raise AblationError(f"{trial.trainer} returned the Run of another trial.")
        return _own_run(trial, returned)
    return _run(trial, returned, wall, data if isinstance(data, Dataset) else None)


def _run(trial: Trial, returned: Any, wall: float, data: Dataset | None) -> Run:
    said = f"{trial.trainer} returned"
    metrics = _metrics(returned, said, RESERVED)
    params = returned.get("params")
    curves = _curves(returned.get("curves"), said)
    correct = _correct(returned.get("correct"), said, data)
    lost = [place for place, value in enumerate(curves.get("loss", ())) if math.isnan(value)]
    return Run(
        fingerprint=trial.fingerprint,
        seed=trial.seed,
        metrics=metrics,
        curves=curves,
        seconds_per_step=math.nan,
        wall=wall,
        params=0 if params is None else _whole(params, f'{said} "params" as'),
        steps=0,
        diverged=lost[0] + 1 if lost else None,
        correct=base64.b64encode(np.packbits(correct).tobytes()).decode(),
        host=host(trial.trainer),
        tested=len(correct),
    )


def _own_run(trial: Trial, run: Run) -> Run:
    """Return a Run with its numbers as Python's: those of other libraries cannot be kept."""
    said = f"{trial.trainer} returned a Run with"
    return replace(
        run,
        seed=trial.seed,
        metrics=_metrics(run.metrics, said),
        curves=_curves(run.curves, said),
        seconds_per_step=_number(run.seconds_per_step, f"{said} seconds_per_step as"),
        wall=_number(run.wall, f"{said} wall as"),
        params=_whole(run.params, f"{said} params as"),
        steps=_whole(run.steps, f"{said} steps as"),
        diverged=None if run.diverged is None else _whole(run.diverged, f"{said} diverged as"),
        tested=_whole(run.tested, f"{said} tested as"),
    )


def _in_numbers(progress: Progress, said: str) -> Progress:
    """Return progress with its numbers as Python's, as which other processes can read them."""
    return Progress(
        epoch=_whole(progress.epoch, f"{said} epoch as"),
        epochs=_whole(progress.epochs, f"{said} epochs as"),
        accuracy=_number(progress.accuracy, f"{said} accuracy as"),
        seconds_left=_number(progress.seconds_left, f"{said} seconds_left as"),
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what a trainer may draw from without being told; afterwards all is as it was."""
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)


def _with_time_left(progress: Progress, took: float) -> Progress:
    if not math.isnan(progress.seconds_left):
        return progress
    left = took / max(1, progress.epoch) * (progress.epochs - progress.epoch)
    return replace(progress, seconds_left=left)


# ------------------------------------------------------------------------- what was returned


def _metrics(metrics: Any, said: str, beside: Sequence[str] = ()) -> dict[str, float]:
    """Return metrics as Python's numbers, without what a mapping has beside them."""
    if not isinstance(metrics, Mapping):
        raise AblationError(f"{said} {_kind(metrics)}: {EXAMPLE}.")
    for name in metrics:
        if not isinstance(name, str):
            raise AblationError(f"{said} a metric that is named {name!r}: names are texts.")
    numbers = {
        name: _number(value, f'{said} the metric "{name}" as', "metrics are numbers")
        for name, value in metrics.items()
        if name not in beside
    }
    if not numbers:
        raise AblationError(f"{said} no metric: {EXAMPLE}.")
    return numbers


def _number(value: Any, said: str, wanted: str = "a number") -> float:
    """Return a number as Python's; NaN where it is not finite."""
    is_one = hasattr(value, "__float__") and len(getattr(value, "shape", ())) == 0
    if not is_one or isinstance(value, str):  # NumPy's texts have a __float__
        raise AblationError(f"{said} {_kind(value)}: {wanted}.")
    number = float(value)
    return number if math.isfinite(number) else math.nan


def _curves(curves: Any, said: str) -> dict[str, tuple[float, ...]]:
    if curves is None:
        return {}
    if not isinstance(curves, Mapping):
        raise AblationError(f'{said} "curves" as {_kind(curves)}: one list of values by name.')
    result = {}
    for name, values in curves.items():
        where = f'{said} the curve "{name}" as'
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
            raise AblationError(f"{where} {_kind(values)}: one value an epoch.")
        result[str(name)] = tuple(_number(each, f"{where} a list with") for each in values)
    lengths = {name: len(values) for name, values in result.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise AblationError(f"{said} curves that differ in their number of epochs: {counted}.")
    return result


def _correct(correct: Any, said: str, data: Dataset | None) -> np.ndarray:
    if correct is None:
        return np.empty(0, dtype=bool)
    given = np.asarray(correct)
    if given.ndim != 1 or given.dtype.kind not in "biu" or not np.isin(given, (0, 1)).all():
        raise AblationError(f'{said} "correct" as {_kind(correct)}: one boolean a test example.')
    if data is not None and len(given) != len(data.y_test):
        raise AblationError(
            f'{said} "correct" of {len(given):,} examples, and the test set has '
            f"{len(data.y_test):,}."
        )
    return given.astype(bool)


def _whole(value: Any, said: str) -> int:
    number = _number(value, said, "a whole number")
    if not number >= 0 or number != int(number):
        raise AblationError(f"{said} {value!r}: a whole number.")
    return int(number)


def _kind(value: Any) -> str:
    """Return what a value is, in short."""
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")
