"""Tasks done on this machine: in worker processes that may die, or in pytest's own.

Each worker is a pool of one process, Pebble's, which notices when it dies or takes too long: what
one worker does to itself reaches no other. Which task is next is decided here.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from pytest_ablation.errors import AblationError, AblationWarning, TrainingError
from pytest_ablation.execution import worker
from pytest_ablation.execution.worker import Result, Task, Training
from pytest_ablation.experiment import Progress
from pytest_ablation.store import Store

SECONDS_BETWEEN_LOOKS = 0.25
LAST_LINES = 12
ATTEMPTS = 2
ANSI = r"\x1b\[[0-9;]*m"


@dataclass(frozen=True, kw_only=True)
class Board:
    """What is going on, to be shown.

    Attributes:
        running: Each task that is being done: its name, and how far a training is.
        done: Tasks done in this session.
        known: Tasks known of, those done included.
        seconds_left: An estimate for all of them; None where there is nothing to tell it from.
    """

    running: tuple[tuple[str, Progress | None], ...]
    done: int
    known: int
    seconds_left: float | None


Show = Callable[[Board], None]
Waiting = Callable[[], AbstractContextManager[Show]]


@dataclass(eq=False)
class Here:
    """Does each task in this process, when its result is asked for.

    Attributes:
        waiting: A context while a result is waited for; gives the function that shows how it goes.
    """

    waiting: Waiting
    in_this_process: bool = field(default=True, init=False)

    @property
    def scratch(self) -> Path:
        """None is needed: this process has all data at hand."""
        raise NotImplementedError

    def queue(self, task: Task) -> None:
        """Do nothing yet."""

    def result(self, task: Task) -> Result:
        """Do the task and return what it gives."""
        with self.waiting() as show:

            def tell(progress: Progress | None) -> None:
                show(Board(running=((task.name, progress),), done=0, known=1, seconds_left=None))

            tell(None)
            result = task(wait=True, tell=tell)
        assert result is not None
        return _warned(result)

    def close(self) -> None:
        """Do nothing: there is nothing to end."""


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
        threads = min(self.threads, task.threads or self.threads)
        if threads not in self._pools:
            self._pools[threads] = ProcessPool(
                max_workers=1,
                context=multiprocessing.get_context("spawn"),
                initializer=worker.start,
                initargs=({**_threads(threads), **self.environment}, self._log(task)),
            )
        log = self._log(task)
        try:
            return self._pools[threads].schedule(worker.run, (task, log), timeout=timeout)
        except RuntimeError:  # a pool that broke is of no more use
            del self._pools[threads]
            return self.start(task, timeout)

    def last_lines(self, task: Task) -> str:
        """Return the last lines that the task's process wrote."""
        with suppress(OSError):
            text = self._log(task).read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.strip().splitlines()[-LAST_LINES:])
        return ""

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

    def _log(self, task: Task) -> Path:
        threads = min(self.threads, task.threads or self.threads)
        return self.logs / f"worker{self.number}-{threads}.log"


@dataclass(eq=False)
class Workers:
    """Does tasks in processes of their own, as many at a time as there are workers.

    Attributes:
        store: Where trainings are kept; its locks keep other sessions' trainings apart from ours.
        environments: A worker each: the variables of its processes.
        threads: Threads a worker.
        waiting: A context while a result is waited for; gives the function that shows how it goes.
        timeout: Seconds that a training may take.
        scratch: A folder for what its processes share; gone when they end.
    """

    store: Store
    environments: Sequence[Mapping[str, str]]
    threads: int
    waiting: Waiting
    timeout: float | None = None
    in_this_process: bool = field(default=False, init=False)
    scratch: Path = field(init=False)
    _free: list[Slot] = field(init=False)
    _slots: list[Slot] = field(init=False)
    _queued: dict[str, Task] = field(default_factory=dict)
    _running: dict[str, Task] = field(default_factory=dict)
    _done: dict[str, Result | BaseException] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    _ended: int = 0
    _took: list[float] = field(default_factory=list)
    _changed: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.RLock())
    )
    _closed: bool = False

    def __post_init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="pytest-ablation-"))
        self._slots = [
            Slot(number=i, threads=self.threads, environment=each, logs=self.scratch)
            for i, each in enumerate(self.environments)
        ]
        self._free = list(self._slots)

    def queue(self, task: Task) -> None:
        """Do a task when a worker is free, after those queued before it."""
        with self._changed:
            if not self._is_known(task.key):
                self._queued[task.key] = task
                self._dispatch()

    def result(self, task: Task) -> Result:
        """Return what a task gives; it is the next to be done if it is not under way.

        Raises:
            TrainingError: It could not be done.
        """
        with self._changed:
            if not self._is_known(task.key):
                self._queued[task.key] = task
            if task.key in self._queued:
                self._queued = {task.key: self._queued.pop(task.key), **self._queued}
            self._dispatch()
            if task.key not in self._done:
                with self.waiting() as show:
                    self._wait(task.key, show)
            done = self._done[task.key]
            if isinstance(done, BaseException):
                raise done  # it stays known: what failed is not tried again for another test
            del self._done[task.key]
        return _warned(done)

    def close(self) -> None:
        """End the workers, also amid their tasks."""
        with self._changed:
            self._closed = True
            self._queued.clear()
        for slot in self._slots:
            slot.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    # ------------------------------------------------------------------------------------------

    def _is_known(self, key: str) -> bool:
        return key in self._queued or key in self._running or key in self._done

    def _wait(self, key: str, show: Show) -> None:
        while key not in self._done:
            show(self._board(key))
            self._changed.wait(SECONDS_BETWEEN_LOOKS)
            self._dispatch()  # another session may have let go of a trial

    def _board(self, key: str) -> Board:
        told = self.store.told()
        running = [(task.name, told.get(each)) for each, task in self._running.items()]
        lines = [(name, progress[1] if progress else None) for name, progress in running]
        if key in self._queued and key in told:
            name, progress = told[key]
            lines.append((f"{name} (another session)", progress))
        left = len(self._queued) + len(self._running)
        seconds = None
        if self._took:
            mean = sum(self._took) / len(self._took)
            begun = sum(p.seconds_left for _, p in lines if p) if lines else 0.0
            fresh = len(self._queued) + sum(p is None for _, p in lines)
            seconds = (mean * fresh + begun) / len(self._slots)
        return Board(
            running=tuple(lines), done=self._ended, known=self._ended + left, seconds_left=seconds
        )

    def _dispatch(self) -> None:
        """Start queued tasks on free workers; a trial that another session trains waits for it."""
        for key, task in list(self._queued.items()):
            if not self._free or self._closed:
                return
            if isinstance(task, Training):
                run = self.store.load(key, task.newer_than)
                if run is not None:
                    self._end(key, Result(value=run, trained=False))
                    continue
                with self.store.lock(key, wait=False) as held:
                    pass
                if not held:
                    continue
            self._start(task)

    def _start(self, task: Task) -> None:
        slot = self._free.pop(0)
        del self._queued[task.key]
        self._running[task.key] = task
        limit = self.timeout if isinstance(task, Training) else None
        future = slot.start(task, limit)
        future.add_done_callback(partial(self._finished, slot, task, time.monotonic()))

    def _finished(
        self, slot: Slot, task: Task, started: float, future: Future[Result | None]
    ) -> None:
        """Take in what became of a task, in a thread of Pebble's."""
        with self._changed:
            self._running.pop(task.key, None)
            self._free.append(slot)
            self._free.sort(key=lambda each: each.number)
            if self._closed:
                return
            error = CancelledError() if future.cancelled() else future.exception()
            if error is not None:
                self._failed(slot, task, error)
            elif (result := future.result()) is None:
                self._queued = {task.key: task, **self._queued}  # another session was faster
            else:
                self._took.append(time.monotonic() - started)
                self._end(task.key, result)
            self._dispatch()

    def _failed(self, slot: Slot, task: Task, error: BaseException) -> None:
        if isinstance(error, BrokenProcessPool):
            slot.renew()
        self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
        is_of_the_machine = isinstance(error, OSError | MemoryError | BrokenProcessPool)
        is_too_long = isinstance(error, FutureTimeoutError)
        if is_of_the_machine and not is_too_long and self._attempts[task.key] < ATTEMPTS:
            self._queued = {task.key: task, **self._queued}
            return
        self._end(task.key, self._said(slot, task, error))

    def _said(self, slot: Slot, task: Task, error: BaseException) -> BaseException:
        """Return the error that the task's tests end in."""
        if isinstance(error, AblationError):
            return TrainingError(f"{task.name}: {error}")
        tries = f" {self._attempts[task.key]} times" if self._attempts[task.key] > 1 else ""
        lines = slot.last_lines(task)
        if isinstance(error, FutureTimeoutError):
            what = f"took longer than --ablation-timeout={self.timeout:g} s and was ended"
        elif isinstance(error, ProcessExpired):
            how = _ended(error.exitcode)
            what = f"was lost{tries}: its worker process {how}"
        elif isinstance(error, BrokenProcessPool):
            what = f"was lost{tries}: its worker process did not start"
        else:
            what = f"failed{tries}: {type(error).__name__}"
            trace = str(error.__cause__ or error).strip().strip('"').strip()
            lines = "\n".join(trace.splitlines()[-LAST_LINES:])
        last = f". Its last lines:\n{re.sub(ANSI, '', lines)}" if lines else "."
        return TrainingError(f"{task.name}: the training {what}{last}")

    def _end(self, key: str, result: Result | BaseException) -> None:
        self._queued.pop(key, None)
        self._done[key] = result
        self._ended += 1
        self._changed.notify_all()


def _ended(exitcode: int) -> str:
    """Say how a process ended."""
    if exitcode == -9:
        return "was killed (signal 9), as happens when memory runs out"
    if exitcode < 0:
        return f"was ended by signal {-exitcode}"
    return f"ended with exit code {exitcode}"


def _warned(result: Result) -> Result:
    for text in result.warned:
        warnings.warn(AblationWarning(text), stacklevel=4)
    return result


# ------------------------------------------------------------------------- workers and threads


def executor(
    store: Store,
    *,
    workers: int | None,
    sees_gpu: bool,
    sessions: int,
    timeout: float | None,
    waiting: Waiting,
) -> Here | Workers:
    """Return who trains on this machine.

    Args:
        store: Where trainings are kept.
        workers: How many at a time; 0 in this process; None for one a GPU, or one a core.
        sees_gpu: Whether Keras has a GPU to train on.
        sessions: Processes of this session, among which cores and GPUs are shared.
        timeout: Seconds that a training may take.
        waiting: A context while a result is waited for.
    """
    if workers == 0:
        return Here(waiting=waiting)
    devices = gpus() if sees_gpu else []
    free = max(1, cores() // sessions)
    count = workers or len(devices) or free
    return Workers(
        store=store,
        environments=[
            {"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]} if devices else {}
            for i in range(count)
        ],
        threads=max(1, free // count),
        waiting=waiting,
        timeout=timeout,
    )


def share_gpus() -> None:
    """Have this process take no more of a GPU's memory than it uses: its workers train there.

    To be called before Keras is imported.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES allows, else all that the driver lists."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [each.strip() for each in allowed.split(",") if each.strip() not in ("", "-1")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def _threads(threads: int) -> dict[str, str]:
    """Return the variables by which libraries keep to a number of threads."""
    count = str(threads)
    flags = os.environ.get("XLA_FLAGS", "")
    if threads == 1:
        flags += " --xla_cpu_multi_thread_eigen=false"
    return {
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": "1" if threads == 1 else "2",
        "NPROC": count,  # XLA's own pool
        "XLA_FLAGS": flags.strip(),
    }
