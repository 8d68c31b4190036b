"""A trainer that does what its settings say, when it may: for tests of who trains what, and when.

It imports no Keras, so that a worker is ready for it, and ready again when it has killed it, in a
fraction of a second.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_ablation import Dataset, Experiment, Progress
from pytest_ablation.experiment import Trial

MAY_BEGIN, MAY_END, ONCE = "may begin", "may end", "once"  # files in the folder that is its data
LOST = 120.0  # seconds, after which nobody will let it go any more
# Seeds held until they may tell that they have begun, seeds held until they may end, what is done
# beside, and how long it says that it will take.
SETTINGS = {"width": 16, "begin_held": [], "held": [0, 1], "does": "nothing", "seconds_left": 60.0}


def experiment(folder: Path) -> Experiment:
    """Return an experiment whose trainings may begin and end as files in a folder say."""
    return Experiment(SETTINGS, data=str(folder), train=train, name="obedient")


def train(trial: Trial, data: Any, progress: Any) -> Mapping[str, Any]:
    """Do what the settings say."""
    settings, folder = trial.config, Path(data)
    _misbehave(settings["does"], folder)
    if trial.seed in settings["begin_held"]:
        _wait_for(folder / MAY_BEGIN)
    progress(Progress(epoch=1, epochs=2, seconds_left=settings["seconds_left"]))
    if trial.seed in settings["held"]:
        _wait_for(folder / MAY_END)
    return {"accuracy": 0.5 + trial.seed / 1000 + settings["width"] / 100}


def add_up(trial: Trial, data: Dataset, progress: Any) -> Mapping[str, Any]:
    """Return sums of the data in place of metrics."""
    arrays = {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    sums = {name: np.sum(array, dtype=float) for name, array in arrays.items()}
    return sums | {f"rows of {name}": len(array) for name, array in arrays.items()}


def _misbehave(how: str, folder: Path) -> None:
    if how == "leave":
        print("leaving", flush=True)
        os._exit(3)
    if how == "raise":
        raise ValueError("not on a Tuesday")
    if how == "sleep":
        print("good night", flush=True)
        time.sleep(LOST)
    if how == "be killed once" and (folder / ONCE).exists():
        (folder / ONCE).unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _wait_for(file: Path) -> None:
    """Wait until a file is there."""
    started = time.monotonic()
    while not file.exists():
        if time.monotonic() - started > LOST:
            raise RuntimeError(f"nobody said that it {file.name}")
        time.sleep(0.01)
