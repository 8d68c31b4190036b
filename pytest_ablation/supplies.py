"""What trainings need in the process that trains: data, weights to start from, modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_ablation.dataset import Dataset
from pytest_ablation.execution.executor import Executor
from pytest_ablation.execution.needs import Needs
from pytest_ablation.experiment import Experiment
from pytest_ablation.profile import Profile
from pytest_ablation.resources import most
from pytest_ablation.store import Store

if TYPE_CHECKING:
    from pytest_ablation.arm import Arm
    from pytest_ablation.network.given import Given


@dataclass(eq=False)
class Supplies:
    """What a session's trainings need, each made ready once.

    Other processes read data and weights from files: in the store, or where that cannot be written
    in a folder of the executor's own.

    Attributes:
        store: Where the files are kept.
        profile: How large the data is.
        executor: Who trains.
    """

    store: Store
    profile: Profile
    executor: Executor
    _reduced: dict[str, Dataset] = field(default_factory=dict, init=False)
    _data: dict[str, Callable[[], Any]] = field(default_factory=dict, init=False)
    _initial: dict[str, Callable[[], Given]] = field(default_factory=dict, init=False)

    def reduced(self, data: Dataset) -> Dataset:
        """Return data at the profile's size."""
        from pytest_ablation.data import sample

        if data.fingerprint not in self._reduced:
            share, most = self.profile.share, self.profile.most_tested
            self._reduced[data.fingerprint] = sample.reduced(data, share, most)
        return self._reduced[data.fingerprint]

    def data(self, experiment: Experiment) -> Callable[[], Any]:
        """Return what gives an experiment's data at the profile's size."""
        scratch, data = self.executor.scratch, experiment.dataset
        if data is None:
            return partial(_as_it_is, experiment.data)
        if scratch is None:
            return partial(self.reduced, data)
        key = data.fingerprint
        if key not in self._data:
            from pytest_ablation.data import maps, sample

            try:
                entry = maps.shared(self.store.folder / "data", data)
            except OSError:
                entry = maps.shared(scratch, data)
            share, most = self.profile.share, self.profile.most_tested
            self._data[key] = partial(sample.opened, entry, share, most)
        return self._data[key]

    def needs(self, *arms: Arm) -> Needs:
        """Return what arms' trainings need beside their data."""
        by_name = {arm.trial(0).initial_weights: arm for arm in arms}
        return Needs(
            modules=self._modules(arms),
            initial={name: self._initially(name, by_name[name].given) for name in by_name if name},
            resources=most(arm.resources for arm in arms),
        )

    def _initially(self, name: str, given: Given) -> Callable[[], Given]:
        scratch = self.executor.scratch
        if scratch is None:
            return partial(_as_it_is, given)
        if name not in self._initial:
            from pytest_ablation.training import initial

            try:
                path = initial.kept(self.store.folder / "initial", given)
            except OSError:
                path = initial.kept(scratch, given)
            self._initial[name] = partial(initial.opened, path)
        return self._initial[name]

    def _modules(self, arms: Iterable[Arm]) -> dict[str, str]:
        if self.executor.scratch is None:
            return {}
        named = {name.partition(":")[0] for arm in arms for name in arm.trial(0).sources}
        modules = {name: sys.modules.get(name) for name in sorted(named)}
        files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
        known = {name: file for name, file in files.items() if file is not None}
        return known | {name: f for arm in arms if arm.made for name, f in arm.made.files.items()}


def _as_it_is(data: Any) -> Any:
    return data
