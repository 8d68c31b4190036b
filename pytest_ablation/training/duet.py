"""Two networks' training steps timed side by side, in one process and in turn.

Two trainings minutes apart on a shared machine say little of each other's speed: the machine
changes more than the network does. Steps in turn meet the same machine.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import Trial
from pytest_ablation.run import FIRST_LOOK, Duet
from pytest_ablation.training import augmentation, weighting
from pytest_ablation.training import recipe as recipes
from pytest_ablation.training.device import host, sees_gpu, without_gradients
from pytest_ablation.training.examples import batches, should_be_on_device
from pytest_ablation.training.fit import compiled
from pytest_ablation.training.step import take

WARM_UP_STEPS = 3
LEAST_STEPS, MOST_STEPS, ENOUGH_SECONDS = 10, 30, 2.0  # of a few steps
BATCHES = 8

Seconds = tuple[float, float]  # of the processor in all threads, and on the wall
Step = Callable[[], Seconds]  # takes a training step, or some at once, and returns what it took


def duet(
    variant: Step,
    baseline: Step,
    *,
    seconds: float = 10.0,
    settled: Callable[[Duet], bool] = lambda duet: False,
    alone: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Duet:
    """Time the training steps of a variant against its baseline's.

    Both are compiled and warmed up, then step in turn as A B B A, one step a block: the shorter
    the blocks, the more alike is what the machine does to neighbours. A step ends when the device
    is done with it; garbage is not collected meanwhile. Where the CPU trains, its own seconds
    decide: beside a process that kept one of two cores busy they varied a third as much as those on
    the wall.

    Args:
        variant: Takes its step, as `stepping` gives it.
        baseline: Takes the baseline's.
        seconds: How long to measure, compilation and warm-up not counted.
        settled: Asked at 20, 40, 80, … pairs whether the ratio is known well enough.
        alone: Gives a context in which other processes let the device be, after their next steps.

    Returns:
        The ratios of seconds a step, variant over baseline.
    """
    _warm_up(variant, baseline)
    if alone is None:
        return _in_turn(variant, baseline, seconds, settled)
    with alone():
        _warm_up(variant, baseline)  # while others take those steps
        return _in_turn(variant, baseline, seconds, settled)


def _warm_up(*steps: Step) -> None:
    for step in steps:
        for _ in range(WARM_UP_STEPS):
            step()


def _in_turn(
    variant: Step, baseline: Step, seconds: float, settled: Callable[[Duet], bool]
) -> Duet:
    """Time steps as A B B A until the ratio is known."""
    started = time.perf_counter()
    took: list[tuple[Seconds, Seconds]] = []  # of the variant and the baseline, in each pair
    look = FIRST_LOOK
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        while True:
            a, b = variant(), baseline()
            c, d = baseline(), variant()
            took += [(a, b), (d, c)]
            elapsed = time.perf_counter() - started
            if elapsed >= seconds or len(took) >= look:
                result = _summed_up(took, elapsed)
                if elapsed >= seconds or settled(result):
                    return result
                look *= 2
    finally:
        if enabled:
            gc.enable()


def few_steps(step: Step) -> float:
    """Return the median of seconds on the wall that a step takes.

    Of thirty steps, or of ten where they take longer than two seconds: what another process does
    for a moment is not to decide how a study is trained.
    """
    _warm_up(step)
    took: list[float] = []
    while len(took) < LEAST_STEPS or (len(took) < MOST_STEPS and sum(took) < ENOUGH_SECONDS):
        took.append(step()[1])
    return float(np.median(took))


def _summed_up(took: list[tuple[Seconds, Seconds]], seconds: float) -> Duet:
    clock = 1 if sees_gpu() else 0
    times = np.log(np.array(took))  # shape (pairs, networks, clocks)
    ratios = times[:, 0] - times[:, 1]
    # In A B B A the second and third step are of one network, and so are the fourth and the next.
    inner = times[0::2, 1] - times[1::2, 1]
    outer = times[1:-1:2, 0] - times[2::2, 0]
    own = np.concatenate([inner, outer])[:, clock]
    return Duet(
        log_ratios=tuple(ratios[:, clock].round(5).tolist()),
        clock=("CPU", "wall")[clock],
        wall_ratio=float(np.exp(np.median(ratios[:, 1]))),
        own_log_ratios=tuple(own.round(5).tolist()),
        host=host(),
        seconds=seconds,
    )


def stepping(trial: Trial, data: Dataset) -> Step:
    """Return a function that takes one training step and returns its seconds.

    Augmenting the examples is part of the step; choosing them, and what callbacks do, is not.
    """
    model: Any = compiled(trial)
    recipe = recipes.deserialized(trial.recipe)
    step_of = weighting.added(augmentation.of(recipe.augmentation, trial.seed), recipe.class_weight)
    on_device = should_be_on_device(data, recipe)
    stream = batches(data, recipe.batch_size, trial.seed, on_device=on_device)
    several = itertools.cycle(list(enumerate(itertools.islice(stream, BATCHES))))
    # Reading what a step has written waits until the device is done with the step.
    written = min(model.trainable_variables, key=lambda v: int(np.prod(v.shape)), default=None)

    def step() -> Seconds:
        number, (x, y) = next(several)
        wall, processor = time.perf_counter(), time.process_time()
        take(model, recipe.precision, *step_of(number, x, y))
        if written is not None:
            with without_gradients():
                float(keras.ops.sum(written))
        return time.process_time() - processor, time.perf_counter() - wall

    return step
