"""The findings as files: every format says the same, and what users name is text in each."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from html import unescape
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

import pytest_ablation
from pytest_ablation import AblationError
from pytest_ablation.quantity import said
from pytest_ablation.report import export
from pytest_ablation.table import Findings
from tests.test_plugin import write
from tests.test_plugin_own_trainer import MINIMAL
from tests.test_report import FACTS, claim, entry, runs, study, study_of_error

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


# ------------------------------------------------------------------- Markdown, HTML and LaTeX


def varied() -> Findings:
    """Return the findings of the small study with seeds that differ, so that all has limits."""
    findings = study()
    spread = tuple(
        {"accuracy": 0.58 + seed / 100, "train_accuracy": 0.86 + seed / 50} for seed in range(3)
    )
    for found in list(findings.entries.values()):
        baseline = runs(0.587, 0.86, seeds=3)
        own = tuple(
            replace(run, metrics={name: v - 0.04 for name, v in spread[run.seed].items()})
            for run in runs(0.551, 0.98, seeds=3)
        )
        based = tuple(replace(run, metrics=spread[run.seed]) for run in baseline)
        findings.add(
            replace(
                found, baseline=based, variant=own if "dropout" in found.test else found.variant
            )
        )
    return findings


def markdown_rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows, as a reader sees them."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and "---:" not in line]
    cells = [line.removeprefix("|").removesuffix("|").split("|") for line in lines]
    return [[seen(cell) for cell in row] for row in cells]


def html_rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows, as a reader sees them."""
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.DOTALL)
    return [
        [seen(c) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", r, re.DOTALL)] for r in found
    ]


def seen(markup: str) -> str:
    """Return what a reader sees of markup."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", markup))).strip()


def row_with(rows: list[list[str]], *starts: str) -> str:
    """Return the first row with cells that begin so, as one string."""
    return next(
        " | ".join(row)
        for row in rows
        if all(any(cell.startswith(start) for cell in row) for start in starts)
    )


def test_every_output_has_the_same_numbers() -> None:
    """What a person reads in the page and in a comment is what a program reads in the JSON."""
    findings = varied()
    told = plain(findings)
    tables = [
        markdown_rows(export.rendered(findings, ".md")),
        html_rows(export.rendered(findings, ".html")),
    ]
    for arm in told["arms"]:
        unit = arm["unit"]
        for rows in tables:
            row = row_with(rows, arm["arm"])
            for field in ("value", "training_value"):
                assert arm[field] is None or said(arm[field], unit) in row
            for field in ("change", "change_low", "change_high", "gap"):
                number = arm[field]
                assert number is None or said(number, unit, "change").split()[0] in row
            if arm["time_ratio"] is not None:
                assert said(arm["time_ratio"], "seconds", "ratio") in row
            assert said(arm["wall"], "seconds") in row
            assert said(arm["params"], "count") in row
            assert arm["verdict"] in row
    for each in told["claims"]:
        for rows in tables:
            row = row_with(rows, each["claim"], each["arm"])
            for number in (each["value"], each["low"], each["high"]):
                assert number is None or said(number, each["unit"], each["form"]) in row
        found = [row for row in sheet(findings) if row["test"] == each["test"]]
        assert str(each["value"]) in [row["value"] for row in found]
    for text in (export.rendered(findings, suffix) for suffix in (".md", ".html")):
        assert told["headline"] in seen(text)


@pytest.mark.parametrize("suffix", [".md", ".html"])
def test_what_users_name_is_text_in_markup(suffix: str) -> None:
    """No name makes a tag, a cell, a link, a mention or a new line of its own."""
    text = export.rendered(hostile(), suffix)
    assert "<img src=x" not in text
    assert "onerror=alert(1)" in text
    assert "x" * 500 in text
    assert "\N{HEBREW LETTER ALEF}" in text


def test_markdown_takes_no_name_for_markup() -> None:
    """Whatever is in a name, each row has as many cells as its head, and ends where it should."""
    text = export.rendered(hostile(), ".md")
    rows = markdown_rows(text)
    assert {len(row) for row in rows} == {10, 9}
    assert rows[1][0] == "baseline"
    name = HOSTILE.partition(" \N{HEBREW LETTER ALEF}")[0]
    assert rows[2][0].startswith(f"{name} \N{HEBREW LETTER ALEF}U+202E next line ")
    own = re.sub(r"</?(code|details|summary|sub)>|<!-- pytest-ablation -->", "", text)
    assert not re.search(r"<[a-z/!]|`|@|\\", own)


def test_markdown_fits_a_comment() -> None:
    """A study of a thousand ablations is still a comment that GitHub takes, and tells the most."""
    findings = Findings()
    for place in range(1000):
        found = entry(f"test[{place}]", f"remove layer{place}", runs(0.55, 0.9))
        outcome = "failed" if place == 700 else "passed"
        findings.add(replace(found, outcome=outcome, compared=(claim(),) * 2))
    text = export.rendered(findings, ".md")
    assert len(text) <= 60_000
    assert "remove layer700<" in text
    assert "Left out here for length: " in text
    assert export.rendered(study(), ".md").count("Left out") == 0


def test_markdown_says_what_is_no_study() -> None:
    """A comment of a smoke session, or of images that stand in, is not taken for findings."""
    facts = {**FACTS, "stand_in": "no network", "decides_nothing": True, "profile": "smoke"}
    text = export.rendered(study(facts=facts), ".md")
    assert "These are not the images of CIFAR-10.** no network" in text
    assert "not a study" in text
    table = export.rendered(study(facts=facts), ".tex")
    assert "% NOT THE IMAGES OF CIFAR-10: no network" in table
    assert "% NO STUDY: the smoke profile" in table


def test_the_page_alone_is_a_whole_document() -> None:
    """Without pytest-html one file has the page and each test's evidence, and fetches nothing."""
    text = export.rendered(study(sample="iVBO"), ".html")
    assert text.startswith("<!doctype html>")
    assert text.count("</html>") == 1
    assert text.count("<details><summary><span class=") == 5
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)|url\(([^)]*)\)|@import""", text)
    assert all(address.startswith("data:") for address, _ in addresses)


def test_the_table_of_a_paper() -> None:
    """LaTeX has means with half their interval, the best bold, and dashes for what is not there."""
    text = export.rendered(varied(), ".tex")
    assert r"baseline & $59.0 \pm 1.7$ & -- & $+29.0$" in text
    assert r"$\mathbf{60.3}$" in text
    assert r"remove Dropout (5 layers) & $55.0 \pm 1.7$ & $-4.0 \pm " in text
    assert r"325,002 & 2 \\" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    less = export.rendered(study_of_error(), ".tex")
    assert r"$\mathbf{0.2505} \pm " in less


def test_latex_takes_no_name_for_a_command() -> None:
    """A name in a paper's table is set as it is written: the document compiles."""
    text = export.rendered(hostile(), ".tex")
    row = next(line for line in text.splitlines() if line.startswith(r"\textless{}img"))
    for written in (
        *(r"\textless{}img src=x", r"\textbar{}", r"\textasciigrave{}code", r"\_a\_", r"{*}b{*}"),
        *(r"\& 50\%", r"\textbackslash{}N\{x\}", r"\$x\$", r"\#1", r"\textasciitilde{}", "''q''"),
    ):
        assert written in row
    assert len(re.findall(r"(?<!\\)&", row)) == 6
    starred = export.rendered(Findings({"t": entry("t", "[a] *3", runs(0.5, 0.5))}), ".tex")
    assert "\n{[}a{]} {*}3 &" in starred


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
    others = [f"--ablation-export=c{suffix}" for suffix in (".md", ".tex", ".html")]
    result = suite.runpytest("--ablation-export=new/a.json", "--ablation-export=b.CSV", *others)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["findings written to *a.json", "findings written to *b.CSV"])
    table = pytest_ablation.findings(suite.path / "new/a.json")
    assert list(table.verdict) == ["holds", "violated"]
    assert "test_study.py::test_violated" in (suite.path / "b.CSV").read_text()
    assert {path.suffix for path in suite.path.glob("c.*")} == {".md", ".tex", ".html"}
    assert "data:image/png" in (suite.path / "c.html").read_text()


def test_a_job_on_github_gets_its_summary(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The findings stand below what other steps of the job wrote, without an option."""
    summary = suite.path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    suite.makepyfile(test_other="def test_it(): pass")
    suite.runpytest("test_other.py")
    assert summary.read_text() == "before\n"
    write(suite, TESTS)
    suite.runpytest("test_study.py").assert_outcomes(passed=1, failed=1)
    assert summary.read_text().startswith("before\n<!-- pytest-ablation -->\n\n### Ablation study")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path))
    result = suite.runpytest("test_study.py", "-k", "exact")
    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY=*: *irectory"])


def test_effects_are_properties_of_a_test(suite: pytest.Pytester) -> None:
    """A CI server that reads JUnit's XML shows what was found; a test that reruns has it once."""
    write(suite, TESTS)
    suite.runpytest("--junitxml=out.xml", "--reruns=1")
    cases = ElementTree.parse(suite.path / "out.xml").iter("testcase")  # noqa: S314 # our own
    found = {
        case.get("name"): [(each.get("name"), each.get("value")) for each in case.iter("property")]
        for case in cases
    }
    assert found["test_violated"] == [
        ("ablation.1.quantity", "params.change"),
        ("ablation.1.claim", "params.change ≥ +1"),
        ("ablation.1.value", "0.0"),
        ("ablation.1.low", "0.0"),
        ("ablation.1.high", "0.0"),
        ("ablation.1.seeds", "0"),
        ("ablation.1.baseline_seeds", "0"),
        ("ablation.1.verdict", "violated"),
    ]


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


def test_an_interrupted_session_writes_what_it_found(pytester: pytest.Pytester) -> None:
    """Ctrl-C keeps the findings of the tests that ended."""
    pytester.makeconftest(MINIMAL)
    pytester.makepyfile("""
import pytest
from pytest_ablation import override

@pytest.mark.ablation(override(x=2.0))
def test_it(variant):
    assert variant.metric("error").change >= 0.5

def test_stop(baseline):
    raise KeyboardInterrupt
""")
    result = pytester.runpytest_subprocess("--ablation-export=a.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert list(pytest_ablation.findings(pytester.path / "a.json").verdict) == ["holds"]


def test_a_plan_writes_no_findings(suite: pytest.Pytester) -> None:
    """What would be trained is not taken for what was found."""
    write(suite, TESTS)
    suite.runpytest("--ablation-plan", "--ablation-export=a.json")
    assert not suite.path.joinpath("a.json").exists()
