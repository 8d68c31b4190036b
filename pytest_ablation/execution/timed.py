"""Tasks that take training steps to time them, and keep no training."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_ablation.dataset import Dataset
from pytest_ablation.execution.needs import Needs
from pytest_ablation.execution.result import Result, Tell
from pytest_ablation.experiment import Trial
from pytest_ablation.run import Duet
from pytest_ablation.store import Store

if TYPE_CHECKING:
    from pytest_ablation.training.duet import Step


def gpu_of(store: Store) -> Callable[[], AbstractContextManager[Any]]:
    """Return a context in which a process has its GPU for itself, among those of the store."""
    return partial(store.lock, f"gpu{os.environ.get('CUDA_VISIBLE_DEVICES', '')}")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time the training steps of two trials in turn.

    Attributes:
        variant: The variant's trial, and what gives its data.
        baseline: The baseline's.
        store: Where it is kept how seeds share the device.
        seeds: How many train at once, by the program whose steps are timed; 0 where a step is
            asked for by itself.
        on_gpu: Whether a GPU trains, which others then leave to the steps that are timed.
        settled: Asked now and then whether the ratio is known well enough.
        seconds: How long to measure, at most.
        name: What to call it.
        needs: What it needs beside its data.
    """

    is_by_keras: ClassVar[bool] = True
    locks: ClassVar[tuple[str, ...]] = ()

    variant: tuple[Trial, Callable[[], Dataset]]
    baseline: tuple[Trial, Callable[[], Dataset]]
    store: Store
    seeds: int = 0
    on_gpu: bool = False
    settled: Callable[[Duet], bool]
    seconds: float
    name: str
    needs: Needs = field(default_factory=Needs)

    @property
    def threads(self) -> int | None:
        """One where the CPU trains: with two, a step varies twice as much from the next."""
        return None if self.seeds else 1

    @property
    def key(self) -> str:
        """Both trials' fingerprints."""
        return f"{self.variant[0].fingerprint}/{self.baseline[0].fingerprint}"

    def __call__(self, *, wait: bool, tell: Tell | None = None) -> Result | None:
        """Do it."""
        from pytest_ablation.training.duet import duet

        self.needs.provide()
        steps = [
            _stepping(trial, data(), self.seeds, self.store)[0]
            for trial, data in (self.variant, self.baseline)
        ]
        alone = gpu_of(self.store) if self.on_gpu else None
        measured = duet(*steps, seconds=self.seconds, settled=self.settled, alone=alone)
        return Result(value=measured, trained=True)


def _stepping(trial: Trial, data: Dataset, seeds: int, store: Store) -> tuple[Step, int]:
    """Return what takes training steps, and how many of them each time.

    Args:
        trial: Whose they are.
        data: Its data.
        seeds: How many train at once, by the program that takes the steps; 0 where it is one step.
        store: Where it is kept how seeds share the device.
    """
    if not seeds:
        from pytest_ablation.training.duet import stepping

        return stepping(trial, data), 1
    from pytest_ablation.training import fused

    fused.keep_compilations(store.folder / "compiled")
    return fused.stepping(trial, seeds, data, store.recall("seeds", fused.name_of([trial] * seeds)))


@dataclass(frozen=True, kw_only=True)
class Probing:
    """Take a few training steps, to know how long a training would take.

    Attributes:
        trial: Of which trial.
        data: Gives its data, at the profile's size.
        store: Where it is kept how seeds share the device.
        seeds: As for `Timing`.
        on_gpu: Likewise.
        name: What to call it.
        needs: What it needs beside its data.
    """

    threads: ClassVar[int | None] = None
    is_by_keras: ClassVar[bool] = True
    locks: ClassVar[tuple[str, ...]] = ()

    trial: Trial
    data: Callable[[], Dataset]
    store: Store
    seeds: int = 0
    on_gpu: bool = False
    name: str
    needs: Needs = field(default_factory=Needs)

    @property
    def key(self) -> str:
        """The trial's fingerprint, and what is done with it."""
        return f"{self.trial.fingerprint}/steps"

    def __call__(self, *, wait: bool, tell: Tell | None = None) -> Result | None:
        """Do it; gives the median of seconds a step of one seed."""
        from pytest_ablation.training.duet import few_steps

        self.needs.provide()
        step, count = _stepping(self.trial, self.data(), self.seeds, self.store)
        with gpu_of(self.store)() if self.on_gpu else nullcontext():
            return Result(value=few_steps(step) / count, trained=False)
