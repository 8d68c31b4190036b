"""Which trials a session needs, and their runs as they come."""

from __future__ import annotations

import hashlib
import pkgutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

from pytest_ablation.ablation import Ablation
from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import Dataset, Duet, Experiment, Recipe, Run, Trial
from pytest_ablation.store import Store


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How large a session trains.

    Attributes:
        name: "full", "quick" or "smoke".
        share: Share of the training examples, and of the epochs: cut together they keep the passes
            over the data, and with them overfitting, as they are in full.
        most_epochs: Limit on the epochs.
        most_steps: Limit on the steps an epoch.
        most_tested: Limit on the test examples.
        most_seeds: Limit on the seeds.
        decides_nothing: Whether trained quantities tell nothing at this length.
    """

    name: str
    share: float = 1.0
    most_epochs: int | None = None
    most_steps: int | None = None
    most_tested: int | None = None
    most_seeds: int | None = None
    decides_nothing: bool = False

    def recipe(self, recipe: Recipe, examples: int) -> Recipe:
        """Return the recipe at this length; `examples` are those of the whole training set."""
        epochs = max(1, round(recipe.epochs * self.share))
        steps = recipe.steps_per_epoch or max(1, examples // recipe.batch_size)
        return replace(
            recipe,
            epochs=min(epochs, self.most_epochs or epochs),
            steps_per_epoch=min(steps, self.most_steps or steps),
        )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="full"),
        Profile(name="quick", share=0.1),
        Profile(
            name="smoke",
            share=0.02,
            most_epochs=2,
            most_steps=5,
            most_tested=500,
            most_seeds=1,
            decides_nothing=True,
        ),
    )
}


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
        training: A context in which a trial is trained: given what to call it, it gives the
            function that is told the progress.
        trained: Fingerprints of the trials trained in this process.
    """

    store: Store
    profile: Profile
    asked_seeds: tuple[int, int]
    refresh: bool
    training: Callable[[str], Any]
    alpha: float = 0.05
    comparisons: int = 1
    trained: list[str] = field(default_factory=list)
    _runs: dict[str, Run] = field(default_factory=dict)
    _baselines: dict[int, tuple[Experiment, Arm]] = field(default_factory=dict)
    _variants: dict[tuple[int, int], tuple[Experiment, Ablation, Arm]] = field(default_factory=dict)
    _duets: dict[str, Duet] = field(default_factory=dict)
    _data: dict[str, Dataset] = field(default_factory=dict)
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
            arm = Arm(self, experiment, "baseline")
            self._baselines[id(experiment)] = experiment, arm
        return self._baselines[id(experiment)][1]

    def variant(self, experiment: Experiment, ablation: Ablation) -> Arm:
        """Return the arm of the experiment under an ablation.

        Raises:
            AblationError: The ablation cannot be applied, or leaves the experiment as it was.
        """
        key = id(experiment), id(ablation)
        if key not in self._variants:
            baseline = self.baseline(experiment)
            arm = Arm(self, ablation(experiment), ablation.describe(baseline.model))
            if arm.trial(0).fingerprint == baseline.trial(0).fingerprint:
                raise AblationError(
                    f"{ablation!r}: the variant is the baseline; nothing would change."
                )
            self._variants[key] = experiment, ablation, arm
        return self._variants[key][2]

    def run(self, trial: Trial, data: Dataset, name: str) -> Run:
        """Return a trial's run: of this session, else from the store, else trained now."""
        key = trial.fingerprint
        if key not in self._runs:
            with self.store.lock(key):
                run = self.store.load(key, self._started if self.refresh else 0.0)
                if run is None:
                    train = pkgutil.resolve_name(trial.trainer)
                    with self.training(f"{name}, seed {trial.seed}") as progress:
                        run = train(trial, data, progress)
                    self.store.save(trial, run)
                    self.trained.append(key)
            self._runs[key] = run
        return self._runs[key]

    def duet(self, variant: Arm, baseline: Arm, settled: Callable[[Duet], bool]) -> Duet:
        """Return the variant's time a step over the baseline's, measured side by side.

        A ratio measured on this host before stands where it settles the question, or was measured
        at full length. Of processes that share the store, one measures at a time.
        """
        from pytest_ablation.training.device import host
        from pytest_ablation.training.duet import SECONDS, duet

        arms = [(arm.trial(0), self.reduced(arm.experiment.data)) for arm in (variant, baseline)]
        names = "/".join([host(), *(trial.fingerprint for trial, _ in arms)])
        key = hashlib.sha256(names.encode()).hexdigest()
        with self.store.lock("duets"):
            kept = self._duets.get(key)
            kept = kept or self.store.load_duet(key, self._started if self.refresh else 0.0)
            if kept is None or not (settled(kept) or kept.seconds >= SECONDS):
                with self.training(f"time a step, {variant.description} against baseline"):
                    kept = duet(*arms, settled=settled)
                self.store.save_duet(key, kept)
        self._duets[key] = kept
        return kept

    def reduced(self, data: Dataset) -> Dataset:
        """Return the data at the profile's size."""
        from pytest_ablation.data.sample import reduced

        if data.fingerprint not in self._data:
            share, most = self.profile.share, self.profile.most_tested
            whole = share == 1.0 and most is None
            self._data[data.fingerprint] = data if whole else reduced(data, share, most)
        return self._data[data.fingerprint]


@dataclass(eq=False)
class Arm:
    """The baseline or one variant of an experiment, over the seeds.

    Attributes:
        study: Whose trainings it asks for.
        experiment: The experiment, edited where this is a variant.
        description: What to call it: "baseline", "remove Dropout (5 layers)".
    """

    study: Study
    experiment: Experiment
    description: str
    _known: dict[int, Run] = field(default_factory=dict)

    @cached_property
    def model(self) -> Any:
        """The network as a Keras model, untrained."""
        from pytest_ablation.network import blueprint

        with _precision(self.experiment.recipe.precision):
            model = blueprint.fresh(self.experiment.model)
        if not model.built:
            model.build((None, *self.experiment.data.x_train.shape[1:]))
        return model

    @property
    def params(self) -> int:
        """Parameters of the network."""
        return int(self.model.count_params())

    @property
    def tested(self) -> int:
        """Test examples at the profile's size."""
        return len(self.study.reduced(self.experiment.data).y_test)

    @cached_property
    def _plain(self) -> Trial:
        import keras

        from pytest_ablation.network import blueprint
        from pytest_ablation.training import recipe as recipes

        experiment = self.experiment
        recipe = self.study.profile.recipe(experiment.recipe, len(experiment.data.x_train))
        backend = keras.backend.backend()
        return Trial(
            model=blueprint.of(self.model),
            recipe=recipes.serialized(recipe),
            dataset=experiment.data.fingerprint,
            profile=self.study.profile.name,
            seed=0,
            trainer=experiment.trainer,
            sources=blueprint.sources(self.model) | recipes.sources(recipe),
            versions={"backend": backend, "keras": keras.__version__, backend: version(backend)},
        )

    @property
    def backend(self) -> str:
        """Keras's backend and its version."""
        name = self._plain.versions["backend"]
        return f"{name} {self._plain.versions[name]}"

    def trial(self, seed: int) -> Trial:
        """Return one training of this arm as plain data."""
        return replace(self._plain, seed=seed)

    @property
    def known(self) -> tuple[Run, ...]:
        """The runs that were asked for so far, by seed."""
        return tuple(self._known[seed] for seed in sorted(self._known))

    def run(self, seed: int) -> Run:
        """Return the run with a seed; trains it where it is not on disk."""
        if seed not in self._known:
            data = self.study.reduced(self.experiment.data)
            self._known[seed] = self.study.run(self.trial(seed), data, self.description)
        return self._known[seed]


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
