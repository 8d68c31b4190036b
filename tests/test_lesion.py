"""Lesions: a trained network with part of a layer taken away, evaluated and never trained anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import (
    Ablation,
    AblationError,
    Dataset,
    Experiment,
    Recipe,
    Run,
    lesion,
    lesion_each,
    remove,
)
from pytest_ablation.arrays import each as each_array
from pytest_ablation.training import evaluation, fit
from pytest_ablation.training.lesion import Trained, evaluate
from tests.test_fit import a_study
from tests.test_given import a_study as a_study_in
from tests.test_plugin import runs, write
from tests.tiny import EXPERIMENT, net


def test_a_lesion_says_itself() -> None:
    """It prints as a person would say it, and as it is written."""
    assert str(lesion("dense1", units=[3], how="mean")) == "lesion unit 3 of dense1 to the mean"
    assert str(lesion("dense*")) == "lesion dense*"
    both = lesion("dense1", "dense2", units=[0, 1], how="shuffle", examples=50)
    assert repr(both) == ('lesion("dense1", "dense2", units=[0, 1], how=\'shuffle\', examples=50)')


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lesion(), "name a layer"),
        (lambda: lesion("a", units=[]), "name channels by number"),
        (lambda: lesion("a", units=[-1]), "name channels by number"),
        (lambda: lesion("a", how="noise"), "one of zero, mean, shuffle"),  # type: ignore[arg-type] # the mistake
        (lambda: lesion("a", examples=0), "a whole number of at least 1"),
        (lambda: lesion_each(net), "name layers, as lesion_each"),
        (lambda: lesion_each(net, "conv*"), "no layer matches"),
        (lambda: lesion("dense1")(net()), "is done to a trained network, in a study"),
        (lambda: (lesion("dense1") + remove("drop1")).lesion, "after all other edits"),
        (lambda: (lesion("dense1") + lesion("dense2")).lesion, "one lesion at a time"),
    ],
)
def test_a_wrong_lesion_is_refused(call: object, message: str) -> None:
    """What cannot be meant is said before anything trains."""
    assert callable(call)
    with pytest.raises(AblationError, match=message):
        call()


def test_lesion_each_gives_a_parameter_a_unit() -> None:
    """A sweep over a layer's units is one line."""
    parameters = lesion_each(net, "dense2", examples=50)
    assert [parameter.id for parameter in parameters] == [f"dense2-{unit}" for unit in range(8)]
    assert EXPERIMENT.model is net


@pytest.fixture(scope="module")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the tiny experiment trained, with seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("trained") / "store"
    baseline = a_study_in(folder).baseline(EXPERIMENT)
    assert [baseline.run(seed).seed for seed in (0, 1)] == [0, 1]
    return folder


@pytest.fixture
def trained_suite(suite: pytest.Pytester, trained_store: Path) -> pytest.Pytester:
    """A suite of the tiny experiment, which its store has trained."""
    shutil.copytree(trained_store, suite.path / ".ablation")
    return suite


def test_units_that_change_equally_many_examples_are_not_known_exactly(
    trained_suite: pytest.Pytester,
) -> None:
    """Of twenty images a unit may lose one twice, or none, by chance: that is no certain change."""
    write(
        trained_suite,
        """
@pytest.mark.parametrize("variant", lesion_each(net, "dense2", examples=20), indirect=True)
def test_unit(variant):
    low, high = variant.accuracy.change.interval
    assert low < high
""",
    )
    result = trained_suite.runpytest("--ablation-profile=full", "--ablation-seeds=2")
    result.assert_outcomes(passed=8)


def test_lesions_are_evaluated_in_the_trained_baseline(suite: pytest.Pytester) -> None:
    """A whole layer zeroed leaves one answer for all images, and nothing but baselines trains.

    Of two classes one answer is half right, and that is less than a network that has learned them.
    """
    write(
        suite,
        """
from tiny import EXPERIMENT

@pytest.fixture(scope="session")
def experiment():
    return train_with(steps_per_epoch=15, learning_rate=0.02)(EXPERIMENT)

@pytest.mark.ablation(lesion("dense1"))
def test_whole(variant, baseline):
    assert variant.accuracy.change.mean <= -0.1
    assert set(variant.accuracy.values) == {0.5}
    assert variant.params.ratio == 1
    assert str(variant.difference) == "~ dense1: output → zero"

@pytest.mark.ablation(lesion("dense*", how="shuffle"))
def test_shuffled(variant):
    assert variant.accuracy.change.mean <= 0

@pytest.mark.ablation(remove("drop1") + lesion("dense2", how="mean"))
def test_of_a_variant(variant):
    assert variant.accuracy.change.mean <= -0.1

@pytest.mark.parametrize("variant", lesion_each(net, "dense2"), indirect=True)
def test_unit(variant):
    assert variant.accuracy.change.mean <= 0.5

@pytest.mark.ablation(lesion("dense1"))
def test_no_time(variant):
    for name in ("time", "wall", "gap"):
        with pytest.raises(Exception, match="has no training of its own"):
            getattr(variant, name)
    with pytest.raises(Exception, match="has no training of its own|no curves"):
        variant.history
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=2")
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["*lesion dense1*", "*lesion dense[*] by shuffling*"])
    # Two baselines, two variants, and the lesions: 3 + 8, two each.
    assert len(runs(suite)) == 4 + 2 * 11
    again = suite.runpytest(*arguments)
    again.assert_outcomes(passed=12)
    again.stdout.fnmatch_lines(["*0 trainings done, *"])


@pytest.mark.parametrize("has_room", [True, False])
def test_a_lesion_trains_what_nobody_kept(trained_suite: pytest.Pytester, has_room: bool) -> None:
    """A store without the trained weights gives the same numbers, trained once more.

    It may have no room for them, as a disk that is nearly full.
    """
    write(
        trained_suite,
        """
@pytest.mark.ablation(lesion("dense2", units=[0, 1]))
def test_it(variant):
    assert variant.accuracy.change.mean <= 0.5
    print("values", variant.accuracy.values, variant.loss.values)
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=2", "-rP")
    first = trained_suite.runpytest(*arguments)
    for path in (trained_suite.path / ".ablation").glob("weights/*.npz"):
        if has_room:
            path.write_bytes(b"damaged")
        else:  # what cannot be replaced, by root neither
            path.unlink()
            path.mkdir()
    for path in runs(trained_suite):
        if '"lesion": "{' in path.read_text():
            path.unlink()
    second = trained_suite.runpytest(*arguments)
    values = [[line for line in each.outlines if "values" in line] for each in (first, second)]
    assert values[0]
    assert values[0] == values[1]
    kept = [path.is_file() for path in (trained_suite.path / ".ablation").glob("weights/*.npz")]
    assert kept == [has_room] * 2


def test_an_estimate_is_near_the_whole(trained_suite: pytest.Pytester) -> None:
    """A lesion on a part of the test set is the baseline's number plus the change on that part."""
    write(
        trained_suite,
        """
@pytest.mark.ablation(lesion("dense1", units=[0], examples=99))
def test_part(variant, baseline):
    assert variant.loss.change <= 10
    print("part", variant.loss.mean)

@pytest.mark.ablation(lesion("dense1", units=[0]))
def test_whole(variant, baseline):
    assert variant.loss.change <= 10
    print("whole", variant.loss.mean)
""",
    )
    result = trained_suite.runpytest("--ablation-profile=full", "--ablation-seeds=2", "-rP")
    result.assert_outcomes(passed=2)
    said = dict(line.split() for line in result.outlines if line.startswith(("part", "whole")))
    assert float(said["part"]) == pytest.approx(float(said["whole"]), abs=0.05)
    assert said["part"] != said["whole"]


def test_lesions_are_done_by_workers(suite: pytest.Pytester) -> None:
    """Worker processes evaluate all lesions of a network at a time; the page shows a heat map."""
    write(
        suite,
        """
@pytest.mark.parametrize("variant", lesion_each(net, "dense2"), indirect=True)
def test_unit(variant):
    assert variant.accuracy.change.mean <= 0.5

@pytest.mark.ablation(lesion("dense1", units=[16]))
def test_wrong(variant):
    assert variant.accuracy.change.mean <= 0.5
""",
    )
    result = suite.runpytest(
        "--ablation-profile=full",
        "--ablation-seeds=2",
        "--ablation-workers=1",
        "--html=report.html",
        "--self-contained-html",
    )
    result.assert_outcomes(passed=8, errors=1)
    result.stdout.fnmatch_lines(["8 units of dense2, set to zero, one by one: *"])
    page = (suite.path / "report.html").read_text()
    assert page.count(" fill-opacity=") == 8
    assert "8 lesions of single units, one by one" in page
    result.stdout.fnmatch_lines(['*"dense1" has 16 units, 0 to 15.*'])


def test_a_plan_says_that_lesions_are_not_trained(suite: pytest.Pytester) -> None:
    """A plan names a lesion among its trials, without a training's time."""
    write(
        suite,
        """
@pytest.mark.ablation(lesion("dense1"))
def test_it(variant):
    assert variant.accuracy.change.mean <= 0
""",
    )
    suite.runpytest("--ablation-plan").stdout.fnmatch_lines(
        ["*baseline, seed 0*", "*lesion dense1, seed 0 * evaluated", "*~ dense1: output → zero*"]
    )


# ------------------------------------------------------------- what a lesion is in any network


class Bench:
    """A network with weights that nobody trained, and noise to evaluate it on."""

    def __init__(self, network: Callable[[], keras.Model], loss: Any = "mse") -> None:
        self._study, random = a_study(), np.random.default_rng(0)
        inputs, outputs = network().inputs, getattr(network(), "output_names", ["out"])
        x, x_test = ([drawn(random, each) for each in inputs] for _ in ("", "test"))
        y: Any = {name: random.normal(size=(40, 2)).astype(np.float32) for name in outputs}
        y = y if len(outputs) > 1 else y[outputs[0]]
        self.data = Dataset(
            name="noise",
            x_train=tuple(x) if len(x) > 1 else x[0],
            y_train=y,
            x_test=tuple(x_test) if len(x) > 1 else x_test[0],
            y_test=y,
            source="made for the test",
        )
        recipe = Recipe(optimizer="sgd", loss=loss, batch_size=8, steps_per_epoch=2)
        self._experiment = Experiment(network, recipe, self.data)
        self._trial = self._study.baseline(self._experiment).trial(0)
        self.model = fit.compiled(self._trial)
        self._weights = self.model.get_weights()

    def lesioned(self, ablation: Ablation) -> dict[str, float]:
        """Return what is measured of the network under a lesion."""
        trial = self._study.variant(self._experiment, ablation).trial(0)
        run = Run(
            fingerprint="",
            seed=0,
            metrics={},
            curves={},
            seconds_per_step=0,
            wall=0,
            params=0,
            steps=0,
        )
        (found,) = evaluate(Trained(self._trial, run, self._weights), [trial], self.data)
        return dict(found.metrics)

    def measured(self) -> dict[str, float]:
        """Return what is measured of `model`, which the caller may have changed."""
        return evaluation.evaluated(self.model, self.data.x_test, self.data.y_test)[0]

    def layer(self, path: str) -> Any:
        """Return a layer of `model`."""
        layer = self.model
        for name in path.split("/"):
            layer = layer.get_layer(name)
        return layer


def drawn(random: np.random.Generator, given: Any) -> Any:
    """Return noise of the shape and type of an input."""
    shape = (40, *given.shape[1:])
    if given.dtype == "int32":
        return random.integers(0, 4, shape).astype(np.int32)
    return random.normal(size=shape).astype(np.float32)


def encoder() -> keras.Model:
    """Return a small network, to be part of others."""
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation="relu", name="dense1"), layers.Dropout(0.5)],
        name="encoder",
    )


def nested() -> keras.Model:
    """Return a network in a network in a network."""
    given = keras.Input((6,), name="given")
    x = layers.Dense(4, name="dense1")(encoder()(given))
    middle = keras.Model(given, x, name="middle")
    given = keras.Input((6,), name="given")
    return keras.Model(given, layers.Dense(2, name="out")(middle(given)))


def twice() -> keras.Model:
    """Return a network that calls a network twice, and a layer on each of what that gives."""
    shared, dense = encoder(), layers.Dense(4, activation="relu", name="dense1")
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    x = layers.Subtract(name="both")([dense(shared(left)), dense(shared(right))])
    return keras.Model([left, right], layers.Dense(2, name="out")(x))


def padded() -> keras.Model:
    """Return a recurrent network on words, whose padding is masked."""
    given = keras.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(4, 5, mask_zero=True, name="embed")(given)
    return keras.Model(given, layers.Dense(2, name="out")(layers.LSTM(3, name="lstm")(x)))


def regularised() -> keras.Model:
    """Return a network that regularises weights and outputs on both sides of a layer."""
    given = keras.Input((6,), name="given")
    x = layers.Dense(5, activity_regularizer="l2", kernel_regularizer="l1", name="first")(given)
    x = layers.Dense(4, activation="relu", name="second")(x)
    return keras.Model(given, layers.Dense(2, activity_regularizer="l1", name="out")(x))


def states() -> keras.Model:
    """Return a network of layers that give several tensors."""
    given = keras.Input((5, 3), name="given")
    every, *state = layers.LSTM(4, return_sequences=True, return_state=True, name="lstm")(given)
    _, hidden, _ = layers.LSTM(4, return_state=True, name="last")(every, initial_state=state)
    seen, scores = layers.MultiHeadAttention(2, 2, name="attend")(
        every, every, return_attention_scores=True
    )
    x = [hidden, layers.Flatten(name="seen")(seen), layers.Flatten(name="scores")(scores)]
    return keras.Model(given, layers.Dense(2, name="out")(layers.Concatenate(name="all")(x)))


class ScaledLoss:
    """A network whose loss is ten times what it is compiled with."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Return the loss, ten times."""
        return 10 * super().compute_loss(*args, **kwargs)  # type: ignore[misc] # Keras's


class Chain(ScaledLoss, keras.Sequential):  # type: ignore[misc] # Keras is Any to mypy
    """A chain of layers with a loss of its own."""


class Net(ScaledLoss, keras.Model):  # type: ignore[misc]
    """A graph of layers with a loss of its own."""


class Doubled(keras.Model):  # type: ignore[misc]
    """A graph of layers whose own evaluation step tells of twice the loss."""

    def test_step(self, *given: Any) -> Any:
        """Measure a batch; on JAX its state comes with it."""
        told = super().test_step(*given)
        logs = told[0] if isinstance(told, tuple) else told
        logs = {**logs, "loss": 2 * logs["loss"]}
        return (logs, *told[1:]) if isinstance(told, tuple) else logs


def own_step() -> keras.Model:
    """Return such a network."""
    given = keras.Input((6,), name="given")
    return Doubled(given, layers.Dense(2, name="out")(layers.Dense(4, name="dense1")(given)))


def own_chain() -> keras.Model:
    """Return a network of a user's own class that is a Sequential."""
    dense = layers.Dense(4, activation="relu", name="dense1")
    return Chain([keras.Input((6,)), dense, layers.Dense(2, name="out")])


def own_graph() -> keras.Model:
    """Return a network of a user's own class that is a Functional."""
    given = keras.Input((6,), name="given")
    return Net(given, layers.Dense(2, name="out")(layers.Dense(4, name="dense1")(given)))


@pytest.mark.parametrize(
    ("network", "path", "unit"),
    [
        (own_chain, "dense1", 1),
        (own_graph, "dense1", 1),
        (own_step, "dense1", 1),
        (nested, "middle/encoder/dense1", 1),
        (nested, "middle/dense1", 0),
        (twice, "encoder/dense1", 2),
        (twice, "dense1", 2),
        (padded, "embed", 1),
        (regularised, "second", 1),
    ],
)
def test_a_unit_that_is_taken_away_gives_what_it_gives_without_weights(
    network: Callable[[], keras.Model], path: str, unit: int
) -> None:
    """A lesion is done where the layer is, at all its calls, and what is masked stays so."""
    bench = Bench(network)
    lesioned = bench.lesioned(lesion(path, units=[unit]))
    assert lesioned != pytest.approx(bench.measured())
    weights = bench.layer(path).get_weights()
    for each in weights:
        each[..., unit] = 0
    bench.layer(path).set_weights(weights)
    assert lesioned == pytest.approx(bench.measured(), rel=1e-5)


@pytest.mark.parametrize("network", [nested, twice])
def test_a_mean_is_over_all_calls(network: Callable[[], keras.Model]) -> None:
    """A unit's mean over the training examples is put there also where networks are nested."""
    bench = Bench(network)
    path = "middle/encoder/dense1" if network is nested else "encoder/dense1"
    kernel, bias = bench.layer(path).get_weights()
    given = np.concatenate(each_array(bench.data.x_train))
    means = np.maximum(given @ kernel + bias, 0).mean(axis=0)
    bench.layer(path).set_weights([np.zeros_like(kernel), means])
    assert bench.lesioned(lesion(path, how="mean")) == pytest.approx(bench.measured(), rel=1e-5)


def test_a_lesion_of_one_head_leaves_the_other() -> None:
    """Of a network of several outputs one can be taken away; metrics keep their names."""

    def heads() -> keras.Model:
        given = keras.Input((6,), name="given")
        x = layers.Dense(5, name="trunk")(given)
        return keras.Model(given, [layers.Dense(2, name=name)(x) for name in ("one", "other")])

    bench = Bench(heads, loss={"one": "mse", "other": "mse"})
    before, after = bench.measured(), bench.lesioned(lesion("other"))
    labels: Any = bench.data.y_test
    assert after == pytest.approx(
        {
            "one_loss": before["one_loss"],
            "other_loss": np.square(labels["other"]).mean(),
            "loss": before["one_loss"] + np.square(labels["other"]).mean(),
        }
    )


def test_all_tensors_of_a_layer_go() -> None:
    """Of a layer that gives its states too nothing is left; a unit is one of each tensor."""
    bench = Bench(states)
    assert bench.lesioned(lesion("last", units=[1])) != pytest.approx(bench.measured())
    assert bench.lesioned(lesion("lstm", units=[1])) != pytest.approx(bench.measured())
    nothing = bench.lesioned(lesion("last", "attend"))
    bench.layer("out").kernel.assign(np.zeros(bench.layer("out").kernel.shape))
    assert nothing == pytest.approx(bench.measured())
    assert len(lesion_each(states, "lstm", "last")) == 8
    with pytest.raises(AblationError, match=r'"attend" gives several tensors, of 4 and 5 channels'):
        bench.lesioned(lesion("attend", units=[1]))
    with pytest.raises(AblationError, match=r'lesion_each\(states, attend\): "attend" gives'):
        lesion_each(states, "attend")


def test_units_that_nobody_can_count_are_refused() -> None:
    """A network whose shapes are not known says how they would be, and no sweep is empty."""

    def unbuilt() -> keras.Model:
        return keras.Sequential([layers.Dense(3, name="dense1"), layers.Dense(2, name="out")])

    with pytest.raises(AblationError, match=r'how many channels "dense1" has.*keras\.Input\(shape'):
        lesion_each(unbuilt, "dense1")
