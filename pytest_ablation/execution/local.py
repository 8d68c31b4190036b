"""Tasks done elsewhere than in pytest's process, and which of them is next."""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from pytest_ablation.errors import TrainingError
from pytest_ablation.execution import sharing
from pytest_ablation.execution.board import Board, Show, Usage, Waiting, whole
from pytest_ablation.execution.here import Here
from pytest_ablation.execution.machine import cores
from pytest_ablation.execution.result import Result
from pytest_ablation.execution.slot import Place, Slot, took_too_long
from pytest_ablation.execution.task import Task, Together, Training
from pytest_ablation.execution.timed import Timing
from pytest_ablation.store import Store
from pytest_ablation.training.device import gpus

ATTEMPTS = 2
GPU = "CUDA_VISIBLE_DEVICES"


class Elsewhere(Protocol):
    """A cluster, as who gives it tasks sees it."""

    @property
    def usage(self) -> Usage | None:
        """How it was used; None where nothing was done."""

    def uses_gpus(self, resources: str) -> bool:
        """Tell whether it gives GPUs to a training whose recipe says what it is given."""

    def close(self) -> None:
        """End what is under way there."""


@dataclass(eq=False)
class Workers:
    """Does tasks in other processes, as many at a time as there are places for them.

    Attributes:
        store: Where trainings are kept; its locks keep other sessions' trainings apart from ours.
        environments: A worker of this machine each: the variables of its processes.
        cores: Cores that all workers share.
        waiting: A context while a result is waited for; gives the function that shows how it goes.
        timeout: Seconds that a training may take.
        may_be_fewer: Whether one worker with all cores may take the place of all, where that is
            faster: it is tried before the first training, if there is much to train.
        where: What does the tasks; empty for this machine.
        cluster: Gives the places, where it is one that does the tasks.
        scratch: A folder for what its processes share; gone when they end.
    """

    store: Store
    environments: Sequence[Mapping[str, str]]
    cores: int
    waiting: Waiting
    timeout: float | None = None
    may_be_fewer: bool = False
    where: str = ""
    cluster: Elsewhere | None = None
    scratch: Path = field(init=False)
    _made: list[Slot] = field(default_factory=list, init=False)
    _slots: list[Place] = field(default_factory=list, init=False)
    _free: list[Place] = field(default_factory=list, init=False)
    _at_a_time: int = field(default=0, init=False)
    _queued: dict[str, Task] = field(default_factory=dict, init=False)
    _expected: dict[str, Task] = field(default_factory=dict, init=False)
    _asked: set[str] = field(default_factory=set, init=False)
    _running: dict[str, Task] = field(default_factory=dict, init=False)
    _done: dict[str, Result | TrainingError] = field(default_factory=dict, init=False)
    _attempts: dict[str, int] = field(default_factory=dict, init=False)
    _over: set[str] = field(default_factory=set, init=False)
    _took: list[float] = field(default_factory=list, init=False)
    _shown: float = field(default=-math.inf, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="pytest-ablation-"))
        if self.environments and not self.may_be_fewer:
            self._have(self._make(self.environments))

    @property
    def workers(self) -> int:
        """How many there are."""
        return self._at_a_time or len(self._slots or self.environments)

    def add(self, places: Sequence[Place], at_a_time: int) -> None:
        """Do tasks in more places.

        Args:
            places: One a task; those in which a task may yet have to wait included.
            at_a_time: How many tasks are done at a time, in all.
        """
        with self._changed:
            self._slots += places
            self._free += places
            self._at_a_time = at_a_time
            self._dispatch()

    def get_ready(self, count: int) -> None:
        """Start processes for so many tasks, which will probably come.

        One after another: beside four others that imported Keras too, the first one, for which the
        first training waits, took half a second longer.
        """
        self._get_ready(self._made[:count])

    def _get_ready(self, slots: Sequence[Slot]) -> None:
        with self._changed:
            if slots and not self._closed:
                ready = slots[0].get_ready()
                ready.add_done_callback(lambda _: self._get_ready(slots[1:]))

    def queue(self, task: Task) -> None:
        """Do a task when a worker is free, after those queued before it."""
        with self._changed:
            self._ask(task)
            self._dispatch()

    def expect(self, tasks: Sequence[Task]) -> None:
        """Do what will probably be asked for next, and none expected before, on idle workers.

        On a cluster, which may be paid for and grow with what is sent, nothing is done on a guess.
        """
        with self._changed:
            if self.cluster is None:
                self._expected = {each.key: each for each in tasks if not self._is_known(each.key)}

    def result(self, task: Task) -> Result:
        """Return what a task gives; it is the next to be done if it is not under way.

        Raises:
            TrainingError: It could not be done.
        """
        with self._changed:
            self._ask(task)
            if task.key in self._queued:
                self._queued = {task.key: self._queued.pop(task.key), **self._queued}
            self._dispatch()
            if task.key not in self._done:
                with self.waiting() as show:
                    if not self._slots:
                        self._share_out(show)
                    self._wait(task.key, show)
            done = self._done[task.key]
            if isinstance(done, TrainingError):
                raise done  # it stays known: what failed is not tried again for another test
            del self._done[task.key]
        for text in done.warned:
            self.store.warn_once(text)
        return done

    def uses_gpus(self, resources: str = "") -> bool:
        """Tell whether a cluster gives GPUs to a training whose recipe says what it is given."""
        return self.cluster is not None and self.cluster.uses_gpus(resources)

    @property
    def usage(self) -> Usage | None:
        """How a cluster was used; None where nothing was done on one."""
        return self.cluster.usage if self.cluster else None

    def close(self) -> None:
        """End the workers, also amid their tasks."""
        with self._changed:
            self._closed = True
            self._queued.clear()
            self._expected.clear()
        with ThreadPoolExecutor(max_workers=max(1, len(self._made))) as together:
            list(together.map(Slot.close, self._made))
        if self.cluster is not None:
            self.cluster.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    # ------------------------------------------------------------------------ what is done next

    def _is_known(self, key: str) -> bool:
        return key in self._queued or key in self._running or key in self._done

    def _ask(self, task: Task) -> None:
        self._asked.add(task.key)
        self._expected.pop(task.key, None)
        if not self._is_known(task.key):
            self._queued[task.key] = task

    def _wait(self, key: str, show: Show) -> None:
        while key not in self._done:
            self._dispatch()  # another session may have let go of a trial
            # Not before somebody waits: until then it is not known what is needed next.
            self._start_expected()
            if time.monotonic() - self._shown >= sharing.SECONDS_BETWEEN_LOOKS:
                show(self._board(key))
                self._shown = time.monotonic()
            self._changed.wait(sharing.SECONDS_BETWEEN_LOOKS)

    def _board(self, key: str) -> Board:
        told = self.store.told()
        names = [(each, task.name) for each, task in self._running.items()]
        if key in self._queued and key in told:
            names.append((key, f"{told[key][0]} (in another session)"))
        running = tuple((name, told[each][1] if each in told else None) for each, name in names)
        left = len(self._queued) + len(self._asked & self._running.keys())
        progress = [told[each][1] for each, _ in names if each in self._asked and each in told]
        begun = [each for each in progress if not math.isnan(each.seconds_left)]
        took = self._took or [whole(each) for each in begun]
        seconds = None
        if took:
            not_begun = left - len(begun)
            mean = sum(took) / len(took)
            times = [mean] * not_begun + [each.seconds_left for each in begun]
            longest = max(times, default=0.0)  # of which no other worker takes a part
            seconds = max(sum(times) / self.workers, longest)
        done = len(self._asked & self._over)
        return Board(running=running, done=done, known=done + left, seconds_left=seconds)

    def _dispatch(self) -> None:
        """Start queued tasks on free workers; a trial that another session trains waits for it."""
        compiling = self._is_compiling()
        # The keys alone: to copy ten thousand pairs takes 0.5 ms, eleven times as long.
        for key in list(self._queued) if self._free else ():
            if not self._free or self._closed:
                return
            task = self._queued.get(key)
            if task is None:
                continue  # done meanwhile
            if isinstance(task, Training):
                run = self.store.load(key, task.newer_than)
                if run is not None:
                    self._end(key, Result(value=run, trained=False))
                    continue
            if isinstance(task, Together) and compiling:
                continue
            if self.cluster is not None or all(map(self._is_free, task.locks)):
                self._start(task)
                compiling = self._is_compiling()

    def _start_expected(self) -> None:
        """Start what will probably be asked for on workers that have nothing else to do."""
        are_to_compile = any(isinstance(each, Together) for each in self._queued.values())
        for key, task in list(self._expected.items()):
            if not self._free:
                return
            if isinstance(task, Timing) and (are_to_compile or self._is_compiling()):
                continue  # the programs whose steps are timed may not be there yet
            del self._expected[key]
            if all(map(self._is_free, task.locks)):
                self._start(task)

    def _is_compiling(self) -> bool:
        """Tell whether a training of several seeds has not come to its first step.

        On this machine one compiles at a time. Which kernels are fast is tried on the GPU, with all
        cores, and what one process finds is kept on disk and serves the next: three that compiled
        at once took as long each as all three in turn.
        """
        begun = [key for key, task in self._running.items() if isinstance(task, Together)]
        return self.cluster is None and bool(begun) and not self.store.told().keys() >= {*begun}

    def _is_free(self, trial: str) -> bool:
        with self.store.lock(trial, wait=False) as held:
            return held

    def _start(self, task: Task) -> None:
        limit = None
        if self.timeout is not None and isinstance(task, Training | Together):
            limit = self.timeout * len(task.locks)
        slot = self._free[0]
        future = slot.start(task, limit)
        if future is None:
            return
        self._free.pop(0)
        self._queued.pop(task.key, None)
        self._running[task.key] = task
        future.add_done_callback(partial(self._finished, slot, task, time.monotonic()))

    def _finished(
        self, slot: Place, task: Task, started: float, future: Future[Result | None]
    ) -> None:
        """Take in what became of a task, in a thread of Pebble's."""
        with self._changed:
            del self._running[task.key]
            self._free.append(slot)
            if self._closed:
                return
            error = CancelledError() if future.cancelled() else future.exception()
            if error is not None:
                self._failed(slot, task, error)
            elif (result := future.result()) is None:
                self._put_back(task)  # another session was faster
            else:
                self._took.append(time.monotonic() - started)
                self._end(task.key, result)
            self._dispatch()

    def _failed(self, slot: Place, task: Task, error: BaseException) -> None:
        """Try a task once more if the fault was the machine's, else end it."""
        said = slot.said(task, error)
        if isinstance(error, BrokenProcessPool):
            slot.renew()
        tries = self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
        of_the_machine = isinstance(error, OSError | MemoryError | BrokenProcessPool)
        # The limit, which is the user's own, is an OSError to Python too.
        if of_the_machine and not took_too_long(error) and tries < ATTEMPTS:
            self._put_back(task)
        else:
            times = f", tried {tries} times," if tries > 1 else ""
            self._end(task.key, TrainingError(f"{task.name}: the training{times} {said}"))

    def _put_back(self, task: Task) -> None:
        """Do a task anew, if it was asked for."""
        if task.key in self._asked:
            self._queued = {task.key: task, **self._queued}

    def _end(self, key: str, result: Result | TrainingError) -> None:
        self._queued.pop(key, None)
        self._done[key] = result
        self._over.add(key)
        self._changed.notify_all()

    # ------------------------------------------------------------------- how cores are shared out

    def _make(self, environments: Sequence[Mapping[str, str]]) -> list[Slot]:
        # Who trains on a GPU needs cores to compile, which workers do in turn, and hardly else.
        share = 1 if all(GPU in each for each in environments) else len(environments)
        threads = max(1, self.cores // share)
        slots = [
            Slot(number=i, threads=threads, environment=each, logs=self.scratch)
            for i, each in enumerate(environments)
        ]
        self._made += slots
        return slots

    def _have(self, slots: list[Slot]) -> None:
        self._slots = list(slots)
        self._free = list(slots)

    def _share_out(self, show: Show) -> None:
        """Decide whether all cores train one trial, or each one of its own."""
        many, one = self._make(self.environments), self._make(self.environments[:1])
        self._have(many)
        queued = [task for task in self._queued.values() if isinstance(task, Training)]
        # Of a user's own trainer no steps are known that could be tried.
        if trainings := [task for task in queued if task.is_by_keras]:
            is_one = sharing.is_one_faster(
                many, one, trainings, store=self.store, timeout=self.timeout, show=show
            )
            self._have(one if is_one else many)
            for slot in many if is_one else one:
                slot.close()


def executor(
    store: Store,
    *,
    workers: int | None,
    sees_gpu: bool,
    sessions: int,
    index: int = 0,
    timeout: float | None,
    waiting: Waiting,
    may_be_fewer: bool = True,
) -> Here | Workers:
    """Return who trains on this machine.

    Args:
        store: Where trainings are kept.
        workers: How many at a time; 0 in this process; None for one a GPU, or on a CPU one with all
            cores or one a core, whichever is faster.
        sees_gpu: Whether there is a GPU to train on.
        sessions: Processes of this session, among which cores and GPUs are shared.
        index: Which of them this is, from 0.
        timeout: Seconds that a training may take.
        waiting: A context while a result is waited for.
        may_be_fewer: Whether, on a CPU and where None says so, one worker may be tried.
    """
    if workers == 0:
        return Here(waiting=waiting)
    devices = gpus() if sees_gpu else []
    if devices:
        devices = devices[index::sessions] or [devices[index % len(devices)]]
    free = max(1, cores() // sessions)
    count = workers or len(devices) or free
    return Workers(
        store=store,
        environments=[{GPU: devices[i % len(devices)]} if devices else {} for i in range(count)],
        cores=free,
        waiting=waiting,
        timeout=timeout,
        may_be_fewer=may_be_fewer and workers is None and not devices and count > 1,
    )
