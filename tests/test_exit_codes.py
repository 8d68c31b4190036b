"""What a session exits with, as the documentation tells who gates on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

# Its accuracy is a formula with a little chance, so that a training takes no time.
CONFTEST = """
import random
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    if trial.config["size"] == 0:
        raise ValueError("nothing to fit")
    noise = random.Random(f"{trial.seed}{trial.config}").gauss(0, 0.001)
    return {"accuracy": 0.5 + 0.1 * trial.config["size"] + noise}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"size": 2}, train=fit)
"""
IMPORTS = "import pytest\nfrom pytest_ablation import override\n"
HOLDS = """
@pytest.mark.ablation(override(size=1))
def test_holds(variant):
    assert variant.accuracy.change <= 0
"""
VIOLATED = """
@pytest.mark.ablation(override(size=1))
def test_violated(variant):
    assert variant.accuracy.change >= 0
"""
UNDECIDED = """
@pytest.mark.ablation(override(size=1))
def test_undecided(variant):
    assert variant.accuracy.change >= variant.accuracy.change.mean
"""
NOT_TRAINED = """
@pytest.mark.ablation(override(size=0))
def test_not_trained(variant):
    assert variant.accuracy.change <= 0
"""
MISTAKE = """
@pytest.mark.ablation(override(sise=1))
def test_mistake(variant):
    assert variant.accuracy.change <= 0
"""
UNREADABLE = """
@pytest.mark.ablation(override())
def test_unreadable(variant):
    assert variant.accuracy.change <= 0
"""
INTERRUPTED = """
def test_interrupted(baseline):
    raise KeyboardInterrupt
"""
STRICT = "--ablation-strict"


@pytest.mark.parametrize(
    ("tests", "arguments", "code"),
    [
        (HOLDS, [STRICT], 0),
        (HOLDS + UNDECIDED, [], 0),
        (HOLDS + UNDECIDED, [STRICT], 1),
        (HOLDS + VIOLATED, [], 1),
        (HOLDS + NOT_TRAINED, [], 1),
        (HOLDS + MISTAKE, [], 1),
        (HOLDS, ["--ablation-plan"], 0),
        (HOLDS + MISTAKE, ["--ablation-plan"], 1),
        (HOLDS, ["--ablation-profile=smoke"], 0),
        (HOLDS, ["--ablation-profile=smoke", STRICT], 1),
        (HOLDS + UNREADABLE, ["--ablation-plan"], 2),
        (HOLDS + INTERRUPTED, [], 2),
        (HOLDS, ["--ablation-seeds=none"], 4),
        (HOLDS, ["-k", "nothing"], 5),
    ],
    ids=lambda each: (" ".join(each) or "plain") if isinstance(each, list) else None,
)
def test_an_exit_code_says_how_a_study_ended(
    pytester: pytest.Pytester, tests: str, arguments: list[str], code: int
) -> None:
    """A gate is open with 0 alone; undecided is 0, unless the session is strict."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(IMPORTS + tests)
    arguments = ["--ablation-seeds=2", *arguments]
    is_interrupted = code == pytest.ExitCode.INTERRUPTED
    run = pytester.runpytest_subprocess if is_interrupted else pytester.runpytest
    assert run(*arguments).ret == code


@pytest.mark.parametrize("arguments", [("-p", "no:xdist"), ("-n1",)])
@pytest.mark.parametrize("order", [HOLDS + MISTAKE, MISTAKE + HOLDS])
def test_a_test_that_cannot_begin_is_in_the_headline(
    pytester: pytest.Pytester, order: str, arguments: tuple[str, ...]
) -> None:
    """Nobody reads that all claims hold where a test of the study ended in an error."""
    pytester.makeconftest(CONFTEST)
    order = order.replace("test_mistake(variant", "test_mistake(baseline, variant")
    pytester.makepyfile(IMPORTS + order)
    exports = ("--ablation-export=findings.md", "--ablation-export=findings.json")
    result = pytester.runpytest(*arguments, "--ablation-seeds=2", "--html=page.html", *exports)
    said = "1 of 1 claim holds, 1 test ended in an error; "
    result.stdout.fnmatch_lines([f"{said}*"])
    for name in ("findings.md", "findings.json", "page.html"):
        assert said in (pytester.path / name).read_text(encoding="utf-8")


def test_a_claim_that_is_expected_to_be_violated_is_told_apart(pytester: pytest.Pytester) -> None:
    """Nobody goes after a violated claim in a session that is green, as `xfail` had it."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(IMPORTS + HOLDS + "\n@pytest.mark.xfail" + VIOLATED)
    exports = ("--ablation-export=findings.md", "--ablation-export=findings.json")
    result = pytester.runpytest("--ablation-seeds=2", "--html=page.html", *exports)
    result.assert_outcomes(passed=1, xfailed=1)
    said = "1 of 2 claims holds, 1 xfailed; "
    result.stdout.fnmatch_lines([f"{said}*"])
    result.stdout.no_fnmatch_line("violated: *")
    for name in ("findings.md", "findings.json", "page.html"):
        assert said in (pytester.path / name).read_text(encoding="utf-8")
    found = json.loads((pytester.path / "findings.json").read_text(encoding="utf-8"))
    assert [each["verdict"] for each in found["claims"]] == ["holds", "violated"]  # as measured
    table = (pytester.path / "findings.md").read_text(encoding="utf-8")
    assert "| xfailed |" in table
    assert "❌" not in table


def test_a_claim_whose_test_skips_is_told_apart(pytester: pytest.Pytester) -> None:
    """As pytest counts a test that takes a violated claim for a reason to skip."""
    pytester.makeconftest(CONFTEST)
    skips = "    if not variant.accuracy.change >= 0:\n        pytest.skip('known')\n"
    pytester.makepyfile(IMPORTS + VIOLATED.rpartition("    assert")[0] + skips)
    result = pytester.runpytest("--ablation-seeds=2")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["0 of 1 claims hold, 1 skipped; *"])
    result.stdout.no_fnmatch_line("violated: *")


def test_findings_that_cannot_be_written_are_no_success(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is green has its files."""

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_ablation.document.save", full)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(IMPORTS + HOLDS)
    result = pytester.runpytest("--ablation-seeds=2", "--ablation-export=findings.md")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["findings could not be written to *: No space left on device"])
