"""Hooks of this plugin, for other plugins and for a conftest.py.

Both are called in pytest's main process; under pytest-xdist, in its controller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings


@pytest.hookspec
def pytest_ablation_run_finished(run: Run, experiment: str, arm: str) -> None:
    """Called once for each training of this session, when a test that used it has ended.

    Runs that were in the store before are not new. An implementation may leave arguments out.

    Args:
        run: What the training gave: seed, metrics, curves, times.
        experiment: The experiment's name.
        arm: "baseline", or the ablation as a person would say it.
    """


@pytest.hookspec
def pytest_ablation_findings(findings: Findings) -> None:
    """Called once at the end of a session that has findings, also after Ctrl-C.

    It comes when the exports are written, before the terminal's table.

    Args:
        findings: The table: `rows()`, `claims()`, `entries`, `facts`.
    """
