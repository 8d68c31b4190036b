"""The command that looks after a store."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ablation.cli import main
from pytest_ablation.store import Store
from tests.test_store import DUET, RUN, TRIAL


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of three runs and a duet, the run with seed 0 a year old."""
    store = Store(tmp_path / "store")
    for seed in range(3):
        trial = replace(TRIAL, seed=seed)
        run = replace(RUN, seed=seed, fingerprint=trial.fingerprint)
        store.save(trial, run, f"baseline, seed {seed}")
    store.save_duet("timed", DUET, "time a step, remove Dropout against baseline")
    year_ago = time.time() - 365 * 86400
    os.utime(store.read("runs", fingerprint(0)).files[0], (year_ago, year_ago))
    return store


def fingerprint(seed: int) -> str:
    """Return the name of the run with a seed."""
    return replace(TRIAL, seed=seed).fingerprint


def call(store: Store, *arguments: str) -> int:
    """Return the exit code of an action on the store."""
    return main(["store", arguments[0], f"--store={store.folder}", *arguments[1:]])


def test_list_names_what_is_kept(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A person sees what each entry is, oldest first, and how much there is."""
    assert call(store, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(fingerprint(0)[:12])
    assert lines[0].endswith("baseline, seed 0 (quick, accuracy 10.0 %)")
    assert any("time a step, remove Dropout against baseline" in line for line in lines)
    assert lines[-1].startswith("3 runs and 1 duet, ")


def test_show_says_what_was_trained_and_found(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first characters of a fingerprint name a run; all that is known of it is shown."""
    assert call(store, "show", fingerprint(1)[:8]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(fingerprint(1))
    assert "trial seed: 1" in shown
    assert "accuracy: 0.1" in shown
    assert "host: here" in shown
    assert call(store, "show", "timed") == 0
    with pytest.raises(SystemExit, match="2"):
        call(store, "show", "zzz")
    assert "zzz: nothing in " in capsys.readouterr().err


def test_verify_finds_damage_and_nothing_else(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store is vouched for or its damage is named, and the exit code says which."""
    assert call(store, "verify") == 0
    assert "3 runs and 1 duet as they were written; 0 damaged." in capsys.readouterr().out
    arrays = store.read("runs", fingerprint(2)).files[1]
    arrays.write_bytes(arrays.read_bytes()[:-1])
    assert call(store, "verify") == 1
    shown = capsys.readouterr().out
    assert f"run {fingerprint(2)}: the checksum of {arrays.name} is not" in shown
    assert "2 runs and 1 duet as they were written; 1 damaged." in shown


@pytest.mark.parametrize(
    ("criterion", "left"),
    [
        ("--older-than=30d", {1, 2}),
        ("--older-than=2000w", {0, 1, 2}),
        ("--to-size=0B", set()),
        ("--to-size=1GB", {0, 1, 2}),
        ("--unused", {2}),
    ],
)
def test_prune_removes_what_is_not_needed(store: Store, criterion: str, left: set[int]) -> None:
    """By age, by size with the oldest first, or what the last session did not use."""
    store.note_used("last", [fingerprint(2), "timed"])
    assert call(store, "prune", criterion, "--dry-run") == 0
    assert len(store.keys("runs")) == 3
    assert call(store, "prune", criterion) == 0
    assert set(store.keys("runs")) == {fingerprint(seed) for seed in left}
    assert len(list((store.folder / "runs").glob("*.npz"))) == len(left)
    assert call(store, "verify") == 0


def test_prune_sweeps_up_after_killed_processes(store: Store) -> None:
    """Half-written files go once they are no living process's; by age what is unfinished.

    So do programs that were compiled, of which those of another version are never used again, and
    weights that a function gives once more.
    """
    half = store.folder / "runs" / "tmp1.part"
    old = [store.folder / each for each in ("checkpoints/a.npz", "compiled/step", "initial/a.npz")]
    for path in (half, *old):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
        os.utime(path, (0, 0))
    recent = store.folder / "compiled" / "jit_evaluate"
    recent.write_bytes(b"1")
    assert call(store, "prune", "--to-size=1GB") == 0
    assert all(path.exists() for path in old)
    assert not half.exists()
    assert len(store.keys("runs")) == 3
    assert call(store, "prune", "--older-than=2000w") == 0
    assert not any(path.exists() for path in old)
    assert recent.exists()


def test_trained_weights_go_and_come_with_their_run(store: Store, tmp_path: Path) -> None:
    """What is kept for lesions counts as a part of its run: in size, pruning and importing."""
    for seed in (0, 1):
        weights = store.weights(fingerprint(seed))
        assert weights is not None
        weights.write_bytes(b"0" * 1000)
    sizes = [store.read("runs", fingerprint(seed)).bytes for seed in (1, 2)]
    assert sizes[0] == sizes[1] + 1000
    mine = Store(tmp_path / "mine")
    assert call(mine, "import", str(store.folder)) == 0
    assert len(list((mine.folder / "weights").iterdir())) == 2
    assert call(store, "prune", "--older-than=30d") == 0
    assert [path.stem for path in (store.folder / "weights").iterdir()] == [fingerprint(1)]


def test_import_takes_in_what_is_whole_and_new(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CI cache's or a colleague's runs are used as one's own, damaged ones left out."""
    store.read("runs", fingerprint(2)).files[1].write_bytes(b"")
    mine = Store(tmp_path / "mine")
    mine.save(replace(TRIAL, seed=1), RUN)
    assert call(mine, "import", str(store.folder)) == 0
    shown = capsys.readouterr().out
    assert f"left out, run {fingerprint(2)}: " in shown
    assert "1 run and 1 duet imported; 1 were here." in shown
    assert mine.load(fingerprint(0)) is not None
    assert call(mine, "verify") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "say what: --older-than=AGE"),
        (["prune", "--older-than=long"], "write an age, as 30d"),
        (["prune", "--to-size=big"], "write a size, as 500MB"),
        (["import", "nowhere"], "there is no store in nowhere"),
    ],
)
def test_a_wrong_command_says_what_to_write(
    store: Store, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is removed on a guess."""
    with pytest.raises(SystemExit, match="2"):
        call(store, *arguments)
    assert message in capsys.readouterr().err
    assert len(store.keys("runs")) == 3


def test_a_store_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Called in another folder, the command says how to name the store."""
    with pytest.raises(SystemExit, match="2"):
        call(Store(tmp_path / "none"), "list")
    assert "--store=DIR" in capsys.readouterr().err
