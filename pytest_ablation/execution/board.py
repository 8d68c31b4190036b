"""How the tasks of a session go, to be shown while one of them is waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pytest_ablation.run import Progress


@dataclass(frozen=True, kw_only=True)
class Board:
    """What is going on, to be shown.

    Attributes:
        running: Each task that is being done: its name, and how far a training is.
        done: Tasks done in this session.
        known: Tasks known of, those done included.
        seconds_left: An estimate for all of them; None where there is nothing to tell it from.
    """

    running: tuple[tuple[str, Progress | None], ...]
    done: int
    known: int
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How this session has used a cluster so far.

    Attributes:
        session: Tells its processes apart, where pytest-xdist has several.
        tasks: Tasks done, by node.
        places: How many run at a time.
        busy: Share of the places' time that tasks took, from the first one sent to the last done.
    """

    session: str
    tasks: Mapping[str, int]
    places: int
    busy: float


Show = Callable[[Board], None]
Waiting = Callable[[], AbstractContextManager[Show]]


def whole(progress: Progress) -> float:
    """Return how long a training takes in all, from how long is left of it."""
    left = max(1, progress.epochs - progress.epoch)
    return progress.seconds_left * progress.epochs / left
