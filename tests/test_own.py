"""What a trainer of the user's own returns, and the run that it becomes."""

from __future__ import annotations

import base64
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_ablation import AblationError, Progress, Run, Trial
from pytest_ablation.run import Watcher
from pytest_ablation.store import Store
from pytest_ablation.training import own
from tests.tiny import data

TRIAL = Trial(
    model='{"depth": 3, "pca": {"components": 8}}',
    recipe="null",
    dataset="",
    profile="full",
    seed=7,
    trainer="mine:train",
)


def trained(returned: Any, of: Any = None) -> Run:
    """Return the run of a trainer that returns this."""
    return own.train(lambda trial, data, progress: returned, TRIAL, of, Watcher(lambda told: None))


def test_metrics_become_a_run() -> None:
    """A mapping of numbers, of whichever library, is all that a trainer must return."""
    run = trained({"accuracy": np.float32(0.5), "loss": np.array(2), "rank": 3})
    assert run.metrics == {"accuracy": 0.5, "loss": 2.0, "rank": 3.0}
    assert (run.fingerprint, run.seed) == (TRIAL.fingerprint, 7)
    assert (run.curves, run.correct, run.params, run.diverged) == ({}, "", 0, None)
    assert run.wall >= 0
    assert run.host


def test_curves_correctness_and_parameters_are_taken_along() -> None:
    """What Keras's runs have, a trainer's may have too: for the figures and the noise floor."""
    right = [True, False, True, True]
    run = trained(
        {"accuracy": 0.75, "curves": {"loss": np.ones(2)}, "correct": right, "params": 12}
    )
    assert run.curves == {"loss": (1.0, 1.0)}
    assert (run.params, run.tested) == (12, 4)
    assert base64.b64decode(run.correct) == bytes([0b10110000])
    assert trained({"accuracy": 1, "correct": np.ones(100, int)}, data()).tested == 100


def test_numbers_that_are_not_finite_are_kept_as_such() -> None:
    """A training that diverges is a finding, not an error, and says in which epoch it did."""
    run = trained({"loss": math.inf, "accuracy": 0.1, "curves": {"loss": [2.0, math.nan]}})
    assert math.isnan(run.metrics["loss"])
    assert run.diverged == 2


def test_a_run_may_be_returned_as_it_is() -> None:
    """A trainer that makes its own Run is believed, if it is this trial's."""
    run = trained({"accuracy": 1.0})
    assert trained(run) == run
    other = Run(**{**vars(run), "seed": 8})
    with pytest.raises(AblationError, match="mine:train returned the Run of another trial"):
        trained(other)


def test_a_run_in_numpys_numbers_can_be_kept(tmp_path: Path) -> None:
    """A finished training is not lost because its numbers are NumPy's."""
    run = trained({"accuracy": 0.5, "curves": {"loss": [2.0, 1.0]}, "params": 12})
    numbers: dict[str, Any] = {
        "seed": np.int64(7),
        "metrics": {"accuracy": np.float32(0.5)},
        "curves": {"loss": np.array([2, 1], np.float32)},
        "seconds_per_step": np.float32(0.25),
        "wall": np.float32(1.5),
        "params": np.int64(12),
        "steps": np.int32(3),
        "diverged": np.int8(2),
        "tested": np.int64(0),
    }
    returned = trained(replace(run, **numbers))
    assert returned == replace(run, seconds_per_step=0.25, wall=1.5, steps=3, diverged=2)
    Store(tmp_path).save(TRIAL, returned)
    assert Store(tmp_path).load(TRIAL.fingerprint) == returned


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metrics": {"accuracy": "high"}}, "a Run with the metric \"accuracy\" as 'high'"),
        ({"curves": {"loss": (None,)}}, 'a Run with the curve "loss" as a list with None'),
        ({"wall": np.zeros(2)}, r"a Run with wall as ndarray of shape \(2,\): a number"),
        ({"seconds_per_step": None}, "a Run with seconds_per_step as None: a number"),
        ({"params": 1.5}, "a Run with params as 1.5: a whole number"),
        ({"steps": np.str_("many")}, "a Run with steps as .*'many'.*: a whole number"),
    ],
)
def test_what_is_wrong_with_a_run_is_one_line(wrong: dict[str, Any], message: str) -> None:
    """Whoever makes a Run reads which of its fields is no number."""
    run = trained({"accuracy": 1.0})
    with pytest.raises(AblationError, match=message):
        trained(replace(run, **wrong))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "mine:train returned None: return a mapping of metrics"),
        (0.9, "returned 0.9: return a mapping"),
        ({}, "returned no metric"),
        ({"params": 3}, "returned no metric"),
        ({"accuracy": "high"}, "the metric \"accuracy\" as 'high': metrics are numbers"),
        ({"accuracy": None}, 'the metric "accuracy" as None'),
        ({"accuracy": np.zeros(3)}, r'the metric "accuracy" as ndarray of shape \(3,\)'),
        ({3: 0.5}, "a metric that is named 3"),
        ({"loss": 1, "curves": [1, 2]}, '"curves" as list: one list of values by name'),
        ({"loss": 1, "curves": {"loss": 3}}, 'the curve "loss" as 3: one value an epoch'),
        ({"loss": 1, "curves": {"loss": ["x"]}}, "the curve \"loss\" as a list with 'x'"),
        ({"loss": 1, "curves": {"a": [1], "b": [1, 2]}}, "epochs: a 1, b 2"),
        ({"loss": 1, "correct": [True]}, '"correct" of 1 examples, and the test set has 100'),
        ({"loss": 1, "correct": np.full(100, 7)}, '"correct" as ndarray of shape .* boolean'),
        ({"loss": 1, "params": -1}, '"params" as -1: a whole number'),
        ({"loss": 1, "params": math.nan}, '"params" as nan: a whole number'),
    ],
)
def test_what_is_wrong_with_a_result_is_one_line(returned: Any, message: str) -> None:
    """Whoever forgets a return reads what to return, and from which function."""
    with pytest.raises(AblationError, match=message):
        trained(returned, data())


def test_the_trial_tells_the_settings() -> None:
    """A trainer may change what it is given: the trial stays as it is."""
    TRIAL.config["pca"]["components"] = 3
    assert TRIAL.config == {"depth": 3, "pca": {"components": 8}}


def test_progress_may_be_told_or_not(tmp_path: Path) -> None:
    """A line with the time left appears for who tells epochs alone; a wrong call is one line."""
    told: list[Progress] = []
    watcher = Watcher(told.append, tmp_path / "state")

    def train(trial: Trial, data: Any, progress: Any) -> dict[str, float]:
        assert progress.checkpoint == tmp_path / "state"
        progress(Progress(epoch=1, epochs=4))
        progress(Progress(epoch=2, epochs=4, accuracy=0.5, seconds_left=9.0))
        return {"accuracy": 0.5}

    own.train(train, TRIAL, None, watcher)
    assert told[0].seconds_left >= 0
    assert told[1] == Progress(epoch=2, epochs=4, accuracy=0.5, seconds_left=9.0)
    with pytest.raises(AblationError, match="told its progress as int"):
        own.train(lambda trial, data, progress: progress(3), TRIAL, None, watcher)
    wrong = Progress(epoch=1, epochs=2, accuracy="high")  # type: ignore[arg-type] # on purpose
    with pytest.raises(AblationError, match="told its progress with accuracy as 'high': a number"):
        own.train(lambda trial, data, progress: progress(wrong), TRIAL, None, watcher)


def test_progress_in_numpys_numbers_reaches_other_processes(tmp_path: Path) -> None:
    """A training does not end where it tells its progress in NumPy's numbers."""
    store = Store(tmp_path)
    watcher = Watcher(lambda progress: store.tell("key", "a", progress))
    numbers: Any = (np.int64(1), np.int32(4), np.float32(0.5), np.float32(9))

    def train(trial: Trial, data: Any, progress: Any) -> dict[str, float]:
        progress(Progress(*numbers))
        return {"accuracy": 0.5}

    own.train(train, TRIAL, None, watcher)
    assert store.told() == {"key": ("a", Progress(1, 4, 0.5, 9.0))}


def test_generators_that_are_not_told_the_seed_have_it() -> None:
    """A forgotten random_state is not the same in all seeds, nor another in each session."""

    def train(trial: Trial, data: Any, progress: Any) -> dict[str, float]:
        return {"first": random.gauss(0, 1), "second": np.random.normal()}

    state = random.getstate()
    one, two = (own.train(train, TRIAL, None, Watcher(lambda t: None)) for _ in range(2))
    assert one.metrics == two.metrics
    assert random.getstate() == state
