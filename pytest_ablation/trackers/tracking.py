"""What a tracker is told, and when: each training as it ends, the rest at the session's end.

A tracker that fails costs a line in the terminal, and nothing of the study.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ablation import trackers

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings

LONGEST = 300  # characters of a tracker's complaint that are shown


class Tracking:
    """Tells one tracker of the session: a plugin of pytest, and of this plugin's own hooks."""

    def __init__(
        self, config: pytest.Config, name: str, where: str, exports: Sequence[Path]
    ) -> None:
        self.config = config
        self.name = name
        self.where = where
        self.exports = exports
        self.started = time.time()
        self.tracker: trackers.Tracker | None = None
        self.findings: Findings | None = None
        self.done = ""
        self.problem = ""

    def pytest_ablation_run_finished(self, run: Run, experiment: str, arm: str) -> None:
        """Keep a training as it ends, so that a study of hours can be watched."""
        self._try(lambda tracker: tracker.seed(run, experiment, arm, is_new=True))

    def pytest_ablation_findings(self, findings: Findings) -> None:
        """Take the findings, until all files are there."""
        self.findings = findings

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(
        self, exitstatus: int | pytest.ExitCode
    ) -> Generator[None, object, object]:
        """Keep what is left when the report's page is written, which comes last of all files."""
        try:
            return (yield)
        finally:
            if self.findings is not None:
                is_whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
                self._try(partial(self._finish, self.findings, is_whole))

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the study is, or why it is not."""
        if self.problem:
            terminalreporter.write_line(
                f"the study is not in {self.name}, or not all of it: {self.problem}. Nothing is "
                "lost: the same session once more trains nothing, and keeps all of it there.",
                yellow=True,
            )
        elif self.done:
            terminalreporter.write_line(f"study kept in {self.done}")

    def _finish(self, findings: Findings, is_whole: bool, tracker: trackers.Tracker) -> None:
        for row in findings.rows():
            for run in () if row.lesion else row.runs:
                tracker.seed(run, row.experiment, row.arm, is_new=False)
        self.done = tracker.finish(findings, self._files(), is_whole=is_whole)

    def _files(self) -> Sequence[Path]:
        page = self.config.getoption("htmlpath", None)
        pages = [self.config.invocation_params.dir / page] if page else []
        return [path for path in (*pages, *self.exports) if path.is_file()]

    def _try(self, do: Callable[[trackers.Tracker], Any]) -> None:
        """Do something with the tracker, unless it has failed before."""
        if self.problem:
            return
        try:
            with warnings.catch_warnings():  # a tracker's are not of the user's tests
                warnings.simplefilter("ignore")
                if self.tracker is None:
                    self.tracker = trackers.tracker(self.name, self.where, self.started)
                do(self.tracker)
        except Exception as error:  # whatever it is, the study goes on
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self.problem = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
