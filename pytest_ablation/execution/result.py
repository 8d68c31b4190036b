"""What comes of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_ablation.run import Progress

Tell = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a task.

    Attributes:
        value: A run; a duet; of a probe, seconds a step; of lesions their runs, and of several
            seeds their results, by fingerprint.
        trained: Whether it was done now, and not found in the store.
        warned: What there was to warn of in another process.
    """

    value: Any
    trained: bool
    warned: tuple[str, ...] = ()
