"""The baseline or one variant of an experiment, over the seeds: its network, trials and runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_ablation import arrays
from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import KERAS_TRAINER, Experiment, Lesion, Trial, canonical_json
from pytest_ablation.run import Run
from pytest_ablation.settings import listed, plain
from pytest_ablation.trainer import Made, version

if TYPE_CHECKING:
    from pytest_ablation.network.anatomy import Anatomy
    from pytest_ablation.network.cost import Cost
    from pytest_ablation.network.given import Given
    from pytest_ablation.study import Study

LOG = logging.getLogger("pytest_ablation")


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
    _trials: dict[int, Trial] = field(default_factory=dict)

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
        from pytest_ablation.network import precision, weightless

        experiment = self.experiment
        precision.check(experiment.recipe.precision)
        with precision.built_in(experiment.recipe.precision):
            return weightless.looked_at(experiment.model, arrays.shapes(experiment.data.x_train))

    def check_metric(self, name: str) -> None:
        """See that a training measures a metric, as far as can be told before it.

        Of a network of the user's own, or a layer that tracks something, only the training can.

        Raises:
            AblationError: It does not.
        """
        try:
            self.experiment.check_metric(name)
        except AblationError:
            if not (self.has_network and self._measures_itself):
                raise

    @property
    def _measures_itself(self) -> bool:
        from pytest_ablation.network.source import is_keras

        return not is_keras(type(self.model)) or bool(self.model.metrics)

    @cached_property
    def given(self) -> Given:
        """The weights that the network's function gives it, which training starts from."""
        from pytest_ablation.network import given

        return given.of(self.model)

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
        from pytest_ablation.network import blueprint, given

        return "\n".join([blueprint.summary(self.model), *given.said(self.given)])

    def forget_network(self) -> None:
        """Keep of a variant's network what there is to say of it; it is built anew if asked for."""
        if self.has_network and self.source is None:
            from pytest_ablation.network import spare, weightless

            _ = self.anatomy, self.given
            self.__dict__.pop("model", None)
            for network in weightless.forget(self.experiment.model):
                spare.let_go(network)

    @property
    def flops(self) -> int:
        """Floating point operations of one example's forward pass."""
        return self.cost.flops

    @property
    def tested(self) -> int:
        """Test examples at the profile's size; of data that is no Dataset, what a run told of."""
        if self.experiment.dataset is None:
            return max((run.tested for run in self.known), default=0)
        return arrays.count(self.study.supplies.reduced(self.experiment.dataset).y_test)

    @property
    def evaluated(self) -> int:
        """Test examples that its values are of: those of a lesion may be a sample."""
        sample = self.lesion.examples if self.lesion else 0
        return min(sample or self.tested, self.tested)

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
            recipe=canonical_json(recipe and plain(recipe.of_a_trial, "Experiment: recipe")),
            dataset=experiment.data_fingerprint,
            profile=profile.name,
            seed=0,
            trainer=experiment.trainer,
        )

    def _of_network(self) -> Trial:
        import keras

        from pytest_ablation.network import blueprint, given
        from pytest_ablation.training import recipe as recipes
        from pytest_ablation.training.corrected import corrected

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
            versions={
                **{"backend": backend, "keras": keras.__version__, backend: version(backend)},
                **corrected(recipe, self.model, experiment.data),
            },
            initial_weights=given.fingerprint(self.given),
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

    @property
    def is_at_once(self) -> bool:
        """Whether its seeds train at once."""
        return self.fused and self.on_gpu

    @cached_property
    def on_gpu(self) -> bool:
        """Whether there is a GPU to train on, here or on a cluster."""
        from pytest_ablation.training.device import sees_gpu

        gives_one = self.study.executor.uses_gpus(self.resources)
        return gives_one or sees_gpu(self.experiment.trainer)

    @property
    def resources(self) -> str:
        """What its recipe says that a training is given on a cluster; empty where it does not."""
        return self.experiment.recipe.resources if self.experiment.recipe else ""

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
        if seed not in self._trials:  # asked for a dozen times, for its fingerprint
            self._trials[seed] = self._trial(seed)
        return self._trials[seed]

    def _trial(self, seed: int) -> Trial:
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
