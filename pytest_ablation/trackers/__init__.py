"""Studies in the trackers that people have, a module a tracker, chosen by name.

Importing this imports no tracker.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings

# Each is also the name of its module here, of the package that it needs, and of the extra.
NAMES = ("mlflow", "tensorboard")


class Tracker(Protocol):
    """What keeps a study for people to look at: opened when there is something to keep."""

    def seed(self, run: Run, experiment: str, arm: str, *, is_new: bool) -> None:
        """Keep a training: as it ends, or at the session's end where it was in the store."""

    def finish(self, findings: Findings, files: Sequence[Path], *, is_whole: bool) -> str:
        """Keep the findings and files, and say where all of it is.

        Args:
            findings: The session's.
            files: The report's page and exports, as far as they were written.
            is_whole: Whether the session ran to its end.
        """


def is_installed(name: str) -> bool:
    """Tell whether a tracker's package is there."""
    return find_spec(name) is not None


def tracker(name: str, where: str, started: float) -> Tracker:
    """Return a tracker.

    Args:
        name: One of `NAMES`.
        where: Where it keeps what it is given; empty for where it does so unless told.
        started: When the session did, in seconds since the epoch.
    """
    made: Tracker = import_module(f"{__name__}.{name}").Tracker(where, started)
    return made
