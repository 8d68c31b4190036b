"""An experiment, and one training of it as a trial: plain data.

Nothing here builds, trains or reads anything, and nothing here imports Keras.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pytest_ablation import settings, trainer
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.recipe import Recipe

if TYPE_CHECKING:
    import keras

KERAS_TRAINER = "pytest_ablation.training.fit:train"
CORRECTED = "corrections"  # among a trial's versions: of what this plugin computed wrongly before
How: TypeAlias = Literal["zero", "mean", "shuffle"]  # what takes a unit's place in a lesion
LESS_IS_BETTER = (
    *("loss", "error", "errors", "mae", "mse", "rmse", "mape", "msle", "wape", "wer", "cer"),
    *("crossentropy", "entropy", "perplexity", "divergence", "hinge", "huber", "poisson"),
    *("distance", "false", "bce", "ce", "cosh", "kld", "logcosh", "nll"),
)


@dataclass(frozen=True)
class Experiment:
    """What is studied: a model, how it is trained, and on what.

    Attributes:
        model: A function that returns the network, a Keras model, called anew for each build. Or,
            for a trainer of the user's own, a mapping of settings: plain data, nested or not.
        recipe: How it is trained. Settings need none.
        data: What it is trained and tested on, a Dataset. With settings also plain data, as a path,
            that the trainer is given as it is, and that is known by what is written; or None.
        name: What to call it in reports; the name of the model's function, or of the trainer's,
            unless told.
        train: Who trains: a function ``train(trial, data, progress)`` at the top level of a module,
            or its name, "module:function"; Keras unless told.
        metric: The metric that reports show and `gap` is of; unless told, accuracy where the recipe
            measures it, else its first metric, else the loss. With settings accuracy, unless told.
        mode: Whether more of it is better, "max", or less, "min"; "auto" goes by its name, as
            Keras's callbacks do.

    Raises:
        AblationError: One of these is not what it is to be, or a metric that the recipe does not
            measure.
    """

    # None of the three is ever Any. Typed without it, whatever edits or trains networks would have
    # to ask each time whether this is one.
    model: Callable[[], keras.Model] | Any
    recipe: Recipe | Any = None
    data: Dataset | Any = None
    name: str = field(default="", kw_only=True)
    train: str | Callable[..., Any] = field(default=KERAS_TRAINER, kw_only=True)
    metric: str = field(default="", kw_only=True)
    mode: Literal["auto", "max", "min"] = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        trainer.named(self.train)
        if isinstance(self.model, Mapping):
            self._check_settings()
        else:
            self._check_network()
        if self.mode not in ("auto", "max", "min"):
            raise AblationError(f'Experiment(mode={self.mode!r}): mode is "auto", "max" or "min".')
        if not self.name:
            own = self.trainer.rpartition(":")[2].rpartition(".")[2]
            named = own if self.has_settings else getattr(self.model, "__name__", "model")
            object.__setattr__(self, "name", named)

    def _check_network(self) -> None:
        if not callable(self.model) or hasattr(self.model, "layers"):
            raise AblationError(
                f"Experiment(model={type(self.model).__name__} …): pass the function that returns "
                "the network, not the network: each training builds its own."
            )
        if not isinstance(self.recipe, Recipe):
            raise AblationError(f"Experiment: {self.recipe!r} is not a Recipe.")
        if not isinstance(self.data, Dataset):
            raise AblationError(
                f"Experiment: data of type {type(self.data).__name__}; pass a Dataset, as the "
                "cifar10 fixture gives, or Dataset(name=…, x_train=…, …)."
            )
        if self.metric:
            self.check_metric(self.metric)

    def _check_settings(self) -> None:
        if self.train == KERAS_TRAINER:
            raise AblationError(
                "Experiment({…}): settings need a trainer that knows what they mean: "
                f"Experiment({{…}}, train=function), where the function is {trainer.SHAPE}."
            )
        if self.recipe is not None and not isinstance(self.recipe, Recipe):
            raise AblationError(f"Experiment: {self.recipe!r} is not a Recipe.")
        object.__setattr__(self, "model", settings.plain(self.model, "Experiment: the settings"))
        if not isinstance(self.data, Dataset):
            object.__setattr__(self, "data", settings.plain(self.data, "Experiment: data"))

    @property
    def main_metric(self) -> str:
        """The metric that reports show and `gap` is of."""
        if self.metric or self.recipe is None:
            return self.metric or "accuracy"
        names = self.recipe.metric_names or ("loss",)
        return "accuracy" if "accuracy" in names else names[0]

    @property
    def less_is_better(self) -> bool:
        """Whether less of the main metric is better."""
        if self.mode != "auto":
            return self.mode == "min"
        words = re.split(r"\W|_|(?<=[a-z])(?=[A-Z])", self.main_metric)
        return not {word.lower() for word in words}.isdisjoint(LESS_IS_BETTER)

    def check_metric(self, name: str) -> None:
        """See that the recipe measures a metric, as far as can be told before it is compiled.

        Raises:
            AblationError: It does not.
        """
        known = self.recipe.metric_names if self.trainer == KERAS_TRAINER else None
        if known is not None and name not in known:
            raise AblationError(
                f'the recipe compiles no metric "{name}". Metrics: {", ".join(known)}.'
                + did_you_mean(name, known)
            )

    @property
    def has_settings(self) -> bool:
        """Whether settings are studied, and not a Keras network."""
        return isinstance(self.model, Mapping)

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings; empty where a network is studied."""
        return self.model if isinstance(self.model, Mapping) else {}

    @cached_property  # each look at a function's shape takes 0.1 ms
    def trainer(self) -> str:
        """Who trains, as "module:function"."""
        return trainer.named(self.train)

    @property
    def dataset(self) -> Dataset | None:
        """The data, where it is a Dataset."""
        return self.data if isinstance(self.data, Dataset) else None

    @property
    def data_fingerprint(self) -> str:
        """SHA-256 of the data: of its content where it is a Dataset, else of what is written."""
        if self.dataset is not None:
            return self.dataset.fingerprint
        return hashlib.sha256(canonical_json(self.data).encode()).hexdigest()

    @property
    def data_name(self) -> str:
        """What to call the data."""
        if self.dataset is not None:
            return self.dataset.name
        if self.data is None:
            return "the trainer's own data"
        return self.data if isinstance(self.data, str) else canonical_json(self.data)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training as plain data: all that decides its result, and nothing else.

    Attributes:
        model: The network's Keras configuration, or the settings, as canonical JSON.
        recipe: The recipe, at the profile's length, as canonical JSON; "null" where there is none.
        dataset: Fingerprint of the data.
        profile: How large: "full", "quick" or "smoke".
        seed: What the initial weights, random masks and the order of examples derive from.
        trainer: Who trains, as "module:function".
        sources: SHA-256 of the source of each class, function or module of the user's own.
        versions: The backend and the versions that the numbers depend on.
        lesion: A `Lesion` of the trained network, as canonical JSON; empty where it is trained.
        initial_weights: SHA-256 of the weights that the model's function gives the network, as
            those of an earlier training; empty where the seed decides all that it starts from.
    """

    model: str
    recipe: str
    dataset: str
    profile: str
    seed: int
    trainer: str = KERAS_TRAINER
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    lesion: str = ""
    initial_weights: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the trial: its name in the store."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("lesion", "initial_weights"):
            if not told[name]:
                del told[name]  # so that trials keep the names that they had before there were any
        return hashlib.sha256(canonical_json(told).encode()).hexdigest()

    @property
    def config(self) -> dict[str, Any]:
        """The settings, edited where this is of a variant; a network's Keras configuration."""
        return dict(json.loads(self.model))


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """What is taken away of a trained network, which is then evaluated and not trained anew.

    Attributes:
        of: Fingerprint of the trial whose trained network it is.
        layers: Whose output, by name.
        units: Which channels of it, from 0; none for the whole.
        how: What takes their place: "zero"; "mean", of each channel over training examples;
            "shuffle", the same channel of another test example.
        examples: Test examples that the change is estimated on; 0 for the whole test set.
    """

    of: str
    layers: tuple[str, ...]
    units: tuple[int, ...]
    how: How
    examples: int = 0

    def as_json(self) -> str:
        """Return it as canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, written: str) -> Lesion:
        """Return what `as_json` gave."""
        told = json.loads(written)
        return cls(**{**told, "layers": tuple(told["layers"]), "units": tuple(told["units"])})


def canonical_json(value: Any) -> str:
    """Return JSON that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
