"""Who does the tasks of a study, as the study sees it: here, in workers, or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pytest_ablation.execution.board import Usage
from pytest_ablation.execution.result import Result
from pytest_ablation.execution.task import Task


class Executor(Protocol):
    """Who does the tasks of a study."""

    @property
    def workers(self) -> int:
        """How many tasks it does at a time."""

    @property
    def scratch(self) -> Path | None:
        """A folder for what its processes share; None where all is done in pytest's own."""

    @property
    def where(self) -> str:
        """What does the tasks; empty for this machine."""

    def uses_gpus(self, resources: str = "") -> bool:
        """Tell whether it gives a training GPUs, also where this process sees none.

        Args:
            resources: What the training's recipe says that it is given.
        """

    @property
    def usage(self) -> Usage | None:
        """How a cluster was used; None where nothing was done on one."""

    def queue(self, task: Task) -> None:
        """Do a task when its turn comes."""

    def expect(self, tasks: Sequence[Task]) -> None:
        """Do what will probably be asked for next where nothing else is to be done."""

    def result(self, task: Task) -> Result:
        """Return what a task gives, which is done next."""

    def close(self) -> None:
        """End what is under way."""
