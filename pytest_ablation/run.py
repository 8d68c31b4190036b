"""What a trial gave, and how a training tells of itself meanwhile: plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a trial gave.

    Attributes:
        fingerprint: The trial's.
        seed: The trial's.
        metrics: Of the finished model in inference mode: each metric on the whole test set, and
            with the prefix ``train_`` on a fixed stratified sample of the training examples.
        curves: One value an epoch: accuracy and loss as training saw them, val_accuracy and
            val_loss on a fixed stratified sample of the test set, or of what the recipe holds out.
        seconds_per_step: Median seconds a training step, after warm-up; NaN where not known.
        wall: Seconds the whole training took, evaluation included.
        params: Parameters of the model; 0 where not known.
        steps: Training steps taken; 0 where not known.
        diverged: The epoch (from 1) in which the loss became NaN or infinite; None if it did not.
        correct: Whether each test example was classified right, packed bits in base64; empty where
            the task is not classification.
        host: The machine it was trained on.
        tested: Test examples of which `correct` tells; 0 where it is those of the Dataset.
    """

    fingerprint: str
    seed: int
    metrics: Mapping[str, float]
    curves: Mapping[str, tuple[float, ...]]
    seconds_per_step: float
    wall: float
    params: int
    steps: int
    diverged: int | None = None
    correct: str = ""
    host: str = ""
    tested: int = 0


FIRST_LOOK = 20  # pairs of a duet; its median is looked at with 20, 40, 80, …


@dataclass(frozen=True, kw_only=True)
class Duet:
    """What timing two networks' training steps in turn gave, on the host it was measured on.

    Attributes:
        log_ratios: Logarithm of the ratio of seconds a step, variant over baseline, one a pair of
            adjacent steps, by the clock that decides.
        clock: "CPU", the processor's seconds in all threads, which other processes hardly change;
            "wall" where a GPU does the work.
        wall_ratio: Median ratio by wall time, whichever clock decides.
        own_log_ratios: Logarithm of the ratio of a step to the next one of the same network, by the
            clock that decides: 0 but for what the measurement adds by itself.
        host: The machine.
        seconds: How long the measurement took.
    """

    log_ratios: tuple[float, ...]
    clock: str
    wall_ratio: float
    own_log_ratios: tuple[float, ...]
    host: str
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        epoch: Epochs done.
        epochs: Epochs in all.
        accuracy: Training accuracy of the last epoch, or NaN where it is not measured.
        seconds_left: An estimate, in seconds; where a trainer of the user's own gives none, it is
            made of the time that the epochs so far took.
    """

    epoch: int
    epochs: int
    accuracy: float = math.nan
    seconds_left: float = math.nan


@dataclass(frozen=True)
class Watcher:
    """What a trainer is given besides the trial and its data: who is told how the training goes.

    Attributes:
        tell: Called with the progress, at the end of every epoch.
        checkpoint: A file in which the trainer may keep its unfinished state, so that a training
            that was killed goes on where it was; None where nothing can be kept. It is removed when
            the run is stored.
        weights: A file in which the trainer is to keep the trained weights; None where nobody asks
            for them.
    """

    tell: Callable[[Progress], None]
    checkpoint: Path | None = None
    weights: Path | None = None

    def __call__(self, progress: Progress) -> None:
        """Tell where the training is."""
        self.tell(progress)
