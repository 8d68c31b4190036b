"""The ways in which pytest has tests written and run, each around claims of a study."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# It holds that depth=3 is 0.25 below the baseline; noise=0.3 leaves claims undecided.
CONFTEST = """
import random
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    if trial.config["fail"]:
        raise ValueError("not on a Tuesday")
    draw = random.Random(f"{trial.seed}/{trial.config}").gauss(0, 1)
    return {"accuracy": 0.1 + 0.05 * trial.config["depth"] + trial.config["noise"] * draw}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"depth": 8, "noise": 0.002, "fail": False}, train=fit, name="formula")
"""
IMPORTS = "import unittest\nimport pytest\nfrom pytest_ablation import *\n"


@pytest.fixture
def own(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with a trainer of its own; the tests are the caller's."""
    pytester.makeconftest(CONFTEST)
    return pytester


def write(suite: pytest.Pytester, tests: str) -> None:
    """Write the suite's one test module."""
    suite.makepyfile(test_study=IMPORTS + tests)


IN_A_TEST_CASE = """
class OfVariant(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def take(self, variant):
        self.accuracy = variant.accuracy

@pytest.mark.ablation(override(depth=3))
class TestClear(OfVariant):
    def test_holds(self):
        self.assertLessEqual(self.accuracy.change, -0.1)

    def test_violated(self):
        assert self.accuracy.change >= 0

    def test_mistake(self):
        assert self.accuracy.chnge >= 0

@pytest.mark.ablation(override(noise=0.3))
class TestDoubtful(OfVariant):
    def test_undecided(self):
        assert self.accuracy.change >= -0.01

@pytest.mark.ablation(override(fail=True))
class TestNotTrained(OfVariant):
    def test_error(self):
        assert self.accuracy.change >= 0
"""


def test_a_test_case_of_unittest_ends_as_any_other_test(own: pytest.Pytester) -> None:
    """Doubt is no skip that a gate lets through, and no traceback of ours is in the way."""
    write(own, IN_A_TEST_CASE)
    result = own.runpytest()
    result.assert_outcomes(passed=1, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*set noise=0.3 * undecided *",
            "1 of 3 claims holds, 1 violated, 1 undecided, 1 test failed otherwise, 1 test*",
            "*2 failed, 1 passed, 1 error, 1 undecided*",
        ]
    )
    result.stdout.no_fnmatch_line("*comparison.py*")
    own.runpytest("--ablation-strict").assert_outcomes(passed=1, failed=3, errors=1)


def test_a_session_without_a_terminal_tells_its_findings(own: pytest.Pytester) -> None:
    """Where pytest is called by a program that has it write nothing, its options lack some."""
    write(own, "def test_mistake(baseline):\n    assert baseline.acuracy >= 0\n" + IN_A_TEST_CASE)
    result = own.runpytest("-p", "no:terminal", "--ablation-export=out.md")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "1 of 3 claims holds" in (own.path / "out.md").read_text(encoding="utf-8")


IN_FIXTURES = """
@pytest.fixture
def at_first(variant):
    assert variant.accuracy.change <= -0.3

@pytest.fixture
def at_last(variant):
    yield
    assert variant.accuracy.change <= -0.3

@pytest.mark.ablation(override(depth=3))
def test_setup(at_first):
    pass

@pytest.mark.ablation(override(depth=4))
def test_teardown(at_last, variant):
    assert variant.accuracy.change <= -0.1
"""


def test_claims_of_fixtures_are_among_the_findings(own: pytest.Pytester) -> None:
    """A claim that is violated as a test is set up or torn down is in the table, and once."""
    write(own, IN_FIXTURES)
    result = own.runpytest("--junitxml=out.xml", "--html=page.html", "--ablation-seeds=2:9")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "violated: test_study.py::test_setup",
            "violated: test_study.py::test_teardown",
            "1 of 3 claims holds, 2 violated, 2 tests ended in an error; *",
        ]
    )
    xml = (own.path / "out.xml").read_text(encoding="utf-8")
    assert [xml.count(f'"ablation.{place}.claim"') for place in (1, 2, 3)] == [2, 1, 0]


def test_a_training_that_fails_late_is_of_the_teardown(own: pytest.Pytester) -> None:
    """Whoever counts phases, as --junitxml does, is told that the test is over."""
    write(
        own,
        """
@pytest.fixture
def at_last(variant):
    yield
    assert variant.accuracy.change <= -0.3

@pytest.mark.ablation(override(fail=True))
def test_it(at_last):
    pass
""",
    )
    result = own.runpytest("--junitxml=out.xml")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*"])
    assert 'errors="1"' in (own.path / "out.xml").read_text(encoding="utf-8")


SUBTESTS = """
@pytest.mark.ablation(override(depth=5))
class TestCase(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def take(self, variant):
        self.accuracy = variant.accuracy

    def test_bounds(self):
        for bound in (0, -0.5, -0.15, -0.01):
            with self.subTest(bound=bound):
                assert self.accuracy.change <= bound
"""


def test_claims_of_subtests_are_one_finding(own: pytest.Pytester) -> None:
    """Of a test with subtests the worst counts, doubt is told, and each claim is there once."""
    if not hasattr(pytest, "Subtests"):
        pytest.skip("pytest has no subtests of its own")
    write(own, SUBTESTS)
    result = own.runpytest("--junitxml=out.xml", "--ablation-seeds=2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "set depth=5 * violated *",
            "2 of 4 claims hold, 1 violated, 1 undecided; *",
            "*1 failed, 1 passed, 1 undecided in*",
        ]
    )
    xml = (own.path / "out.xml").read_text(encoding="utf-8")
    assert [xml.count(f'"ablation.{place}.claim"') for place in (1, 4)] == [1, 1]


def test_a_bound_may_be_of_any_kind_of_number(own: pytest.Pytester) -> None:
    """Numbers of other libraries are bounds as well, and what is none is said to be none."""
    write(
        own,
        """
from decimal import Decimal
from fractions import Fraction
import numpy as np

@pytest.mark.ablation(override(depth=3))
@pytest.mark.parametrize("bound", [Decimal("-0.1"), Fraction(-1, 10), np.float32(-0.1), np.int8(0)])
def test_number(variant, bound):
    assert variant.accuracy.change <= bound
    assert bound > variant.accuracy.change

@pytest.mark.ablation(override(depth=3))
@pytest.mark.parametrize("bound", [None, 10**400, np.nan, np.zeros(1), 1j])
def test_none(variant, bound):
    assert variant.accuracy.change < bound
""",
    )
    result = own.runpytest()
    result.assert_outcomes(passed=4, failed=5)
    result.stdout.fnmatch_lines(["*compare it with a number, not None.", "*not 10000*", "*not 1j."])
    result.stdout.no_fnmatch_line("*comparison.py*")


def test_of_several_parameters_each_experiment_has_its_own_tests(
    pytester: pytest.Pytester,
) -> None:
    """No variant is trained, or said to be wrong, of an experiment that its test is not of."""
    pytester.makeconftest(CONFTEST[: CONFTEST.index("@pytest.fixture")])
    write(
        pytester,
        """
from conftest import fit

@pytest.fixture(scope="module")
def settings(request):
    return {"depth": 8, "noise": 0.002, "fail": False} | request.param

@pytest.fixture(scope="module")
def experiment(settings):
    return Experiment(settings, train=fit, name=str(sorted(settings)))

@pytest.mark.parametrize("settings", [{}], indirect=True)
@pytest.mark.ablation(override(depth=3))
def test_one(variant):
    assert variant.accuracy.change <= -0.1

@pytest.mark.parametrize("settings", [{"width": 1}], indirect=True)
@pytest.mark.ablation(override(width=2))
def test_other(variant):
    assert variant.accuracy.change <= 0.1
""",
    )
    result = pytester.runpytest("--ablation-seeds=2")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*will end in an error*")
    result = pytester.runpytest("--ablation-seeds=2", "--ablation-refresh", "--ablation-workers=1")
    result.stdout.fnmatch_lines(["*8 trainings done*"])
    assert len(list((pytester.path / ".ablation" / "runs").glob("*.json"))) == 8


def test_a_terminal_without_our_signs_shows_the_table_in_others(
    own: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe on Windows, or under LC_ALL=C, the table is no single line of escapes."""
    write(own, IN_A_TEST_CASE)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = own.runpytest_subprocess("--ablation-seeds=2", "-k", "holds or violated")
    result.stdout.fnmatch_lines(
        [
            "the trainer's own data | profile quick | 2 seeds an arm | *",
            "set depth=3 * -24.8 points  violated *",
            "  accuracy.change >= 0.0 points: -24.8 points, 90 % interval -25.6 points ... -2*",
        ]
    )
    plan = own.runpytest_subprocess("--ablation-plan")
    plan.stdout.fnmatch_lines(["-----*", "baseline, seed 0 *", "  ~ depth: 8 -> 3"])


def test_doubt_that_must_fail_may_be_expected_to(own: pytest.Pytester) -> None:
    """A gate that lets no doubt through is open where a test is known to fail."""
    write(
        own,
        """
@pytest.mark.xfail(reason="needs more seeds")
@pytest.mark.ablation(override(noise=0.3))
def test_doubtful(variant):
    assert variant.accuracy.change >= -0.01
""",
    )
    result = own.runpytest("--ablation-strict")
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(["*set noise=0.3 * xfailed *", "0 of 1 claims hold, 1 undecided*"])
    own.runpytest().stdout.fnmatch_lines(["*1 undecided*"])


def on_a_terminal(suite: pytest.Pytester, *arguments: str) -> str:
    """Return what a session writes on a terminal, with its escape sequences."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", *arguments]
    with subprocess.Popen(command, cwd=suite.path, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # as Linux says that nobody has the other end any more
                part = b""
            if not part:
                break
            written += part
    os.close(ours)
    return written.decode(errors="replace")


def test_on_a_terminal_pytest_goes_on_where_it_was(own: pytest.Pytester) -> None:
    """What is shown while a test waits leaves no trace: a letter a test, in the file's one line."""
    write(
        own,
        """
@pytest.mark.parametrize("variant", [override(depth=3), override(depth=4)], indirect=True)
def test_each(variant):
    assert variant.accuracy.change <= -0.1
""",
    )
    written = on_a_terminal(own, "--ablation-seeds=2")
    assert "baseline, seed 1 …" in written
    assert written.count("test_study.py ") == 1
    assert "\x1b[A\x1b[14C" in written  # after the file's name, and then its first letter
    assert "\x1b[A\x1b[15C" in written
    assert "2 passed" in written


def test_a_terminal_without_our_signs_shows_what_is_trained(
    own: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an encoding lacks a sign, or one that a user wrote, the cursor moves all the same."""
    own.makeconftest(CONFTEST.replace("noise", "nöise"))
    write(
        own,
        """
@pytest.mark.ablation(override(nöise=0.3))
def test_it(variant):
    assert variant.accuracy.change >= -1
""",
    )
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    written = on_a_terminal(own)
    assert "\x1b[2K" in written
    assert "set n\\xf6ise=0.3, seed 1 ..." in written
    assert "\\x1b" not in written


def test_a_plan_has_the_trials_of_tests_whose_fixtures_compare(own: pytest.Pytester) -> None:
    """What a plan leaves out is trained all the same."""
    write(
        own,
        """
@pytest.fixture
def sane(variant):
    assert variant.accuracy >= 0.1
    return variant

@pytest.mark.ablation(override(depth=3))
def test_change(sane):
    assert sane.accuracy.change <= -0.1

@pytest.mark.ablation(override(depth=4))
def test_value(sane):
    pass
""",
    )
    result = own.runpytest("--ablation-plan", "--ablation-seeds=2")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["set depth=4, seed 1 *", "6 trials: 0 cached, 6 to train."])
    own.runpytest("--ablation-seeds=2").stdout.fnmatch_lines(["*6 trainings done*"])


def test_a_fixture_may_ask_for_the_variant_by_name(own: pytest.Pytester) -> None:
    """A marked test looks at its variant also where a fixture of it gets that as it runs."""
    write(
        own,
        """
@pytest.fixture
def accuracy(request):
    return request.getfixturevalue("variant").accuracy

@pytest.mark.ablation(override(depth=3))
def test_it(accuracy):
    assert accuracy.change <= -0.1

@pytest.mark.ablation(override(depth=3))
def test_of_nothing(tmp_path):
    pass

def test_baseline(baseline):
    assert baseline.accuracy >= 0.2
""",
    )
    result = own.runpytest()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*marked with override(depth=3) but does not take*"])


def test_tests_that_get_a_variant_as_they_run_share_the_error_too(own: pytest.Pytester) -> None:
    """With nothing else in the session their verdicts are as sure as all others."""
    write(
        own,
        """
@pytest.mark.ablation(override(depth=3))
@pytest.mark.parametrize("name", ["variant", "variant"])
def test_it(request, name):
    assert request.getfixturevalue(name).accuracy.change <= -0.1

@pytest.mark.ablation(override(depth=3))
@pytest.mark.parametrize("bound", [0, 0.1, 0.2])
def test_violated(request, bound):
    assert request.getfixturevalue("variant").accuracy.change >= bound
""",
    )
    result = own.runpytest()
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(["*violated with an error of 5 % over the session's 3 comparisons"])
    own.runpytest("-k", "test_it").assert_outcomes(passed=2, deselected=3)
    result = own.runpytest("-k", "test_violated and 0.1")
    result.stdout.fnmatch_lines(["*over the session's 1 comparison"])


def test_a_test_that_is_skipped_is_not_said_to_end_in_an_error(own: pytest.Pytester) -> None:
    """An empty list of ablations, or a test put off, alarms nobody."""
    write(
        own,
        """
@pytest.mark.ablation(override(depth=3))
def test_it(variant):
    assert variant.accuracy.change <= -0.1

@pytest.mark.parametrize("variant", [], indirect=True)
def test_each(variant):
    assert variant.accuracy.change <= 0

@pytest.mark.skip
@pytest.mark.ablation(override(deep=3))
def test_put_off(variant):
    assert variant.accuracy.change <= 0
""",
    )
    result = own.runpytest()
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.no_fnmatch_line("*will end in an error*")


def test_a_test_that_is_not_run_trains_nothing(own: pytest.Pytester) -> None:
    """Who has pytest leave a test out as one that fails does not wait for its variant."""
    write(
        own,
        """
@pytest.mark.ablation(override(depth=3))
def test_it(variant):
    assert variant.accuracy.change <= -0.1

@pytest.mark.xfail(run=False)
@pytest.mark.ablation(override(depth=4))
def test_put_off(variant):
    assert variant.accuracy.change <= 0
""",
    )
    result = own.runpytest("--ablation-workers=1", "--ablation-seeds=2")
    result.assert_outcomes(passed=1, xfailed=1)
    assert len(list((own.path / ".ablation" / "runs").glob("*.json"))) == 4


def test_a_marker_names_its_edit_by_keyword_too(own: pytest.Pytester) -> None:
    """What `pytest --markers` shows may be written."""
    write(
        own,
        """
@pytest.mark.ablation(edit=override(depth=3))
def test_it(variant):
    assert variant.accuracy.change <= -0.1

@pytest.mark.ablation(edit=override(depth=3))
def test_of_nothing():
    pass
""",
    )
    result = own.runpytest("-v")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*::test_it PASSED*", "*::test_of_nothing ERROR*"])
