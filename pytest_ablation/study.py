"""Which trials a session needs, and their runs as they come."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pytest_ablation import arrays, trainer
from pytest_ablation.ablation import Ablation
from pytest_ablation.dataset import Dataset
from pytest_ablation.entry import DamagedEntryError, Entry, NewerEntryError
from pytest_ablation.errors import AblationError
from pytest_ablation.execution.worker import (
    Lesioning,
    Probing,
    Result,
    Task,
    Timing,
    Together,
    Training,
)
from pytest_ablation.experiment import KERAS_TRAINER, Experiment, Lesion, Trial, canonical_json
from pytest_ablation.profile import Profile
from pytest_ablation.recipe import Recipe
from pytest_ablation.run import Duet, Run
from pytest_ablation.settings import listed, plain
from pytest_ablation.store import Store
from pytest_ablation.trainer import Made
from pytest_ablation.verdict import Settled

if TYPE_CHECKING:
    from pytest_ablation.network.anatomy import Anatomy
    from pytest_ablation.network.cost import Cost
    from pytest_ablation.reference import Reference

DUET_SECONDS = 10.0
LOG = logging.getLogger("pytest_ablation")


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

    @property
    def uses_gpus(self) -> bool:
        """Whether it is known to train on GPUs, also where this process sees none."""

    def queue(self, task: Task) -> None:
        """Do a task when its turn comes."""

    def result(self, task: Task) -> Result:
        """Return what a task gives, which is done next."""

    def close(self) -> str:
        """End what is under way; returns what there is to tell of who did the tasks."""


@dataclass(eq=False)
class Study:
    """The trainings of one session.

    Attributes:
        store: Where runs are kept.
        profile: How large to train.
        asked_seeds: Least and most seeds an arm, as the user has them.
        alpha: Error rate of a verdict.
        comparisons: Comparisons that the session's tests make, as far as their code shows.
        refresh: Whether runs from before this session count.
        executor: Who trains.
        reference: What an earlier session saved, to compare with; None where none is named.
        trained: Fingerprints of the trials trained in this session.
        timed: Seconds that each duet took which was measured in this session.
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
    timed: dict[str, float] = field(default_factory=dict)
    _runs: dict[str, Run] = field(default_factory=dict)
    _baselines: dict[int, tuple[Experiment, Arm]] = field(default_factory=dict)
    _variants: dict[tuple[int, int], tuple[Experiment, Ablation, Arm]] = field(default_factory=dict)
    _ablations: dict[tuple[int, str], Ablation] = field(default_factory=dict)
    _waiting: dict[tuple[int, int], dict[str, Arm]] = field(default_factory=dict)
    _lesionings: dict[str, Lesioning] = field(default_factory=dict)
    _together: dict[str, Together] = field(default_factory=dict)
    _queued: set[str] = field(default_factory=set)
    _duets: dict[str, Duet] = field(default_factory=dict)
    _recipes: dict[tuple[int, int], tuple[Recipe, tuple[Recipe, str, Mapping[str, str]]]] = field(
        default_factory=dict
    )
    _data: dict[str, Dataset] = field(default_factory=dict)
    _sources: dict[str, Callable[[], Any]] = field(default_factory=dict)
    _made: dict[str | Callable[..., Any], Made] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)

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

    def queue(self, *arms: Arm, seeds: int) -> None:
        """Have the runs of arms trained, with the seeds from 0, while others are waited for."""
        for seed in range(seeds):
            for arm in arms:
                key = arm.trial(seed).fingerprint
                if arm.source is not None:
                    self._waiting.setdefault((id(arm.source), seed), {})[key] = arm
                    arm = arm.source
                    key = arm.trial(seed).fingerprint
                if key not in self._queued and not self.is_kept(key):
                    if arm.fused and arm.on_gpu:
                        self._queue_together(arm, range(seed, seeds))
                    else:
                        self._queued.add(key)
                        self.executor.queue(self._training(arm, seed))

    def _queue_together(self, arm: Arm, seeds: range) -> None:
        """Have those of an arm's seeds trained at once that nobody has trained or queued."""
        keys = {seed: arm.trial(seed).fingerprint for seed in seeds}
        left = [seed for seed, key in keys.items() if key not in self._queued]
        left = [seed for seed in left if not self.is_kept(keys[seed])]
        said = f"seeds {left[0]} to {left[-1]}" if len(left) > 1 else f"seed {left[0]}"
        trainings = tuple(self._training(arm, seed) for seed in left)
        task = Together(trainings=trainings, name=f"{arm.description}, {said}")
        self._queued |= {each.key for each in trainings}
        self._together |= dict.fromkeys((each.key for each in trainings), task)
        self.executor.queue(task)

    @property
    def name(self) -> str:
        """Tells the session from others; all its processes under pytest-xdist have one name."""
        own = f"{os.getpid()} at {self._started:.0f}"
        return os.environ.get("PYTEST_XDIST_TESTRUNUID", own)

    @property
    def used(self) -> list[str]:
        """The names in the store of the runs and duets of this session."""
        return [*self._runs, *self._duets]

    @property
    def _newer_than(self) -> float:
        return self._started if self.refresh else 0.0

    @cached_property
    def kept_runs(self) -> list[Entry]:
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
        trial = arm.trial(0)
        return Probing(
            trial=trial,
            data=self._source(arm.experiment),
            name=f"{arm.description}, a few steps",
            modules=self._modules(arm),
        )

    def is_kept(self, key: str) -> bool:
        """Tell whether a run is at hand; takes it from the store where it is there."""
        if key not in self._runs and key not in self._queued:
            entry = self.store.find("runs", key, self._newer_than)
            if entry is not None and entry.run is not None:
                self._runs[key] = entry.run
                # By another process of pytest-xdist, it may be.
                self.trained += [key] if entry.session == self.name else []
        return key in self._runs

    def _training(self, arm: Arm, seed: int) -> Training:
        return Training(
            trial=arm.trial(seed),
            data=self._source(arm.experiment),
            name=f"{arm.description}, seed {seed}",
            store=self.store,
            session=self.name,
            newer_than=self._newer_than,
            modules=self._modules(arm),
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

    def _source(self, experiment: Experiment) -> Callable[[], Any]:
        """Return what gives the data at the profile's size, in the process that trains."""
        scratch, data = self.executor.scratch, experiment.dataset
        if data is None:
            return partial(_as_it_is, experiment.data)
        if scratch is None:
            return partial(self.reduced, data)
        key = data.fingerprint
        if key not in self._sources:
            from pytest_ablation.data import maps, sample

            try:
                entry = maps.shared(self.store.folder / "data", data)
            except OSError:
                entry = maps.shared(scratch, data)
            share, most = self.profile.share, self.profile.most_tested
            self._sources[key] = partial(sample.opened, entry, share, most)
        return self._sources[key]

    def _modules(self, *arms: Arm) -> dict[str, str]:
        """Return the files of the user's own modules that arms' trials need, by name."""
        if self.executor.scratch is None:
            return {}
        named = {name.partition(":")[0] for arm in arms for name in arm.trial(0).sources}
        modules = {name: sys.modules.get(name) for name in sorted(named)}
        files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
        known = {name: file for name, file in files.items() if file is not None}
        return known | {name: f for arm in arms if arm.made for name, f in arm.made.files.items()}

    def made_of(self, train: str | Callable[..., Any]) -> Made:
        """Return what a trainer is made of."""
        if train not in self._made:
            self._made[train] = trainer.made_of(train)
        return self._made[train]

    def duet(self, variant: Arm, baseline: Arm, settled: Settled) -> Duet:
        """Return the variant's time a step over the baseline's, measured side by side.

        A ratio measured on this host before stands where it settles the question, or was measured
        at full length. Of processes that share the store, one measures at a time.
        """
        from pytest_ablation.training.device import host

        trials = [arm.trial(0) for arm in (variant, baseline)]
        names = "/".join([self.executor.where or host(), *(trial.fingerprint for trial in trials)])
        key = hashlib.sha256(names.encode()).hexdigest()

        def is_enough(duet: Duet | None) -> bool:
            return duet is not None and (settled(duet) or duet.seconds >= DUET_SECONDS)

        kept = self._duets.get(key) or self.store.load_duet(key, self._newer_than)
        if kept is None or not is_enough(kept):
            with self.store.lock("duets"):
                kept = self.store.load_duet(key, self._newer_than)
                if kept is None or not is_enough(kept):
                    name = f"time a step, {variant.description} against baseline"
                    first, second = (
                        (trial, self._source(arm.experiment))
                        for trial, arm in zip(trials, (variant, baseline), strict=True)
                    )
                    timing = Timing(
                        variant=first,
                        baseline=second,
                        settled=settled,
                        seconds=DUET_SECONDS,
                        name=name,
                        modules=self._modules(variant, baseline),
                    )
                    kept = self.executor.result(timing).value
                    self.store.save_duet(key, kept, name)
                    self.timed[key] = kept.seconds
        self._duets[key] = kept
        return kept

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

    def reduced(self, data: Dataset) -> Dataset:
        """Return the data at the profile's size."""
        from pytest_ablation.data import sample

        if data.fingerprint not in self._data:
            share, most = self.profile.share, self.profile.most_tested
            self._data[data.fingerprint] = sample.reduced(data, share, most)
        return self._data[data.fingerprint]


@dataclass(eq=False)
class Arm:
    """The baseline or one variant of an experiment, over the seeds.

    Attributes:
        study: Whose trainings it asks for.
        experiment: The experiment, edited where this is a variant.
        description: What to call it: "baseline", "remove Dropout (5 layers)".
        keeps_weights: Whether its trained weights are kept, for lesions.
        source: The arm whose trained network a lesion is done to; None of one that is trained.
        lesion: The lesion; whose trial it is of, the seed says.
    """

    study: Study
    experiment: Experiment
    description: str
    keeps_weights: bool = False
    source: Arm | None = None
    lesion: Lesion | None = None
    _known: dict[int, Run] = field(default_factory=dict)

    @property
    def has_network(self) -> bool:
        """Whether it is a Keras network that is trained, and not settings."""
        return not self.experiment.has_settings

    @property
    def made(self) -> Made | None:
        """What a trainer of the user's own is made of; None where Keras trains."""
        experiment = self.experiment
        if experiment.trainer == KERAS_TRAINER:
            return None
        return self.study.made_of(experiment.train)

    @cached_property
    def model(self) -> Any:
        """The network as a Keras model, untrained."""
        from pytest_ablation.network import blueprint

        experiment = self.experiment
        with _precision(experiment.recipe.precision):
            return blueprint.looked_at(experiment.model, arrays.shapes(experiment.data.x_train))

    @property
    def params(self) -> int:
        """Parameters of the network; with settings, those that a run told of, else 0."""
        if not self.has_network:
            return max((run.params for run in self.known), default=0)
        return self.anatomy.count

    @cached_property
    def anatomy(self) -> Anatomy:
        """What there is to say of the network, layer by layer."""
        from pytest_ablation.network import anatomy

        shape = getattr(self.experiment.data.x_train, "shape", None)
        return anatomy.of(self.model, shape[1:] if shape else None, self.trial(0).model)

    @property
    def cost(self) -> Cost:
        """The network's operations, layer by layer."""
        return self.anatomy.cost

    @cached_property
    def summary(self) -> str:
        """The network's layers, shapes and parameters, as Keras prints them; or the settings."""
        if not self.has_network:
            return listed(self.trial(0).config)
        from pytest_ablation.network import blueprint

        return blueprint.summary(self.model)

    def forget_network(self) -> None:
        """Keep of a variant's network what there is to say of it; it is built anew if asked for."""
        if self.has_network and self.source is None:
            from pytest_ablation.network import blueprint

            _ = self.anatomy
            self.__dict__.pop("model", None)
            blueprint.forget(self.experiment.model)

    @property
    def flops(self) -> int:
        """Floating point operations of one example's forward pass."""
        return self.cost.flops

    @property
    def tested(self) -> int:
        """Test examples at the profile's size; of data that is no Dataset, what a run told of."""
        if self.experiment.dataset is None:
            return max((run.tested for run in self.known), default=0)
        return arrays.count(self.study.reduced(self.experiment.dataset).y_test)

    @cached_property
    def _plain(self) -> Trial:
        trial = self._of_network() if self.has_network else self._of_settings()
        if self.made is None:
            return trial
        sources, versions = self.made.sources, self.made.versions
        return replace(
            trial,
            sources={**trial.sources, **sources},
            versions={**trial.versions, **versions},
        )

    def _of_settings(self) -> Trial:
        experiment, profile = self.experiment, self.study.profile
        recipe, data = experiment.recipe, experiment.dataset
        if recipe is not None:
            steps = recipe.steps_per_epoch
            recipe = profile.recipe(recipe, len(data.x_train) if data else 0)
            if data is None and steps is None:  # the trainer alone can count examples
                recipe = replace(recipe, steps_per_epoch=None)
        return Trial(
            model=canonical_json(experiment.config),
            recipe=canonical_json(recipe and plain(vars(recipe), "Experiment: recipe")),
            dataset=experiment.data_fingerprint,
            profile=profile.name,
            seed=0,
            trainer=experiment.trainer,
        )

    def _of_network(self) -> Trial:
        import keras

        from pytest_ablation.network import blueprint
        from pytest_ablation.training import recipe as recipes

        experiment = self.experiment
        recipe, as_json, sources = self.study.recipe(experiment)
        recipes.check(recipe, experiment.data, self.model)
        backend = keras.backend.backend()
        return Trial(
            model=blueprint.of(self.model),
            recipe=as_json,
            dataset=experiment.data.fingerprint,
            profile=self.study.profile.name,
            seed=0,
            trainer=experiment.trainer,
            sources={**blueprint.sources(self.model), **sources},
            versions={"backend": backend, "keras": keras.__version__, backend: version(backend)},
        )

    @cached_property
    def fused(self) -> bool:
        """Whether whole epochs are trained on the device, as JAX can."""
        if self._plain.versions.get("backend") != "jax" or self.made is not None:
            return False
        from pytest_ablation.training import fused

        reason = fused.why_not(self._plain, self.experiment.data, gpu=self.on_gpu)
        if reason is not None:
            LOG.info("%s: trained step by step: %s", self.description, reason)
        return reason is None

    @cached_property
    def on_gpu(self) -> bool:
        """Whether there is a GPU to train on, here or on a cluster."""
        from pytest_ablation.training.device import sees_gpu

        return self.study.executor.uses_gpus or sees_gpu(self.experiment.trainer)

    @property
    def backend(self) -> str:
        """Keras's backend and its version; the packages of a user's own trainer and theirs."""
        if self.made is not None:
            said = [f"{name} {number}" for name, number in sorted(self.made.versions.items())]
            return ", ".join(said) or self.experiment.trainer
        name = self._plain.versions["backend"]
        return f"{name} {self._plain.versions[name]}"

    def trial(self, seed: int) -> Trial:
        """Return one training of this arm, or one lesion of its source's, as plain data."""
        if self.source is None or self.lesion is None:
            return replace(self._plain, seed=seed)
        source = self.source.trial(seed)
        return replace(source, lesion=replace(self.lesion, of=source.fingerprint).as_json())

    @property
    def known(self) -> tuple[Run, ...]:
        """The runs that were asked for so far, by seed."""
        return tuple(self._known[seed] for seed in sorted(self._known))

    def run(self, seed: int) -> Run:
        """Return the run with a seed; trains it where it is not on disk."""
        if seed not in self._known:
            self._known[seed] = self.study.run(self, seed)
        return self._known[seed]


def _as_it_is(data: Any) -> Any:
    return data


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Build networks under a Keras dtype policy."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
