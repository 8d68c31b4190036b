"""The hooks that other plugins implement."""

from __future__ import annotations

import pytest

import pytest_ablation

CONFTEST = """
import random
from pathlib import Path
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    return {"accuracy": 0.8 + random.Random(f"{trial.seed}{trial.config}").gauss(0, 0.002)}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"size": 2}, train=fit, name="formula")

def pytest_ablation_run_finished(run, experiment, arm):
    print(f"run of {experiment}, {arm}, seed {run.seed}: {run.metrics['accuracy']:.1f}")

def pytest_ablation_findings(findings):
    print(f"findings: {len(findings.rows())} arms, {len(findings.claims())} claims")
    if Path("export.json").exists():
        raise RuntimeError("a fault of the hook")
"""
TESTS = """
import pytest
from pytest_ablation import *

@pytest.mark.parametrize("variant", [override(size=1), override(size=3)], indirect=True)
def test_it(variant):
    assert variant.accuracy.change <= 0.5
"""


@pytest.fixture
def hooked(pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite whose conftest.py says what it is told."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_study=TESTS)
    return pytester


def test_plugins_are_told_of_runs_and_findings(hooked: pytest.Pytester) -> None:
    """A tracker logs each training once, with its arm, and the findings at the end."""
    result = hooked.runpytest("-s", "--ablation-seeds=2")
    told = [line.rpartition("run of ")[2] for line in result.outlines if "run of " in line]
    assert told == [
        "formula, baseline, seed 0: 0.8",
        "formula, baseline, seed 1: 0.8",
        "formula, set size=1, seed 0: 0.8",
        "formula, set size=1, seed 1: 0.8",
        "formula, set size=3, seed 0: 0.8",
        "formula, set size=3, seed 1: 0.8",
    ]
    assert sum("findings: 3 arms, 2 claims" in line for line in result.outlines) == 1
    again = hooked.runpytest_subprocess("-s", "--ablation-seeds=2")
    again.stdout.no_fnmatch_line("*run of formula*")


def test_a_fault_in_a_hook_costs_no_file(hooked: pytest.Pytester) -> None:
    """What a study found is on disk before anybody else is told of it."""
    result = hooked.runpytest_subprocess("--ablation-seeds=1", "--ablation-export=export.json")
    assert result.ret != pytest.ExitCode.OK
    assert "a fault of the hook" in result.stdout.str() + result.stderr.str()
    assert len(pytest_ablation.findings(hooked.path / "export.json")) == 2


def test_processes_tell_the_controller(hooked: pytest.Pytester) -> None:
    """Under pytest-xdist a run that two processes needed is told of once, in one process."""
    result = hooked.runpytest_subprocess("-s", "-n2", "--ablation-seeds=2")
    assert sum("run of formula" in line for line in result.outlines) == 6
    assert sum("findings: 3 arms, 2 claims" in line for line in result.outlines) == 1


def test_a_session_without_findings_tells_nothing(pytester: pytest.Pytester) -> None:
    """A suite without ablations calls no hook."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest("-s")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*findings: *")
