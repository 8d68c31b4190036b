"""A task: what training is asked for, as plain data, and how it is done.

A task names all that it needs, so that any process with the same packages can do it. Each has a
key, which tells it from others, a name, which says what to call it, what it needs beside its data,
the most threads that it is to be done with, None for all that there are, the trials that no other
process may be at meanwhile, and says whether Keras is what does it.
"""

from __future__ import annotations

import hashlib
import pkgutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pytest_ablation.errors import AblationError
from pytest_ablation.execution.needs import Needs
from pytest_ablation.execution.result import Result, Tell
from pytest_ablation.execution.timed import Probing, Timing, gpu_of
from pytest_ablation.experiment import KERAS_TRAINER, Trial
from pytest_ablation.run import Run, Watcher
from pytest_ablation.store import Store

State = tuple[dict[str, Any], list[Any]]  # numbers by name, and arrays


@dataclass(frozen=True, kw_only=True)
class Training:
    """Train a trial, unless another process has done so.

    Attributes:
        trial: What to train.
        data: Gives its data, at the profile's size.
        name: What to call it.
        store: Where its run and its unfinished state are kept.
        session: Who asks for it.
        newer_than: Seconds since the epoch; an older run in the store does not count.
        needs: What it needs beside its data.
        function: The user's own trainer, where it is called in the process that knows it.
        keeps_weights: Whether the trained weights are kept, for lesions.
        fused: Whether whole epochs are trained on the device.
    """

    threads: ClassVar[int | None] = None

    trial: Trial
    data: Callable[[], Any]
    name: str
    store: Store
    session: str = ""
    newer_than: float = 0.0
    needs: Needs = field(default_factory=Needs)
    function: Callable[..., Any] | None = None
    keeps_weights: bool = False
    fused: bool = False

    @property
    def is_by_keras(self) -> bool:
        """Whether it is Keras that trains."""
        return self.trial.trainer == KERAS_TRAINER

    @property
    def key(self) -> str:
        """The trial's fingerprint."""
        return self.trial.fingerprint

    @property
    def locks(self) -> tuple[str, ...]:
        """The trials that no other process may be at meanwhile."""
        return (self.key,)

    def __call__(self, *, wait: bool, tell: Tell | None = None) -> Result | None:
        """Do it; None where another process is at it and this one is not to wait."""
        done = Together(trainings=(self,), name=self.name)(wait=wait, tell=tell)
        return done and done.value[self.key]

    def trained(self, tell: Tell | None, weights: Path | None) -> Run:
        """Train it now, the trained weights kept in a file; the caller holds its lock."""
        return Together(trainings=(self,), name=self.name).trained((self,), (weights,), tell)[0]


@dataclass(frozen=True, kw_only=True)
class Together:
    """Train an arm's seeds, those that are not in the store: at once, where that can be.

    Attributes:
        trainings: One a seed.
        name: What to call it.
    """

    threads: ClassVar[int | None] = None

    trainings: tuple[Training, ...]
    name: str

    @property
    def needs(self) -> Needs:
        """What it needs beside its data."""
        return self.trainings[0].needs

    @property
    def is_by_keras(self) -> bool:
        """Whether it is Keras that trains."""
        return self.trainings[0].is_by_keras

    @property
    def key(self) -> str:
        """Of all the trials' fingerprints; of one trial its own."""
        if len(self.locks) == 1:
            return self.locks[0]
        return hashlib.sha256("/".join(self.locks).encode()).hexdigest()

    @property
    def locks(self) -> tuple[str, ...]:
        """The trials that no other process may be at meanwhile."""
        return tuple(sorted(each.key for each in self.trainings))

    def __call__(self, *, wait: bool, tell: Tell | None = None) -> Result | None:
        """Do it; gives a result a fingerprint. None where another process is at one of them."""
        store = self.trainings[0].store
        with ExitStack() as held:
            if not all(held.enter_context(store.lock(key, wait=wait)) for key in self.locks):
                return None
            runs = {each.key: store.load(each.key, each.newer_than) for each in self.trainings}
            left = [each for each in self.trainings if runs[each.key] is None]
            weights = [store.weights(each.key) if each.keeps_weights else None for each in left]
            new = {run.fingerprint: run for run in self.trained(left, weights, tell)}
        results = {
            key: Result(value=new.get(key, run), trained=key in new) for key, run in runs.items()
        }
        return Result(value=results, trained=bool(new))

    def trained(
        self, left: Sequence[Training], weights: Sequence[Path | None], tell: Tell | None
    ) -> list[Run]:
        """Train some of them now, each kept as it ends; the caller holds their locks."""
        if not left:
            return []
        store = left[0].store
        self.needs.provide()
        told = tell or (lambda progress: store.tell(self.key, self.name, progress))
        watchers = [
            Watcher(told, store.checkpoint(each.key), file)
            for each, file in zip(left, weights, strict=True)
        ]
        runs = []
        try:
            for each, watcher, run in zip(left, watchers, _runs(left, watchers), strict=True):
                store.save(each.trial, run, each.name, each.session)
                if watcher.checkpoint is not None:
                    with suppress(OSError):  # not there, or in a store that cannot be written
                        watcher.checkpoint.unlink()
                runs.append(run)
        finally:
            store.tell(self.key, self.name, None)
        return runs


def _runs(trainings: Sequence[Training], watchers: Sequence[Watcher]) -> Iterator[Run]:
    """Yield the runs of an arm's trainings as they come."""
    first, data = trainings[0], trainings[0].data()
    trials = [each.trial for each in trainings]
    if first.fused:
        from pytest_ablation.training import fused
        from pytest_ablation.training.device import sees_gpu

        store, name = first.store, fused.name_of(trials)
        fused.keep_compilations(store.folder / "compiled")
        yield from fused.train(
            trials,
            data,
            watchers,
            way=store.recall("seeds", name),
            decided=partial(store.remember, "seeds", name),
            gpu=gpu_of(store) if sees_gpu() else nullcontext,
        )
        return
    train = first.function or pkgutil.resolve_name(first.trial.trainer)
    if not first.is_by_keras:
        from pytest_ablation.training import own

        train = partial(own.train, train)
    for trial, watcher in zip(trials, watchers, strict=True):
        yield train(trial, data, watcher)


@dataclass(frozen=True, kw_only=True)
class Lesioning:
    """Evaluate lesions of one trained network, which is trained anew where nobody kept it.

    Attributes:
        source: The training of the network.
        trials: A trial a lesion.
        names: What to call them.
        name: What to call all of it.
    """

    threads: ClassVar[int | None] = None
    is_by_keras: ClassVar[bool] = True

    source: Training
    trials: tuple[Trial, ...]
    names: tuple[str, ...]
    name: str

    @property
    def needs(self) -> Needs:
        """What it needs beside its data."""
        return self.source.needs

    @property
    def locks(self) -> tuple[str, ...]:
        """The trial that no other process may be at meanwhile."""
        return (self.source.key,)

    @property
    def key(self) -> str:
        """The fingerprints of the network's trial and of the first lesion's."""
        return f"{self.source.key}/{self.trials[0].fingerprint}"

    def __call__(self, *, wait: bool, tell: Tell | None = None) -> Result | None:
        """Do it; gives the runs by fingerprint. None where another process is at the network."""
        from pytest_ablation.training import checkpoint, lesion

        source, store = self.source, self.source.store
        with (
            store.lock(source.key, wait=wait) as held,
            tempfile.TemporaryDirectory() as elsewhere,
        ):
            if not held:
                return None
            weights = store.weights(source.key)
            run = store.load(source.key, source.newer_than)
            kept = checkpoint.load(weights, source.key) if weights else None
            if run is None or kept is None:
                run, kept = self._anew(tell, weights, Path(elsewhere) / "weights")
            trained = lesion.Trained(source.trial, run, kept[1])
        self.needs.provide()
        runs = lesion.evaluate(trained, self.trials, source.data())
        for trial, run, name in zip(self.trials, runs, self.names, strict=True):
            store.save(trial, run, name, source.session)
        return Result(value={run.fingerprint: run for run in runs}, trained=True)

    def _anew(self, tell: Tell | None, weights: Path | None, elsewhere: Path) -> tuple[Run, State]:
        """Train the network, and return its run and its weights, kept in the store if they can be.

        Elsewhere first: that the store has no room for them is known when all is trained.
        """
        from pytest_ablation.training import checkpoint

        source = self.source
        for file in [elsewhere, *([weights] if weights else [])]:
            run = source.trained(tell, file)
            kept = checkpoint.load(file, source.key)
            if kept is not None:
                if weights is not None:
                    with suppress(OSError):
                        checkpoint.save(weights, source.key, *kept)
                return run, kept
        raise AblationError(f"{source.name}: its trained weights cannot be kept.")


Task = Training | Together | Timing | Probing | Lesioning
