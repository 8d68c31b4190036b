"""How a model is trained: plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, Self

from pytest_ablation import resources
from pytest_ablation.errors import AblationError, did_you_mean

# Losses of a number told, which is right or wrong in no case.
REGRESSIONS = (
    *("mse", "mean_squared_error", "mae", "mean_absolute_error"),
    *("mape", "mean_absolute_percentage_error", "msle", "mean_squared_logarithmic_error"),
    *("huber", "log_cosh", "logcosh", "poisson", "cosine_similarity"),
)
SEVERAL = ("augmentation", "callbacks", "metrics")  # settings of one thing or several


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        optimizer: A Keras optimizer, or its name.
        loss: A Keras loss, a loss function, or its name; of several outputs, a dict or a list.
        batch_size: Examples a step.
        epochs: How many epochs.
        steps_per_epoch: Steps an epoch; None for one pass over the training examples. The order of
            the examples runs on across epochs, so every epoch has all its steps.
        metrics: What else to measure; names, Keras metrics or functions; of several outputs, a dict
            or a list of those. None for accuracy, where the loss is not of a number told, as "mse".
        precision: The Keras dtype policy the model is built under, as "mixed_bfloat16".
        learning_rate: A number, a Keras schedule, or a function of the training's steps in all that
            returns one; None for the optimizer's own. What a schedule has in steps gets shorter
            with the training, in the quick profile.
        weight_decay: Of the optimizer; None for its own.
        label_smoothing: Share of a label given to all classes alike, in training alone: the loss
            that is measured is that of the labels as they are. For a crossentropy.
        augmentation: Keras layers that change the training examples of a step, as the network would
            see them: images of bytes in 0…1. The seed and the step decide their random numbers.
        callbacks: Functions that return a Keras callback or a list of them, as
            ``functools.partial(EarlyStopping, patience=3)``. Their state is their own, so such a
            training starts anew where it was killed.
        loss_weights: Of several outputs, a dict or a list.
        class_weight: Weights of classes in the loss that is trained on, by their numbers, as `fit`
            takes them; 1 for those left out. What is measured of a network is without.
        validation_split: Share of the training examples that is held out of training: what each
            epoch is measured on, and callbacks act by. 0 for a sample of the test examples.
        resources: What each training is given on a Ray cluster, as "num_gpus=1,memory=8e9"; empty
            for the cluster's own default. It decides no number, so trials do not have it.

    Raises:
        AblationError: A setting that cannot be.
    """

    optimizer: Any
    loss: Any
    batch_size: int = 32
    epochs: int = 1
    steps_per_epoch: int | None = None
    metrics: Any = None
    precision: str = "float32"
    learning_rate: Any = None
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    augmentation: Any = ()
    callbacks: Any = ()
    loss_weights: Any = None
    class_weight: Any = None
    validation_split: float = 0.0
    resources: str = ""

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "steps_per_epoch"):
            value = getattr(self, name)
            if value is None and name == "steps_per_epoch":
                continue
            if not isinstance(value, Integral) or value < 1:
                raise AblationError(
                    f"Recipe({name}={value!r}): {name} is a whole number of at least 1."
                )
            object.__setattr__(self, name, int(value))
        for name, least, most in (
            ("learning_rate", 0.0, math.inf),
            ("weight_decay", 0.0, math.inf),
            ("label_smoothing", 0.0, 1.0),
            ("validation_split", 0.0, 1.0),
        ):
            value = getattr(self, name)
            is_other = value is None or (name == "learning_rate" and callable(value))
            if not is_other and not (isinstance(value, Real) and least <= float(value) < most):
                limit = "" if most == math.inf else f" and less than {most:g}"
                raise AblationError(
                    f"Recipe({name}={value!r}): {name} is a number of at least {least:g}{limit}."
                )
        if self.class_weight is not None:
            object.__setattr__(self, "class_weight", _weights(self.class_weight))
        if self.resources:
            try:
                resources.parsed(self.resources)
            except AblationError as error:
                raise AblationError(f"Recipe(resources={self.resources!r}): {error}") from None
        if self.metrics is None:
            object.__setattr__(self, "metrics", self._usual_metrics)
        for name, value in plainly({name: getattr(self, name) for name in SEVERAL}).items():
            object.__setattr__(self, name, value)
        for name in ("augmentation", "callbacks"):
            self._check_each(name)
        for name in ("optimizer", "loss", "metrics", "augmentation"):
            for each in leaves(getattr(self, name)):
                if isinstance(each, type):
                    raise AblationError(
                        f"Recipe({name}={each.__name__} …): this is a class: write "
                        f"{each.__name__}(…)."
                    )
        if not (isinstance(self.optimizer, str | Mapping) or hasattr(self.optimizer, "get_config")):
            raise AblationError(
                f"Recipe(optimizer={self.optimizer!r}): give one of Keras's, or its name."
            )

    @property
    def metric_names(self) -> tuple[str, ...] | None:
        """What Keras calls the metrics, the loss last; None where only Keras can tell."""
        if isinstance(self.loss, Mapping | list | tuple) or isinstance(self.metrics, Mapping):
            return None
        names = [
            each if isinstance(each, str) else getattr(each, "name", getattr(each, "__name__", ""))
            for each in self.metrics
        ]
        return (*names, "loss") if all(names) else None

    @property
    def of_a_trial(self) -> dict[str, Any]:
        """The settings that decide what a training gives, by name, as JSON can have them."""
        settings = {name: value for name, value in vars(self).items() if name != "resources"}
        # Where these are not set, trials are what they were before there were any.
        if weights := settings.pop("class_weight"):
            settings["class_weight"] = {str(number): weight for number, weight in weights.items()}
        if not settings["validation_split"]:
            del settings["validation_split"]
        return settings

    def held_out(self, examples: int) -> int:
        """Return how many of so many training examples are held out of training."""
        return max(1, round(examples * self.validation_split)) if self.validation_split else 0

    @property
    def _usual_metrics(self) -> tuple[str, ...]:
        if isinstance(self.loss, Mapping | list | tuple):
            return ()
        name = getattr(self.loss, "name", None) or getattr(self.loss, "__name__", None) or self.loss
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()
        return () if words in REGRESSIONS else ("accuracy",)

    def _check_each(self, name: str) -> None:
        for each in getattr(self, name):
            kind = type(each).__name__
            if name == "callbacks" and hasattr(each, "set_model") and not isinstance(each, type):
                raise AblationError(
                    f"Recipe(callbacks={kind} …): pass what makes the callback, not the callback: "
                    f"each training has its own. Write functools.partial({kind}, setting=…)."
                )
            if not callable(each):
                layers = "Keras layers, as keras.layers.RandomFlip()"
                makers = "functions that return a Keras callback"
                wanted = layers if name == "augmentation" else makers
                raise AblationError(f"Recipe({name}={each!r}): give {wanted}.")

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """Return this recipe with some settings changed.

        Raises:
            AblationError: A setting that a recipe does not have.
        """
        check_names(changes)
        return replace(self, **changes)


def check_names(settings: Iterable[str], asked: str = "") -> None:
    """Refuse what is no setting of a recipe; what was asked begins the message."""
    known = [field.name for field in fields(Recipe)]
    for name in settings:
        if name not in known:
            raise AblationError(
                f"{asked}a recipe has no setting {name!r}. Settings: {', '.join(known)}."
                + did_you_mean(name, known)
            )


def leaves(things: Any) -> list[Any]:
    """Return a setting's one thing, or each of those of several outputs."""
    if isinstance(things, Mapping):
        return leaves(list(things.values()))
    if isinstance(things, list | tuple):
        return [leaf for thing in things for leaf in leaves(thing)]
    return [] if things is None else [things]


def _weights(given: Any) -> dict[int, float] | None:
    """Return weights of classes by number; None where all are alike."""
    try:
        weights = {int(number): float(weight) for number, weight in dict(given).items()}
    except (TypeError, ValueError):
        weights = {-1: 1.0}
    if any(number < 0 or not 0 <= weight < math.inf for number, weight in weights.items()):
        raise AblationError(
            f"Recipe(class_weight={given!r}): give weights of at least 0 by the numbers of "
            "classes, as {0: 1.0, 1: 5.0}."
        )
    return dict(sorted(weights.items())) or None


def plainly(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in the one way that a recipe has them, however they are written.

    One thing, several in a list, or a Keras layer's own layers are a tuple.
    """
    return {
        name: value if name not in SEVERAL or _is_left(name, value) else _as_tuple(value)
        for name, value in settings.items()
    }


def _is_left(name: str, value: Any) -> bool:
    return name == "metrics" and (value is None or isinstance(value, Mapping))


def _as_tuple(given: Any) -> tuple[Any, ...]:
    """Return one thing, several, or a Keras layer's own layers as a tuple."""
    if given is None:
        return ()
    if hasattr(given, "layers"):
        return tuple(given.layers)
    return tuple(given) if isinstance(given, list | tuple) else (given,)
