"""Runs on disk."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import shutil
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ablation import Run, Trial
from pytest_ablation.entry import DamagedEntryError
from pytest_ablation.errors import AblationWarning
from pytest_ablation.run import Duet, Progress
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
    host="here",
)
DUET = Duet(
    log_ratios=(0.1, 0.2),
    clock="CPU",
    wall_ratio=1.1,
    own_log_ratios=(0.0,),
    host="here",
    seconds=1.0,
)


def entry(store: Store) -> Path:
    """Return the file of the only run."""
    return store.folder / "runs" / f"{TRIAL.fingerprint}.json"


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    """What a later session reads is what was trained, numbers that are none included."""
    store = Store(tmp_path / "new")
    assert store.load(TRIAL.fingerprint) is None
    store.save(TRIAL, RUN, "baseline, seed 1")
    loaded = Store(tmp_path / "new").load(TRIAL.fingerprint)
    assert loaded is not None
    assert math.isnan(loaded.metrics["loss"])
    assert loaded.curves == RUN.curves
    assert replace(loaded, metrics={}) == replace(RUN, metrics={})


def test_a_duet_comes_back_as_it_was(tmp_path: Path) -> None:
    """Times measured side by side are kept under their key, and under no other."""
    store = Store(tmp_path)
    store.save_duet("one", DUET)
    assert store.load_duet("one") == DUET
    shutil.copy(tmp_path / "duets" / "one.json", tmp_path / "duets" / "two.json")
    with pytest.warns(AblationWarning, match="of another key"):
        assert store.load_duet("two") is None


def test_an_entry_is_plain_json_beside_its_trial(tmp_path: Path) -> None:
    """Any tool can read an entry, and see what was trained."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN, "baseline, seed 1")
    written = json.loads(entry(store).read_text(), parse_constant=pytest.fail)
    assert written["entry"]["name"] == "baseline, seed 1"
    assert written["entry"]["trial"]["seed"] == 1
    assert written["entry"]["run"]["metrics"] == {"accuracy": 0.1, "loss": None}
    beside = written["entry"]["arrays"]["file"]
    assert {path.name for path in entry(store).parent.iterdir()} == {entry(store).name, beside}


def test_a_run_trained_anew_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """A refresh leaves one entry a trial, whole, and no arrays of the older one."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    store.save(TRIAL, replace(RUN, curves={"loss": (2.0,)}))
    loaded = store.load(TRIAL.fingerprint)
    assert loaded is not None
    assert loaded.curves == {"loss": (2.0,)}
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 2, "checksum": "", "entry": {}}', '{"format": 1}']
)
def test_what_is_no_entry_is_set_aside_and_trained_anew(tmp_path: Path, text: str) -> None:
    """What cannot be read is never taken for a run, and never lost without a word."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    entry(store).write_text(text)
    with pytest.warns(AblationWarning, match=r"cannot be used \(.*\): doing it anew.*damaged"):
        assert store.load(TRIAL.fingerprint) is None
    assert (tmp_path / "damaged" / entry(store).name).read_text() == text
    store.save(TRIAL, RUN)
    assert store.load(TRIAL.fingerprint) is not None


def test_damage_anywhere_is_found(tmp_path: Path) -> None:
    """Of a hundred entries cut, changed in a bit or overwritten at random, each is found."""
    chance = random.Random(1)  # noqa: S311 # damage, no secret
    store = Store(tmp_path / "store")
    store.save(TRIAL, RUN, "baseline")
    whole = {path.name: path.read_bytes() for path in (store.folder / "runs").iterdir()}
    for _ in range(100):
        name = chance.choice(sorted(whole))
        content = bytearray(whole[name])
        place = chance.randrange(len(content))
        kind = chance.choice(["cut", "flip", "zero"])
        if kind == "cut":
            content = content[:place]
        elif kind == "flip":
            content[place] ^= 1 << chance.randrange(8)
        else:
            content[place : place + 64] = bytes(len(content[place : place + 64]))
        (store.folder / "runs" / name).write_bytes(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert store.load(TRIAL.fingerprint) is None, (kind, name, place)
        assert len(caught) == 1
        for each, before in whole.items():
            (store.folder / "runs" / each).write_bytes(before)
        assert store.load(TRIAL.fingerprint) is not None


def test_a_run_under_another_trials_name_is_no_run_of_it(tmp_path: Path) -> None:
    """An entry that was copied to a wrong place is not believed."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    other = replace(TRIAL, seed=2)
    shutil.copy(entry(store), entry(store).with_name(f"{other.fingerprint}.json"))
    with pytest.raises(DamagedEntryError, match="of another trial"):
        store.read("runs", other.fingerprint)


def test_an_entry_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """Who goes back to an older version of the plugin does not lose what the newer one trained."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    newer = entry(store).read_text().replace('"format": 2', '"format": 3')
    entry(store).write_text(newer)
    with pytest.warns(AblationWarning, match="newer pytest-ablation: it is left alone"):
        assert store.load(TRIAL.fingerprint) is None
    with pytest.warns(AblationWarning, match="newer pytest-ablation: it is left alone"):
        store.save(TRIAL, RUN)
    assert entry(store).read_text() == newer


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
    with pytest.warns(AblationWarning, match="--ablation-store=DIR"):
        store.save(TRIAL, RUN)
    with warnings.catch_warnings(action="error"):
        store.save(TRIAL, RUN)
        with store.lock(TRIAL.fingerprint) as held:
            assert held
        assert store.checkpoint(TRIAL.fingerprint) is None
        assert store.load(TRIAL.fingerprint) is None
        store.tell(TRIAL.fingerprint, "baseline, seed 1", Progress(epoch=1, epochs=2))
        store.tell(TRIAL.fingerprint, "baseline, seed 1", None)
        store.note_used("session", [TRIAL.fingerprint])


def _hold_and_die(folder: Path, held: multiprocessing.Queue[bool]) -> None:
    with Store(folder).lock("trial") as is_held:
        held.put(is_held)
        held.close()
        held.join_thread()
        os._exit(9)


def test_a_lock_ends_with_its_owner(tmp_path: Path) -> None:
    """A killed session keeps nobody waiting; a living one does."""
    store = Store(tmp_path)
    with store.lock("trial") as held, Store(tmp_path).lock("trial", wait=False) as second:
        assert held
        assert not second
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_hold_and_die, args=(tmp_path, queue))
    process.start()
    assert queue.get(timeout=60)
    process.join(60)
    with store.lock("trial", wait=False) as held:
        assert held


def test_any_session_sees_the_trainings_under_way(tmp_path: Path) -> None:
    """What one process tells of a training, others can show, until it is over."""
    progress = Progress(epoch=3, epochs=20, accuracy=0.5, seconds_left=10.0)
    Store(tmp_path).tell("key", "baseline, seed 0", progress)
    assert Store(tmp_path).told() == {"key": ("baseline, seed 0", progress)}
    Store(tmp_path).tell("key", "baseline, seed 0", None)
    assert Store(tmp_path).told() == {}


def test_the_last_session_is_remembered(tmp_path: Path) -> None:
    """What a session used is known, its workers' together, until the next one; no rest is left."""
    store = Store(tmp_path)
    store.save(TRIAL, RUN)
    finished, begun = store.checkpoint(TRIAL.fingerprint), store.checkpoint("begun")
    assert finished is not None
    assert begun is not None
    finished.touch()
    begun.touch()
    store.note_used("first", ["a"])
    assert not finished.exists()
    assert begun.exists()
    store.note_used("first", ["b"])
    assert store.used_last() == {"a", "b"}
    store.note_used("second", ["c"])
    assert store.used_last() == {"c"}


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "3", "{", '{"session": "first"}', '{"session": "first", "used": 3}'],
)
def test_what_is_no_last_session_is_none(tmp_path: Path, text: str) -> None:
    """A session does not end in a traceback over what another program wrote into its store."""
    (tmp_path / "last-session.json").write_text(text)
    store = Store(tmp_path)
    assert store.used_last() == set()
    store.note_used("first", ["a"])
    assert store.used_last() == {"a"}


def test_the_store_keeps_itself_out_of_git(tmp_path: Path) -> None:
    """Nobody commits a store by accident."""
    store = Store(tmp_path / "store")
    store.save(TRIAL, RUN)
    assert (tmp_path / "store" / ".gitignore").read_text() == "*\n"
