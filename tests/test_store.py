"""Runs on disk."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ablation import Run, Trial
from pytest_ablation.store import Store

TRIAL = Trial(model="{}", recipe="{}", dataset="d", profile="quick", seed=1)
RUN = Run(
    fingerprint=TRIAL.fingerprint,
    seed=1,
    metrics={"accuracy": 0.1, "loss": math.nan},
    curves={"loss": (1.0, math.inf), "accuracy": (0.1, 0.2)},
    seconds_per_step=0.01,
    wall=1.0,
    params=10,
    steps=2,
    diverged=2,
    correct="gA==",
)


def entry(store: Store) -> Path:
    """Return the file of the only run."""
    return store.folder / "runs" / f"{TRIAL.fingerprint}.json"


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    """What a later session reads is what was trained, numbers that are none included."""
    store = Store(tmp_path / "new")
    assert store.load(TRIAL.fingerprint) is None
    store.save(TRIAL, RUN)
    loaded = Store(tmp_path / "new").load(TRIAL.fingerprint)
    assert loaded is not None
    assert math.isnan(loaded.metrics["loss"])
    assert math.isnan(loaded.curves["loss"][1])
    assert replace(loaded, metrics={}, curves={}) == replace(RUN, metrics={}, curves={})


def test_an_entry_is_plain_json_beside_its_trial(tmp_path: Path) -> None:
    """Any tool can read an entry, and see what was trained."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    written = json.loads(entry(store).read_text(), parse_constant=pytest.fail)
    assert written["trial"]["seed"] == 1
    assert written["run"]["metrics"] == {"accuracy": 0.1, "loss": None}
    assert [path.name for path in entry(store).parent.iterdir()] == [entry(store).name]


@pytest.mark.parametrize("text", ["", '{"format": 1', "[]", '{"format": 1, "run": {"seed": 1}}'])
def test_a_damaged_entry_is_said_and_trained_anew(tmp_path: Path, text: str) -> None:
    """What cannot be read is never taken for a run."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    entry(store).write_text(text)
    with pytest.warns(UserWarning, match="doing it anew"):
        assert store.load(TRIAL.fingerprint) is None
    store.save(TRIAL, RUN)
    assert store.load(TRIAL.fingerprint) is not None


def test_an_older_run_can_be_left_aside(tmp_path: Path) -> None:
    """A refresh takes what this session trained, and nothing from before."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    hour_ago = time.time() - 3600
    os.utime(entry(store), (hour_ago, hour_ago))
    assert store.load(TRIAL.fingerprint, newer_than=hour_ago + 60) is None
    assert store.load(TRIAL.fingerprint, newer_than=hour_ago - 60) is not None


def test_a_folder_that_cannot_be_made_costs_a_warning(tmp_path: Path) -> None:
    """Where nothing can be written the study goes on, and says so once."""
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "store")
    with pytest.warns(UserWarning, match="--ablation-store=DIR"):
        store.save(TRIAL, RUN)
    with warnings.catch_warnings(action="error"):
        store.save(TRIAL, RUN)
        with store.lock(TRIAL.fingerprint):
            pass


def test_the_store_keeps_itself_out_of_git(tmp_path: Path) -> None:
    """Nobody commits a store by accident."""
    store = Store(tmp_path / "store")
    store.save(TRIAL, RUN)
    assert (tmp_path / "store" / ".gitignore").read_text() == "*\n"
