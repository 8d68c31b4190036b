"""Tasks done in pytest's own process, each when its result is asked for."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_ablation.errors import AblationError, TrainingError, with_last_lines
from pytest_ablation.execution.board import Board, Waiting
from pytest_ablation.execution.result import Result
from pytest_ablation.execution.slot import failed
from pytest_ablation.execution.task import Task
from pytest_ablation.run import Progress


@dataclass(eq=False)
class Here:
    """Does each task in this process, when its result is asked for.

    Attributes:
        waiting: A context while a result is waited for; gives the function that shows how it goes.
    """

    waiting: Waiting
    workers: int = field(default=1, init=False)
    scratch: None = field(default=None, init=False)
    where: str = field(default="", init=False)
    usage: None = field(default=None, init=False)

    def uses_gpus(self, resources: str = "") -> bool:
        """Tell that nothing is known of other machines' GPUs."""
        return False

    def queue(self, task: Task) -> None:
        """Do nothing yet."""

    def expect(self, tasks: Sequence[Task]) -> None:
        """Do nothing: one task at a time leaves nobody idle."""

    def result(self, task: Task) -> Result:
        """Do the task and return what it gives."""
        with self.waiting() as show:

            def tell(progress: Progress | None) -> None:
                show(Board(running=((task.name, progress),), done=0, known=1, seconds_left=None))

            tell(None)
            try:
                result = task(wait=True, tell=tell)
            except TrainingError:
                raise
            except AblationError as error:
                raise TrainingError(f"{task.name}: the training failed: {error}") from error
            except Exception as error:
                trace = "".join(traceback.format_exception(error))
                raise TrainingError(
                    f"{task.name}: the training {with_last_lines(failed(error), trace)}"
                ) from error
        assert result is not None
        return result

    def close(self) -> None:
        """Do nothing: there is nothing to end."""
