"""The Keras trainer on JAX with whole epochs on the device, and several seeds of an arm at once.

`fit` asks the device for each step; here it gets the data set once, and then fifty steps at a
time, by programs of ten: a `lax.scan` over the batches' positions. A step is Keras's own,
`Model.train_step`, from the same weights, random state and order of images, so the numbers are
those of `fit`, up to the rounding of sums that the compiler orders otherwise.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax
import keras

from pytest_ablation import arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import Trial
from pytest_ablation.network import configuration
from pytest_ablation.run import Run, Watcher
from pytest_ablation.training import callbacks, duet, fit
from pytest_ablation.training.device import sees_gpu
from pytest_ablation.training.duet import Seconds, Step
from pytest_ablation.training.evaluation import overrides
from pytest_ablation.training.fused_steps import Way
from pytest_ablation.training.fused_training import FusedTraining

DATA_SHARE = 0.4  # of the device's memory, at most, for the data set
WORTH_A_TRIAL = 60.0  # seconds of training, below which it does not matter how seeds share a device

Alone: TypeAlias = Callable[[], AbstractContextManager[Any]]


def why_not(trial: Trial, data: Dataset, *, gpu: bool) -> str | None:
    """Return why a trial is not trained here, or None if it is.

    Args:
        trial: Which.
        data: Its data.
        gpu: Whether it is trained on a GPU.
    """
    recipe = json.loads(trial.recipe)
    if not callbacks.act_between_epochs(callbacks.deserialized(recipe.get("callbacks") or ())):
        return "its recipe has callbacks, which may act between steps"
    if any(layer["class_name"] == "AugMix" for layer in recipe.get("augmentation") or ()):
        return "AugMix draws lots in Python when it is compiled, which all seeds would share"
    if step := _own_step(trial):
        return f"its network has a {step} of its own"
    if any(array.dtype.kind not in "uifb" for array in arrays.each(data.x_train)):
        return "its examples are no numbers"
    if not gpu and (_has_own_code(trial) or "Conv" in trial.model):
        # 2.1 s against 0.35 s a step of the CIFAR-10 network, and 1.2 ms against 2.6 ms of a dense
        # one, on two cores: in a loop XLA's convolution is another, and slow.
        return "on a CPU convolutions, and layers that may have some, are faster step by step"
    return None


def train(
    trials: Sequence[Trial],
    data: Dataset,
    watchers: Sequence[Watcher],
    *,
    way: Way | None = None,
    decided: Callable[[Way], None] = lambda way: None,
    gpu: Alone = nullcontext,
) -> Iterator[Run]:
    """Train trials that differ in their seeds alone.

    Args:
        trials: What to train.
        data: Their data, at the profile's size.
        watchers: One a trial. In the first's checkpoint the unfinished state of all is kept.
        way: How the seeds share the device, "vmap" makes one kernel of those of all, "map" takes
            them in turn in one program; None where that is to be found out.
        decided: Told how they do, where it was found out.
        gpu: Gives a context in which no other process times steps on the device.

    Yields:
        A run a trial, in their order; each has its share of the seconds.
    """
    if not _can_hold(data):
        watchers[0](fit.progress_of(fit.State(), json.loads(trials[0].recipe)["epochs"], {}))
        for trial, each in zip(trials, watchers, strict=True):
            yield fit.train(trial, data, each)
        return
    if _has_own_code(trials[0]):
        for trial, each in zip(trials, watchers, strict=True):
            yield from _compiled([trial], data, [each], gpu, "map").runs()
        return
    compiled = partial(_compiled, trials, data, watchers, gpu)
    if way is None and len(trials) > 1:
        training = _the_faster(compiled, gpu)
        decided(training.way)
    else:
        training = compiled(way or usual_way(trials))
    yield from training.runs()


def _compiled(
    trials: Sequence[Trial],
    data: Dataset,
    watchers: Sequence[Watcher],
    gpu: Alone,
    way: Way,
) -> FusedTraining:
    """Return a training that is about to begin, and say so."""
    training = FusedTraining(trials, data, watchers, way, gpu)
    if training.steps_left:
        training.compile()
    training.tell()
    return training


def usual_way(trials: Sequence[Trial]) -> Way:
    """Return how the seeds of these trials share the device as long as nothing else was found."""
    return "map" if _has_own_code(trials[0]) or len(trials) == 1 else "vmap"


def name_of(trials: Sequence[Trial]) -> str:
    """Name what it depends on how the seeds of an arm share the device, which is one of this."""
    device = jax.local_devices()[0].device_kind
    return f"{trials[0].model}/{trials[0].recipe}/{len(trials)}/{device}"


def _the_faster(compiled: Callable[[Way], FusedTraining], gpu: Alone) -> FusedTraining:
    """Return a training whose seeds share the device as they had better, from its first steps.

    The other way is not tried for trainings so short that to compile it would cost more than it may
    gain. Steps are timed while other processes let the device be: beside four others a step took
    five times as long, and the slower way won.
    """
    training, took = _begun(compiled, gpu)
    if training is None:
        gc.collect()  # what it had on the device
        return compiled("map")
    if took * training.steps_left < WORTH_A_TRIAL or not _can_hold(training.data, times=2):
        return training
    with suppress(jax.errors.JaxRuntimeError):  # memory is short for both
        step, count = _stepping(training.trials, training.data, "map")
        with gpu():
            step()
            is_slower = took >= step()[1] / count * len(training.trials)
        if is_slower:
            return compiled("map")
    return training


def _begun(
    compiled: Callable[[Way], FusedTraining], gpu: Alone
) -> tuple[FusedTraining | None, float]:
    """Return a training of all seeds at once after its first steps, and seconds a step.

    Where memory is short for it there is none.
    """
    took = 0.0
    try:
        training = compiled("vmap")
        with gpu():
            for _ in range(3):  # the first is slower, and others take their last ones meanwhile
                took = training.block() if training.steps_left else took
    except jax.errors.JaxRuntimeError:
        return None, took
    return training, took


def stepping(trial: Trial, seeds: int, data: Dataset, way: Way | None) -> tuple[Step, int]:
    """Return what takes some steps of as many seeds at once, by the program that trains them.

    All start from the trial's weights, which do not matter here. Of data too large for a device
    that has to hold another network's too, it takes one step of the trial.

    Returns:
        It, and how many steps it takes, those of all seeds counted.
    """
    if not _can_hold(data, times=2):
        return duet.stepping(trial, data), 1
    trials = [trial] * seeds
    return _stepping(trials, data, way or usual_way(trials))


def _stepping(trials: Sequence[Trial], data: Dataset, way: Way) -> tuple[Step, int]:
    training = FusedTraining(trials, data, [Watcher(lambda progress: None) for _ in trials], way)
    training.compile(evaluates=False)

    def steps() -> Seconds:
        wall, processor = time.perf_counter(), time.process_time()
        training.steps(training.at_a_time)
        return time.process_time() - processor, time.perf_counter() - wall

    return steps, training.at_a_time * len(trials)


def _can_hold(data: Dataset, *, times: int = 1) -> bool:
    """Tell whether the device has memory for the training data, so many times."""
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", math.inf)
    size = sum(array.nbytes for array in arrays.each((data.x_train, data.y_train)))
    return bool(times * size <= DATA_SHARE * memory)


def keep_compilations(folder: Path) -> None:
    """Have JAX keep on disk what it compiled for a GPU, which takes longer than some trainings.

    All of it: those that make initial weights are small, and many.
    """
    if sees_gpu():
        update: Any = jax.config.update  # JAX says no types here
        update("jax_compilation_cache_dir", str(folder))
        update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _own_step(trial: Trial) -> str:
    """Return the name of a step that a network of the user's own has; empty where it has none."""
    return next(
        (
            step
            for _, kind in configuration.own_objects(json.loads(trial.model))
            if isinstance(kind, type) and issubclass(kind, keras.Model)
            for step in ("train_step", "test_step", "predict_step")
            if overrides(kind, step)
        ),
        "",
    )


def _has_own_code(trial: Trial) -> bool:
    """Tell whether code of the user's own is in the steps: not what callbacks are given alone.

    A layer of the user's own may have its seed written into the step, which all would share.
    """
    of_callbacks = json.dumps(json.loads(trial.recipe).get("callbacks"))
    return any(f'"{name}"' not in of_callbacks for name in trial.sources)
