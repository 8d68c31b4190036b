"""What is kept on disk under a fingerprint: as plain data, and as bytes with a checksum."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_ablation.experiment import Trial
from pytest_ablation.run import Duet, Run

FORMAT = 2
KINDS: tuple[Kind, ...] = ("runs", "duets")

Kind = Literal["runs", "duets"]


class DamagedEntryError(Exception):
    """An entry that is not what was written."""


class NewerEntryError(Exception):
    """An entry that a later version of the plugin wrote."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What lies under a fingerprint.

    Attributes:
        kind: "runs" or "duets".
        key: Its name: a run's fingerprint.
        files: The files it is made of; with its trained weights, where they are kept.
        name: What was trained, as a person would say it.
        session: The session that trained it.
        trial: A run's trial.
        run: A run.
        duet: A duet.
    """

    kind: Kind
    key: str
    files: tuple[Path, ...]
    name: str = ""
    session: str = ""
    trial: Trial | None = None
    run: Run | None = None
    duet: Duet | None = None

    @property
    def bytes(self) -> int:
        """Its size."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def made(self) -> float:
        """When it was made, in seconds since the epoch."""
        return self.files[0].stat().st_mtime


def path_of(folder: Path, kind: Kind, key: str) -> Path:
    """Return where an entry's JSON is, or would be."""
    return folder / kind / f"{key}.json"


def weights_of(folder: Path, key: str) -> Path:
    """Return where a run's trained weights are, or would be."""
    return folder / "weights" / f"{key}.npz"


def of_run(folder: Path, trial: Trial, run: Run, name: str, session: str) -> dict[Path, bytes]:
    """Return the files of a run's entry and their contents, in the order to write them.

    The arrays come first, under a name of their content's: who finds the JSON finds all of it.
    """
    import numpy as np

    arrays: dict[str, Any] = {f"curve {each}": np.array(c) for each, c in run.curves.items()}
    arrays["correct"] = np.frombuffer(base64.b64decode(run.correct), np.uint8)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    path = path_of(folder, "runs", trial.fingerprint)
    beside = path.with_name(f"{trial.fingerprint}-{digest[:8]}.npz")
    body = {
        "name": name,
        "session": session,
        "trial": asdict(trial),
        "run": {key: value for key, value in asdict(run).items() if key not in _IN_ARRAYS},
        "arrays": {"file": beside.name, "sha256": digest},
    }
    return {beside: packed.getvalue(), path: _sealed(body)}


def of_duet(folder: Path, key: str, duet: Duet, name: str) -> dict[Path, bytes]:
    """Return the file of a duet's entry and its content."""
    body = {"name": name, "key": key, "duet": asdict(duet)}
    return {path_of(folder, "duets", key): _sealed(body)}


def read(folder: Path, kind: Kind, key: str) -> Kept:
    """Return an entry.

    Raises:
        FileNotFoundError: There is none.
        DamagedEntryError: It is not what was written, or belongs under another name.
        NewerEntryError: A later version of the plugin wrote it.
    """
    path = path_of(folder, kind, key)
    body = _unsealed(path.read_bytes())
    try:
        if kind == "duets":
            if body["key"] != key:
                raise DamagedEntryError("it is of another key")
            lists: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in body["duet"].items()
            }
            return Kept(kind=kind, key=key, files=(path,), name=body["name"], duet=Duet(**lists))
        trial = Trial(**body["trial"])
        if trial.fingerprint != key:
            raise DamagedEntryError("it is of another trial")
        beside = path.with_name(Path(body["arrays"]["file"]).name)
        metrics = {
            name: math.nan if value is None else value
            for name, value in body["run"]["metrics"].items()
        }
        seconds = body["run"]["seconds_per_step"]
        arrays = _unpacked(beside, body["arrays"]["sha256"])
        weights = weights_of(folder, key)
        return Kept(
            kind=kind,
            key=key,
            files=(path, beside, *([weights] if weights.exists() else [])),
            name=body["name"],
            session=body["session"],
            trial=trial,
            run=Run(
                **{
                    **body["run"],
                    "metrics": metrics,
                    "seconds_per_step": math.nan if seconds is None else seconds,
                },
                **arrays,
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedEntryError(f"{type(error).__name__}: {error}") from error


# ------------------------------------------------------------------------------- JSON and arrays

_IN_ARRAYS = ("curves", "correct")


def _sealed(entry: Mapping[str, Any]) -> bytes:
    """Return an entry as JSON, its checksum and format first."""
    body = _without_nan(entry)
    return _written({"format": FORMAT, "checksum": _checksum(body), "entry": body})


def _unsealed(content: bytes) -> dict[str, Any]:
    try:
        whole = json.loads(content)
        if isinstance(whole, dict) and isinstance(whole.get("format"), int):
            if whole["format"] > FORMAT:
                raise NewerEntryError(f"is of format {whole['format']}, of a newer pytest-ablation")
            if whole["format"] < FORMAT:
                raise DamagedEntryError("it is of an older format")
        # The bytes are compared too: a change that JSON does not care for is a change.
        if whole["checksum"] != _checksum(whole["entry"]) or content != _written(whole):
            raise DamagedEntryError("its checksum is not that of its content")
        return dict(whole["entry"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedEntryError(f"it is no entry: {error or type(error).__name__}") from error


def _unpacked(path: Path, digest: str) -> dict[str, Any]:
    """Return a run's curves and what it got right, from its file of arrays."""
    import numpy as np

    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedEntryError(f"{path.name} is missing") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedEntryError(f"the checksum of {path.name} is not that of its content")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        curves = {
            name.removeprefix("curve "): tuple(arrays[name].tolist())
            for name in arrays.files
            if name != "correct"
        }
        correct = base64.b64encode(arrays["correct"].tobytes()).decode()
    return {"curves": curves, "correct": correct}


def _checksum(body: Any) -> str:
    return hashlib.sha256(_written(body)).hexdigest()


def _written(value: Any) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()


def _without_nan(value: Any) -> Any:
    """Return the value with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
