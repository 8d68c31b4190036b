"""Decoded data is made once, and every process maps the same files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_ablation import arrays
from pytest_ablation.data import maps
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")

KEEP = """
import os, sys
from pathlib import Path
import numpy as np
from pytest_ablation.data import maps
from pytest_ablation.dataset import Dataset

cache = Path(sys.argv[1])

def make():
    with (cache.parent / "made").open("a") as made:
        made.write("made ")
    x, y = np.arange(6, dtype=np.uint8).reshape(3, 2), np.zeros(3, np.uint8)
    return Dataset(name="in another process", x_train=x, y_train=y, x_test=x, y_test=y)
"""


def dataset() -> Dataset:
    """Return a dataset small enough to write often."""
    images = np.random.default_rng(1).integers(0, 256, (7, 4, 4, 3), np.uint8)
    labels = np.arange(7, dtype=np.uint8)
    return Dataset(
        name="small",
        x_train=images[:5],
        y_train=labels[:5],
        x_test=images[5:],
        y_test=labels[5:],
        classes=("a", "b"),
        source="a test",
        stand_in="nothing else to be had",
    )


def never() -> Dataset:
    """Stand for data that must not be made again."""
    raise AssertionError("made, though it is kept")


def assert_same(one: Dataset, other: Dataset) -> None:
    """Compare all that a dataset says."""
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    for name in ("name", "classes", "source", "stand_in", "fingerprint"):
        assert getattr(one, name) == getattr(other, name)


def in_another_process(cache: Path, code: str) -> subprocess.Popen[bytes]:
    """Start Python on KEEP and the code, with this process's import path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", KEEP + code, str(cache)]
    return subprocess.Popen(command, env=environment, cwd=cache.parent)


def test_what_is_kept_is_what_was_made(tmp_path: Path) -> None:
    """Data comes back whole, the first time and later, and is made only the first time."""
    first = maps.keep(tmp_path / "new" / "cache", "small", dataset)
    later = maps.keep(tmp_path / "new" / "cache", "small", never)

    assert_same(first, dataset())
    assert_same(later, dataset())


def test_several_inputs_and_outputs_are_kept(tmp_path: Path) -> None:
    """Data of several arrays comes back with its names, its order and its fingerprint."""
    x, y = dataset().x_train, dataset().y_train
    several, labels = {"image": x, "more": (y, y + 1)}, (y, {"of/any name": x})
    made = Dataset(name="several", x_train=several, y_train=labels, x_test=several, y_test=labels)
    opened = maps.opened(maps.shared(tmp_path, made))

    assert opened.fingerprint == made.fingerprint
    assert arrays.digest(opened.x_test, opened.y_test) == arrays.digest(made.x_test, made.y_test)
    assert all(isinstance(array, np.memmap) for array in arrays.each(opened.x_train))
    assert maps.shared(tmp_path, opened) == maps.shared(tmp_path, made)


def test_the_fingerprint_is_known_without_reading_the_images(tmp_path: Path) -> None:
    """A later session does not hash the images again to know what data it has."""
    maps.keep(tmp_path, "small", dataset)

    assert maps.keep(tmp_path, "small", never).fingerprint == dataset().fingerprint


def test_arrays_are_shared_and_cannot_be_changed(tmp_path: Path) -> None:
    """Arrays map the files, so processes share one copy, and none can alter it for the others."""
    kept = maps.keep(tmp_path, "small", dataset)

    for name in ARRAYS:
        array = getattr(kept, name)
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_keys_keep_different_data_apart(tmp_path: Path) -> None:
    """Data under another key is made for itself."""
    other = Dataset(**{name: getattr(dataset(), name)[:1] for name in ARRAYS}, name="other")
    maps.keep(tmp_path, "small", dataset)

    assert maps.keep(tmp_path, "other", lambda: other).name == "other"
    assert maps.keep(tmp_path, "small", never).name == "small"


def test_processes_at_the_same_time_make_it_once(tmp_path: Path) -> None:
    """Workers that start together decode once, and all get the same data."""
    code = "assert maps.keep(cache, 'key', make).x_train[2, 1] == 5"
    processes = [in_another_process(tmp_path / "cache", code) for _ in range(3)]

    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "made "


def test_a_process_killed_while_writing_leaves_nothing(tmp_path: Path) -> None:
    """After a kill in the middle of the writing the data is made again, and no rest stays."""
    code = "np.save = lambda *a, **k: os._exit(9)\nmaps.keep(cache, 'key', make)"
    assert in_another_process(tmp_path / "cache", code).wait(60) == 9

    assert_same(maps.keep(tmp_path / "cache", "key", dataset), dataset())
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == ["key"]


def truncate(entry: Path) -> None:
    """Cut an array short."""
    array = entry / "x_train.npy"
    array.write_bytes(array.read_bytes()[:-1])


def empty(entry: Path) -> None:
    """Leave an array's file without content."""
    (entry / "y_test.npy").write_bytes(b"")


def lose_array(entry: Path) -> None:
    """Take an array away."""
    (entry / "x_test.npy").unlink()


def swap_array(entry: Path) -> None:
    """Put an array of another shape in place of one."""
    np.save(entry / "y_train.npy", np.zeros((5, 1), np.uint8))


def lose_meta(entry: Path) -> None:
    """Take the description away."""
    (entry / "meta.json").unlink()


def garble_meta(entry: Path) -> None:
    """Make the description unreadable."""
    (entry / "meta.json").write_bytes(b"\xff{")


def age_meta(entry: Path) -> None:
    """Describe the entry as written by a version that knew less."""
    (entry / "meta.json").write_text(json.dumps({"format": 0}))


def replace_by_file(entry: Path) -> None:
    """Put a file where the entry was."""
    for path in entry.iterdir():
        path.unlink()
    entry.rmdir()
    entry.write_text("not a folder")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        lose_array,
        swap_array,
        lose_meta,
        garble_meta,
        age_meta,
        replace_by_file,
    ],
)
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A cache that went bad costs one more decoding, and never gives wrong images or an error."""
    maps.keep(tmp_path, "small", dataset)
    damage(tmp_path / "small")

    assert_same(maps.keep(tmp_path, "small", dataset), dataset())
    assert_same(maps.keep(tmp_path, "small", never), dataset())


def test_errors_of_the_maker_pass_through(tmp_path: Path) -> None:
    """What is wrong with the source is said as it is, and nothing is kept of it."""

    def wrong() -> Dataset:
        raise DataError("the source is wrong")

    with pytest.raises(DataError, match=r"^the source is wrong$"):
        maps.keep(tmp_path, "small", wrong)
    assert_same(maps.keep(tmp_path, "small", dataset), dataset())


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """On a read-only disk the study goes on with images in memory, and a warning says so."""
    (tmp_path / "file").write_text("no folder can be in a file")

    with pytest.warns(UserWarning, match=r"cannot be kept in .*Not a directory"):
        assert_same(maps.keep(tmp_path / "file" / "cache", "small", dataset), dataset())


def test_a_full_disk_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the study goes on with images in memory, and no partial entry stays."""

    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full_disk:
        full_disk.setattr(np, "save", no_space)
        with pytest.warns(UserWarning, match="No space left"):
            assert_same(maps.keep(tmp_path, "small", dataset), dataset())

    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert_same(maps.keep(tmp_path, "small", dataset), dataset())


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """What is done under a lock by two processes is done one after the other."""
    code = """
with maps.locked(cache, "turn") as obstacle:
    assert obstacle is None
    other = cache / "somebody"
    other.touch(exist_ok=False)
    make()
    other.unlink()
"""
    processes = [in_another_process(tmp_path / "cache", code) for _ in range(2)]

    assert [process.wait(60) for process in processes] == [0, 0]
