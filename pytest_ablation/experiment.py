"""The plain data of a study: experiment, recipe, dataset, trial and run.

Nothing here builds, trains or reads anything, and nothing here imports Keras.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pytest_ablation import arrays, batches, settings, trainer
from pytest_ablation.arrays import Arrays
from pytest_ablation.errors import AblationError, DataError, did_you_mean

if TYPE_CHECKING:
    import keras

KERAS_TRAINER = "pytest_ablation.training.fit:train"


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Labelled examples, split into training and test.

    Examples and labels are one array each or, for a network of several inputs or outputs, a dict
    of arrays by name or a tuple of arrays in order.

    Attributes:
        name: What to call the data, as in "CIFAR-10".
        x_train: Training examples, shape (n, ...). uint8 images reach the model as float32 in 0…1.
        y_train: Training labels, shape (n,) for classes, (n, ...) for any other task.
        x_test: Test examples, shape (m, ...).
        y_test: Test labels, shape (m,) for classes, (m, ...) for any other task.
        classes: Names of the classes, in the order of their labels.
        source: Where the data came from, for the report.
        stand_in: Why these are not the images asked for; empty where they are.

    Raises:
        DataError: Examples and labels differ in number, a split is empty, or something is no array.
    """

    name: str
    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    classes: tuple[str, ...] = ()
    source: str = ""
    stand_in: str = ""

    def __post_init__(self) -> None:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            given = arrays.checked(getattr(self, name), f"{self.name}: {name}")
            object.__setattr__(self, name, given)
        for split, x, y in (
            ("training", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            self._check(split, x, y)

    @classmethod
    def read(
        cls,
        *,
        name: str,
        train: Iterable[Any],
        test: Iterable[Any],
        classes: tuple[str, ...] = (),
        source: str = "",
    ) -> Self:
        """Return the data of batches, read once into arrays, in the order of their content.

        Args:
            name: What to call the data.
            train: Batches of training examples and labels, a pair each: a finite `tf.data.Dataset`,
                a `keras.utils.PyDataset`, or a list or other collection of known length.
            test: Batches of test examples.
            classes: Names of the classes.
            source: Where the data came from.

        Raises:
            DataError: Batches without end, with weights, or of unequal shapes.
        """
        x_train, y_train = batches.read(train, f"{name}: train")
        x_test, y_test = batches.read(test, f"{name}: test")
        return cls(
            name=name,
            x_train=x_train,
            y_train=y_train,
            x_test=x_test,
            y_test=y_test,
            classes=classes,
            source=source,
        )

    def _check(self, split: str, x: Arrays, y: Arrays) -> None:
        for things, tree in (("examples", x), ("labels", y)):
            counts = [len(array) for array in arrays.each(tree)]
            if len(set(counts)) > 1:
                raise DataError(
                    f"{self.name}: the arrays of {split} {things} differ in length: "
                    f"{', '.join(f'{count:,}' for count in counts)}."
                )
            if not counts or not counts[0]:
                raise DataError(f"{self.name}: no {split} {things}.")
        if arrays.count(x) != arrays.count(y):
            raise DataError(
                f"{self.name}: {arrays.count(x):,} {split} examples, but {arrays.count(y):,} "
                "labels."
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content: shapes, dtypes and values of the arrays, and their names."""
        return arrays.digest(self.x_train, self.y_train, self.x_test, self.y_test)

    def known_as(self, fingerprint: str) -> Self:
        """Return this data with a fingerprint that was computed before; a changed copy has none."""
        self.__dict__["fingerprint"] = fingerprint
        return self


# Losses of a number told, which is right or wrong in no case.
REGRESSIONS = (
    *("mse", "mean_squared_error", "mae", "mean_absolute_error"),
    *("mape", "mean_absolute_percentage_error", "msle", "mean_squared_logarithmic_error"),
    *("huber", "log_cosh", "logcosh", "poisson", "cosine_similarity"),
)


# A word of these in a metric's name says that it counts what is wrong.
LESS_IS_BETTER = (
    *("loss", "error", "errors", "mae", "mse", "rmse", "mape", "msle", "wape", "wer", "cer"),
    *("crossentropy", "entropy", "perplexity", "divergence", "hinge", "huber", "poisson"),
    *("distance", "negatives"),
)


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

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "steps_per_epoch"):
            value = getattr(self, name)
            if value is None and name == "steps_per_epoch":
                continue
            if not isinstance(value, int) or value < 1:
                raise AblationError(
                    f"Recipe({name}={value!r}): {name} is a whole number of at least 1."
                )
        for name, least, most in (
            ("learning_rate", 0.0, math.inf),
            ("weight_decay", 0.0, math.inf),
            ("label_smoothing", 0.0, 1.0),
        ):
            value = getattr(self, name)
            is_other = value is None or (name == "learning_rate" and callable(value))
            if not is_other and not (isinstance(value, Real) and least <= float(value) < most):
                limit = "" if most == math.inf else f" and less than {most:g}"
                raise AblationError(
                    f"Recipe({name}={value!r}): {name} is a number of at least {least:g}{limit}."
                )
        for name in ("augmentation", "callbacks"):
            object.__setattr__(self, name, _as_tuple(getattr(self, name)))
            self._check_each(name)
        metrics = self._usual_metrics if self.metrics is None else self.metrics
        if not isinstance(metrics, Mapping):
            metrics = tuple(metrics) if isinstance(metrics, list | tuple) else (metrics,)
        object.__setattr__(self, "metrics", metrics)

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
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise AblationError(
                    f"a recipe has no setting {name!r}. Settings: {', '.join(known)}."
                    + did_you_mean(name, known)
                )
        return replace(self, **changes)


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

    @property
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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the trial: its name in the store."""
        told = asdict(self)
        if not self.lesion:
            del told["lesion"]  # so that trials keep the names that they had before there were any
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
    how: Literal["zero", "mean", "shuffle"]
    examples: int = 0

    def as_json(self) -> str:
        """Return it as canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, written: str) -> Lesion:
        """Return what `as_json` gave."""
        told = json.loads(written)
        return cls(**{**told, "layers": tuple(told["layers"]), "units": tuple(told["units"])})


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a trial gave.

    Attributes:
        fingerprint: The trial's.
        seed: The trial's.
        metrics: Of the finished model in inference mode: each metric on the whole test set, and
            with the prefix ``train_`` on a fixed stratified sample of the training examples.
        curves: One value an epoch: accuracy and loss as training saw them, val_accuracy and
            val_loss on a fixed stratified sample of the test set.
        seconds_per_step: Median seconds a training step, after warm-up; NaN where not known.
        wall: Seconds the whole training took, evaluation included.
        params: Parameters of the model; 0 where not known.
        steps: Training steps taken; 0 where not known.
        diverged: The epoch (from 1) in which the loss became NaN or infinite; None if it did not.
        correct: Whether each test example was classified right, packed bits in base64; empty where
            the task is not classification.
        host: The machine it was trained on.
        tested: Test examples of which `correct` tells; 0 where it is those of the Dataset.
    """

    fingerprint: str
    seed: int
    metrics: Mapping[str, float]
    curves: Mapping[str, tuple[float, ...]]
    seconds_per_step: float
    wall: float
    params: int
    steps: int
    diverged: int | None = None
    correct: str = ""
    host: str = ""
    tested: int = 0


@dataclass(frozen=True, kw_only=True)
class Duet:
    """What timing two networks' training steps in turn gave, on the host it was measured on.

    Attributes:
        log_ratios: Logarithm of the ratio of seconds a step, variant over baseline, one a pair of
            adjacent steps, by the clock that decides.
        clock: "CPU", the processor's seconds in all threads, which other processes hardly change;
            "wall" where a GPU does the work.
        wall_ratio: Median ratio by wall time, whichever clock decides.
        own_log_ratios: Logarithm of the ratio of a step to the next one of the same network, by the
            clock that decides: 0 but for what the measurement adds by itself.
        host: The machine.
        seconds: How long the measurement took.
    """

    log_ratios: tuple[float, ...]
    clock: str
    wall_ratio: float
    own_log_ratios: tuple[float, ...]
    host: str
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        epoch: Epochs done.
        epochs: Epochs in all.
        accuracy: Training accuracy of the last epoch, or NaN where it is not measured.
        seconds_left: An estimate, in seconds; where a trainer of the user's own gives none, it is
            made of the time that the epochs so far took.
    """

    epoch: int
    epochs: int
    accuracy: float = math.nan
    seconds_left: float = math.nan


@dataclass(frozen=True)
class Watcher:
    """What a trainer is given besides the trial and its data: who is told how the training goes.

    Attributes:
        tell: Called with the progress, at the end of every epoch.
        checkpoint: A file in which the trainer may keep its unfinished state, so that a training
            that was killed goes on where it was; None where nothing can be kept. It is removed when
            the run is stored.
        weights: A file in which the trainer is to keep the trained weights; None where nobody asks
            for them.
    """

    tell: Callable[[Progress], None]
    checkpoint: Path | None = None
    weights: Path | None = None

    def __call__(self, progress: Progress) -> None:
        """Tell where the training is."""
        self.tell(progress)


def _as_tuple(given: Any) -> tuple[Any, ...]:
    """Return one thing, several, or a Keras layer's own layers as a tuple."""
    if given is None:
        return ()
    if hasattr(given, "layers"):
        return tuple(given.layers)
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def canonical_json(value: Any) -> str:
    """Return JSON that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
