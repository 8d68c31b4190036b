"""What is done on a cluster's node: a task in a folder of its own, from which its files return."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import ray

from pytest_ablation.errors import AblationError, DataError
from pytest_ablation.execution import by_value, worker
from pytest_ablation.execution.result import Result
from pytest_ablation.execution.task import Lesioning, Task, Together, Training
from pytest_ablation.execution.timed import Probing, Timing
from pytest_ablation.experiment import CORRECTED, Trial
from pytest_ablation.run import Progress
from pytest_ablation.store import Store
from pytest_ablation.training.device import NODE

_Own = TypeVar("_Own", Training, Timing, Probing)

SECONDS_BETWEEN_NEWS = 1.0
KEPT_BY_NODE = ("compiled", "seeds")  # what one training finds out for those after it
RETURNED = ("weights", "runs")  # the arrays first: who finds a run finds all of it


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A task on its way to a node.

    Attributes:
        task: The task; its data comes from the object store.
        own: A reference to the user's own classes and functions, by value; None of none.
        files: Of the store, what the task builds on: contents by path.
        store: The store of the session, by which a node tells whether it sees that, too.
        session: Tells the session from others, and names a file in the store.
        board: The actor that is told how it goes.
    """

    task: Task
    own: Any
    files: Mapping[str, bytes]
    store: Path
    session: str
    board: Any


@dataclass(frozen=True, kw_only=True)
class Returned:
    """What comes back from a node.

    Attributes:
        result: What the task gave; None where another attempt at it is under way.
        files: Of the store, what it made: contents by path, in the order to write them.
        node: The node's name and address.
        seconds: How long it took there.
    """

    result: Result | None
    files: Mapping[str, bytes]
    node: str
    seconds: float


@dataclass(frozen=True)
class News:
    """Where a task is.

    Attributes:
        node: The node's name and address.
        progress: How far it is; None at its beginning.
    """

    node: str
    progress: Progress | None = None


class Board:
    """An actor to which tasks tell how they go, and which tells the session."""

    def __init__(self) -> None:
        self._news: dict[str, News] = {}

    def tell(self, key: str, news: News) -> None:
        """Take in where a task is."""
        self._news[key] = news

    def news(self) -> dict[str, News]:
        """Return what was told since this was asked last, by the task's key."""
        news, self._news = self._news, {}
        return news


def do(sent: Sent) -> Returned:
    """Do a task; what it raises has the node's name as its last note."""
    node = os.environ[NODE] = name()
    try:
        return _done(sent, node)
    except Exception as error:
        error.add_note(node)
        raise


def _done(sent: Sent, node: str) -> Returned:
    started, key = time.perf_counter(), sent.task.key
    sent.board.tell.remote(key, News(node))
    for trial in trials(sent.task):
        _check_versions(trial, node)
    if sent.own is not None:
        by_value.provide(ray.get(sent.own))
    last = -SECONDS_BETWEEN_NEWS

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_NEWS:
            last = time.monotonic()
            sent.board.tell.remote(key, News(node, progress))

    with _folder(sent) as folder:
        store = Store(folder)
        for path, content in sent.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        # What the session has is too old for it, or it would not have sent the task.
        task = with_trainings(sent.task, lambda each: replace(each, store=store, newer_than=0.0))
        if isinstance(task, Timing | Probing):
            task = replace(task, store=store)
        result = worker.done(task, tell)
        paths = [path for kind in RETURNED for path in sorted((folder / kind).glob("*.npz"))]
        paths += sorted((folder / "runs").glob("*.json"))
        files = {str(path.relative_to(folder)): path for path in paths}
        made = {path: file.read_bytes() for path, file in files.items() if path not in sent.files}
    return Returned(result=result, files=made, node=node, seconds=time.perf_counter() - started)


def name() -> str:
    """Return this node's name and address."""
    return f"{platform.node()} ({ray.util.get_node_ip_address()})"


def forget(session: str) -> None:
    """Remove what a session has left on this node."""
    shutil.rmtree(_base(session), ignore_errors=True)


def token(store: Path, session: str) -> Path:
    """Return the file by which a node knows that it sees a session's store."""
    return store / "cluster" / session


def found(reference: Any, opened: Callable[[], Any], token: Path) -> Any:
    """Return data: mapped from its file where this node sees the store, else fetched.

    Args:
        reference: Of the data in the object store; it travels to a node that asks for it.
        opened: Gives the data from its file.
        token: The file that says so.
    """
    if token.exists():
        with suppress(OSError, DataError):
            return opened()
    return _fetched(reference)


@cache  # a process fetches it once
def _fetched(reference: Any) -> Any:
    return ray.get(reference)


def trials(task: Task) -> list[Trial]:
    """Return the trials that a task is about."""
    if isinstance(task, Together):
        return [each.trial for each in task.trainings]
    if isinstance(task, Timing):
        return [task.variant[0], task.baseline[0]]
    return [task.source.trial if isinstance(task, Lesioning) else task.trial]


def with_trainings(task: Task, changed: Callable[[Training], Training]) -> Task:
    """Return a task whose trainings are changed; one without trainings as it is."""
    if isinstance(task, Training):
        return changed(task)
    if isinstance(task, Together):
        return replace(task, trainings=tuple(map(changed, task.trainings)))
    return replace(task, source=changed(task.source)) if isinstance(task, Lesioning) else task


def with_data(task: Task, carried: Callable[[Any], Any]) -> Task:
    """Return a task whose data, and the weights that it starts from, come from elsewhere."""
    if isinstance(task, Timing):
        (variant, one), (baseline, other) = task.variant, task.baseline
        task = replace(task, variant=(variant, carried(one)), baseline=(baseline, carried(other)))
        return _carrying(task, carried)
    if isinstance(task, Probing):
        return _carrying(replace(task, data=carried(task.data)), carried)
    return with_trainings(
        task, lambda each: _carrying(replace(each, data=carried(each.data)), carried)
    )


def _carrying(task: _Own, carried: Callable[[Any], Any]) -> _Own:
    initial = {name: carried(source) for name, source in task.needs.initial.items()}
    return replace(task, needs=replace(task.needs, initial=initial, modules={}))


def _check_versions(trial: Trial, node: str) -> None:
    """Refuse to train what would be kept under a name that says other versions."""
    for package, needed in trial.versions.items():
        if package in ("backend", CORRECTED):
            continue
        try:
            there = version(package)
        except PackageNotFoundError:
            there = ""
        if there != needed:
            raise AblationError(
                f"the node {node} has {package} {there or 'not'}{'' if there else ' installed'}, "
                f"and this study is of {package} {needed}: install the same packages on all nodes."
            )


@contextmanager
def _folder(sent: Sent) -> Iterator[Path]:
    """Give the task's folder: found again where the task was killed here, gone when it ends.

    Unfinished trainings are kept in the session's store where this node sees that, so that any
    other such node goes on with them.
    """
    base = _base(sent.session)
    folder = base / hashlib.sha256(sent.task.key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    places = {kind: base / kind for kind in KEPT_BY_NODE}
    if token(sent.store, sent.session).exists():
        places["checkpoints"] = sent.store / "checkpoints"
    for kind, place in places.items():
        with suppress(OSError):
            place.mkdir(exist_ok=True)
            (folder / kind).symlink_to(place, target_is_directory=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _base(session: str) -> Path:
    return Path(tempfile.gettempdir()) / f"pytest-ablation-{session}"
