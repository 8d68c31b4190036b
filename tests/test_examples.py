"""The examples, as whoever copies one of them runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(pytester: pytest.Pytester, name: str) -> pytest.RunResult:
    """Return a run of a copy of an example, in worker processes."""
    folder = pytester.path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return pytester.runpytest_subprocess("--ablation-workers=2", str(folder))


def test_the_claims_of_the_scikit_learn_example_hold(pytester: pytest.Pytester) -> None:
    """Whoever starts from this example starts from one that works, and says what is so."""
    result = run(pytester, "sklearn_digits")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["All 7 claims hold*."])


@pytest.mark.slow
def test_the_claims_of_the_pytorch_example_hold(pytester: pytest.Pytester) -> None:
    """Likewise, where PyTorch is installed."""
    pytest.importorskip("torch")
    result = run(pytester, "torch_digits")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["All 6 claims hold*."])
