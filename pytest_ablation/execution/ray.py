"""Tasks done on a Ray cluster, each a plain remote task.

Ray says on which node a task is done, and does it anew when a worker or a node dies. What is sent
next, and what of it is at hand already, `local.Workers` says, as it does for this machine's own
processes: to it the cluster is so many places.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pytest_ablation import arrays
from pytest_ablation.dataset import PARTS, Dataset
from pytest_ablation.errors import AblationError, with_last_lines
from pytest_ablation.execution import by_value, node
from pytest_ablation.execution.board import Usage
from pytest_ablation.execution.local import Workers
from pytest_ablation.execution.machine import thread_variables
from pytest_ablation.execution.result import Result
from pytest_ablation.execution.slot import failed, took_too_long
from pytest_ablation.execution.task import Lesioning, Task
from pytest_ablation.resources import Resources, check, parsed
from pytest_ablation.store import Store

LOG = logging.getLogger("pytest_ablation")
RETRIES = 10  # of a node that is preempted now and then, a long training sees several
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_COUNTS = 10.0  # of the nodes
SECONDS_TO_TIDY = 5.0
KEEPERS = 16  # threads that write: each waits until the disk has what it wrote
# Variables that decide how a training goes, which the nodes have of the session.
CARRIED = ("TF_", "XLA_", "JAX_", "KERAS_")
LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
)


@dataclass(eq=False)
class _UnderWay:
    """A task that is on the cluster."""

    task: Task
    future: Future[Result | None]
    locks: ExitStack
    limit: float | None
    reference: Any = None
    began: float | None = None
    where: str = ""
    ended: BaseException | None = None
    told_by: BaseException | None = None


@dataclass(eq=False)
class Cluster:
    """Places on a Ray cluster: whoever is given it starts tasks there, one a place at a time.

    Attributes:
        store: The session's; the nodes need not see it.
        asked: What each training is given, whatever its recipe says; None where that says it.
        default: What those are given of which nothing is said.
        is_ours: Whether it was started for the session, to be ended with it.
    """

    store: Store
    asked: Resources | None
    default: Resources
    is_ours: bool
    session: str = field(default_factory=lambda: uuid.uuid4().hex[:16], init=False)
    workers: Workers | None = field(default=None, init=False)
    _grows: bool = field(default=False, init=False)
    _places: int = field(default=0, init=False)
    _given: dict[str, Resources] = field(default_factory=dict, init=False)
    _do: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False)
    _board: Any = field(init=False)
    _asked: Any = field(default=None, init=False)
    _data: dict[Any, Any] = field(default_factory=dict, init=False)
    _own: dict[tuple[str, ...], Any] = field(default_factory=dict, init=False)
    _under_way: dict[str, _UnderWay] = field(default_factory=dict, init=False)
    _failed: dict[str, _UnderWay] = field(default_factory=dict, init=False)
    _arrived: queue.SimpleQueue[tuple[str, Future[Any]] | None] = field(
        default_factory=queue.SimpleQueue, init=False
    )
    _keepers: ThreadPoolExecutor = field(
        default_factory=partial(ThreadPoolExecutor, max_workers=KEEPERS), init=False
    )
    _counting: threading.Lock = field(default_factory=threading.Lock, init=False)
    _seconds: float = field(default=0.0, init=False)
    _tasks: Counter[str] = field(default_factory=Counter, init=False)
    _first_sent: float = field(default=math.inf, init=False)
    _last_done: float = field(default=0.0, init=False)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        with suppress(OSError):
            self._token.parent.mkdir(parents=True, exist_ok=True)
            self._token.touch()
        # Where the session is connected: of a node that comes and goes it would die each time.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        board = ray.remote(node.Board).options(
            num_cpus=0, max_restarts=-1, max_task_retries=0, scheduling_strategy=here
        )
        self._board = board.remote()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def serve(self, workers: Workers, limit: int | None) -> None:
        """Give workers their places: as many as fit, and some for Ray to know of what is to come.

        Args:
            workers: Who starts tasks.
            limit: How many at a time; None for as many as fit, more where the cluster grows.
        """
        self.workers, self._grows = workers, limit is None
        self._places = limit or self._fitting()
        workers.add([self] * self._with_those_ahead(), at_a_time=self._places)

    # ------------------------------------------------------------------------------ as a place

    def start(self, task: Task, timeout: float | None) -> Future[Result | None] | None:
        """Send a task, whose trials are locked until it is done; None where they are already."""
        locks = ExitStack()
        held = (self.store.lock(key, wait=False) for key in task.locks)
        if not all(map(locks.enter_context, held)):
            locks.close()
            return None
        one = self._under_way[task.key] = _UnderWay(task, Future(), locks, timeout)
        try:
            do = self._doing(task)
            one.reference = do.options(name=task.name).remote(self._sent(task))
        except Exception as error:
            # In another thread: in this one, who is told would start the next task from here.
            self._keepers.submit(self._end, task.key, error)
            return one.future
        self._first_sent = min(self._first_sent, time.monotonic())
        one.reference.future().add_done_callback(partial(self._arrives, task.key))
        return one.future

    def said(self, task: Task, error: BaseException) -> str:
        """Return what went wrong with a task."""
        one = self._failed.pop(task.key, None)
        where = f" on {one.where}" if one and one.where else ""
        if isinstance(error, AblationError):
            return f"failed: {error}"
        if took_too_long(error):
            return f"took longer than --ablation-timeout{where} and was ended."
        if isinstance(error, ray.exceptions.OutOfMemoryError):
            cause = _joined(error).partition(" Object store memory usage")[0]  # 3 kB more follow
            return (
                f"was killed{where} time and again, since memory ran out: {cause}. "
                "--ablation-resources=memory=BYTES reserves what a training takes."
            )
        if isinstance(error, LOST):
            return f"was lost{where}, and Ray has tried it {RETRIES + 1} times: {_joined(error)}"
        written = str(one.told_by if one and one.told_by else error)
        return with_last_lines(f"{failed(error)}{where}", written)

    def renew(self) -> None:
        """Do nothing: Ray replaces its workers."""

    def uses_gpus(self, resources: str) -> bool:
        """Tell whether it gives GPUs to a training whose recipe says what it is given."""
        return self._resources(resources).amounts.get("GPU", 0) > 0

    # -------------------------------------------------------------------------- what is sent

    def _resources(self, said: str) -> Resources:
        return self.asked or (parsed(said) if said else self.default)

    def _doing(self, task: Task) -> Any:
        """Return what does tasks of this kind: to Ray each environment is a function of its own.

        Raises:
            AblationError: No node has what the task is given.
        """
        backend = node.trials(task)[0].versions.get("backend", "")
        kind = task.needs.resources, task.threads, backend
        if kind not in self._do:
            given = self._resources(task.needs.resources)
            check(given, nodes(), f'Recipe(resources="{task.needs.resources}")')
            self._given[task.needs.resources] = given
            threads = min(given.threads, task.threads or given.threads)
            self._do[kind] = ray.remote(
                **given.options,
                max_retries=RETRIES,
                max_calls=0,  # else Ray ends a process that has a GPU after one training
                runtime_env={"env_vars": _variables(threads, backend)},
            )(node.do)
        return self._do[kind]

    def _sent(self, task: Task) -> Any:
        names = tuple(sorted({n for each in node.trials(task) for n in by_value.own_names(each)}))
        if names and names not in self._own:
            self._own[names] = ray.put(by_value.packed(names))
        return node.Sent(
            task=node.with_data(task, self._carried),
            own=self._own.get(names),
            files=self._needed(task),
            store=self.store.folder.resolve(),
            session=self.session,
            board=self._board,
        )

    def _carried(self, data: Any) -> Any:
        """Return what gives on a node what is read from a file here.

        A task's data, or what its network starts from: it is put once into the object store.
        """
        if not isinstance(data, partial) or not isinstance(data.args[0], Path):
            return data
        if data.args not in self._data:
            whole = data()
            if isinstance(whole, Dataset):
                plain = {name: arrays.mapped(_in_memory, getattr(whole, name)) for name in PARTS}
                whole = replace(whole, **plain)
            self._data[data.args] = ray.put(whole)
        return partial(node.found, self._data[data.args], data, self._token)

    def _needed(self, task: Task) -> dict[str, bytes]:
        """Return what of the store lesions build on: the run and the weights of their network."""
        if not isinstance(task, Lesioning):
            return {}
        entry = self.store.find("runs", task.source.key, task.source.newer_than)
        files = entry.files if entry else ()
        return {str(path.relative_to(self.store.folder)): path.read_bytes() for path in files}

    # ------------------------------------------------------------------------- what comes back

    def _arrives(self, key: str, future: Future[Any]) -> None:
        self._arrived.put((key, future))  # Ray's own thread is not to be kept waiting

    def _watch(self) -> None:
        looked = counted = time.monotonic()
        kinds = 0
        while True:
            with suppress(queue.Empty):
                arrived = self._arrived.get(timeout=SECONDS_BETWEEN_LOOKS)
                if arrived is None:
                    return
                self._keepers.submit(self._take_in, *arrived)
            now = time.monotonic()
            try:
                if now - looked >= SECONDS_BETWEEN_LOOKS:
                    looked = now
                    self._look(now)
                if now - counted >= SECONDS_BETWEEN_COUNTS or kinds < len(self._given):
                    counted, kinds = now, len(self._given)
                    self._count()
            except Exception as error:  # of a cluster that is lost the tasks tell
                LOG.info("the cluster does not tell how it goes: %s", error)

    def _take_in(self, key: str, future: Future[Any]) -> None:
        """Keep what a task made, and say to who started it that it is done."""
        one = self._under_way.get(key)
        if one is None:
            return
        error = one.ended or future.exception()
        if error is None:
            returned: node.Returned = future.result()
            try:
                self.store.accept(returned.files)
            except Exception as wrong:  # else who waits for it would wait for good
                self._end(key, wrong)
                return
            with self._counting:
                self._tasks[returned.node] += 1
                self._seconds += returned.seconds
                self._last_done = time.monotonic()
            self._end(key, returned.result)
            return
        one.told_by = error
        if isinstance(error, ray.exceptions.RayTaskError):
            error = error.cause
            error.__cause__ = one.told_by
            one.where = getattr(error, "__notes__", [one.where])[-1]
        self._end(key, error)

    def _end(self, key: str, done: Result | BaseException | None) -> None:
        one = self._under_way.pop(key)
        self.store.tell(key, one.task.name, None)
        one.locks.close()
        if isinstance(done, BaseException):
            self._failed[key] = one
            one.future.set_exception(done)
        else:
            one.future.set_result(done)

    def _look(self, now: float) -> None:
        """Pass on how the tasks go, and end those that take too long."""
        if self._asked is None:
            self._asked = self._board.news.remote()
        elif ray.wait([self._asked], timeout=0)[0]:
            asked, self._asked = self._asked, None
            with suppress(ray.exceptions.RayActorError):  # it died, and is started anew
                self._pass_on(ray.get(asked), now)
        for one in list(self._under_way.values()):
            if one.limit and one.began and now - one.began > one.limit and not one.ended:
                one.ended = FutureTimeoutError()
                ray.cancel(one.reference, force=True)

    def _pass_on(self, told: Mapping[str, node.News], now: float) -> None:
        for key, news in told.items():
            one = self._under_way.get(key)
            if one is None:
                continue
            if news.progress is None:  # begun, or begun anew
                one.began, one.where = now, news.node
            else:
                self.store.tell(key, f"{one.task.name}, on {news.node}", news.progress)

    # --------------------------------------------------------------------------- the cluster

    def _fitting(self) -> int:
        # Of trainings that are given less than others, more fit; Ray has the others wait.
        there = nodes()
        kinds = list(self._given.values()) or [self.default]
        return max(sum(map(given.at_a_time, there)) for given in kinds)

    def _with_those_ahead(self) -> int:
        # What waits on the cluster is what one that grows on demand grows by.
        return self._places + (1 + self._places // 4 if self._grows else 0)

    def _count(self) -> None:
        fitting = self._fitting() if self._grows and self.workers else 0
        if fitting > self._places and self.workers:
            before, self._places = self._with_those_ahead(), fitting
            more = self._with_those_ahead() - before
            self.workers.add([self] * more, at_a_time=fitting)

    @property
    def _token(self) -> Path:
        return node.token(self.store.folder.resolve(), self.session)

    @property
    def usage(self) -> Usage | None:
        """How it was used so far; None where nothing was done."""
        with self._counting:
            if not self._tasks:
                return None
            possible = (self._last_done - self._first_sent) * max(1, self._places)
            return Usage(
                session=self.session,
                tasks=dict(sorted(self._tasks.items())),
                places=self._places,
                busy=self._seconds / possible,
            )

    def close(self) -> None:
        """End what is under way, and the cluster if it is ours."""
        self._arrived.put(None)
        self._thread.join(SECONDS_TO_TIDY)
        self._keepers.shutdown()
        for one in list(self._under_way.values()):
            with suppress(Exception):
                ray.cancel(one.reference, force=True)
            one.locks.close()
            self.store.tell(one.task.key, one.task.name, None)
        with suppress(OSError):
            self._token.unlink()
            self._token.parent.rmdir()
        with suppress(Exception):
            self._tidy()
        if self.is_ours:
            ray.shutdown()

    def _tidy(self) -> None:
        """Remove what is left on the nodes."""
        ray.kill(self._board)
        forget = ray.remote(node.forget)
        left = [
            forget.options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(each["NodeID"], soft=False),
            ).remote(self.session)
            for each in ray.nodes()
            if each["Alive"] and self._first_sent < math.inf
        ]
        if left:
            ray.wait(left, num_returns=len(left), timeout=SECONDS_TO_TIDY)


def _variables(threads: int, backend: str) -> dict[str, str]:
    """Return the environment of a task: what of this process's decides how a training goes."""
    variables = {k: v for k, v in os.environ.items() if k.startswith(CARRIED)}
    if backend:
        variables["KERAS_BACKEND"] = backend
    return {**variables, **thread_variables(threads)}


def nodes() -> list[dict[str, float]]:
    """Return what each node has that is there now."""
    return [each["Resources"] for each in ray.nodes() if each["Alive"]]


def _joined(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split())


def _in_memory(array: Any) -> Any:
    """Return an array that is no map of a file, which Ray's object store shares as it is."""
    import numpy as np

    return np.asarray(array)
