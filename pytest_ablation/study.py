"""Which trials a session needs, and their runs as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_ablation import arrays, trainer
from pytest_ablation.ablation import Ablation
from pytest_ablation.arm import Arm
from pytest_ablation.duets import Duets
from pytest_ablation.entry import DamagedEntryError, Kept, NewerEntryError
from pytest_ablation.errors import AblationError
from pytest_ablation.execution.executor import Executor
from pytest_ablation.execution.task import Lesioning, Together, Training
from pytest_ablation.execution.timed import Probing
from pytest_ablation.experiment import Experiment
from pytest_ablation.profile import Profile
from pytest_ablation.recipe import Recipe
from pytest_ablation.run import Run
from pytest_ablation.store import Store
from pytest_ablation.supplies import Supplies
from pytest_ablation.trainer import Made

if TYPE_CHECKING:
    from pytest_ablation.reference import Reference

LOOKED_AHEAD = 2  # seeds of an arm that are trained on a guess where nothing else is to be done


@dataclass(eq=False)
class Study:
    """The trainings of one session.

    Attributes:
        store: Where runs are kept.
        profile: How large to train.
        asked_seeds: Least and most seeds an arm, as the user has them.
        alpha: Error rate of a verdict.
        comparisons: Comparisons that the session's tests make, as far as their code shows.
        refresh: Whether runs from before this session are left aside.
        executor: Who trains.
        reference: What an earlier session saved, to compare with; None where none is named.
        trained: Fingerprints of the trials trained in this session.
        duets: Their steps, timed side by side.
        supplies: What they need in the process that trains.
    """

    store: Store
    profile: Profile
    asked_seeds: tuple[int, int]
    refresh: bool
    executor: Executor
    alpha: float = 0.05
    comparisons: int = 1
    reference: Reference | None = None
    trained: list[str] = field(default_factory=list)
    duets: Duets = field(init=False)
    supplies: Supplies = field(init=False)
    _runs: dict[str, Run] = field(default_factory=dict)
    _baselines: dict[int, tuple[Experiment, Arm]] = field(default_factory=dict)
    _variants: dict[tuple[int, int], tuple[Experiment, Ablation, Arm]] = field(default_factory=dict)
    _ablations: dict[tuple[int, str], Ablation] = field(default_factory=dict)
    _waiting: dict[tuple[int, int], dict[str, Arm]] = field(default_factory=dict)
    _lesionings: dict[str, Lesioning] = field(default_factory=dict)
    _together: dict[str, Together] = field(default_factory=dict)
    _queued: set[str] = field(default_factory=set)
    _to_come: dict[int, Arm] = field(default_factory=dict)
    _recipes: dict[tuple[int, int], tuple[Recipe, tuple[Recipe, str, Mapping[str, str]]]] = field(
        default_factory=dict
    )
    _made: dict[str | Callable[..., Any], Made] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.duets = Duets(self)
        self.supplies = Supplies(self.store, self.profile, self.executor)

    @property
    def seeds(self) -> tuple[int, int]:
        """Least and most seeds an arm, at the profile's length."""
        least, most = self.asked_seeds
        limit = self.profile.most_seeds or most
        return min(least, limit), min(most, limit)

    def baseline(self, experiment: Experiment) -> Arm:
        """Return the arm of the unedited experiment."""
        if id(experiment) not in self._baselines:
            arm = Arm(self, experiment, "baseline", keeps_weights=True)
            self._baselines[id(experiment)] = experiment, arm
        return self._baselines[id(experiment)][1]

    def variant(self, experiment: Experiment, ablation: Ablation) -> Arm:
        """Return the arm of the experiment under an ablation.

        Raises:
            AblationError: The ablation cannot be applied, leaves the experiment as it was, or makes
                of it what another does.
        """
        arm = self.part(experiment, ablation)
        first = self._ablations.setdefault((id(experiment), arm.trial(0).fingerprint), ablation)
        if repr(first) != repr(ablation):
            raise AblationError(
                f"{ablation!r}: the variant is that of {first!r}. If both mean it, write them "
                "alike; else one of the two is not what it says."
            )
        return arm

    def part(self, experiment: Experiment, ablation: Ablation) -> Arm:
        """Return the arm of an ablation that is one of a sum, and no finding of its own.

        Raises:
            AblationError: The ablation cannot be applied, or leaves the experiment as it was.
        """
        key = id(experiment), id(ablation)
        if key not in self._variants:
            baseline = self.baseline(experiment)
            if ablation.lesion is not None:
                arm = self._lesioned(experiment, ablation)
            else:
                edited = ablation(experiment)
                said = ablation.describe(baseline.model) if baseline.has_network else str(ablation)
                arm = Arm(self, edited, said)
            if arm.trial(0).fingerprint == baseline.trial(0).fingerprint:
                raise AblationError(
                    f"{ablation!r}: the variant is the baseline; nothing would change."
                )
            if arm.experiment.model is not experiment.model:
                arm.forget_network()
            self._variants[key] = experiment, ablation, arm
        return self._variants[key][2]

    def _lesioned(self, experiment: Experiment, ablation: Ablation) -> Arm:
        """Return the arm of a lesion of the trained baseline, or of a trained variant."""
        from pytest_ablation import edited

        step, rest = ablation.lesion, ablation.trained
        assert step is not None
        source = self.variant(experiment, rest) if rest.steps else self.baseline(experiment)
        if source.made is not None:
            raise AblationError(
                f"{step!r}: only a network that Keras trains can be looked into; this one is "
                f"trained by {source.experiment.trainer}."
            )
        source.keeps_weights = True
        lesion = edited.lesion(source.model, step)
        count = f" ({len(lesion.layers)} layers)" if len(lesion.layers) > 1 else ""
        said = f"{source.description}, " if rest.steps else ""
        return Arm(self, source.experiment, f"{said}{step}{count}", source=source, lesion=lesion)

    def run(self, arm: Arm, seed: int) -> Run:
        """Return a trial's run: of this session, else from the store, else trained now.

        Raises:
            TrainingError: It could not be trained.
        """
        key = arm.trial(seed).fingerprint
        if arm.source is not None and not self.is_kept(key):
            result = self.executor.result(self._lesioning(arm, seed))
            self._runs |= result.value
        if not self.is_kept(key):
            task = self._together.get(key) or self._training(arm, seed)
            result = self.executor.result(task)
            results = result.value if isinstance(task, Together) else {key: result}
            for each, found in results.items():
                self._queued.discard(each)
                self._together.pop(each, None)
                if found.trained or not self.is_kept(each):
                    self._runs[each] = found.value
                    self.trained += [each] if found.trained else []
        return self._runs[key]

    def queue(self, *arms: Arm, seeds: int, following: Sequence[Arm] = ()) -> None:
        """Have the runs of arms trained, with the seeds from 0, while others are waited for.

        Args:
            arms: What is to be trained.
            seeds: How many seeds of each.
            following: Arms of which more seeds will be asked for unless the verdict is in, as it
                seldom is: the likeliest first, of those with equally many seeds.
        """
        for seed in range(seeds):
            for arm in arms:
                key = arm.trial(seed).fingerprint
                if arm.source is not None:
                    self._waiting.setdefault((id(arm.source), seed), {})[key] = arm
                    arm = arm.source
                    key = arm.trial(seed).fingerprint
                if key not in self._queued and not self.is_kept(key):
                    if arm.is_at_once:
                        self._queue_together(arm, range(seed, seeds))
                    else:
                        self._queued.add(key)
                        self.executor.queue(self._training(arm, seed))
        for arm in following:
            self._to_come.pop(id(arm), None)
        if self._queued:  # else nothing is waited for
            duets = islice(self.duets.foreseen, self.executor.workers)
            expected = [each for arm in following for each in self._next(arm)[:LOOKED_AHEAD]]
            expected += islice(self._first_more(), self.executor.workers)
            expected.sort(key=lambda training: training.trial.seed)
            likely = [each for each in expected if each.trial.seed <= self.seeds[0]]
            self.executor.expect([*likely, *duets, *expected[len(likely) :]])

    def _next(self, arm: Arm) -> list[Training]:
        """Return the trainings that an arm will need if its seeds do not tell."""
        arm = arm.source or arm
        return self._missing(arm, range(0 if arm.is_at_once else self.seeds[1]))

    def _first_more(self) -> Iterator[Training]:
        """Yield the training after the least seeds, which seldom tell, of each arm to come."""
        for arm in self._to_come.values():
            yield from (each for each in self._next(arm) if each.trial.seed == self.seeds[0])

    def _queue_together(self, arm: Arm, seeds: range) -> None:
        """Have those of an arm's seeds trained at once that nobody has trained or queued."""
        trainings = self._missing(arm, seeds)
        first, last = (trainings[place].trial.seed for place in (0, -1))
        said = f"seeds {first} to {last}" if first < last else f"seed {first}"
        task = Together(trainings=tuple(trainings), name=f"{arm.description}, {said}")
        self._queued |= {each.key for each in trainings}
        self._together |= dict.fromkeys((each.key for each in trainings), task)
        self.executor.queue(task)

    def _missing(self, arm: Arm, seeds: range) -> list[Training]:
        """Return the trainings of those of an arm's seeds that nobody has trained or queued."""
        keys = {seed: arm.trial(seed).fingerprint for seed in seeds}
        left = [seed for seed, key in keys.items() if key not in self._queued]
        return [self._training(arm, seed) for seed in left if not self.is_kept(keys[seed])]

    @property
    def name(self) -> str:
        """Tells the session from others; all its processes under pytest-xdist have one name."""
        own = f"{os.getpid()} at {self._started}"
        return os.environ.get("PYTEST_XDIST_TESTRUNUID", own)

    @property
    def used(self) -> list[str]:
        """The names in the store of the runs and duets of this session."""
        return [*self._runs, *self.duets.known]

    @property
    def newer_than(self) -> float:
        """Seconds since the epoch; what is older in the store does not count."""
        return self._started if self.refresh else 0.0

    @cached_property
    def kept_runs(self) -> list[Kept]:
        """All runs in the store that can be used."""
        entries = []
        for key in self.store.keys("runs"):
            with suppress(DamagedEntryError, NewerEntryError, OSError):
                entries.append(self.store.read("runs", key))
        return entries

    def seconds_per_step(self, arm: Arm) -> float:
        """Return how long a training step takes, from a few of them taken now."""
        return float(self.executor.result(self._probing(arm)).value)

    def queue_steps(self, arm: Arm) -> None:
        """Have the steps taken that `seconds_per_step` will need."""
        self.executor.queue(self._probing(arm))

    def _probing(self, arm: Arm) -> Probing:
        return Probing(
            trial=arm.trial(0),
            data=self.supplies.data(arm.experiment),
            store=self.store,
            seeds=(self.seeds[0] if arm.is_at_once else 1) if arm.fused else 0,
            on_gpu=arm.on_gpu,
            name=f"{arm.description}, a few steps",
            needs=self.supplies.needs(arm),
        )

    def is_kept(self, key: str) -> bool:
        """Tell whether a run is at hand; takes it from the store where it is there."""
        if key not in self._runs and key not in self._queued:
            entry = self.store.find("runs", key, self.newer_than)
            if entry is not None and entry.run is not None:
                self._runs[key] = entry.run
                # By another process of pytest-xdist, it may be.
                self.trained += [key] if entry.session == self.name else []
        return key in self._runs

    def _training(self, arm: Arm, seed: int) -> Training:
        return Training(
            trial=arm.trial(seed),
            data=self.supplies.data(arm.experiment),
            name=f"{arm.description}, seed {seed}",
            store=self.store,
            session=self.name,
            newer_than=self.newer_than,
            needs=self.supplies.needs(arm),
            function=arm.made.function if arm.made and self.executor.scratch is None else None,
            keeps_weights=arm.keeps_weights,
            fused=arm.fused,
        )

    def _lesioning(self, arm: Arm, seed: int) -> Lesioning:
        """Return what evaluates a lesion, and with it all that wait of the same trained network.

        Those of other seeds are queued, to be done meanwhile.
        """
        assert arm.source is not None
        self._waiting.setdefault((id(arm.source), seed), {})[arm.trial(seed).fingerprint] = arm
        for place in [each for each in self._waiting if each[0] == id(arm.source)]:
            waiting = self._waiting.pop(place)
            left = {key: each for key, each in waiting.items() if not self.is_kept(key)}
            if left:
                said = "a lesion" if len(left) == 1 else f"{len(left)} lesions"
                task = Lesioning(
                    source=self._training(arm.source, place[1]),
                    trials=tuple(each.trial(place[1]) for each in left.values()),
                    names=tuple(f"{each.description}, seed {place[1]}" for each in left.values()),
                    name=f"{said} of {arm.source.description}, seed {place[1]}",
                )
                self.executor.queue(task)
                self._lesionings |= dict.fromkeys(left, task)
        return self._lesionings[arm.trial(seed).fingerprint]

    def made_of(self, train: str | Callable[..., Any]) -> Made:
        """Return what a trainer is made of."""
        if train not in self._made:
            self._made[train] = trainer.made_of(train)
        return self._made[train]

    def foresee(self, variant: Arm, baseline: Arm, *, trained: bool, timed: bool) -> None:
        """Tell of a variant that a test will compare, to have done what that will probably take.

        It is done when there is nothing else to do.

        Args:
            variant: What the test compares.
            baseline: With what.
            trained: Whether its seeds will be looked at.
            timed: Whether its time a step will be.
        """
        if trained:
            self._to_come[id(variant)] = variant
        if timed and self._queued:
            self.duets.foresee(variant, baseline)

    def recipe(self, experiment: Experiment) -> tuple[Recipe, str, Mapping[str, str]]:
        """Return a network's recipe at the profile's length, as JSON too, and its sources.

        Once for all variants that do not change it: Keras takes milliseconds to make an optimizer.
        """
        recipe, examples = experiment.recipe, arrays.count(experiment.data.x_train)
        key = id(recipe), examples
        if key not in self._recipes:
            from pytest_ablation.training import recipe as recipes

            shorter = self.profile.recipe(recipe, examples)
            said = shorter, recipes.serialized(shorter), recipes.sources(shorter)
            self._recipes[key] = recipe, said
        return self._recipes[key][1]
