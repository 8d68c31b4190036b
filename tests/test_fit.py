"""The Keras trainer, on real trainings of a tiny network."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import (
    AblationError,
    Dataset,
    Experiment,
    Recipe,
    Run,
    configure,
    remove,
    train_with,
)
from pytest_ablation.arm import Arm
from pytest_ablation.execution.here import Here
from pytest_ablation.experiment import CORRECTED, Trial
from pytest_ablation.network.precision import built_in
from pytest_ablation.profile import PROFILES
from pytest_ablation.run import Progress, Watcher
from pytest_ablation.store import Store
from pytest_ablation.study import Study
from pytest_ablation.trained import Trained
from pytest_ablation.training import checkpoint, evaluation, examples, fit
from tests.tiny import EXPERIMENT, data, net

LONG = train_with(epochs=20, learning_rate=0.01)(EXPERIMENT)


def trial_of(experiment: Experiment, seed: int = 0) -> Trial:
    """Return the experiment's trial at full length."""
    return Arm(a_study(), experiment, "test").trial(seed)


def a_study() -> Study:
    """Return a study that only describes trials."""
    return Study(
        store=Store.__new__(Store),
        profile=PROFILES["full"],
        asked_seeds=(1, 1),
        refresh=False,
        executor=Here(waiting=lambda: nullcontext(print)),
    )


def trained(experiment: Experiment, seed: int = 0) -> Run:
    """Return the experiment's run."""
    return fit.train(trial_of(experiment, seed), experiment.data, lambda progress: None)


@pytest.fixture(scope="module")
def run() -> Run:
    """One training of the tiny experiment, long enough to tell dark from bright."""
    return trained(LONG)


@pytest.fixture(scope="module")
def short() -> Run:
    """One training of the tiny experiment as it is."""
    return trained(EXPERIMENT)


def test_every_epoch_has_all_its_steps(run: Run) -> None:
    """A pass that ends within an epoch does not cut it short, as Keras's own arrays do."""
    assert run.steps == 20 * 8
    assert {len(curve) for curve in run.curves.values()} == {20}


class Traced(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Counts how often it is called in training."""

    times = 0

    def call(self, x: Any, training: bool = False) -> Any:
        """Return what it is given."""
        Traced.times += bool(training)
        return x


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others trace otherwise")
def test_a_step_is_traced_once() -> None:
    """To trace it takes longer than many a training, and a step that makes variables is twice."""

    def network() -> keras.Model:
        return keras.Sequential([net(), Traced()])

    Traced.times = 0
    trained(train_with(epochs=1)(replace(EXPERIMENT, model=network)))
    assert Traced.times == 1


def test_a_run_has_what_a_study_compares(run: Run) -> None:
    """Metrics of both splits, curves, times and parameters come with every run."""
    assert run.metrics["accuracy"] > 0.9  # the classes can be told apart without an error
    assert set(run.metrics) == {"accuracy", "loss", "train_accuracy", "train_loss"}
    assert set(run.curves) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert 0 < run.seconds_per_step < run.wall
    assert run.params == 48 * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2
    assert run.diverged is None


def test_the_finished_model_is_measured_in_inference_mode(run: Run) -> None:
    """Accuracy and per-image correctness are of one evaluation of the whole test set."""
    correct = np.unpackbits(np.frombuffer(base64.b64decode(run.correct), np.uint8), count=100)
    assert correct.mean() == pytest.approx(run.metrics["accuracy"])


def test_the_same_trial_gives_the_same_run_and_another_seed_another(short: Run) -> None:
    """A seed decides a run, and nothing else does."""
    assert trained(EXPERIMENT).curves == short.curves
    assert trained(EXPERIMENT, seed=1).curves != short.curves


def forgetful() -> keras.Model:
    """Return a network that draws masks in inference too."""
    unit = layers.GRU(4, dropout=0.3, recurrent_dropout=0.3)
    classes = layers.Dense(2, activation="softmax")
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Reshape((4, 12)), unit, classes])


def test_a_training_does_not_depend_on_how_much_is_measured() -> None:
    """An evaluation leaves the state of random layers as it was, however many batches it takes."""
    few = train_with(epochs=2)(replace(EXPERIMENT, model=forgetful))
    x, y = (
        np.tile(array, (6, *(1,) * (array.ndim - 1))) for array in (data().x_test, data().y_test)
    )
    many = replace(few, data=replace(data(), x_test=x, y_test=y))
    assert trained(few).curves["loss"] == trained(many).curves["loss"]


def test_what_an_evaluation_moved_is_trained_anew() -> None:
    """Runs of before are used but where a layer may count, or draw, in inference."""

    def versions(*kinds: keras.layers.Layer) -> Any:
        network = keras.Sequential([keras.Input((4, 12)), *kinds, layers.Flatten()])
        return trial_of(replace(EXPERIMENT, model=lambda: network)).versions.get(CORRECTED)

    assert versions(layers.Dropout(0.2), layers.BatchNormalization(), layers.GRU(3)) is None
    assert versions(layers.Bidirectional(layers.GRU(3, dropout=0.2))) == "state after evaluation"


def test_a_loss_that_is_no_number_ends_the_training_at_once() -> None:
    """A diverged training costs no more time, is evaluated as it stands, and says when."""
    experiment = configure("dense*", activation="exponential")(EXPERIMENT)
    wild = replace(experiment, data=replace(data(), x_train=data().x_train.astype(np.float32)))
    run = trained(wild)
    assert run.diverged == 1
    assert run.steps < 8
    assert 0 <= run.metrics["accuracy"] <= 1
    assert math.isnan(run.metrics["loss"]) or math.isinf(run.metrics["loss"])


def experiment(
    net: Callable[[], keras.Model], loss: Any, metrics: Any, x: Any, y: Any
) -> Experiment:
    """Return an experiment of a few steps on the same examples in training and test."""
    recipe = Recipe("sgd", loss, batch_size=8, steps_per_epoch=4, epochs=2, metrics=metrics)
    split = {f"{name}_{part}": v for name, v in (("x", x), ("y", y)) for part in ("train", "test")}
    return Experiment(net, recipe, Dataset(name="made", **split))


def two_in_two_out() -> keras.Model:
    """Return a network of an image and a number, that tells a class and a number."""
    image, number = keras.Input((4, 4, 3), name="image"), keras.Input((1,), name="number")
    both = layers.concatenate([layers.Flatten(name="flatten")(image), number], name="both")
    outputs = {
        "kind": layers.Dense(3, activation="softmax", name="kind")(both),
        "size": layers.Dense(1, name="size")(both),
    }
    return keras.Model([image, number], outputs)


RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (20, 4, 4, 3), np.uint8)
NUMBERS = RANDOM.random((20, 1), np.float32)
KINDS = np.arange(20, dtype=np.uint8) % 3


@pytest.mark.parametrize("by_name", [True, False])
def test_a_network_of_several_inputs_and_outputs_is_trained(by_name: bool) -> None:
    """Inputs and labels by name or in order reach the network, and each output is measured."""
    inputs = {"image": IMAGES, "number": NUMBERS}
    labels = {"kind": KINDS, "size": NUMBERS}
    run = trained(
        experiment(
            two_in_two_out,
            {"kind": "sparse_categorical_crossentropy", "size": "mse"},
            {"kind": ["accuracy"], "size": ["mae"]},
            inputs if by_name else tuple(inputs.values()),
            labels if by_name else list(labels.values()),
        )
    )
    assert {"loss", "kind_accuracy", "size_mae", "kind_loss", "size_loss"} <= set(run.metrics)
    assert run.metrics["loss"] == pytest.approx(
        run.metrics["kind_loss"] + run.metrics["size_loss"], rel=1e-4
    )
    assert "val_size_mae" in run.curves
    assert run.correct == ""


def test_an_output_without_a_loss_needs_no_labels() -> None:
    """A network that also gives what it found, as an embedding, trains as it does by `fit`."""
    inputs, labels = {"image": IMAGES, "number": NUMBERS}, {"size": NUMBERS}
    run = trained(experiment(two_in_two_out, {"size": "mse"}, None, inputs, labels))
    assert set(run.metrics) == {"loss", "train_loss"}


def regressing() -> keras.Model:
    """Return a network that tells a number."""
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(1)])


def segmenting() -> keras.Model:
    """Return a network that tells the class of each pixel."""
    return keras.Sequential(
        [keras.Input((4, 4, 3)), layers.Conv2D(3, 3, padding="same", activation="softmax")]
    )


def classifying() -> keras.Model:
    """Return a network that tells one of three classes."""
    return keras.Sequential(
        [keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")]
    )


def reading() -> keras.Model:
    """Return a network that reads numbered words."""
    return keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(50, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


PIXELS = RANDOM.integers(0, 3, (20, 4, 4), np.uint8)
ONE_HOT = np.eye(3, dtype=np.float32)[KINDS]
WORDS = RANDOM.integers(0, 50, (20, 7))


@pytest.mark.parametrize(
    ("net", "loss", "metric", "x", "y", "has_classes"),
    [
        (regressing, "mse", "mae", IMAGES, NUMBERS[:, 0], False),
        pytest.param(
            *(segmenting, "sparse_categorical_crossentropy", "accuracy", IMAGES, PIXELS, False),
            marks=pytest.mark.skipif(
                keras.backend.backend() == "torch",
                reason="of pixels, Keras 3.15 on PyTorch cannot train with this loss",
            ),
        ),
        (classifying, "categorical_crossentropy", "accuracy", IMAGES, ONE_HOT, True),
        (classifying, "sparse_categorical_crossentropy", "accuracy", IMAGES, KINDS[:, None], True),
        (classifying, "binary_crossentropy", "binary_accuracy", IMAGES, 1 - ONE_HOT, False),
        (reading, "binary_crossentropy", "accuracy", WORDS, (KINDS > 1).astype(np.float32), True),
    ],
    ids=["regression", "pixels", "one-hot", "column", "multi-label", "words"],
)
def test_any_task_is_trained_and_measured(
    net: Callable[[], keras.Model], loss: str, metric: str, x: Any, y: Any, has_classes: bool
) -> None:
    """Labels of any shape give a run; which answers are correct is said where each has a class."""
    run = trained(experiment(net, loss, (metric,), x, y))
    assert set(run.metrics) == {"loss", metric, "train_loss", f"train_{metric}"}
    assert run.metrics == pytest.approx(
        {name: run.metrics[name.removeprefix("train_")] for name in run.metrics}
    )
    assert bool(run.correct) == has_classes
    if has_classes:
        packed = np.frombuffer(base64.b64decode(run.correct), np.uint8)
        assert np.unpackbits(packed, count=20).mean() == pytest.approx(run.metrics["accuracy"])


def test_predictions_too_many_to_hold_are_measured_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network that answers for each pixel is measured in bounded memory, with the same result."""
    one_hot = np.eye(3, dtype=np.float32)[PIXELS]
    pixels = experiment(segmenting, "categorical_crossentropy", ("accuracy",), IMAGES, one_hot)
    whole = trained(pixels)
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 8)
    monkeypatch.setattr(evaluation, "MOST_PREDICTED", 1)
    assert trained(pixels).metrics == pytest.approx(whole.metrics)


class Interrupted(np.ndarray):
    """Images that can be taken from a number of times only."""

    left = 0

    def __getitem__(self, chosen: Any) -> Any:
        """Return a batch's images, until the power fails."""
        Interrupted.left -= 1
        if Interrupted.left < 0:
            raise KeyboardInterrupt
        return np.asarray(self)[chosen]


@pytest.mark.parametrize("steps", [21, 24])
def test_a_training_that_is_interrupted_ends_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: Run, steps: int
) -> None:
    """Killed anywhere and started again, bit for bit: within an epoch, and at its end."""
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(fit, "CHECKPOINT_SHARE", 1.0)
    trial = trial_of(EXPERIMENT)
    told: list[Progress] = []
    watcher = Watcher(told.append, tmp_path / "checkpoint")
    Interrupted.left = steps
    fragile = replace(EXPERIMENT.data, x_train=EXPERIMENT.data.x_train.view(Interrupted))
    with pytest.raises(KeyboardInterrupt):
        fit.train(trial, fragile, watcher)
    assert len(told) == steps // 8
    resumed = fit.train(trial, EXPERIMENT.data, watcher)
    assert len(told) == 6
    assert resumed.curves == short.curves
    assert resumed.metrics == short.metrics
    assert resumed.correct == short.correct
    assert resumed.steps == short.steps


def test_an_augmented_training_that_is_interrupted_ends_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random changes of the images, a schedule and smoothed labels go on where they were."""
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    recipe = {
        "augmentation": (layers.RandomFlip(), layers.GaussianNoise(0.1)),
        "learning_rate": keras.optimizers.schedules.CosineDecay(0.01, 48),
        "label_smoothing": 0.1,
        "weight_decay": 0.01,
    }
    augmented = train_with(**recipe)(EXPERIMENT)
    trial = trial_of(augmented)
    whole = fit.train(trial, augmented.data, lambda progress: None)
    watcher = Watcher(lambda progress: None, tmp_path / "checkpoint")
    Interrupted.left = 21
    fragile = replace(EXPERIMENT.data, x_train=EXPERIMENT.data.x_train.view(Interrupted))
    with pytest.raises(KeyboardInterrupt):
        fit.train(trial, fragile, watcher)
    resumed = fit.train(trial, augmented.data, watcher)
    assert (resumed.curves, resumed.metrics) == (whole.curves, whole.metrics)


def test_images_are_augmented_in_training_alone() -> None:
    """What training sees is changed; what is measured of a network, here one that stays, is not."""
    noise = layers.GaussianNoise(1.0)
    still = train_with(learning_rate=0.0)(EXPERIMENT)
    plain, noisy = trained(still), trained(train_with(augmentation=noise)(still))
    assert noisy.curves["loss"] != plain.curves["loss"]
    assert noisy.curves["val_loss"] == plain.curves["val_loss"]
    assert noisy.metrics == plain.metrics


def plain_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the crossentropy of labels as they are."""
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


def test_smoothed_labels_are_trained_on_and_not_measured_by() -> None:
    """The loss of two arms compares, though one was trained on smoothed labels."""
    measured = ("accuracy", plain_loss)
    run = trained(train_with(label_smoothing=0.9, metrics=measured)(EXPERIMENT))
    assert run.curves["loss"][-1] != pytest.approx(run.curves["plain_loss"][-1], rel=1e-3)
    assert run.metrics["loss"] == pytest.approx(run.metrics["plain_loss"], rel=1e-5)


@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path: Path, short: Run, damage: bytes) -> None:
    """A training whose unfinished state cannot be read starts anew."""
    file = tmp_path / "checkpoint"
    file.write_bytes(damage)
    run = fit.train(trial_of(EXPERIMENT), EXPERIMENT.data, Watcher(lambda progress: None, file))
    assert run.curves == short.curves


def test_progress_counts_the_epochs() -> None:
    """A training tells where it is at the end of every epoch."""
    told: list[Progress] = []
    short = train_with(epochs=3)(EXPERIMENT)
    fit.train(trial_of(short), short.data, told.append)
    assert [(progress.epoch, progress.epochs) for progress in told] == [(1, 3), (2, 3), (3, 3)]
    assert told[-1].seconds_left == 0


def test_any_metric_the_recipe_compiles_is_measured() -> None:
    """A metric of the user's choice is in the run beside the loss."""
    name = "sparse_categorical_crossentropy"
    run = trained(train_with(metrics=("accuracy", name), epochs=1)(EXPERIMENT))
    assert run.metrics[name] == pytest.approx(run.metrics["loss"], rel=1e-5)


def test_the_fingerprint_knows_all_that_decides_a_run() -> None:
    """Network, recipe, data, seed and profile each make another trial; asking again does not."""
    trial = trial_of(EXPERIMENT)
    fewer = replace(data(), x_train=data().x_train[:200], y_train=data().y_train[:200])
    others = [
        trial_of(EXPERIMENT, seed=1),
        trial_of(remove("drop1")(EXPERIMENT)),
        trial_of(train_with(epochs=7)(EXPERIMENT)),
        trial_of(replace(EXPERIMENT, data=fewer)),
        replace(trial, profile="quick"),
    ]
    assert trial_of(EXPERIMENT).fingerprint == trial.fingerprint
    assert len({trial.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_an_optimizer_by_name_is_the_optimizer_by_default() -> None:
    """A recipe is compared by what it does, not by how it is written."""
    written = train_with(optimizer=keras.optimizers.Adam())(EXPERIMENT)
    slower = train_with(optimizer=keras.optimizers.Adam(1e-4))(EXPERIMENT)
    assert trial_of(written).fingerprint == trial_of(EXPERIMENT).fingerprint
    assert trial_of(slower).fingerprint != trial_of(EXPERIMENT).fingerprint


class Sparse(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer of a user's own that adds to the loss."""

    def call(self, x: Any) -> Any:
        """Return what it is given."""
        self.add_loss(0.1 * keras.ops.mean(keras.ops.abs(x)))
        return x


def regularised() -> keras.Model:
    """Return a network that regularises weights, and outputs in three ways."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Flatten(),
            layers.Dense(6, activity_regularizer="l2", kernel_regularizer="l2", name="dense1"),
            layers.ActivityRegularization(l1=0.1),
            Sparse(),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )


def measured_losses() -> list[float]:
    """Return the loss of a regularised network as it is measured here, and by Keras."""
    experiment = Experiment(regularised, EXPERIMENT.recipe, EXPERIMENT.data)
    model = fit.compiled(trial_of(experiment))
    x, y = experiment.data.x_test, experiment.data.y_test
    measured, _ = evaluation.evaluated(model, x, y)
    given = examples.as_input(x), examples.as_label(y)
    # In one batch: where Keras 3.15 on JAX traces another size, it may lose a loss of a layer's.
    theirs = model.evaluate(*given, batch_size=500, verbose=0, return_dict=True)
    return [measured["loss"], theirs["loss"]]


def test_the_loss_has_what_layers_add_to_it() -> None:
    """A regulariser of a layer's output is part of the loss, as in Keras's own evaluate."""
    run = trained(Experiment(regularised, EXPERIMENT.recipe, EXPERIMENT.data))
    assert math.isfinite(run.metrics["loss"])
    ours, theirs = measured_losses()
    assert ours == pytest.approx(theirs, rel=1e-5)


def tagger() -> keras.Model:
    """Return a network that tells a class of each word, and masks the padding."""
    return keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(20, 8, mask_zero=True, name="words"),
            layers.Dense(3, activation="softmax", name="tags"),
        ]
    )


def tagged() -> Experiment:
    """Return the tagging of sentences that are mostly padding."""
    random = np.random.default_rng(0)
    words = random.integers(1, 20, (80, 12)).astype("int32")
    words[np.arange(12) >= random.integers(2, 6, (80, 1))] = 0
    recipe = Recipe("adam", "sparse_categorical_crossentropy", 16, epochs=2, learning_rate=0.02)
    x, y = (words[:60], words[60:]), (words[:60] % 3, words[60:] % 3)
    data = Dataset(name="words", x_train=x[0], y_train=y[0], x_test=x[1], y_test=y[1])
    return Experiment(tagger, recipe, data)


def kept_by_keras(experiment: Experiment, folder: Path) -> tuple[Run, dict[str, float]]:
    """Return a run, and what Keras measures of its trained weights."""
    file = folder / "weights"
    trial = trial_of(experiment)
    run = fit.train(trial, experiment.data, Watcher(lambda progress: None, weights=file))
    model = fit.compiled(trial)
    kept = checkpoint.load(file, trial.fingerprint)
    assert kept is not None
    model.set_weights(kept[1])
    x, y = experiment.data.x_test, experiment.data.y_test
    given = examples.as_input(x), examples.as_label(y)
    return run, model.evaluate(*given, batch_size=500, verbose=0, return_dict=True)


def test_padding_counts_in_no_score(tmp_path: Path) -> None:
    """A mask that reaches the answers is heeded: words that are none are neither right nor wrong.

    Else a tagger that is always right would be reported as one that hardly ever is.
    """
    run, keras_has = kept_by_keras(tagged(), tmp_path)
    assert {name: run.metrics[name] for name in keras_has} == pytest.approx(keras_has, rel=1e-5)
    assert run.curves["val_loss"][-1] == pytest.approx(keras_has["loss"], rel=1e-5)


class Ignoring(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Masks the words that are all zero."""

    def call(self, x: Any) -> Any:
        """Return the words."""
        return x

    def compute_mask(self, x: Any, previous_mask: Any = None) -> Any:
        """Return which are words."""
        return keras.ops.any(x != 0, axis=-1)


def ignoring() -> keras.Model:
    """Return a network that tells a class of each word, and has a mask of the user's own."""
    tags = layers.Dense(3, activation="softmax", name="tags")
    return keras.Sequential([keras.Input((12, 1)), Ignoring(name="ignoring"), tags])


def test_padding_of_ones_own_counts_in_no_score(tmp_path: Path) -> None:
    """Whoever makes the mask: a layer of the user's own is asked as Keras's are."""
    words = tagged()
    shown = {name: getattr(words.data, name)[..., None] for name in ("x_train", "x_test")}
    floats = {name: (array / 20).astype(np.float32) for name, array in shown.items()}
    own = replace(words, model=ignoring, data=replace(words.data, **floats))
    run, keras_has = kept_by_keras(own, tmp_path)
    assert {name: run.metrics[name] for name in keras_has} == pytest.approx(keras_has, rel=1e-5)


def test_an_average_of_the_weights_is_what_was_trained() -> None:
    """An optimizer that averages ends with the average, as in `fit`: else it would cost nothing."""
    averaging = keras.optimizers.Adam(0.05, use_ema=True)
    run = trained(train_with(optimizer=averaging, epochs=1)(EXPERIMENT))
    trial = trial_of(train_with(optimizer=averaging, epochs=1)(EXPERIMENT))
    model = fit.compiled(trial)
    stream = examples.batches(EXPERIMENT.data, 16, trial.seed)
    x, y = (np.concatenate(each) for each in zip(*(next(stream) for _ in range(8)), strict=True))
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    test = examples.as_input(EXPERIMENT.data.x_test), examples.as_label(EXPERIMENT.data.y_test)
    theirs = model.evaluate(*test, verbose=0, return_dict=True)
    assert {name: run.metrics[name] for name in theirs} == pytest.approx(theirs, rel=1e-4)


class Within(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """A layer of the user's own that makes one as it is made, and one as it is built."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.first = layers.Dense(8, activation="relu", name="first")

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the second layer."""
        self.first.build(shape)
        self.second = layers.Dense(8, name="second")
        self.second.build((*shape[:-1], 8))

    def call(self, x: Any) -> Any:
        """Return what the layers give."""
        return self.second(self.first(x))


def within() -> keras.Model:
    """Return a network of layers within a layer of the user's own."""
    answers = layers.Dense(2, activation="softmax", dtype="float32", name="classes")
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), Within(), answers])


class Unbuilt(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network that is built with its first step."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.layer = Within()
        self.classes = layers.Dense(2, activation="softmax", dtype="float32", name="classes")

    def call(self, x: Any) -> Any:
        """Return the classes."""
        return self.classes(self.layer(keras.ops.reshape(x, (-1, 48))))


def unbuilt() -> keras.Model:
    """Return a network that is built with its first step."""
    return Unbuilt()


def in_precision(precision: str, model: Callable[[], keras.Model]) -> Experiment:
    """Return the tiny experiment of a network, for one epoch."""
    changes = {"precision": precision, "epochs": 1, "optimizer": "sgd"}
    recipe = EXPERIMENT.recipe.with_changes(changes)
    return replace(EXPERIMENT, model=model, recipe=recipe)


@pytest.mark.parametrize("model", [within, unbuilt])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_precision_reaches_the_layers_within_layers(
    model: Callable[[], keras.Model], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a layer of the user's own makes trains in the recipe's precision, as in Keras alone."""
    networks: list[Any] = []
    compiled = fit.compiled

    def noted(trial: Trial) -> keras.Model:
        networks.append(compiled(trial))
        return networks[0]

    monkeypatch.setattr(fit, "compiled", noted)
    trained(in_precision(precision, model))
    own = next(each for each in networks[0].layers if isinstance(each, Within))
    names = {each.dtype_policy.name for each in (networks[0], own, own.first, own.second)}
    assert names == {precision}
    scales = isinstance(networks[0].optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (precision == "mixed_float16")
    assert keras.config.dtype_policy().name == "float32"


def test_a_loss_that_is_scaled_is_kept_with_an_unfinished_training(tmp_path: Path) -> None:
    """A killed training in float16 goes on with its scale, and ends with the same numbers."""
    averaging = keras.optimizers.Adam(0.05, use_ema=True)
    half = train_with(precision="mixed_float16", optimizer=averaging, epochs=2)(EXPERIMENT)
    trial, whole = trial_of(half), trained(half)
    assert math.isfinite(whole.metrics["loss"])

    def killed(progress: Progress) -> None:
        raise KeyboardInterrupt

    checkpoint_file = tmp_path / "unfinished"
    with pytest.raises(KeyboardInterrupt):
        fit.train(trial, half.data, Watcher(killed, checkpoint=checkpoint_file))
    assert checkpoint_file.exists()
    seen: list[Progress] = []
    resumed = fit.train(trial, half.data, Watcher(seen.append, checkpoint=checkpoint_file))
    assert [each.epoch for each in seen] == [2]
    assert resumed.metrics == pytest.approx(whole.metrics)


def test_half_precision_that_was_trained_otherwise_is_trained_anew() -> None:
    """Runs of before are used but where the policy did not reach a layer, or no loss was scaled."""

    def versions(model: Callable[[], keras.Model], precision: str) -> Any:
        return trial_of(in_precision(precision, model)).versions.get(CORRECTED)

    precisions = "float32", "mixed_bfloat16", "mixed_float16"
    assert [versions(within, each) for each in precisions] == [None, "precision", "precision"]
    assert [versions(net, each) for each in precisions] == [None, None, "precision"]


def test_a_policy_beside_a_recipe_that_says_none_is_refused() -> None:
    """A module that sets Keras's policy is told to say it in the recipe: it would hold in part."""
    with (
        built_in("mixed_bfloat16"),
        pytest.raises(AblationError, match=r'write Recipe\(precision="mixed_bfloat16"\)'),
    ):
        trial_of(EXPERIMENT)
    with built_in("mixed_bfloat16"):
        trial_of(train_with(precision="mixed_bfloat16")(EXPERIMENT))


class Rebuilding(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network whose loss is of what it was given."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.dense = layers.Dense(4, name="dense")

    def call(self, x: Any) -> Any:
        """Return something of the same shape."""
        return self.dense(x)

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return how far it is from the input."""
        return keras.ops.mean((x - y_pred) ** 2)

    def get_config(self) -> dict[str, Any]:
        """Return the settings, of which there are none."""
        return {"name": self.name}


def rebuilding() -> keras.Model:
    """Return such a network."""
    return Rebuilding()


def test_a_networks_own_loss_is_given_the_examples() -> None:
    """As `fit` gives them to it: an autoencoder of the user's own is evaluated as it trains."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("f")
    run = trained(experiment(rebuilding, "mse", (), x, x))
    assert run.metrics["loss"] == pytest.approx(run.curves["val_loss"][-1])
    assert 0 < run.metrics["loss"] < 10


class Halving(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network whose own training step is of half of each batch."""

    def train_step(self, *given: Any) -> Any:
        """Train on the first half; on JAX the state comes first."""
        *state, data = given
        x, y = data
        return super().train_step(*state, (x[:4], y[:4]))


def halving() -> keras.Model:
    """Return such a network."""
    inputs = keras.Input((4,))
    return Halving(inputs, layers.Dense(1, name="dense")(inputs))


def test_a_networks_own_training_step_is_given_what_fit_gives() -> None:
    """Keras's guide to them begins with `x, y = data`, which was an error."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("f")
    made = experiment(halving, "mse", (), x, x[:, :1])
    run = trained(made)
    model = fit.compiled(trial_of(made))
    stream = examples.batches(made.data, 8, 0)
    losses = [model.train_on_batch(*(each[:4] for each in next(stream))) for _ in range(8)]
    assert run.curves["loss"] == pytest.approx([np.mean(losses[:4]), np.mean(losses[4:])])


class Measuring(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network that measures itself: its step counts the loss twice, and tracks its answers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.size = keras.metrics.Mean(name="size")

    def test_step(self, *given: Any) -> Any:
        """Measure a batch; on JAX the state of metrics is handed through."""
        *state, (x, y) = given
        if not state:
            return self.measured(x, y)
        variables = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.metrics_variables,
        )
        held = zip(itertools.chain(*variables), itertools.chain(*state[0]), strict=True)
        with keras.StatelessScope(held) as scope:
            logs = self.measured(x, y)
        return logs, (*state[0][:2], [*map(scope.get_current_value, variables[2])])

    def measured(self, x: Any, y: Any) -> Any:
        """Return the metrics so far."""
        answers = self(x, training=False)
        self._loss_tracker.update_state(2 * self.compute_loss(x, y, answers))
        self.size.update_state(keras.ops.abs(answers))
        return self.compute_metrics(x, y, answers)


def measuring() -> keras.Model:
    """Return such a network."""
    inputs = keras.Input((4,))
    return Measuring(inputs, layers.Dense(2, activation="softmax", name="dense")(inputs))


def measured_by_itself(tmp_path: Path) -> tuple[Run, dict[str, float]]:
    """Return a run of that network, and what it measures by Keras."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("f")
    loss = "sparse_categorical_crossentropy"
    return kept_by_keras(experiment(measuring, loss, (), x, (x[:, 0] > 0).astype("i")), tmp_path)


def test_a_networks_own_evaluation_step_is_what_measures_it(tmp_path: Path) -> None:
    """As in `evaluate`: metrics that it alone tracks were 0, and its loss another one."""
    run, keras_has = measured_by_itself(tmp_path)
    assert {name: run.metrics[name] for name in keras_has} == pytest.approx(keras_has, rel=1e-5)
    assert run.metrics["size"] == pytest.approx(0.5)
    assert run.curves["val_size"][-1] == pytest.approx(0.5)
    assert run.correct


class Softening(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network that is trained on logits, and predicts probabilities."""

    def predict_step(self, *given: Any) -> Any:
        """Return the classes' probabilities; on JAX beside the state."""
        answers = super().predict_step(*given)
        if len(given) == 1:
            return keras.ops.softmax(answers)
        return keras.ops.softmax(answers[0]), *answers[1:]


def softening() -> keras.Model:
    """Return such a network."""
    inputs = keras.Input((4,))
    return Softening(inputs, layers.Dense(2, name="dense")(inputs))


def test_a_network_is_measured_by_what_its_loss_is_of(tmp_path: Path) -> None:
    """Not by what its own `predict_step` makes of that, which is left to it."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("f")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made = experiment(softening, loss, ("accuracy",), x, (x[:, 0] > 0).astype("i"))
    run, keras_has = kept_by_keras(made, tmp_path)
    assert {name: run.metrics[name] for name in keras_has} == pytest.approx(keras_has, rel=1e-5)
    model = fit.compiled(trial_of(made))
    for _ in range(2):
        evaluation.evaluated(model, x, made.data.y_test)
        assert model.predict(x, verbose=0).sum(axis=1) == pytest.approx(1)


class Adversarial(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network whose own steps tell of no loss, but of two under other names."""

    def train_step(self, *given: Any) -> Any:
        """Train on a batch; on JAX the state comes first."""
        return renamed(super().train_step(*given))

    def test_step(self, *given: Any) -> Any:
        """Measure a batch."""
        return renamed(super().test_step(*given))


def renamed(told: Any) -> Any:
    """Return what a step tells, its loss under another name; on JAX beside the state."""
    if isinstance(told, tuple):
        return renamed(told[0]), *told[1:]
    return {"d_loss": told["loss"], "g_loss": 2 * told["loss"]}


def adversarial() -> keras.Model:
    """Return such a network."""
    inputs = keras.Input((4,))
    return Adversarial(inputs, layers.Dense(1, name="dense")(inputs))


def test_a_networks_own_steps_may_tell_of_other_losses() -> None:
    """Those of a generator and a discriminator were a KeyError in the first step."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("f")
    run = trained(experiment(adversarial, "mse", (), x, x[:, :1]))
    assert {"d_loss", "g_loss", "train_g_loss"} <= run.metrics.keys()
    assert run.metrics["g_loss"] == pytest.approx(2 * run.metrics["d_loss"])
    assert len(run.curves["d_loss"]) == len(run.curves["val_g_loss"]) == 2
    assert run.diverged is None


def test_a_metric_that_a_network_tracks_itself_may_be_compared() -> None:
    """What the recipe does not compile was no metric; of Keras's networks it still is none."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("f")
    made = experiment(adversarial, "mse", (), x, x[:, :1])
    assert Trained(Arm(a_study(), made, "test")).metric("d_loss").name == "baseline.d_loss"
    with pytest.raises(AblationError, match='no metric "d_loss"'):
        Trained(Arm(a_study(), replace(made, model=regressing), "test")).metric("d_loss")
