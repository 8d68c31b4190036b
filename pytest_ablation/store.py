"""Runs on disk: one JSON a trial, under the trial's fingerprint, written in one step."""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_ablation.experiment import Run, Trial

FORMAT = 1


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
        path = self._path(fingerprint)
        try:
            if path.stat().st_mtime < newer_than:
                return None
            entry = json.loads(path.read_text(encoding="utf-8"))
            return _run(entry["run"]) if entry["format"] == FORMAT else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{path} cannot be read ({error}); training anew.", stacklevel=2)
            return None

    def save(self, trial: Trial, run: Run) -> None:
        """Keep a run, beside the trial it came from."""
        entry = {"format": FORMAT, "trial": asdict(trial), "run": asdict(run)}
        path = self._path(trial.fingerprint)
        temporary = ""
        try:
            self._make(path.parent)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(_without_nan(entry), file, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            Path(temporary).unlink(missing_ok=True) if temporary else None
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

    def _path(self, fingerprint: str) -> Path:
        return self.folder / "runs" / f"{fingerprint}.json"

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
