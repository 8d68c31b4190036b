"""A worker as pytest sees it: a process for one task at a time, replaced when it dies.

Each is a pool of one process, Pebble's, which notices when it dies or takes too long: what one does
to itself reaches no other.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pebble import ProcessExpired, ProcessPool

from pytest_ablation.errors import AblationError, with_last_lines
from pytest_ablation.execution import worker
from pytest_ablation.execution.machine import thread_variables
from pytest_ablation.execution.result import Result
from pytest_ablation.execution.task import Task


class Place(Protocol):
    """Where one task at a time is done."""

    def start(self, task: Task, timeout: float | None) -> Future[Result | None] | None:
        """Start a task, which is to be ended when it takes longer than some seconds.

        Returns:
            Its result to be; None where it is not started, since another session is at its trials.
        """

    def said(self, task: Task, error: BaseException) -> str:
        """Return what went wrong with a task."""

    def renew(self) -> None:
        """Have the next task done by another process."""


@dataclass(eq=False)
class Slot:
    """A worker: its processes, started when they are first needed.

    Attributes:
        number: From 0.
        threads: Threads that its trainings may use.
        environment: Variables of its processes, beside those about threads.
        logs: Folder of what its processes write.
    """

    number: int
    threads: int
    environment: Mapping[str, str]
    logs: Path
    _pools: dict[int, ProcessPool] = field(default_factory=dict)

    def start(self, task: Task, timeout: float | None) -> Future[Result | None]:
        """Start a task in the process with as many threads as it is to have."""
        threads = self._threads(task)
        pool = self._pool(threads, by_keras=task.is_by_keras)
        try:
            return pool.schedule(worker.run, (task, self._log(threads)), timeout=timeout)
        except RuntimeError:  # a pool that broke is of no more use
            del self._pools[threads]
            return self.start(task, timeout)

    def get_ready(self) -> Future[None]:
        """Start the process in which Keras will probably train, before there is a task for it."""
        return self._pool(self.threads, by_keras=True).schedule(worker.get_ready)

    def said(self, task: Task, error: BaseException) -> str:
        """Return what went wrong with a task, and the last lines that its process wrote."""
        if isinstance(error, AblationError):
            return f"failed: {error}"
        written = ""
        with suppress(OSError):
            log = self._log(self._threads(task))
            written = log.read_text(encoding="utf-8", errors="replace")
        if took_too_long(error):
            what = "took longer than --ablation-timeout and was ended"
        elif isinstance(error, ProcessExpired):
            what = f"was lost: its worker process {_ended(error.exitcode)}"
        elif isinstance(error, BrokenProcessPool):
            what = "was lost: its worker process did not start"
        else:
            what = failed(error)
            written = str(error.__cause__ or error).strip().strip('"')  # the trace of its process
        return with_last_lines(what, written)

    def renew(self) -> None:
        """Give up the processes; the next task has new ones."""
        for pool in self._pools.values():
            pool.stop()  # type: ignore[no-untyped-call] # Pebble's lacks a return type
        self._pools.clear()

    def close(self) -> None:
        """End the processes."""
        pools = list(self._pools.values())
        self.renew()
        for pool in pools:
            pool.join()

    def _threads(self, task: Task) -> int:
        return min(self.threads, task.threads or self.threads)

    def _pool(self, threads: int, *, by_keras: bool) -> ProcessPool:
        if threads not in self._pools:
            variables = {**thread_variables(threads), **self.environment}
            self._pools[threads] = ProcessPool(
                max_workers=1,
                context=multiprocessing.get_context("spawn"),
                initializer=worker.start,
                initargs=(variables, self._log(threads), by_keras),
            )
        return self._pools[threads]

    def _log(self, threads: int) -> Path:
        return self.logs / f"worker{self.number}-{threads}.log"


def took_too_long(error: BaseException) -> bool:
    """Tell whether a task was ended at its limit: what one raises itself has a cause, its trace."""
    return isinstance(error, FutureTimeoutError) and error.__cause__ is None


def failed(error: BaseException) -> str:
    """Say that a task raised an error."""
    return f"failed: {type(error).__name__}"


def _ended(exitcode: int) -> str:
    """Say how a process ended."""
    if exitcode == -9:
        return "was killed (signal 9), as happens when memory runs out"
    if exitcode < 0:
        return f"was ended by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
