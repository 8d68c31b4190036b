"""Runs, duets and unfinished trainings on disk, under fingerprints, in a folder processes share.

An entry is written in one step and carries a checksum: what is found is whole, or it is set aside.
A lock is the operating system's, so it ends with the process that holds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import starmap
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_ablation import entry as entries
from pytest_ablation import files
from pytest_ablation.entry import DamagedEntryError, Kept, Kind, NewerEntryError, path_of
from pytest_ablation.errors import AblationWarning
from pytest_ablation.experiment import Trial
from pytest_ablation.run import Duet, Progress, Run

YOUNG = 3600.0  # seconds; what is younger may be another process's work


@dataclass(eq=False)
class Store:
    """A folder of runs.

    Where it cannot be written the study goes on without it, with one warning a session.

    Attributes:
        folder: The folder; it is made when something is kept.
    """

    folder: Path
    _said: set[str] = field(default_factory=set, init=False)

    # ---------------------------------------------------------------------------------- entries

    def find(self, kind: Kind, key: str, newer_than: float = 0.0) -> Kept | None:
        """Return an entry; None where there is none. A damaged one is set aside, with a warning."""
        path = path_of(self.folder, kind, key)
        try:
            if path.stat().st_mtime < newer_than:
                return None
            try:
                return self.read(kind, key)
            except DamagedEntryError:
                # Its arrays may have been replaced between the one file and the other.
                return self.read(kind, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except NewerEntryError as newer:
            self._say(f"{path} {newer}: it is left alone, and this session does its own work anew.")
        except DamagedEntryError as damage:
            aside = ""
            with suppress(OSError):
                aside = f" It is set aside in {self.set_aside(kind, key)}."
            self._say(f"{path} cannot be used ({damage}): doing it anew.{aside}")
        except OSError as error:
            self._say(f"{path} cannot be read ({error}): doing it anew.")
        return None

    def load(self, fingerprint: str, newer_than: float = 0.0) -> Run | None:
        """Return a trial's run; None where there is none that can be used.

        Args:
            fingerprint: The trial's.
            newer_than: Seconds since the epoch; an older run does not count.
        """
        entry = self.find("runs", fingerprint, newer_than)
        return entry.run if entry else None

    def save(self, trial: Trial, run: Run, name: str = "", session: str = "") -> None:
        """Keep a run, beside the trial it came from, what that is called and who trained it."""
        before = set((self.folder / "runs").glob(f"{trial.fingerprint}-*.npz"))
        files = entries.of_run(self.folder, trial, run, name, session)
        if not self._is_newer("runs", trial.fingerprint) and all(
            starmap(self._write, files.items())
        ):
            for path in before - set(files):
                _without(path)

    def accept(self, files: Mapping[str, bytes]) -> None:
        """Keep entries that were made on another machine: contents by path, the arrays first."""
        for path, content in files.items():
            self._write(self.folder / path, content)

    def load_duet(self, key: str, newer_than: float = 0.0) -> Duet | None:
        """Return the duet kept under a key, as `load` does a run."""
        entry = self.find("duets", key, newer_than)
        return entry.duet if entry else None

    def save_duet(self, key: str, duet: Duet, name: str = "") -> None:
        """Keep a duet."""
        if not self._is_newer("duets", key):
            for path, content in entries.of_duet(self.folder, key, duet, name).items():
                self._write(path, content)

    def keys(self, kind: Kind) -> list[str]:
        """Return the names of the entries of a kind, usable or not."""
        return sorted(path.stem for path in (self.folder / kind).glob("*.json"))

    def read(self, kind: Kind, key: str) -> Kept:
        """Return an entry, or raise what is wrong with it, as `entry.read` does."""
        return entries.read(self.folder, kind, key)

    def set_aside(self, kind: Kind, key: str) -> Path:
        """Move a damaged entry's files out of the way, and return where to."""
        folder = self.folder / "damaged"
        folder.mkdir(parents=True, exist_ok=True)
        path = path_of(self.folder, kind, key)
        for each in (path, *path.parent.glob(f"{key}-*.npz")):
            with suppress(FileNotFoundError):
                os.replace(each, folder / each.name)
        return folder

    def remove(self, entry: Kept) -> None:
        """Take an entry out."""
        for path in entry.files:
            path.unlink(missing_ok=True)

    def _is_newer(self, kind: Kind, key: str) -> bool:
        """Tell whether an entry is there that a later version wrote: it is not written over."""
        try:
            self.read(kind, key)
        except NewerEntryError as newer:
            self._say(f"{path_of(self.folder, kind, key)} {newer}: it is left alone.")
            return True
        except (DamagedEntryError, OSError):
            pass
        return False

    # ------------------------------------------------------------------- trainings under way

    def checkpoint(self, fingerprint: str) -> Path | None:
        """Return the file of a training's unfinished state; None where nothing can be written."""
        folder = self.folder / "checkpoints"
        return folder / f"{fingerprint}.npz" if self._make(folder) else None

    def weights(self, fingerprint: str) -> Path | None:
        """Return the file of a training's weights; None where nothing can be written."""
        path = entries.weights_of(self.folder, fingerprint)
        return path if self._make(path.parent, quiet=True) else None

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a lock that processes share, such as a trial's: who holds it trains the trial.

        Args:
            name: What is locked.
            wait: Whether to wait for a process that holds it.

        Yields:
            Whether it is held. Where the store cannot be written there is none, and the answer is
            yes.
        """
        folder = self.folder / "locks"
        if not self._make(folder):
            yield True
            return
        # A cluster's answer, on which it is let go of, comes in another thread.
        lock = FileLock(folder / f"{name}.lock", thread_local=False)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        except OSError as error:
            self._warn(error)
            yield True
            return
        try:
            yield True
        finally:
            lock.release()

    def tell(self, fingerprint: str, name: str, progress: Progress | None) -> None:
        """Say to all processes where a training is; nothing more to say with None."""
        path = self.folder / "progress" / f"{fingerprint}.json"
        if progress is None:
            _without(path)
        elif self._make(path.parent, quiet=True):
            said = {"name": name, "process": os.getpid(), **asdict(progress)}
            with suppress(OSError):
                files.replaced(path, json.dumps(said).encode())

    def told(self) -> dict[str, tuple[str, Progress]]:
        """Return the trainings under way on this machine: fingerprint → name and progress."""
        import psutil

        result = {}
        for path in sorted((self.folder / "progress").glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                said = json.loads(path.read_bytes())
                if psutil.pid_exists(said.pop("process")):  # a killed one leaves its file
                    result[path.stem] = said.pop("name"), Progress(**said)
        return result

    # --------------------------------------------------------------------------------- sessions

    def note_used(self, session: str, keys: Iterable[str]) -> None:
        """Note what a session used; of the session before nothing stays noted.

        A checkpoint whose training has ended is removed, if who trained it was killed just before.
        """
        for path in (self.folder / "checkpoints").glob("*.npz"):
            if path_of(self.folder, "runs", path.stem).exists():
                _without(path)
        with self.lock("last-session"):
            path = self.folder / "last-session.json"
            last, used = self._last_session()
            known = used if last == session else set()
            said = {"session": session, "used": sorted(known | set(keys))}
            if self.folder.exists():
                self._write(path, json.dumps(said).encode())

    def used_last(self) -> set[str]:
        """Return the names of the entries that the last session used."""
        return self._last_session()[1]

    def remember(self, kind: str, name: str, value: Any) -> None:
        """Keep something that was found out about this machine."""
        self._write(self._noted(kind, name), json.dumps(value).encode())

    def recall(self, kind: str, name: str) -> Any:
        """Return what was found out about this machine; None where nothing was."""
        with suppress(OSError, ValueError):
            return json.loads(self._noted(kind, name).read_bytes())
        return None

    def _noted(self, kind: str, name: str) -> Path:
        machine = f"{platform.node()}/{os.cpu_count()}/{name}"
        return self.folder / kind / f"{hashlib.sha256(machine.encode()).hexdigest()}.json"

    def _last_session(self) -> tuple[Any, set[str]]:
        """Return the last session and what it used; neither where the file does not say both."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads((self.folder / "last-session.json").read_bytes())
            return said["session"], set(map(str, said["used"]))
        return None, set()

    # ----------------------------------------------------------------------------------- writing

    def _write(self, path: Path, content: bytes) -> bool:
        if not self._make(path.parent):
            return False
        try:
            files.replaced(path, content, lasting=True)
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _make(self, folder: Path, *, quiet: bool = False) -> bool:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ignore = self.folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            if not quiet:
                self._warn(error)
            return False
        return True

    def _warn(self, error: OSError) -> None:
        self.warn_once(
            f"runs cannot be kept in {self.folder} ({error.strerror or error}): the study goes on, "
            "and the next one trains anew. Name another folder with --ablation-store=DIR."
        )

    # ------------------------------------------------------------------------------------ saying

    def warn_once(self, text: str) -> None:
        """Warn of what befalls each training alike; the cause, in parentheses, may be another."""
        what = text.partition(" (")[0]
        if what not in self._said:
            self._said.add(what)
            warnings.warn(AblationWarning(text), stacklevel=4)

    def _say(self, text: str) -> None:
        warnings.warn(AblationWarning(text), stacklevel=4)


def sweep(store: Store, *, given_up: float) -> int:
    """Remove what killed processes left half-done, and return how many bytes that was.

    Args:
        store: Whose folder.
        given_up: Seconds, beyond which an unfinished training goes, a compiled program, and weights
            that a function gives a network: it gives them again.
    """
    named = {path for key in store.keys("runs") for path in _files_of(store, key)}
    arrays = (store.folder / folder for folder in ("runs", "weights"))
    left = [path for folder in arrays for path in folder.glob("*.npz") if path not in named]
    for folder in ("runs", "weights", "duets", "checkpoints", "initial", "progress"):
        left += (store.folder / folder).glob("*.part")
    left += (store.folder / "progress").glob("*.json")
    ages = dict.fromkeys(left, YOUNG)
    for folder in ("checkpoints", "initial", "compiled"):
        ages |= dict.fromkeys((store.folder / folder).glob("*"), given_up)
    freed = 0
    for path, age in ages.items():
        with suppress(OSError):
            status = path.stat()
            if status.st_mtime < time.time() - age:
                path.unlink()
                freed += status.st_size
    return freed


def copied(source: Store, entry: Kept, target: Store) -> None:
    """Copy an entry into another store."""
    for path in reversed(entry.files):  # the arrays first: who finds the entry finds all of it
        to = target.folder / path.relative_to(source.folder)
        if target._make(to.parent):
            files.replaced(to, path.read_bytes())
            shutil.copystat(path, to)  # as old as it was, for who prunes by age


def _without(path: Path) -> None:
    """Remove a file, where it is there and can be."""
    with suppress(OSError):
        path.unlink()


def _files_of(store: Store, key: str) -> tuple[Path, ...]:
    with suppress(DamagedEntryError, NewerEntryError, OSError):
        return store.read("runs", key).files
    return tuple((store.folder / "runs").glob(f"{key}-*.npz"))
