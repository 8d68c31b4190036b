"""JSON documents that one session writes and another reads: written whole, read with care."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_ablation import files
from pytest_ablation.errors import AblationError


def written(kind: str, schema: int, content: Mapping[str, Any]) -> str:
    """Return a document's text.

    Args:
        kind: What it is, as "pytest-ablation findings".
        schema: The version of its schema; a reader refuses what is newer than it knows.
        content: What it says, without numbers that are none: JSON has no NaN and no infinity.
    """
    told = {"kind": kind, "schema": schema, **content}
    return json.dumps(told, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def number(value: float) -> float | None:
    """Return a number as JSON can have it: null where it is NaN or infinite."""
    return value if math.isfinite(value) else None


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all, and the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replaced(path, text.encode("utf-8", "backslashreplace"))


def read(path: Path, kind: str, schema: int, maker: str) -> dict[str, Any]:
    """Return what a document says.

    Args:
        path: Where it is.
        kind: What it must be.
        schema: The newest version that can be read.
        maker: What writes such a document, for who has none.

    Raises:
        AblationError: It is missing, damaged, something else, or newer.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AblationError(f"{path}: no such file. {maker} writes one.") from None
    except OSError as error:
        raise AblationError(f"{path}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise AblationError(f"{path}: damaged, this is no JSON. {maker} writes it anew.") from None
    if not isinstance(told, dict) or told.get("kind") != kind:
        raise AblationError(f"{path}: this is no {kind}. {maker} writes one.")
    if not isinstance(told.get("schema"), int):
        raise AblationError(f"{path}: damaged, its schema is not known. {maker} writes it anew.")
    if told["schema"] > schema:
        raise AblationError(
            f"{path}: written by a newer pytest-ablation (schema {told['schema']}; this one reads "
            f"up to {schema}). Update pytest-ablation, or write the file anew: {maker}."
        )
    return told
