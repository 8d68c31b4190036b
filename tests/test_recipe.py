"""A recipe as plain data: what it says decides its JSON, and what it leaves unsaid does not."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import linecache
import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras.optimizers import schedules

from pytest_ablation import AblationError, Dataset, Recipe, train_with
from pytest_ablation.network.blueprint import fresh
from pytest_ablation.network.source import source_hash
from pytest_ablation.training import recipe as recipes
from tests.test_fit import measuring, reading, rebuilding, trial_of
from tests.tiny import EXPERIMENT, RECIPE, data, net


def steps(**changes: Any) -> Recipe:
    """Return the tiny recipe, changed."""
    return RECIPE.with_changes(changes)


def of_optimizer(recipe: Recipe) -> Any:
    """Return the settings of the recipe's optimizer."""
    return json.loads(recipes.serialized(recipe))["optimizer"]["config"]


def cosine(total: int) -> schedules.CosineDecay:
    """Return a schedule that ends with the training."""
    return schedules.CosineDecay(0.1, total)


class Scaled(keras.losses.Loss):  # type: ignore[misc] # Keras is Any to mypy
    """A loss of the user's own that does not tell its setting."""

    def __init__(self, scale: int = 1, name: str = "scaled", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.scale = float(scale)

    def call(self, y: Any, predicted: Any) -> Any:
        """Return the loss of each example."""
        return self.scale * keras.losses.sparse_categorical_crossentropy(y, predicted)


def scaled_by(scale: float) -> Any:
    """Return a loss that no other process can find."""

    def loss(y: Any, predicted: Any) -> Any:
        return scale * keras.losses.sparse_categorical_crossentropy(y, predicted)

    return loss


FACTORS = {"loss": 1.0}


def helped(y: Any, predicted: Any) -> Any:
    """Return a loss that a function and a constant of this module make."""
    return _factor() * keras.losses.sparse_categorical_crossentropy(y, predicted)


def _factor() -> float:
    return FACTORS["loss"]


class Halving(schedules.LearningRateSchedule):  # type: ignore[misc] # Keras is Any to mypy
    """A schedule of the user's own."""

    def __init__(self, every_steps: int) -> None:
        self.every_steps = every_steps

    def __call__(self, step: Any) -> Any:
        """Return the rate at a step."""
        return 0.1 * 0.5 ** (step // self.every_steps)

    def get_config(self) -> dict[str, int]:
        """Return the settings."""
        return {"every_steps": self.every_steps}


def test_a_recipe_without_new_settings_has_the_json_it_always_had() -> None:
    """Runs in a store from before a setting existed are still found."""
    assert set(json.loads(recipes.serialized(RECIPE))) == {
        *("optimizer", "loss", "batch_size", "epochs", "steps_per_epoch", "metrics", "precision")
    }


def test_a_learning_rate_is_the_optimizers() -> None:
    """It does not matter where the learning rate or the weight decay is written."""
    here = steps(learning_rate=1e-4, weight_decay=0.01)
    there = steps(optimizer=keras.optimizers.Adam(1e-4, weight_decay=0.01))
    assert recipes.serialized(here) == recipes.serialized(there)
    assert of_optimizer(here)["learning_rate"] == pytest.approx(1e-4)


def test_a_schedule_may_be_made_for_the_length_of_the_training() -> None:
    """A function is given the steps in all, 6 epochs of 8 here, and its schedule is used."""
    made = recipes.serialized(steps(learning_rate=cosine))
    assert made == recipes.serialized(steps(learning_rate=schedules.CosineDecay(0.1, 48)))
    trained_with = recipes.deserialized(made).optimizer
    assert float(trained_with.learning_rate) == pytest.approx(0.1)


def test_a_schedule_of_ones_own_is_known_by_its_source() -> None:
    """Changing the code of a schedule trains anew."""
    name = f"{__name__}:Halving"
    for recipe in (
        steps(learning_rate=Halving(5)),
        steps(optimizer=keras.optimizers.SGD(Halving(5))),
    ):
        assert recipes.sources(recipe)[name] == source_hash(Halving)
        rebuilt = recipes.deserialized(recipes.serialized(recipe))
        assert of_optimizer(rebuilt) == of_optimizer(recipe)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": "high"}, "learning_rate is a number"),
        ({"weight_decay": -1}, "weight_decay is a number of at least 0"),
        ({"validation_split": 1.0}, "validation_split is a number of at least 0 and less than 1"),
        ({"label_smoothing": 1.0}, "label_smoothing is a number of at least 0 and less than 1"),
        ({"augmentation": ("flip",)}, "give Keras layers, as keras.layers.RandomFlip"),
        ({"callbacks": "stop"}, "give functions that return a Keras callback"),
        (
            {"callbacks": [keras.callbacks.EarlyStopping()]},
            r"Write functools.partial\(EarlyStopping, setting=…\)",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    """A wrong value is said when the recipe is written, not in a training."""
    with pytest.raises(AblationError, match=said):
        steps(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_smoothing": 0.1, "loss": "mse"}, "the loss mean_squared_error knows no label"),
        ({"learning_rate": str}, r"learning_rate=str\): str\(steps\) returned str; return a"),
        ({"callbacks": lambda: None}, "cannot be found by another process"),
        ({"callbacks": partial(keras.callbacks.EarlyStopping, monitor=object())}, "at the top"),
        ({"optimizer": "adan"}, "Keras knows no such optimizer"),
        ({"loss": partial(keras.losses.huber, delta=2.0)}, r"functools.partial\(huber, …\) cannot"),
        ({"loss": scaled_by(2.0)}, r"scaled_by.<locals>.loss cannot be found by another process"),
        ({"loss": lambda y, p: keras.ops.mean(p)}, "<lambda> cannot be found by another process"),
        ({"loss": Scaled(5)}, r"Scaled.get_config\(\) leaves out scale, and another process"),
        ({"loss_weights": np.ones(1)}, r"loss_weights=….* is of type ndarray"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], said: str) -> None:
    """What only Keras can tell is said before any training."""
    with pytest.raises(AblationError, match=said):
        trial_of(train_with(**changes)(EXPERIMENT))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": keras.optimizers.Adam},
        {"loss": {"classes": keras.losses.MeanSquaredError}},
        {"metrics": ["acc", keras.metrics.AUC]},
        {"augmentation": [layers.RandomFlip]},
    ],
)
def test_a_class_in_the_place_of_an_object_is_refused(changes: dict[str, Any]) -> None:
    """It was said to be unknown to Keras, or to miss the argument 'self'."""
    with pytest.raises(AblationError, match=r"this is a class: write \w+\(…\)"):
        Recipe(**{"optimizer": "adam", "loss": "mse", **changes})


@pytest.mark.parametrize("optimizer", [None, 0.1])
def test_what_is_no_optimizer_is_refused(optimizer: object) -> None:
    """None ended in a traceback of Keras's."""
    with pytest.raises(AblationError, match=r"Recipe\(optimizer=.*: give one of Keras's"):
        Recipe(optimizer=optimizer, loss="mse")


def test_a_precision_that_keras_does_not_know_is_refused() -> None:
    """A slip in its name is one line, and no traceback."""
    with pytest.raises(AblationError, match=r"Recipe\(precision='float17'\): .*mixed_float16"):
        trial_of(train_with(precision="float17")(EXPERIMENT))


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ("f1_score", r'F1Score gives a number for each class: write F1Score\(average="macro"\)'),
        (["mae", keras.metrics.FBetaScore()], r"class: write FBetaScore\(average="),
        ({"classes": [keras.metrics.R2Score(None)]}, r"each output: write R2Score\(class_agg"),
        (keras.metrics.Recall([0.3, 0.6]), r"each threshold: write one Recall\(thresholds=…\)"),
    ],
)
def test_a_metric_of_several_numbers_is_refused(metrics: Any, said: str) -> None:
    """It was a TypeError of numpy's in the first step of the training, which names none."""
    with pytest.raises(AblationError, match=said):
        trial_of(train_with(metrics=metrics)(EXPERIMENT))


def test_a_metric_of_one_number_is_not_refused() -> None:
    """Those same metrics, when they are asked for one."""
    several = [keras.metrics.F1Score("macro"), keras.metrics.R2Score(), keras.metrics.Recall(0.3)]
    one_hot = replace(data(), y_train=np.eye(2)[data().y_train], y_test=np.eye(2)[data().y_test])
    recipe = {"loss": "categorical_crossentropy", "metrics": ["acc", *several]}
    trial_of(train_with(**recipe)(replace(EXPERIMENT, data=one_hot)))


@pytest.mark.parametrize(
    ("augmentation", "said"),
    [
        (layers.RandomBrightness(0.1), r"value_range ends at 255.*value_range=\(0, 1\)"),
        (layers.MixUp(), "it mixes labels, which takes them one-hot"),
    ],
)
def test_an_augmentation_that_does_not_suit_the_data_is_refused(
    augmentation: Any, said: str
) -> None:
    """Keras's own default of 0…255 would make white images of those of bytes, without a word."""
    with pytest.raises(AblationError, match=said):
        trial_of(train_with(augmentation=augmentation)(EXPERIMENT))


def test_an_augmentation_of_several_inputs_is_refused() -> None:
    """Which input is meant is not known."""
    x, y = np.zeros((4, 2), np.float32), np.zeros(4)
    two = Dataset(name="two", x_train=(x, x), y_train=y, x_test=(x, x), y_test=y)
    with pytest.raises(AblationError, match="several inputs"):
        recipes.check(steps(augmentation=layers.RandomFlip()), two, net())


def test_numbered_words_of_bytes_are_refused() -> None:
    """As fractions all of them would be word 0, and the network would learn nothing."""
    words = np.zeros((4, 7), np.uint8)
    text = Dataset(name="text", x_train=words, y_train=[0] * 4, x_test=words, y_test=[0] * 4)
    with pytest.raises(AblationError, match=r'"embedding" takes whole numbers.*astype\("int32"\)'):
        recipes.check(RECIPE, text, fresh(reading))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ([keras.Input((4, 4, 3)), layers.Rescaling(1 / 255, name="scale")], '"scale" divides them'),
        ([keras.Input((4, 4, 3), dtype="uint8"), layers.Flatten()], "takes whole numbers"),
    ],
)
def test_images_of_bytes_are_scaled_once(first: list[Any], message: str) -> None:
    """A network that scales them too would see them all but black, and learn half as much."""
    model = keras.Sequential([*first, layers.Flatten(), layers.Dense(2)])
    with pytest.raises(AblationError, match=message):
        recipes.check(RECIPE, data(), model)
    floats = {name: getattr(data(), name).astype("f") for name in ("x_train", "x_test")}
    recipes.check(RECIPE, replace(data(), **floats), model)


@pytest.mark.parametrize("wrapped", [layers.Bidirectional, lambda layer, name: layer])
def test_a_stateful_layer_is_refused(wrapped: Any) -> None:
    """It would go on with the sequences of other examples, and fail where a batch is of another
    size."""
    layer = wrapped(layers.LSTM(2, stateful=True, name="memory"), name="memory")
    model = keras.Sequential([keras.Input((4, 3), batch_size=16), layer, layers.Dense(2)])
    series = np.zeros((32, 4, 3), np.float32)
    y = [0, 1] * 16
    sequences = Dataset(name="series", x_train=series, y_train=y, x_test=series, y_test=y)
    with pytest.raises(AblationError, match=r'"memory" is stateful: .*Give it stateful=False'):
        recipes.check(RECIPE, sequences, model)


def test_what_an_optimizer_was_told_beside_its_settings_is_refused() -> None:
    """Each training has an optimizer of its own, built of the settings: decay would be on all."""
    adam = keras.optimizers.AdamW(0.01)
    adam.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(AblationError, match=r"exclude_from_weight_decay\(\) was told is not in"):
        recipes.serialized(steps(optimizer=adam))


def test_smoothed_labels_and_a_loss_of_the_networks_own_are_refused() -> None:
    """The loss that is measured would be Keras's and not the network's, without a word."""
    for network, said in ((rebuilding, "Rebuilding.compute_loss"), (measuring, "test_step, by")):
        recipes.check(RECIPE, EXPERIMENT.data, fresh(network))
        with pytest.raises(AblationError, match=said):
            recipes.check(steps(label_smoothing=0.1), EXPERIMENT.data, fresh(network))


def test_augmentations_are_compared_by_what_they_do() -> None:
    """Neither Keras's names for layers nor their seeds make another trial; a setting does."""
    flips = [layers.RandomFlip("horizontal", seed=seed) for seed in (1, 2)]
    sequence = keras.Sequential([layers.RandomFlip("horizontal")])
    written = {recipes.serialized(steps(augmentation=each)) for each in (*flips, sequence)}
    assert len(written) == 1
    assert recipes.serialized(steps(augmentation=layers.RandomFlip("vertical"))) not in written


def test_callbacks_are_known_by_what_makes_them() -> None:
    """A callback's settings and the source of one's own functions are in the trial."""
    patient = partial(keras.callbacks.EarlyStopping, patience=3)
    by_epoch = partial(keras.callbacks.LearningRateScheduler, cosine)
    plain = recipes.serialized(steps(callbacks=(patient, by_epoch)))
    assert plain != recipes.serialized(steps(callbacks=by_epoch))
    assert recipes.serialized(recipes.deserialized(plain)) == plain
    assert recipes.sources(steps(callbacks=by_epoch)) == {f"{__name__}:cosine": source_hash(cosine)}


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ("mse", ()),
        (keras.losses.MeanSquaredError(), ()),
        ("MeanSquaredError", ()),
        ({"a": "mse"}, ()),
        ("binary_crossentropy", ("accuracy",)),
        (cosine, ("accuracy",)),
    ],
)
def test_accuracy_is_measured_where_there_is_one(loss: Any, metrics: tuple[str, ...]) -> None:
    """A regression has no accuracy of 0 % in its report."""
    assert Recipe("adam", loss).metrics == metrics
    assert Recipe("adam", loss, metrics="mae").metrics == ("mae",)


class Dimmed(layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """An augmentation of the user's own that does not tell its setting."""

    def __init__(self, share: float = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.share = share

    def get_config(self) -> Any:
        """Return the settings but one."""
        return super(layers.Layer, self).get_config()


def test_an_augmentation_tells_its_settings() -> None:
    """Each training makes it of its configuration, and would do as its default does."""
    with pytest.raises(AblationError, match=r"augmentation=…\): Dimmed.* leaves out share"):
        recipes.serialized(steps(augmentation=Dimmed(0.5)))


def test_a_setting_left_at_its_default_need_not_be_told() -> None:
    """A loss of the user's own without get_config trains where that changes nothing."""
    assert json.loads(recipes.serialized(steps(loss=Scaled())))["loss"]["class_name"] == "Scaled"


def test_settings_that_keras_does_not_tell_are_kept() -> None:
    """Huber(0.5) trained as Huber(1.0), and a study of the two found no difference between them."""
    written = recipes.serialized(
        steps(
            loss=keras.losses.Huber(0.5),
            metrics=[keras.metrics.CosineSimilarity(axis=0), keras.losses.Huber()],
        )
    )
    read = recipes.deserialized(written)
    y, predicted = np.array([[0.0, 3.0]], "f"), np.array([[1.0, 1.0]], "f")
    assert float(read.loss(y, predicted)) == float(keras.losses.Huber(0.5)(y, predicted))
    assert read.metrics[0]._fn_kwargs["axis"] == 0
    assert "delta" not in json.loads(written)["metrics"][1]["config"]  # and trials are as before


def test_what_a_loss_of_ones_own_uses_counts_as_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant or a helper that is changed trains anew, and does not show the old numbers."""
    before = trial_of(train_with(loss=helped)(EXPERIMENT)).fingerprint
    assert trial_of(train_with(loss=helped)(EXPERIMENT)).fingerprint == before
    monkeypatch.setitem(FACTORS, "loss", 9.0)
    changed = trial_of(train_with(loss=helped)(EXPERIMENT)).fingerprint
    assert changed != before
    monkeypatch.setattr("tests.test_recipe._factor", lambda: 1.0)
    assert trial_of(train_with(loss=helped)(EXPERIMENT)).fingerprint not in (before, changed)


def test_an_optimizer_within_another_is_known_by_its_settings() -> None:
    """How many optimizers a process made before is no reason to train anew."""
    scaled = (keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)) for _ in range(2))
    one, other = (recipes.serialized(steps(optimizer=each)) for each in scaled)
    assert one == other


def test_numbers_of_numpy_are_numbers() -> None:
    """Settings that were computed are taken as those that were written."""
    given = steps(batch_size=np.int64(8), label_smoothing=np.float32(0.5))
    assert recipes.serialized(given) == recipes.serialized(steps(batch_size=8, label_smoothing=0.5))


def test_what_a_layer_of_ones_own_uses_counts_as_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its base class, and a function and a constant of another module: all decide its numbers."""
    monkeypatch.syspath_prepend(tmp_path)

    def hashed(base: str = "2.0", helper: str = "x", constant: str = "(1, 2.5)") -> str:
        (tmp_path / "helpers_of_mine.py").write_text(
            f"SCALES = {constant}\n\ndef helper(x):\n    return {helper}\n"
        )
        (tmp_path / "layer_of_mine.py").write_text(
            "import helpers_of_mine\n\n"
            f"class Base:\n    def twice(self, x):\n        return {base} * x\n\n"
            "class Mine(Base):\n    def call(self, x):\n"
            "        scales = [each for each in helpers_of_mine.SCALES]\n"
            "        return helpers_of_mine.helper(self.twice(x)) * scales[0]\n"
        )
        for name in ("helpers_of_mine", "layer_of_mine"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return source_hash(importlib.import_module("layer_of_mine").Mine)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    changed = [hashed(), hashed(base="3.0"), hashed(helper="-x"), hashed(constant="(1, 3.5)")]
    assert len(set(changed)) == 4
    assert hashed() == changed[0]


OF_A_CLASS = "class Config:\n    share = {}\n\nCONFIG = Config()\nCONFIG.alpha = 1.0\n"
OBJECTS = {
    "namespace": "CONFIG = types.SimpleNamespace(alpha={}, log=open)\n",
    "options": "CONFIG = argparse.Namespace(alpha=[{}])\n",
    "dataclass": "@dataclasses.dataclass\nclass C:\n    alpha: float\n\nCONFIG = C({})\n",
    "slots": "@dataclasses.dataclass(slots=True)\nclass C:\n    alpha: float\n\nCONFIG = C({})\n",
    "class": OF_A_CLASS,
    "nested": "Space = types.SimpleNamespace\nCONFIG = Space(of=[Space(alpha={})])\n",
    "array": "CONFIG = types.SimpleNamespace(alpha=numpy.array([{}]))\n",
    "cycle": "CONFIG = types.SimpleNamespace()\nCONFIG.me, CONFIG.z = CONFIG, [{}]\n",
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_an_object_holds_counts_as_a_source(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that a loss reads off an object decide its numbers: else old runs were reused."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def hashed(number: str) -> str:
        (tmp_path / "loss_of_mine.py").write_text(
            "import argparse, dataclasses, types, numpy\n\n"
            + OBJECTS[kind].format(number)
            + "\ndef loss(y, predicted):\n    return CONFIG.alpha * (y - predicted)\n"
        )
        sys.modules.pop("loss_of_mine", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return source_hash(importlib.import_module("loss_of_mine").loss)

    one = hashed("1.0")
    assert hashed("1.5") != one
    assert hashed("1.0") == one


class Holding:
    """An object of the user's own that holds far more than settings."""

    def __init__(self, values: int, depth: int) -> None:
        self.values = [0.5] * values
        self.next = Holding(0, depth - 1) if depth else None


LOG = logging.getLogger("of the tests")
NUMBER = 2.5
BIG, DEEP, LAYER = Holding(1_000_000, 0), Holding(1, 400), layers.Dense(2)


def logging_loss(y: Any, predicted: Any) -> Any:
    """Return a loss, which is logged."""
    LOG.info("%s", (BIG, DEEP, LAYER))
    return NUMBER * (y - predicted)


def test_what_cannot_be_said_of_an_object_is_left_out() -> None:
    """What is too large, Python's or Keras's own leaves a fingerprint as it was before."""
    told = [inspect.getsource(logging_loss), {f"{__name__}:logging_loss NUMBER": "2.5"}]
    before = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    assert source_hash(logging_loss) == before
