"""The tests of `training/fused.py`, for Keras on JAX: `test_fused.py` runs them there."""

from __future__ import annotations

import math
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any
from weakref import WeakSet

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import layers
from scipy import stats

from pytest_ablation import (
    Dataset,
    Experiment,
    Recipe,
    configure,
    duets,
    train_with,
    use,
)
from pytest_ablation.arm import Arm
from pytest_ablation.execution.here import Here
from pytest_ablation.execution.task import Together
from pytest_ablation.experiment import Trial
from pytest_ablation.pairs import Settled
from pytest_ablation.profile import PROFILES
from pytest_ablation.run import Progress, Run, Watcher
from pytest_ablation.store import Store
from pytest_ablation.study import Study
from pytest_ablation.training import (
    batched,
    checkpoint,
    device,
    duet,
    evaluation,
    fit,
    fused,
    fused_networks,
    fused_steps,
    fused_training,
    initial,
    xla,
)
from pytest_ablation.verdict import Bound
from tests.test_fit import experiment as experiment_of
from tests.test_fit import halving, measured_losses, measuring, rebuilding, softening, tagged
from tests.tiny import EXPERIMENT, data, net, with_weights

SEEDS = (0, 1)
ROUNDING = 1e-3  # of 48 steps; another mask, order of images or weight makes ten times as much
SILENT = Watcher(lambda progress: None)


def convolutional() -> keras.Model:
    """Return a network with all that carries state from step to step."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Conv2D(4, 2, activation="relu", name="conv"),
            layers.MaxPooling2D(2, name="pool"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.3, name="drop1"),
            layers.Flatten(name="flatten"),
            layers.Dense(8, kernel_regularizer="l2", activity_regularizer="l2", name="dense"),
            layers.GaussianNoise(0.1, name="noise"),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )


def adapted() -> keras.Model:
    """Return a network with a layer that notes what it computes of the weights it is given."""
    normalization = layers.Normalization(name="normalization")
    normalization.adapt(data().x_train[:50] / 255)
    classes = layers.Dense(2, activation="softmax", name="classes")
    return keras.Sequential([keras.Input((4, 4, 3)), normalization, layers.Flatten(), classes])


def bent() -> keras.Model:
    """Return a network with a layer in the place of an activation, which is built when called."""
    dense = layers.Dense(8, activation=layers.PReLU(), name="dense")
    classes = layers.Dense(2, activation="softmax", name="classes")
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), dense, classes])


def steep() -> keras.Model:
    """Return a network whose loss is not finite before long."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Flatten(name="flatten"),
            layers.Dense(16, activation="exponential", name="dense1"),
            layers.Dense(16, activation="exponential", name="dense2"),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )


class Noisy(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Noise of which the seed is a number in the step, and not a state."""

    def __init__(self, seed: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.seed = seed

    def call(self, x: Any, training: bool = False) -> Any:
        """Return the input, in training with noise."""
        noise = keras.random.normal(keras.ops.shape(x), seed=self.seed)
        return x + noise if training else x

    def get_config(self) -> dict[str, Any]:
        """Return the settings, the seed with them."""
        return {**super().get_config(), "seed": self.seed}


class Adding(layers.Layer):  # type: ignore[misc] # as above
    """Adds to the loss."""

    def call(self, x: Any) -> Any:
        """Return the input, having added a number for each example."""
        self.add_loss(0.01 * keras.ops.sum(x**2, axis=-1))
        return x


def adding() -> keras.Model:
    """Return a network whose loss has a number of each example."""
    classes = layers.Dense(2, activation="softmax", name="classes")
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), Adding(), classes])


def frozen() -> keras.Model:
    """Return a network of which no weight is trained."""
    classes = layers.Dense(2, activation="softmax", trainable=False, name="classes")
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), classes])


def recurrent() -> keras.Model:
    """Return a network that draws masks in inference too."""
    unit = layers.GRU(4, dropout=0.3, recurrent_dropout=0.3, name="unit")
    classes = layers.Dense(2, activation="softmax", name="classes")
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Reshape((4, 12)), unit, classes])


def two_ended() -> keras.Model:
    """Return a network of two inputs and two outputs."""
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    noisy = Noisy(name="noisy")(right)
    both = layers.Dropout(0.2, name="drop")(layers.Concatenate(name="both")([left, noisy]))
    kind = layers.Dense(2, activation="softmax", name="kind")(both)
    size = layers.Dense(1, name="size")(both)
    return keras.Model({"left": left, "right": right}, {"kind": kind, "size": size})


def rebuilding_experiment() -> Experiment:
    """Return a network of the user's own whose loss is of images of bytes."""
    x = np.random.default_rng(0).integers(0, 256, (64, 4), np.uint8)
    return experiment_of(rebuilding, "mse", (), x, x)


class Spread(keras.metrics.Metric):  # type: ignore[misc] # as above
    """Sums up, and begins with another number than it was made with."""

    def __init__(self, name: str = "spread", **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self.total = self.add_variable((), "ones", name="total")

    def update_state(self, y: Any, answers: Any, sample_weight: Any = None) -> None:
        """Take in some answers."""
        self.total.assign_add(keras.ops.sum(answers**2))

    def result(self) -> Any:
        """Return the sum."""
        return keras.ops.convert_to_tensor(self.total)

    def reset_state(self) -> None:
        """Begin."""
        self.total.assign(0.0)


class Own(keras.callbacks.Callback):  # type: ignore[misc] # as above
    """Might do anything with the network."""


def two_ended_experiment() -> Experiment:
    """Return the network of two inputs and outputs on numbers made for it."""
    random = np.random.default_rng(0)
    x = {
        "left": random.normal(size=(200, 3)).astype("f"),
        "right": random.normal(size=(200, 2)).astype("f"),
    }
    y = {
        "kind": (x["left"][:, 0] > 0).astype(np.uint8),
        "size": x["right"].sum(axis=1, keepdims=True),
    }

    def part(arrays: dict[str, Any], chosen: slice) -> Any:
        return {name: array[chosen] for name, array in arrays.items()}

    numbers = Dataset(
        name="numbers",
        x_train=part(x, slice(150)),
        y_train=part(y, slice(150)),
        x_test=part(x, slice(150, None)),
        y_test=part(y, slice(150, None)),
    )
    recipe = Recipe(
        optimizer="sgd",
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        metrics={"kind": ["accuracy"], "size": ["mae"]},
        batch_size=16,
        epochs=2,
        steps_per_epoch=12,
    )
    return Experiment(two_ended, recipe, numbers)


def of_one_hot(dataset: Dataset) -> Dataset:
    """Return a dataset with its labels one-hot, as mixing them takes."""
    y_train, y_test = (keras.utils.to_categorical(y) for y in (dataset.y_train, dataset.y_test))
    return replace(dataset, y_train=y_train, y_test=y_test)


def with_more_to_test(dataset: Dataset) -> Dataset:
    """Return a dataset whose test examples are more than are answered at a time."""
    return replace(
        dataset, x_test=np.concatenate([dataset.x_test] * 6), y_test=np.tile(dataset.y_test, 6)
    )


def falling(epoch: int, rate: float) -> float:
    """Return a learning rate an epoch."""
    return rate * 0.7 if epoch else rate


def of_two_types(dataset: Dataset) -> Dataset:
    """Return a dataset whose training examples are not of the test examples' type."""
    return replace(dataset, x_train=dataset.x_train.astype("f") / 255)


CALLBACKS = (
    partial(keras.callbacks.LearningRateScheduler, falling),
    partial(keras.callbacks.ReduceLROnPlateau, min_delta=0.1, patience=1, factor=0.5),
    # Of the two seeds one is stopped before the other.
    partial(
        keras.callbacks.EarlyStopping,
        *("val_loss", 0.005),
        patience=1,
        restore_best_weights=True,
    ),
)
EXPERIMENTS = {
    "dense": EXPERIMENT,
    "convolutional": use(convolutional)(EXPERIMENT),
    "two types": replace(EXPERIMENT, data=of_two_types(EXPERIMENT.data)),
    "several inputs": two_ended_experiment(),
    "many settings": train_with(
        label_smoothing=0.1,
        class_weight={1: 3.0},
        validation_split=0.2,
        learning_rate=keras.optimizers.schedules.CosineDecay(0.01, 48),
        weight_decay=0.01,
        optimizer=keras.optimizers.AdamW(clipnorm=1.0, use_ema=True),
    )(EXPERIMENT),
    "augmented": train_with(augmentation=[layers.RandomFlip(), layers.RandomTranslation(0.3, 0.3)])(
        EXPERIMENT
    ),
    "mixed": train_with(augmentation=layers.MixUp(), loss="categorical_crossentropy")(
        replace(EXPERIMENT, data=of_one_hot(EXPERIMENT.data))
    ),
    "callbacks": train_with(callbacks=CALLBACKS)(EXPERIMENT),
    "diverging": train_with(learning_rate=0.1)(use(steep)(EXPERIMENT)),
    "adapted": use(adapted)(EXPERIMENT),
    "built when called": use(bent)(EXPERIMENT),
    "added to the loss": use(adding)(replace(EXPERIMENT, data=with_more_to_test(EXPERIMENT.data))),
    "nothing trained": use(frozen)(EXPERIMENT),
    "recurrent": use(recurrent)(EXPERIMENT),
    "own metric": train_with(metrics=[Spread()])(EXPERIMENT),
    "given weights": use(with_weights(net, 0.1))(EXPERIMENT),
    "numbers in the optimizer": train_with(optimizer="nadam")(EXPERIMENT),
    "masked": tagged(),
    "own loss": rebuilding_experiment(),
}


def study(folder: Path) -> Study:
    """Return a study that trains in this process."""
    return Study(
        store=Store(folder),
        profile=PROFILES["full"],
        asked_seeds=(3, 3),
        refresh=False,
        executor=Here(waiting=lambda: nullcontext(lambda board: None)),
    )


def trials_of(experiment: Experiment, seeds: tuple[int, ...] = SEEDS) -> list[Trial]:
    """Return the experiment's trials at full length."""
    arm = Arm(study(Path("nowhere")), experiment, "test")
    trials = [arm.trial(seed) for seed in seeds]
    initial.provide({trial.initial_weights: lambda: arm.given for trial in trials})
    return trials


def step_by_step(experiment: Experiment, seeds: tuple[int, ...] = SEEDS) -> list[Run]:
    """Return the runs as `fit` trains them."""
    trials = trials_of(experiment, seeds)
    return [fit.train(trial, experiment.data, SILENT) for trial in trials]


def together(
    experiment: Experiment, seeds: tuple[int, ...] = SEEDS, way: fused_steps.Way = "vmap"
) -> list[Run]:
    """Return the runs as `fused` trains them."""
    watchers = [SILENT for _ in seeds]
    return [*fused.train(trials_of(experiment, seeds), experiment.data, watchers, way=way)]


# What several tests compare with is trained once.
@cache
def alone(name: str) -> list[Run]:
    """Return an experiment's runs as `fit` trains them."""
    return step_by_step(EXPERIMENTS[name])


@cache
def at_once(name: str) -> list[Run]:
    """Return an experiment's runs as `fused` trains them."""
    return together(EXPERIMENTS[name])


@pytest.mark.parametrize(
    ("name", "way"),
    [
        *((name, "vmap") for name in EXPERIMENTS),
        pytest.param("convolutional", "map", marks=pytest.mark.slow),
    ],
)
def test_the_numbers_are_those_of_training_step_by_step(name: str, way: fused_steps.Way) -> None:
    """Weights, masks, order of images and where it diverges: a faster trainer changes none."""
    runs = at_once(name) if way == "vmap" else together(EXPERIMENTS[name], way=way)
    for one, other in zip(alone(name), runs, strict=True):
        assert (one.seed, one.steps, one.params) == (other.seed, other.steps, other.params)
        assert (one.fingerprint, one.diverged) == (other.fingerprint, other.diverged)
        assert one.curves.keys() == other.curves.keys()
        for curve, values in one.curves.items():
            np.testing.assert_allclose(values, other.curves[curve], rtol=ROUNDING, atol=1e-6)
        assert one.metrics.keys() == other.metrics.keys()
        for metric, value in one.metrics.items():
            np.testing.assert_allclose(value, other.metrics[metric], rtol=ROUNDING, atol=1e-6)
        assert one.correct == other.correct


def test_no_other_backend_is_imported_for_a_training() -> None:
    """Keras would import TensorFlow to write a network and to seed, for as long as it takes itself.

    Neither way of training does, nor does what names a trial.
    """
    assert alone("dense")[0].fingerprint == at_once("dense")[0].fingerprint
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("way", ["vmap", pytest.param("map", marks=pytest.mark.slow)])
def test_a_loss_is_scaled_as_in_training_step_by_step(way: fused_steps.Way) -> None:
    """In float16 each seed has its scale, and the weights' average: no number is far from alone."""
    averaging = keras.optimizers.Adam(0.01, use_ema=True)
    half = train_with(precision="mixed_float16", optimizer=averaging)(EXPERIMENT)
    for one, other in zip(step_by_step(half), together(half, way=way), strict=True):
        for name, value in one.metrics.items():
            np.testing.assert_allclose(value, other.metrics[name], rtol=0.02, atol=0.02)
        assert other.metrics["loss"] < other.curves["val_loss"][0]


@pytest.mark.parametrize("held", [1, 1 << 20])
def test_an_evaluation_in_parts_is_that_of_all(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """However few examples are answered, or measured, at a time: what layers add included."""
    one = alone("convolutional")
    monkeypatch.setattr(fused_training, "AT_A_TIME", 7)
    monkeypatch.setattr(evaluation, "MOST_PREDICTED", held)
    for whole, parts in zip(one, together(EXPERIMENTS["convolutional"]), strict=True):
        assert parts.correct == whole.correct
        assert parts.metrics == pytest.approx(whole.metrics, rel=ROUNDING)


def test_an_evaluation_of_one_call_is_not_waited_for() -> None:
    """What a device gives is handed on unread; to read what is deleted is an error."""
    answers = jnp.ones((2, 5, 3))
    answers.delete()
    ((start, stop, given),) = evaluation.joined(lambda some: answers, 5, 10, axis=1)
    assert (start, stop) == (0, 5)
    assert given is answers


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
def test_callbacks_may_watch_a_metric(name: str) -> None:
    """Of each seed's network Keras can tell whether more of it is better."""
    callback = partial(getattr(keras.callbacks, name), monitor="val_accuracy", patience=1)
    assert len(together(train_with(callbacks=callback, epochs=2)(EXPERIMENT))) == 2


def test_callbacks_end_one_training_before_another() -> None:
    """What the test above compares of them is an end of its own for each seed."""
    assert len({run.steps for run in at_once("callbacks")}) == 2


def test_trained_weights_are_kept_of_each_seed(tmp_path: Path) -> None:
    """Those of training step by step, where somebody asks for them."""
    trials = trials_of(EXPERIMENT)
    watchers = [Watcher(SILENT.tell, None, tmp_path / f"{seed}") for seed in SEEDS]
    list(fused.train(trials, EXPERIMENT.data, watchers))
    for trial, watcher in zip(trials, watchers, strict=True):
        fit.train(trial, EXPERIMENT.data, Watcher(SILENT.tell, None, tmp_path / "alone"))
        of_all, alone = (
            checkpoint.load(file, trial.fingerprint)
            for file in (watcher.weights, tmp_path / "alone")
            if file is not None
        )
        assert of_all is not None
        assert alone is not None
        for one, other in zip(of_all[1], alone[1], strict=True):
            np.testing.assert_allclose(one, other, rtol=0.01, atol=1e-4)


def test_the_diverging_experiment_diverges() -> None:
    """What the test above compares of it is an end before the end, not the same for each seed."""
    runs = at_once("diverging")
    assert all(run.diverged for run in runs)
    assert all(run.steps < 48 for run in runs)
    assert all(math.isnan(run.curves["loss"][-1]) for run in runs)


LAYERS = {
    "valid": layers.Conv2D(4, 3, activation="relu"),
    "aligned": layers.Conv2D(4, 2, activation="relu", use_bias=False),
    "same": layers.Conv2D(5, (2, 3), padding="same", strides=(2, 1)),
    "dilated": layers.Conv2D(5, 3, dilation_rate=(1, 2), use_bias=False),
    "grouped": layers.Conv2D(4, 2, groups=2),
    "half precision": layers.Conv2D(4, 3, dtype="mixed_bfloat16"),
    "one axis": layers.Conv1D(4, 3, padding="same"),
    "causal": layers.Conv1D(4, 3, padding="causal"),
    "three axes": layers.Conv3D(3, 2),
    "pooling": layers.MaxPooling2D(2),
    "pooling unevenly": layers.MaxPooling2D((3, 2)),
    "pooling in overlaps": layers.MaxPooling2D(3, strides=2, padding="same"),
    "pooling one axis": layers.MaxPooling1D(3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_several_networks_at_once_is_the_layer(name: str) -> None:
    """What it gives and every gradient, also where values tie for the greatest of a window."""
    layer = LAYERS[name]
    axes = {"one axis": 1, "causal": 1, "pooling one axis": 1, "three axes": 3}.get(name, 2)
    shape = (3, 7, 8, 5)[: axes + 1]
    model = keras.Sequential([keras.Input((*shape[1:], 4)), layer])
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(-2, 3, (*shape, 4)), "float32")
    weights = [jnp.asarray(random.normal(size=each.shape), "float32") for each in layer.weights]

    def of(weights: Any, x: Any) -> Any:
        answers, _ = model.stateless_call(weights, [], x)
        along = jnp.arange(answers.size, dtype="float32").reshape(answers.shape)
        return (answers * jnp.sin(along)).sum(), answers

    is_left = name in ("grouped", "causal", "pooling in overlaps")
    call = layer.call
    gradients = jax.value_and_grad(of, argnums=(0, 1), has_aux=True)
    plain = jax.jit(lambda *given: gradients(*given))(weights, x)
    with batched.used_by(model):
        assert (layer.call == call) == is_left
        at_once = jax.jit(lambda *given: gradients(*given))(weights, x)
    assert layer.call == call
    far = 0.1 if name == "half precision" else 1e-5
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(at_once), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.astype("float32"), other.astype("float32"), far, far)


POOLED = {
    "valid": (layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2)),
    "same": (layers.Conv2D(5, (5, 3), padding="same", use_bias=False), layers.MaxPooling2D(2)),
    "half precision": (
        layers.Conv2D(4, 3, dtype="mixed_bfloat16"),
        layers.MaxPooling2D(2, dtype="mixed_bfloat16"),
    ),
    "one axis": (layers.Conv1D(4, 3, activation="softmax"), layers.MaxPooling1D(2)),
    "halving filters": (layers.Conv2D(6, 3, activation="glu"), layers.MaxPooling2D(2)),
}
APART = {
    "even": (layers.Conv2D(4, 2), layers.MaxPooling2D(2)),
    "strided": (layers.Conv2D(4, 3, strides=2), layers.MaxPooling2D(2)),
    "by threes": (layers.Conv2D(4, 3), layers.MaxPooling2D(3)),
    "many filters": (layers.Conv2D(200, 3), layers.MaxPooling2D(2)),
    "few patches": (layers.Conv2D(40, 3), layers.MaxPooling2D(2)),
    "regularized": (layers.Conv2D(4, 3, activity_regularizer="l2"), layers.MaxPooling2D(2)),
    "pooled by means": (layers.Conv2D(4, 3), layers.AveragePooling2D(2)),
}


@pytest.mark.parametrize("name", POOLED)
def test_a_convolution_and_its_pooling_in_one_product_are_the_two(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What they give and every gradient, also by copies and where values tie in a window."""
    monkeypatch.setattr(batched, "LARGE", 0.0)
    convolution, pooling = POOLED[name]
    shape = (3, 11, 4) if name == "one axis" else (3, 8, 11, 4)
    model = keras.Sequential([keras.Input(shape[1:]), convolution, pooling])
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(-2, 3, shape), "float32")
    weights = [jnp.asarray(random.normal(size=each.shape), "float32") for each in model.weights]

    def of(weights: Any, x: Any) -> Any:
        answers, _ = model.stateless_call(weights, [], x)
        along = jnp.arange(answers.size, dtype="float32").reshape(answers.shape)
        return (answers * jnp.sin(along)).sum(), answers

    gradients = jax.value_and_grad(of, argnums=(0, 1), has_aux=True)
    plain = jax.jit(lambda *given: gradients(*given))(weights, x)
    with batched.used_by(model):
        given = jax.eval_shape(convolution, x)
        at_once = jax.jit(lambda *given: gradients(*given))(weights, x)
    assert given.shape[1:-1] == model.output_shape[1:-1]
    far = 0.1 if name == "half precision" else 1e-5
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(at_once), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.astype("float32"), other.astype("float32"), far, far)


@pytest.mark.parametrize("name", APART)
def test_a_convolution_and_its_pooling_stay_apart_where_one_product_is_no_gain(name: str) -> None:
    """Nor where it would be something else."""
    model = keras.Sequential([keras.Input((8, 11, 4)), *APART[name]])
    convolution, _ = model.layers
    with batched.used_by(model):
        given = jax.eval_shape(convolution, jnp.zeros((3, 8, 11, 4)))
    assert given.shape[1:] == convolution.output.shape[1:]


def test_what_others_take_of_a_convolution_is_left_as_it_is() -> None:
    """A second layer, the network's own output, and a second call of a layer."""
    given = keras.Input((8, 8, 3))
    convolved = [layers.Conv2D(4, 3, name=name)(given) for name in ("first", "second")]
    pooled = [layers.MaxPooling2D(2)(each) for each in convolved]
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    answers = [*pooled, layers.Flatten()(convolved[0]), convolved[1]]
    model = keras.Model(given, [*answers, layers.MaxPooling2D(2)(twice(twice(given)))])
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    plain = model(x)
    with batched.used_by(model):
        at_once = model(x)
    for one, other in zip(plain, at_once, strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-5)


def test_a_training_lets_others_have_the_device() -> None:
    """It tells that it has compiled, and asks for the device before each block of its steps."""
    said: list[object] = []

    @contextmanager
    def gpu() -> Iterator[None]:
        said.append("asked")
        yield
        said.append("let go")

    watchers = [Watcher(lambda progress: said.append(progress.epoch)) for _ in SEEDS]
    list(fused.train(trials_of(EXPERIMENT), EXPERIMENT.data, watchers, way="vmap", gpu=gpu))
    epochs = [["asked", "let go", *(epoch for _ in SEEDS)] for epoch in range(1, 7)]
    assert said == [0, *(each for epoch in epochs for each in epoch)]


def test_the_device_has_steps_to_take_while_it_is_told_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python is at an epoch's end, which is one program here, while the next is under way."""
    taken, begun, told = fused_steps.Steps.taken, list[int](), list[int]()

    def counted(steps: fused_steps.Steps, *given: Any) -> Any:
        begun.append(len(begun))
        return taken(steps, *given)

    monkeypatch.setattr(fused_steps.Steps, "taken", counted)
    watcher = Watcher(lambda progress: told.append(len(begun)))
    list(fused.train(trials_of(EXPERIMENT, (0,)), EXPERIMENT.data, [watcher]))
    assert told == [0, 2, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(("steps_per_epoch", "units"), [(8, 21), (22, 22)])
def test_what_is_needed_is_compiled_at_once(
    monkeypatch: pytest.MonkeyPatch, steps_per_epoch: int, units: int
) -> None:
    """In threads, before the first step: what makes weights, takes all steps, and evaluates."""

    def net() -> keras.Model:
        dense = layers.Dense(units, activation="relu", name="dense")
        classes = layers.Dense(2, activation="softmax", name="classes")
        return keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), dense, classes])

    compiled: dict[threading.Thread, list[object]] = defaultdict(list)

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled[threading.current_thread()].append(kwargs["fun_name"])

    monkeypatch.setattr(fused_networks, "sees_gpu", lambda: True)
    experiment = train_with(steps_per_epoch=steps_per_epoch, epochs=2)(use(net)(EXPERIMENT))
    jax.monitoring.register_event_duration_secs_listener(listen)
    runs = together(experiment)
    jax.monitoring.unregister_event_duration_listener(listen)
    in_turn = set(compiled.pop(threading.current_thread(), []))
    assert in_turn <= {"jit(negative)"}  # which asks what options XLA knows, once
    assert {"jit(_uniform)", "jit(of_all)", "jit(answers)", "jit(scores)"} <= {
        *chain(*compiled.values())
    }
    assert [run.steps for run in runs] == [2 * steps_per_epoch for _ in SEEDS]


def test_steps_are_compiled_before_there_are_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longest begins first, and weights are made meanwhile."""
    prepared, initial, order = (
        fused_steps.Steps.prepared,
        fused_networks.Networks.initial,
        list[str](),
    )

    def preparing(*given: Any) -> Any:
        order.append("steps")
        return prepared(*given)

    def making(networks: Any) -> Any:
        order.append("weights")
        return initial(networks)

    monkeypatch.setattr(fused_steps.Steps, "prepared", preparing)
    monkeypatch.setattr(fused_networks.Networks, "initial", making)
    together(train_with(epochs=1)(EXPERIMENT))
    assert order == ["steps", "weights"]


@pytest.mark.slow
def test_long_trainings_end_alike_in_distribution() -> None:
    """Where rounding has long changed each number, the accuracies of many seeds have not."""
    longer = train_with(epochs=30, learning_rate=0.02)(EXPERIMENTS["convolutional"])
    seeds = tuple(range(12))
    one, other = (
        [run.metrics["train_loss"] for run in runs]
        for runs in (step_by_step(longer, seeds), together(longer, seeds))
    )
    assert stats.ks_2samp(one, other).pvalue > 0.05


@pytest.mark.parametrize(
    ("name", "way", "kept"),
    [
        ("dense", "vmap", (True,)),
        ("dense", "vmap", (False, False, True)),
        pytest.param("convolutional", "vmap", (True, False), marks=pytest.mark.slow),
        pytest.param("augmented", "vmap", (True, False), marks=pytest.mark.slow),
        pytest.param("many settings", "map", (True, False), marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_training_ends_with_the_same_numbers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    way: fused_steps.Way,
    kept: tuple[bool, ...],
) -> None:
    """All seeds go on where they were: weights, optimizer, random state and order of images.

    However often that is kept: the device is steps ahead where it is not.
    """
    often = cycle(kept)
    monkeypatch.setattr(
        fused_training.FusedTraining,
        "_is_to_be_kept",
        lambda training: next(often) and training._checkpoint is not None,
    )
    monkeypatch.setattr(fused_training, "PROGRAMS_AT_A_TIME", 2)
    monkeypatch.setattr(fused_training, "STEPS_OF_A_PROGRAM", 3)
    experiment = EXPERIMENTS[name]
    whole = together(experiment, way=way)
    told: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        told.append(progress)
        if progress.epoch == 4:
            raise KeyboardInterrupt

    trials, file = trials_of(experiment), tmp_path / "checkpoint"
    watchers = [Watcher(interrupt, file) for _ in trials]
    with pytest.raises(KeyboardInterrupt):
        list(fused.train(trials, experiment.data, watchers, way=way))
    before = len(told)
    watchers = [Watcher(told.append, file) for _ in trials]
    resumed = fused.train(trials, experiment.data, watchers, way=way)
    assert [(run.curves, run.metrics) for run in resumed] == [
        (run.curves, run.metrics) for run in whole
    ]
    assert len(told) - before < 2 * 6


def test_one_that_diverges_leaves_the_others_as_they_are() -> None:
    """Seeds share the device and nothing else: one ends early, another goes on as if alone."""
    experiment = train_with(learning_rate=0.05)(use(steep)(EXPERIMENT))
    seeds = tuple(range(8))
    runs = together(experiment, seeds, way="map")
    last = max(seeds, key=lambda seed: runs[seed].steps)
    assert runs[last].steps > min(run.steps for run in runs)
    alone = together(experiment, (last,), way="map")[0]
    assert (runs[last].steps, runs[last].diverged) == (alone.steps, alone.diverged)
    np.testing.assert_allclose(runs[last].curves["loss"], alone.curves["loss"], rtol=ROUNDING)


@pytest.mark.parametrize("short", ["", "all at once", "beside another"])
def test_how_seeds_share_the_device_is_found_out_by_their_first_steps(
    monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    """The numbers are the same in either way, and also where one takes too much memory.

    What did is gone from the device when the other way begins.
    """
    expected = at_once("dense")
    told, begun = list[fused_steps.Way](), WeakSet[fused_training.FusedTraining]()
    block, steps = fused_training.FusedTraining.block, fused_training.FusedTraining.steps

    def limited(training: fused_training.FusedTraining) -> float:
        begun.add(training)
        if short == "all at once":
            if training.way == "vmap":
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")
            assert len(begun) == 1
        return block(training)

    def tried(training: fused_training.FusedTraining, count: int) -> None:
        if short == "beside another":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")
        steps(training, count)

    monkeypatch.setattr(fused_training.FusedTraining, "block", limited)
    monkeypatch.setattr(fused_training.FusedTraining, "steps", tried)
    monkeypatch.setattr(fused, "WORTH_A_TRIAL", 0.0)
    watchers = [SILENT for _ in SEEDS]
    found = fused.train(trials_of(EXPERIMENT), EXPERIMENT.data, watchers, decided=told.append)
    for one, other in zip(found, expected, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=ROUNDING)
        assert one.steps == other.steps
    ways = {"all at once": (["map"],), "beside another": (["vmap"],)}
    assert told in ways.get(short, (["map"], ["vmap"]))


def test_others_let_the_device_be_while_it_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other trainings a step takes longer, and the one way may be timed beside more."""
    held, told, tried = [False], [], []
    steps = fused_training.FusedTraining.steps

    @contextmanager
    def gpu() -> Iterator[None]:
        held[0] = True
        yield
        held[0] = False

    def noted(training: fused_training.FusedTraining, count: int) -> None:
        tried.append((training.way, held[0]))
        steps(training, count)

    monkeypatch.setattr(fused_training.FusedTraining, "steps", noted)
    monkeypatch.setattr(fused, "WORTH_A_TRIAL", 0.0)
    watchers = [Watcher(lambda progress: told.append((progress.epoch, held[0]))), SILENT]
    list(fused.train(trials_of(EXPERIMENT), EXPERIMENT.data, watchers, gpu=gpu))
    first, others = told[:4], told[4:]
    assert first == [(0, False), (1, True), (2, True), (3, True)]
    assert not any(was_held for _, was_held in others)
    assert tried == [("map", True)] * 2


def test_how_seeds_share_the_device_is_remembered(tmp_path: Path) -> None:
    """Not found out again for the next seeds, nor for a duet."""
    here = study(tmp_path)
    arm = here.baseline(EXPERIMENT)
    trainings = tuple(here._training(arm, seed) for seed in SEEDS)
    Together(trainings=trainings, name="both")(wait=False)
    name = fused.name_of([each.trial for each in trainings])
    assert here.store.recall("seeds", name) == "vmap"
    assert jax.local_devices()[0].device_kind in name  # another may find the other way faster


@pytest.mark.parametrize(
    ("experiment", "gpu", "reason"),
    [
        (EXPERIMENT, False, None),
        (EXPERIMENTS["convolutional"], True, None),
        (EXPERIMENTS["convolutional"], False, "convolutions"),
        (EXPERIMENTS["several inputs"], False, "convolutions, and layers that may have some"),
        (EXPERIMENTS["augmented"], False, None),
        (train_with(augmentation=layers.AugMix((0, 1)))(EXPERIMENT), True, "AugMix"),
        (EXPERIMENTS["callbacks"], True, None),
        (train_with(callbacks=keras.callbacks.TerminateOnNaN)(EXPERIMENT), True, "callbacks"),
        (train_with(callbacks=Own)(EXPERIMENT), True, "callbacks"),
        (rebuilding_experiment(), True, None),
        (use(halving)(EXPERIMENT), True, "its network has a train_step of its own"),
        (use(measuring)(EXPERIMENT), True, "its network has a test_step of its own"),
        (use(softening)(EXPERIMENT), True, "its network has a predict_step of its own"),
    ],
)
def test_a_trial_is_left_to_the_other_trainer_for_a_reason(
    experiment: Experiment, gpu: bool, reason: str | None
) -> None:
    """Who wonders why a training is slow finds the reason in the log."""
    said = fused.why_not(trials_of(experiment)[0], experiment.data, gpu=gpu)
    assert (said is None) == (reason is None)
    assert (reason or "") in (said or "")


def test_a_study_trains_the_seeds_of_an_arm_at_once_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task trains all seeds; what the store has of them is not trained again."""
    monkeypatch.setattr(device, "sees_gpu", lambda trainer="": True)
    first = study(tmp_path)
    arm = first.baseline(EXPERIMENT)
    first.queue(arm, seeds=1)
    first.run(arm, 0)
    first.queue(arm, seeds=3)
    tasks = first._together.values()
    assert {len(task.trainings) for task in tasks} == {2}
    runs = [first.run(arm, seed) for seed in range(3)]
    assert len(first.trained) == 3
    second = study(tmp_path)
    again = second.baseline(EXPERIMENT)
    second.queue(again, seeds=3)
    assert [second.run(again, seed) for seed in range(3)] == runs
    assert second.trained == []


def test_what_trains_at_once_is_timed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A duet on a GPU is of the program that trains, not of steps asked for one by one."""
    monkeypatch.setattr(device, "sees_gpu", lambda trainer="": True)
    monkeypatch.setattr(duets, "DUET_SECONDS", 2.0)
    monkeypatch.setattr(duet, "stepping", None)  # what takes steps one by one
    here = study(tmp_path)
    wide = here.variant(EXPERIMENT, configure("dense1", units=500))
    timed = here.duets.of(wide, here.baseline(EXPERIMENT), Settled(bound=Bound()))
    assert timed.log_ratios


def test_an_option_that_xla_does_not_have_is_left_out() -> None:
    """A newer one drops options, and an older one lacks them; another error stays one."""
    negative = jax.jit(jnp.negative).lower(1)
    options = {"xla_gpu_of_another_version": True, "xla_gpu_enable_triton_gemm": False}
    assert xla.compiled(negative, options)(1) == -1
    with pytest.raises(jax.errors.JaxRuntimeError, match="not a valid bool"):
        xla.compiled(negative, {"xla_gpu_enable_triton_gemm": "neither"})


def test_a_plan_times_the_program_that_will_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that of all seeds: step by step one would seem to take fifteen times as long."""
    taken, seen = fused_steps.Steps.taken, []

    def noted(steps: fused_steps.Steps, *given: Any) -> Any:
        seen.append(given[2][0].shape[0])
        return taken(steps, *given)

    monkeypatch.setattr(fused_steps.Steps, "taken", noted)
    for sees_gpu, seeds in ((True, 3), (False, 1)):
        monkeypatch.setattr(device, "sees_gpu", lambda trainer="", sees_gpu=sees_gpu: sees_gpu)
        here = study(tmp_path)
        assert 0 < here.seconds_per_step(here.baseline(EXPERIMENT)) < 1
        assert {*seen} == {seeds}
        seen.clear()


def test_steps_are_timed_beside_trainings_that_let_the_device_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU only beside those of whole epochs on the device, which pause for it."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(device, "sees_gpu", lambda trainer="": True)
    here = study(tmp_path)
    slow_steps = use(convolutional) + train_with(callbacks=[Own])
    for ablation, is_foreseen in ((configure("dense1", units=9), True), (slow_steps, False)):
        variant = here.variant(EXPERIMENT, ablation)
        assert variant.is_at_once == is_foreseen
        before = len([*here.duets.foreseen])
        here.duets.foresee(variant, here.baseline(EXPERIMENT))
        assert len([*here.duets.foreseen]) - before == is_foreseen


def test_of_two_sessions_one_trains_the_seeds(tmp_path: Path) -> None:
    """A task of several trials waits for who is at one of them, and takes over what is done."""
    here = study(tmp_path)
    arm = here.baseline(EXPERIMENT)
    task = Together(trainings=tuple(here._training(arm, seed) for seed in SEEDS), name="three")
    with here.store.lock(arm.trial(1).fingerprint):
        assert task(wait=False) is None
    done = task(wait=False)
    assert done is not None
    assert {result.trained for result in done.value.values()} == {True}
    again = task(wait=False)
    assert again is not None
    assert {result.trained for result in again.value.values()} == {False}


def test_data_too_large_for_the_device_is_trained_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The numbers do not depend on where the data set lies."""
    monkeypatch.setattr(fused, "DATA_SHARE", -1.0)
    large = replace(EXPERIMENT, data=data())
    assert together(large)[0].curves == step_by_step(large)[0].curves
    one_by_one = duet.stepping(trials_of(large)[0], large.data)
    monkeypatch.setattr(duet, "stepping", lambda trial, data: one_by_one)
    assert fused.stepping(trials_of(large)[0], 2, large.data, "map") == (one_by_one, 1)


def test_step_by_step_the_loss_has_what_layers_add_to_it() -> None:
    """Where Keras does not tell such losses after a prediction, they are measured all the same."""
    ours, theirs = measured_losses()
    assert ours == pytest.approx(theirs, rel=1e-5)
