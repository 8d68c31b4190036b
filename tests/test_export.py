"""The findings as files: every format says the same, and what users name is text in each."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import pytest_ablation
from pytest_ablation import AblationError
from pytest_ablation.report import export
from pytest_ablation.table import Findings
from tests.test_plugin import write
from tests.test_report import claim, entry, runs, study, study_of_error

SCHEMA = json.loads(
    files("pytest_ablation.report.export").joinpath("findings.schema.json").read_text("utf-8")
)
HOSTILE = (
    "<img src=x onerror=alert(1)> | `code` _a_ *b* & 50% \\N{x} $x$ {y} #1 ^ ~ @who \"q\" 's' "
    "\N{HEBREW LETTER ALEF}\N{RIGHT-TO-LEFT OVERRIDE}\nnext\r\nline\t\N{MINUS SIGN} " + "x" * 500
)


def hostile() -> Findings:
    """Return findings in which all that users name is hostile."""
    found = entry(
        HOSTILE,
        HOSTILE,
        runs(0.5, 0.5),
        experiment=HOSTILE,
        changes=(HOSTILE,),
        summary=HOSTILE,
        classes=(HOSTILE,),
        compared=(claim(quantity=HOSTILE, reason=HOSTILE),),
    )
    facts = {**found.facts, "data": HOSTILE, "source": HOSTILE, "stand_in": HOSTILE}
    return Findings({found.test: replace(found, facts=facts)})


def plain(findings: Findings) -> dict[str, Any]:
    """Return the JSON that is exported, as it is read."""
    told: dict[str, Any] = json.loads(export.rendered(findings, ".json"))
    return told


# --------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("findings", [study(), study_of_error(), hostile()])
def test_the_json_is_as_its_schema_says(findings: Findings) -> None:
    """Who reads an export by the schema that is shipped finds what it promises, and no more."""
    told = plain(findings)
    jsonschema.validate(told, SCHEMA)
    for name in ("arms", "claims", "tests", "experiments"):
        known = set(SCHEMA["properties"][name]["items"]["properties"])
        assert all(set(each) == known for each in told[name])
    assert set(told) == set(SCHEMA["properties"])
    assert set(told["session"]) == set(SCHEMA["properties"]["session"]["properties"])


def test_the_schema_is_one() -> None:
    """A validator of the reader's own takes the schema."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_json_has_no_number_that_is_none() -> None:
    """NaN and infinity, which JSON has not, are null: any parser reads a diverged arm."""
    told = plain(study())
    diverged = told["arms"][-1]
    assert diverged["training_value"] is None
    assert diverged["diverged"] == 2
    assert told["claims"][-1]["low"] is None
    assert told["arms"][0]["change"] is None


def test_what_users_name_is_kept_in_json() -> None:
    """A program that looks a test up by its id finds it, whatever is in it."""
    told = plain(hostile())
    assert told["arms"][1]["arm"] == HOSTILE
    assert told["claims"][0]["test"] == f"ablation_tests/test_cifar10.py::{HOSTILE}"


# ----------------------------------------------------------------------------- DataFrame


def test_an_export_is_read_as_a_table(tmp_path: Path) -> None:
    """A notebook takes the claims, or the arms, of a session in one line."""
    path = tmp_path / "findings.json"
    export.write(study(), path)

    claims = pytest_ablation.findings(path)
    arms = pytest_ablation.findings(str(path), "arms")

    assert list(claims.verdict) == [*["holds"] * 5, "violated", "undecided"]
    assert claims.value[1] == -0.036
    assert math.isnan(claims.low.iloc[-1])
    assert list(arms[arms.is_baseline].value) == [pytest.approx(0.587)]
    assert claims.attrs["session"]["profile"] == "quick"


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        (None, "claims", "no such file. --ablation-export=findings.json writes one"),
        ('{"kind": "pytest-ablation findings", "schema": 1}', "claims", "it has no claims"),
        ("{}", "runs", "rows='runs'"),
    ],
)
def test_a_wrong_export_is_said_in_a_line(
    tmp_path: Path, text: str | None, rows: Any, message: str
) -> None:
    """A file that is gone or damaged is no traceback of pandas."""
    path = tmp_path / "findings.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AblationError, match=message):
        pytest_ablation.findings(path, rows)


# ----------------------------------------------------------------------------------- CSV


def sheet(findings: Findings) -> list[dict[str, str]]:
    """Return the rows of the CSV."""
    return list(csv.DictReader(StringIO(export.rendered(findings, ".csv"), newline="")))


def test_the_csv_has_every_number_of_the_json() -> None:
    """A spreadsheet and a program read the same numbers, to the last digit."""
    told, rows = plain(study()), sheet(study())
    claims = [row for row in rows if row["kind"] == "claim"]
    assert len(claims) == len(told["claims"])
    for row, each in zip(claims, told["claims"], strict=True):
        for name in ("value", "low", "high", "p", "p_adjusted", "at_least", "at_most", "seeds"):
            assert row[name] == ("" if each[name] is None else str(each[name]))
    for arm in told["arms"]:
        own = {
            (row["quantity"], row["form"]): row
            for row in rows
            if row["kind"] == "arm" and row["arm"] == arm["arm"]
        }
        for key, field in (
            (("accuracy", "value"), "value"),
            (("accuracy", "change"), "change"),
            (("gap", "value"), "gap"),
            (("time", "ratio"), "time_ratio"),
            (("params", "value"), "params"),
            (("wall", "value"), "wall"),
        ):
            assert (own[key]["value"] if key in own else "None") == str(arm[field])
        for end in ("low", "high"):
            assert own["accuracy", "value"][end] == str(arm[f"value_{end}"])


def test_an_arm_without_a_number_is_in_the_csv() -> None:
    """A test that ended as an error is not left out of a sheet."""
    found = entry("t", "remove a", (), outcome="error", compared=(), baseline=(), params=0)
    rows = sheet(Findings({"t": found}))
    assert [row["verdict"] for row in rows if row["arm"] == "remove a"] == ["error"]


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@sum", "\tx"])
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    """Opening a sheet never computes what somebody named a layer."""
    rows = sheet(Findings({"t": entry("t", name, runs(0.5, 0.5), experiment=name)}))
    assert {row["arm"] for row in rows} == {"baseline", f"'{name}"}
    assert {row["experiment"] for row in rows} == {f"'{name}"}


def test_what_users_name_is_a_cell_of_the_csv() -> None:
    """Quotes and newlines in a name stay in its cell."""
    rows = sheet(hostile())
    assert rows[-1]["test"] == f"ablation_tests/test_cifar10.py::{HOSTILE}"
    assert rows[-1]["arm"] == HOSTILE


# ------------------------------------------------------------------------------- a session


TESTS = """
@pytest.mark.ablation(remove("drop1"))
def test_exact(variant):
    assert variant.params.change == 0

@pytest.mark.ablation(remove("drop2"))
def test_violated(variant):
    assert variant.params.change >= 1
"""


def test_a_session_writes_its_findings(suite: pytest.Pytester) -> None:
    """Files are written in every format asked for, by the option as often as it is given."""
    write(suite, TESTS)
    result = suite.runpytest("--ablation-export=new/a.json", "--ablation-export=b.CSV")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["findings written to *a.json", "findings written to *b.CSV"])
    table = pytest_ablation.findings(suite.path / "new/a.json")
    assert list(table.verdict) == ["holds", "violated"]
    assert "test_study.py::test_violated" in (suite.path / "b.CSV").read_text()


def test_exports_have_an_ini_twin(suite: pytest.Pytester) -> None:
    """What is always exported is written once, its paths beside the ini file; the option rules."""
    write(suite, TESTS)
    suite.makeini("[pytest]\nablation_export =\n  out/a.json\n  out/b.csv\n")
    suite.runpytest("-k", "exact")
    assert sorted(path.name for path in (suite.path / "out").iterdir()) == ["a.json", "b.csv"]
    suite.runpytest("-k", "exact", "--ablation-export=c.json")
    assert (suite.path / "c.json").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.pdf", "*--ablation-export=*a.pdf: the suffix says the format; there are .json, *"),
        ("a", "*--ablation-export=*a: the suffix says the format*"),
        ("file/a.json", "*--ablation-export=*a.json: cannot be written in *file: *"),
        ("folder.json", "*--ablation-export=*folder.json: is a folder. Name a file elsewhere."),
    ],
)
def test_a_wrong_export_is_refused_before_anything_runs(
    suite: pytest.Pytester, path: str, message: str
) -> None:
    """Nobody trains for an hour to learn that there is no place for the findings."""
    suite.path.joinpath("file").write_text("")
    suite.path.joinpath("folder.json").mkdir()
    write(suite, TESTS)
    result = suite.runpytest(f"--ablation-export={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*collected*")


def test_without_findings_nothing_is_written(suite: pytest.Pytester) -> None:
    """A session that selects no ablation leaves the last one's file, and says so."""
    suite.path.joinpath("a.json").write_text("kept")
    suite.makepyfile(test_other="def test_it(): pass")
    result = suite.runpytest("--ablation-export=a.json")
    result.stdout.fnmatch_lines(["no findings, so nothing is written to *a.json"])
    assert suite.path.joinpath("a.json").read_text() == "kept"


def test_findings_that_cannot_be_written_are_no_success(suite: pytest.Pytester) -> None:
    """A disk that is full is said, and the session is red, though all its tests passed."""
    write(
        suite,
        """
def test_it(baseline):
    from pathlib import Path
    assert baseline.params > 0
    Path("a.json").mkdir()
""",
    )
    result = suite.runpytest("--ablation-export=a.json")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["findings could not be written to *a.json: *irectory*"])


def test_an_interrupted_session_writes_what_it_found(suite: pytest.Pytester) -> None:
    """Ctrl-C keeps the findings of the tests that ended."""
    write(suite, TESTS + "\ndef test_stop(baseline):\n    raise KeyboardInterrupt\n")
    result = suite.runpytest_subprocess("--ablation-export=a.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(pytest_ablation.findings(suite.path / "a.json")) == 2


def test_processes_write_one_file(suite: pytest.Pytester) -> None:
    """Under pytest-xdist the controller writes the findings of all processes, once."""
    write(suite, TESTS)
    result = suite.runpytest_subprocess("-n2", "--ablation-export=a.json")
    result.assert_outcomes(passed=1, failed=1)
    assert sorted(pytest_ablation.findings(suite.path / "a.json").verdict) == ["holds", "violated"]


def test_a_plan_writes_no_findings(suite: pytest.Pytester) -> None:
    """What would be trained is not taken for what was found."""
    write(suite, TESTS)
    suite.runpytest("--ablation-plan", "--ablation-export=a.json")
    assert not suite.path.joinpath("a.json").exists()
