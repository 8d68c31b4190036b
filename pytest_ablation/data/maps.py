"""Decoded data on disk: made once, then mapped into memory by every process that asks.

An entry is a folder of .npy files, one an array, and a meta.json. It is written beside its place
and renamed into it, under a lock, so that whoever finds an entry finds all of it. What the data is
and when it has changed, its maker says in the key.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock

from pytest_ablation import arrays
from pytest_ablation.dataset import PARTS, Dataset
from pytest_ablation.errors import DataError

_FORMAT = 1
_TEXTS = ("name", "source", "stand_in")


def keep(cache: Path, key: str, make: Callable[[], Dataset]) -> Dataset:
    """Return the data kept under a key, made and written first where it is not there yet.

    A damaged entry is made again. Where the cache cannot be written, the data is returned as it
    was made, in memory, with a warning.

    Args:
        cache: Folder of the entries; created when needed.
        key: Name of the entry, fit for a file name. Other content needs another key.
        make: Called at most once, under the entry's lock; what it raises passes through.

    Returns:
        The data as read-only memory maps, its digest known.
    """
    entry = cache / key
    kept = _read(entry)
    if kept is not None:
        return kept
    with locked(cache, key) as obstacle:
        kept = _read(entry)  # Another process may have made it while this one waited.
        if kept is not None:
            return kept
        made = make()
        if obstacle is None:
            try:
                _write(entry, made)
                kept = _read(entry)
            except OSError as error:
                obstacle = error
    if kept is None:
        reason = getattr(obstacle, "strerror", None) or obstacle or "they do not read back"
        warnings.warn(
            f"{made.name}: the decoded images cannot be kept in {cache} ({reason}); "
            "each process decodes them anew and holds its own copy in memory.",
            stacklevel=2,
        )
        return made
    return kept


def shared(cache: Path, data: Dataset) -> Path:
    """Return the folder of an entry with this data, for another process to have it `opened`.

    Args:
        cache: Folder of the entries, where the data is written if it is not in an entry yet.
        data: The data.

    Raises:
        OSError: It cannot be written.
    """
    file = getattr(arrays.each(data.x_train)[0], "filename", None)
    if file is not None:
        entry = Path(file).parent
        kept = _read(entry)
        if kept is not None and kept.fingerprint == data.fingerprint:
            return entry
    entry = cache / data.fingerprint
    with locked(cache, entry.name) as obstacle:
        if obstacle is not None:
            raise OSError(str(obstacle))
        if _read(entry) is None:
            _write(entry, data)
    return entry


def opened(entry: Path) -> Dataset:
    """Return the data of an entry as memory maps.

    Raises:
        DataError: It is gone or damaged.
    """
    data = _read(entry)
    if data is None:
        raise DataError(f"{entry}: the data that was kept there is gone or damaged.")
    return data


@contextmanager
def locked(cache: Path, name: str) -> Iterator[Exception | None]:
    """Hold a lock that processes share; where the cache cannot have one, go on without.

    Args:
        cache: Folder of the lock's file; created when needed.
        name: What is locked.

    Yields:
        None while the lock is held, or the error that kept it from being taken.
    """
    lock = FileLock(cache / f"{name}.lock")
    obstacle: Exception | None = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # The latter: a file system without locks.
        obstacle = error
    try:
        yield obstacle
    finally:
        lock.release()


def _read(entry: Path) -> Dataset | None:
    """Return the data of an entry as memory maps; None where it is missing or damaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != _FORMAT:
            return None
        files = {
            file: np.load(entry / f"{file}.npy", mmap_mode="r", allow_pickle=False)
            for file in meta["arrays"]
        }
        if {file: _describe(array) for file, array in files.items()} != meta["arrays"]:
            return None
        forms = meta.get("forms", {})
        parts = {part: _formed(forms.get(part, part), files) for part in PARTS}
        texts: dict[str, Any] = {name: str(meta[name]) for name in _TEXTS}
        data = Dataset(**parts, **texts, classes=tuple(meta["classes"]))
        return data.known_as(meta["digest"])
    except Exception:  # Damage takes any form, and all of it has one cure: the entry is made again.
        return None


def _write(entry: Path, data: Dataset) -> None:
    """Write an entry as a whole; the caller holds its lock.

    Raises:
        OSError: The disk is full or not to be written.
    """
    for left_over in (*entry.parent.glob(f".{entry.name}-*"), entry):
        _remove(left_over)
    unfinished = entry.parent / f".{entry.name}-{os.getpid()}"
    unfinished.mkdir()
    try:
        files: dict[str, Any] = {}
        forms = {part: _form(getattr(data, part), part, files) for part in PARTS}
        for name, array in files.items():
            with (unfinished / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                _to_disk(file)
        meta = {name: getattr(data, name) for name in (*_TEXTS, "classes")}
        meta |= {"format": _FORMAT, "digest": data.fingerprint, "forms": forms}
        meta |= {"arrays": {name: _describe(array) for name, array in files.items()}}
        with (unfinished / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta, file, indent=1)
            _to_disk(file)
        unfinished.rename(entry)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _form(tree: Any, file: str, files: dict[str, Any]) -> Any:
    """Put each array among the files; return the tree with their names in the arrays' place."""
    if isinstance(tree, dict):
        return {
            name: _form(branch, f"{file}.{i}", files)
            for i, (name, branch) in enumerate(tree.items())
        }
    if isinstance(tree, tuple):
        return [_form(branch, f"{file}.{i}", files) for i, branch in enumerate(tree)]
    files[file] = tree
    return file


def _formed(form: Any, files: Mapping[str, Any]) -> Any:
    """Return the tree whose form this is."""
    if isinstance(form, str):
        return files[form]
    if isinstance(form, dict):
        return {name: _formed(branch, files) for name, branch in form.items()}
    return tuple(_formed(branch, files) for branch in form)


def _describe(array: Any) -> list[Any]:
    return [array.dtype.str, list(array.shape)]


def _to_disk(file: IO[Any]) -> None:
    # Else a power cut after the rename can leave an entry whose files are there, but empty.
    file.flush()
    os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
