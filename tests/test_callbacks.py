"""Keras callbacks do in a study what they do in `fit`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pytest_ablation import AblationError, train_with
from pytest_ablation.profile import PROFILES
from pytest_ablation.run import Run, Watcher
from pytest_ablation.training import examples, fit
from tests.test_fit import trained, trial_of
from tests.tiny import EXPERIMENT

NOTED: list[Any] = []


class Noting(keras.callbacks.Callback):  # type: ignore[misc] # Keras is Any to mypy
    """Notes what it is told of."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Note the training."""
        NOTED.append(("train", self.params))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note an epoch and the learning rate in it."""
        NOTED.append(("epoch", (epoch, sorted(logs), float(self.model.optimizer.learning_rate))))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop in the midst of the second epoch."""
        self.model.stop_training = len(NOTED) == 2 and batch == 4


class Rates(keras.callbacks.Callback):  # type: ignore[misc] # Keras is Any to mypy
    """Notes the learning rate of each epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note it."""
        NOTED.append(float(self.model.optimizer.learning_rate))


class Ending(keras.callbacks.Callback):  # type: ignore[misc] # as above
    """Ends the training as its third epoch begins."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """End it."""
        self.model.stop_training = epoch == 2


def falling(epoch: int, rate: float) -> float:
    """Return a learning rate an epoch."""
    return 0.1 / (epoch + 1)


def nothing() -> None:
    """Return no callback."""


def run_with(*callbacks: Any) -> Run:
    """Return the tiny experiment's run with callbacks."""
    NOTED.clear()
    return trained(train_with(callbacks=callbacks)(EXPERIMENT))


def test_callbacks_are_told_of_the_training_and_may_end_it() -> None:
    """An epoch that is stopped in its midst is the last, and is measured."""
    run = run_with(partial(keras.callbacks.LearningRateScheduler, falling), Noting)
    names = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert NOTED[0] == ("train", {"epochs": 6, "steps": 8, "verbose": 0})
    told = [(epoch, sorted({*names} & {*logs})) for _, (epoch, logs, _) in NOTED[1:]]
    assert told == [(0, names), (1, names)]
    assert [rate for _, (_, _, rate) in NOTED[1:]] == pytest.approx([0.1, 0.05])
    assert run.steps == 8 + 5
    assert len(run.curves["val_loss"]) == 2


def test_a_training_is_stopped_early_with_its_best_weights() -> None:
    """EarlyStopping ends it when nothing gets better, and what is measured is the best epoch."""
    stopping = partial(
        keras.callbacks.EarlyStopping,
        *("val_loss", 10.0),
        patience=2,
        restore_best_weights=True,
    )
    run = run_with(stopping)
    assert run.steps == 3 * 8
    assert run.metrics["loss"] == pytest.approx(run.curves["val_loss"][0], rel=1e-5)


def test_the_learning_rate_falls_on_a_plateau() -> None:
    """ReduceLROnPlateau reaches the optimizer."""
    plateau = partial(keras.callbacks.ReduceLROnPlateau, min_delta=10.0, patience=1, factor=0.1)
    run_with(plateau, keras.callbacks.TerminateOnNaN, Rates)
    assert pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7]) == NOTED


def test_a_training_with_callbacks_starts_anew(tmp_path: Path) -> None:
    """What a callback remembers is not kept, so a killed training is not gone on with wrongly."""
    stopping = train_with(callbacks=keras.callbacks.TerminateOnNaN)(EXPERIMENT)
    watcher = Watcher(lambda progress: None, tmp_path / "checkpoint")
    fit.train(trial_of(stopping), stopping.data, watcher)
    assert not (tmp_path / "checkpoint").exists()


def test_a_function_that_returns_no_callback_is_named() -> None:
    """The line says which function, and what it should return."""
    with pytest.raises(AblationError, match=r"test_callbacks:nothing returned NoneType"):
        run_with(nothing)


def test_an_epoch_that_a_callback_ends_at_its_beginning_is_none() -> None:
    """It took no step and has no training loss: the curves are as long as each other."""
    run = run_with(Ending)
    assert {len(curve) for curve in run.curves.values()} == {2}


def test_callbacks_go_by_examples_that_are_held_out() -> None:
    """Who stops where the test set is best has chosen by it: so none of it is looked at before."""
    stop = partial(keras.callbacks.EarlyStopping, patience=1, restore_best_weights=True)
    held_out = train_with(callbacks=stop, validation_split=0.2, epochs=12)(EXPERIMENT)
    other = {"x_test": EXPERIMENT.data.x_test[::-1], "y_test": EXPERIMENT.data.y_test}
    runs = [
        trained(each)
        for each in (held_out, replace(held_out, data=replace(EXPERIMENT.data, **other)))
    ]
    assert runs[0].curves == runs[1].curves
    assert runs[0].metrics["train_accuracy"] == runs[1].metrics["train_accuracy"]
    assert runs[0].metrics["loss"] != runs[1].metrics["loss"]


def test_what_is_held_out_is_not_trained_on() -> None:
    """A fixed part of each class is; a pass over the data, and what is seen of it, is the rest."""
    data, recipe = EXPERIMENT.data, replace(EXPERIMENT.recipe, validation_split=0.2)
    seen, (x, y) = examples.split(data, recipe)
    assert (len(seen.y_train), len(y), int(y.sum())) == (240, 60, 30)
    both = np.sort(np.concatenate([seen.x_train, x]).reshape(300, -1), axis=0)
    np.testing.assert_array_equal(both, np.sort(data.x_train.reshape(300, -1), axis=0))
    a_pass = PROFILES["full"].recipe(replace(recipe, steps_per_epoch=None), 300)
    assert a_pass.steps_per_epoch == 240 // 16
    with pytest.raises(AblationError, match="of 300 training examples none would be left"):
        trial_of(train_with(validation_split=0.999)(EXPERIMENT))
