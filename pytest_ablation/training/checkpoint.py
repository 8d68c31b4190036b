"""Numbers and arrays in a file, behind a checksum, no pickle.

So a training's unfinished state is kept, and the weights that it ended with.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ablation import files
from pytest_ablation.errors import AblationWarning

FORMAT = 1


def save(
    path: Path, fingerprint: str, state: Mapping[str, Any], arrays: Sequence[NDArray[Any]]
) -> None:
    """Put a state in the place of the one before it, in one step.

    Args:
        path: The file.
        fingerprint: The trial's.
        state: Numbers, texts, lists and dicts of them; NaN included.
        arrays: Of any shapes and dtypes.

    Raises:
        OSError: It cannot be written; the state before it is left.
    """
    head = {"format": FORMAT, "trial": fingerprint, "state": state}
    dtypes = [array.dtype.name for array in arrays]
    packed = io.BytesIO()
    named: dict[str, Any] = {f"array{i}": _as_bytes(array) for i, array in enumerate(arrays)}
    named["head"] = np.frombuffer(json.dumps({**head, "dtypes": dtypes}).encode(), np.uint8)
    np.savez(packed, **named)
    content = packed.getvalue()
    files.replaced(path, hashlib.sha256(content).digest() + content)


def keep(
    path: Path, fingerprint: str, state: Mapping[str, Any], arrays: Sequence[NDArray[Any]]
) -> None:
    """Save a training's unfinished state; a full disk costs a warning, and the training goes on."""
    try:
        save(path, fingerprint, state, arrays)
    except OSError as error:
        warnings.warn(
            AblationWarning(
                f"the unfinished training cannot be kept in {path.parent} ({error.strerror}): "
                "were it killed, it would start anew."
            ),
            stacklevel=2,
        )


def load(path: Path, fingerprint: str) -> tuple[dict[str, Any], list[NDArray[Any]]] | None:
    """Return the state and arrays last saved; None where there is nothing that can be used."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    digest, content = whole[:32], whole[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as packed:
        head = json.loads(packed["head"].tobytes())
        if head["format"] != FORMAT or head["trial"] != fingerprint:
            return None
        arrays = [_from_bytes(packed[f"array{i}"], d) for i, d in enumerate(head["dtypes"])]
    return head["state"], arrays


def _as_bytes(array: NDArray[Any]) -> NDArray[Any]:
    # numpy's format does not know bfloat16 and its like: their bits are kept.
    if array.dtype.kind != "V":
        return array
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def _from_bytes(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    if array.dtype.name == dtype:
        return array
    import ml_dtypes

    return array.view(np.dtype(getattr(ml_dtypes, dtype)))
