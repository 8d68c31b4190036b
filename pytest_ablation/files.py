"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def replaced(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Write a file beside its place and put it there in one step.

    Args:
        path: Its place, in a folder that is there.
        content: What is in it.
        lasting: Whether it is on the disk, and not only on its way there, when this returns.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    part = path.with_name(f"{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
