"""The plain data of a study: experiment, recipe, dataset, trial and run.

Nothing here builds, trains or reads anything, and nothing here imports Keras.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pytest_ablation.errors import AblationError, DataError, did_you_mean

if TYPE_CHECKING:
    import keras
    import numpy as np

KERAS_TRAINER = "pytest_ablation.training.fit:train"


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Labelled examples, split into training and test.

    Attributes:
        name: What to call the data, as in "CIFAR-10".
        x_train: Training examples, shape (n, ...). uint8 images reach the model as float32 in 0…1.
        y_train: Training labels, shape (n,) for classes.
        x_test: Test examples, shape (m, ...).
        y_test: Test labels, shape (m,) for classes.
        classes: Names of the classes, in the order of their labels.
        source: Where the data came from, for the report.
        stand_in: Why these are not the images asked for; empty where they are.

    Raises:
        DataError: Examples and labels differ in number, or a split is empty.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...] = ()
    source: str = ""
    stand_in: str = ""

    def __post_init__(self) -> None:
        for split, x, y in (
            ("training", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            if len(x) != len(y):
                raise DataError(f"{self.name}: {len(x):,} {split} examples, but {len(y):,} labels.")
            if len(x) == 0:
                raise DataError(f"{self.name}: no {split} examples.")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content: shapes, dtypes and values of the four arrays."""
        return digest_arrays(self.x_train, self.y_train, self.x_test, self.y_test)

    def known_as(self, fingerprint: str) -> Self:
        """Return this data with a fingerprint that was computed before; a changed copy has none."""
        self.__dict__["fingerprint"] = fingerprint
        return self


def digest_arrays(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the arrays' dtypes, shapes and values, as hexadecimal digits."""
    import numpy as np

    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        optimizer: A Keras optimizer, or its name.
        loss: A Keras loss, a loss function, or its name.
        batch_size: Examples a step.
        epochs: How many epochs.
        steps_per_epoch: Steps an epoch; None for one pass over the training examples. The order of
            the examples runs on across epochs, so every epoch has all its steps.
        metrics: What else to measure; names, Keras metrics or functions.
        precision: The Keras dtype policy the model is built under, as "mixed_bfloat16".

    Raises:
        AblationError: A number below one.
    """

    optimizer: Any
    loss: Any
    batch_size: int = 32
    epochs: int = 1
    steps_per_epoch: int | None = None
    metrics: tuple[Any, ...] = ("accuracy",)
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "steps_per_epoch"):
            value = getattr(self, name)
            if value is None and name == "steps_per_epoch":
                continue
            if not isinstance(value, int) or value < 1:
                raise AblationError(
                    f"Recipe({name}={value!r}): {name} is a whole number of at least 1."
                )
        object.__setattr__(self, "metrics", tuple(self.metrics))

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
        model: A function that returns the network, a Keras model; called anew for each build.
        recipe: How it is trained.
        data: What it is trained and tested on.
        name: What to call it in reports; the function's name unless told.
        trainer: Who trains, as "module:function"; Keras unless told.
    """

    model: Callable[[], keras.Model]
    recipe: Recipe
    data: Dataset
    name: str = ""
    trainer: str = KERAS_TRAINER

    def __post_init__(self) -> None:
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
        if not self.name:
            object.__setattr__(self, "name", getattr(self.model, "__name__", "model"))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training as plain data: all that decides its result, and nothing else.

    Attributes:
        model: The network's Keras configuration, as canonical JSON.
        recipe: The recipe, at the profile's length, as canonical JSON.
        dataset: Fingerprint of the data.
        profile: How large: "full", "quick" or "smoke".
        seed: What the initial weights, random masks and the order of examples derive from.
        trainer: Who trains, as "module:function".
        sources: SHA-256 of the source of each class or function of the user's own.
        versions: The backend and the versions that the numbers depend on.
    """

    model: str
    recipe: str
    dataset: str
    profile: str
    seed: int
    trainer: str = KERAS_TRAINER
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the trial: its name in the store."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()


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
        seconds_per_step: Median seconds a training step, after warm-up.
        wall: Seconds the whole training took, evaluation included.
        params: Parameters of the model.
        steps: Training steps taken.
        diverged: The epoch (from 1) in which the loss became NaN or infinite; None if it did not.
        correct: Whether each test example was classified right, packed bits in base64; empty where
            the task is not classification.
        host: The machine it was trained on.
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
        accuracy: Training accuracy of the last epoch, or NaN where the recipe does not measure it.
        seconds_left: An estimate, in seconds.
    """

    epoch: int
    epochs: int
    accuracy: float
    seconds_left: float


@dataclass(frozen=True)
class Watcher:
    """What a trainer is given besides the trial and its data: who is told how the training goes.

    Attributes:
        tell: Called with the progress, at the end of every epoch.
        checkpoint: A file in which the trainer may keep its unfinished state, so that a training
            that was killed goes on where it was; None where nothing can be kept. It is removed when
            the run is stored.
    """

    tell: Callable[[Progress], None]
    checkpoint: Path | None = None

    def __call__(self, progress: Progress) -> None:
        """Tell where the training is."""
        self.tell(progress)


def canonical_json(value: Any) -> str:
    """Return JSON that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
