"""Runs and duets on disk: one JSON each, under a fingerprint, written in one step."""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from pytest_ablation.experiment import Duet, Run, Trial

FORMAT = 1
T = TypeVar("T")


class Store:
    """A folder of runs that processes share.

    Where the folder cannot be written the study goes on without it, with one warning.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._warned = False

    def load(self, fingerprint: str, newer_than: float = 0.0) -> Run | None:
        """Return a trial's run; None where there is none that can be read.

        Args:
            fingerprint: The trial's.
            newer_than: Seconds since the epoch; an older run does not count.
        """
        return self._read("runs", fingerprint, newer_than, lambda entry: _run(entry["run"]))

    def save(self, trial: Trial, run: Run) -> None:
        """Keep a run, beside the trial it came from."""
        self._write("runs", trial.fingerprint, {"trial": asdict(trial), "run": asdict(run)})

    def load_duet(self, key: str, newer_than: float = 0.0) -> Duet | None:
        """Return the duet kept under a key, as `load` does a run."""
        return self._read("duets", key, newer_than, lambda entry: Duet(**entry["duet"]))

    def save_duet(self, key: str, duet: Duet) -> None:
        """Keep a duet."""
        self._write("duets", key, {"duet": asdict(duet)})

    def _read(
        self, kind: str, key: str, newer_than: float, of: Callable[[dict[str, Any]], T]
    ) -> T | None:
        path = self.folder / kind / f"{key}.json"
        try:
            if path.stat().st_mtime < newer_than:
                return None
            entry = json.loads(path.read_text(encoding="utf-8"))
            return of(entry) if entry["format"] == FORMAT else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{path} cannot be read ({error}); doing it anew.", stacklevel=3)
            return None

    def _write(self, kind: str, key: str, entry: dict[str, Any]) -> None:
        path = self.folder / kind / f"{key}.json"
        temporary = ""
        try:
            self._make(path.parent)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(_without_nan({"format": FORMAT, **entry}), file, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            self._warn(error)

    @contextmanager
    def lock(self, fingerprint: str) -> Iterator[None]:
        """Hold a trial's lock, so that no other process trains it meanwhile."""
        folder = self.folder / "locks"
        try:
            self._make(folder)
            lock = FileLock(folder / f"{fingerprint}.lock")
            lock.acquire()
        except OSError as error:
            self._warn(error)
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"runs cannot be kept in {self.folder} ({error}): the study goes on, and the next "
                "one trains anew. Name another folder with --ablation-store=DIR.",
                stacklevel=3,
            )


def _run(entry: dict[str, Any]) -> Run:
    def number(value: float | None) -> float:
        return math.nan if value is None else value

    return Run(
        **{
            **entry,
            "metrics": {name: number(value) for name, value in entry["metrics"].items()},
            "curves": {name: tuple(map(number, curve)) for name, curve in entry["curves"].items()},
        }
    )


def _without_nan(value: Any) -> Any:
    """Return the value with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
