"""What a session would train, and how long that would take: nothing is trained for it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from pytest_ablation.arm import Arm
from pytest_ablation.execution.board import Usage
from pytest_ablation.execution.executor import Executor
from pytest_ablation.execution.result import Result
from pytest_ablation.execution.task import Task
from pytest_ablation.execution.timed import Probing
from pytest_ablation.experiment import Trial
from pytest_ablation.study import Study

EVALUATED_A_STEP = 3  # an example's forward pass costs a third of its training step


class AskedForTrainingError(pytest.skip.Exception):  # type: ignore[name-defined,misc] # set at run time
    """A fixture compares what is trained, and so its test cannot be set up in a plan's session."""


@dataclass(eq=False)
class NothingTrained:
    """Who trains in a plan's session: nobody. A fixture that compares is skipped."""

    executor: Executor

    @property
    def workers(self) -> int:
        """The executor's."""
        return self.executor.workers

    @property
    def scratch(self) -> Path | None:
        """The executor's."""
        return self.executor.scratch

    @property
    def where(self) -> str:
        """The executor's."""
        return self.executor.where

    def uses_gpus(self, resources: str = "") -> bool:
        """Tell what the executor does."""
        return self.executor.uses_gpus(resources)

    @property
    def usage(self) -> Usage | None:
        """The executor's."""
        return self.executor.usage

    def queue(self, task: Task) -> None:
        """Have done what is no training."""
        if isinstance(task, Probing):
            self.executor.queue(task)

    def expect(self, tasks: Sequence[Task]) -> None:
        """Do nothing."""

    def result(self, task: Task) -> Result:
        """Do what is no training."""
        if not isinstance(task, Probing):
            raise AskedForTrainingError("--ablation-plan trains nothing")
        return self.executor.result(task)

    def close(self) -> None:
        """End the executor's work."""
        self.executor.close()


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A trial that a session would need.

    Attributes:
        fingerprint: The trial's.
        name: The arm and the seed.
        params: Parameters of the network; 0 where there is none to count.
        flops: Floating point operations a training step, forward and backward; likewise.
        uncounted: Layers whose operations are not counted, or not wholly.
        cached: Whether its run is in the store.
        seconds: How long it would take to train; 0 where it is cached, NaN where not known.
        source: What the time is from: "history", "probe" or "unknown"; "lesion" where a trained
            network is evaluated and not trained; empty where it is cached.
    """

    fingerprint: str
    name: str
    params: int
    flops: int
    uncounted: tuple[str, ...]
    cached: bool
    seconds: float
    source: str

    def as_plain(self) -> dict[str, Any]:
        """Return it as a dict of plain values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Planned:
        """Return what `as_plain` gave."""
        return cls(**{**plain, "uncounted": tuple(plain["uncounted"])})


def of(study: Study, arms: Sequence[Arm]) -> list[Planned]:
    """Return the trials of arms that a session surely needs.

    A trial's time is the median of those in the store that were trained on this host and differ in
    the seed alone, else that of a few steps taken now; of a user's own trainer no steps are known.
    """
    result = []
    for arm in arms:
        flops, uncounted = _flops(arm) if arm.has_network else (0, ())
        trials = [arm.trial(seed) for seed in range(study.seeds[0])]
        cached = [study.is_kept(trial.fingerprint) for trial in trials]
        seconds, source = (0.0, "") if all(cached) else _seconds(study, arm)
        result += [
            Planned(
                fingerprint=trial.fingerprint,
                name=f"{arm.description}, seed {trial.seed}",
                params=arm.params,
                flops=flops,
                uncounted=uncounted,
                cached=is_cached,
                seconds=0.0 if is_cached else seconds,
                source="" if is_cached else source,
            )
            for trial, is_cached in zip(trials, cached, strict=True)
        ]
    return result


def at_a_time(arm: Arm) -> int:
    """Return how many trainings like an arm's go on at a time, those that share a GPU as one."""
    from pytest_ablation.training.device import gpus

    executor = arm.study.executor
    shares = arm.on_gpu and not executor.where
    return min(executor.workers, max(1, len(gpus()))) if shares else executor.workers


def _flops(arm: Arm) -> tuple[int, tuple[str, ...]]:
    from pytest_ablation.network import cost

    return cost.of_a_step(arm.flops) * arm.experiment.recipe.batch_size, arm.cost.unknown


def _is_alike(one: Trial, other: Trial) -> bool:
    """Tell whether two trials differ in the seed alone."""
    return replace(one, seed=0) == replace(other, seed=0)


def prepare(study: Study, arms: Sequence[Arm]) -> None:
    """Have the steps taken that `of` will need, those of several arms at a time."""
    for arm in arms:
        if arm.source is not None:
            continue
        keys = [arm.trial(seed).fingerprint for seed in range(study.seeds[0])]
        if arm.made is None and not all(map(study.is_kept, keys)) and not _history(study, arm):
            study.queue_steps(arm)


def _history(study: Study, arm: Arm) -> list[float]:
    """Return the seconds that an arm's trainings took on this host."""
    from pytest_ablation.training.device import host

    trial = arm.trial(0)
    here = host(trial.trainer)
    return [
        entry.run.wall
        for entry in study.kept_runs
        if entry.run and entry.trial and entry.run.host == here and _is_alike(entry.trial, trial)
    ]


def _seconds(study: Study, arm: Arm) -> tuple[float, str]:
    if arm.source is not None:
        return 0.0, "lesion"
    if known := _history(study, arm):
        return median(known), "history"
    if arm.made is not None:
        return math.nan, "unknown"
    from pytest_ablation.training.examples import CURVE_EXAMPLES

    trial = arm.trial(0)
    recipe = json.loads(trial.recipe)
    steps = recipe["epochs"] * recipe["steps_per_epoch"]
    # The curve after each epoch, and at the end the test set and as many training examples.
    evaluated = recipe["epochs"] * min(CURVE_EXAMPLES, arm.tested) + 2 * arm.tested
    steps += evaluated / recipe["batch_size"] / EVALUATED_A_STEP
    return study.seconds_per_step(arm) * steps, "probe"
