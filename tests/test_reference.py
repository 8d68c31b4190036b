"""References: what a session saved, what changed since, and what it cannot speak for."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_ablation import AblationError, reference
from pytest_ablation.reference import Reference, Saved
from pytest_ablation.report import export, html, since, terminal
from pytest_ablation.since import decide_since
from pytest_ablation.table import Findings
from pytest_ablation.verdict import Bound
from tests.test_report import entry, runs, text_of

SAVED = Saved(
    experiment="cnn",
    arm="baseline",
    profile="quick",
    data="CIFAR-10",
    dataset="abc",
    versions={"keras": "3.15.0"},
    hosts=("a processor, 2 cores, CPU",),
    values={"accuracy": (0.58, 0.59, 0.6), "time": (0.04, 0.04, 0.04), "auc": (0.5, None)},
    exact={"params": 736_618.0},
)


def saved_in(path: Path, *arms: Saved) -> Reference:
    """Return a reference of these arms, as it is read from its file."""
    reference.save(arms, path)
    return reference.load(path)


def test_a_reference_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """What is committed today can be compared with in a year, NaN included."""
    kept = saved_in(tmp_path / "ref.json", SAVED, replace(SAVED, arm="remove a"))
    assert kept.of("cnn", "baseline") == SAVED
    with pytest.raises(AblationError, match=r'ref.json has no "remove b" of cnn. It has baseline,'):
        kept.of("cnn", "remove b")
    with pytest.raises(AblationError, match=r"It has nothing of mlp."):
        kept.of("mlp", "baseline")


@pytest.mark.parametrize("arms", [None, [1], [{"values": []}], [{**SAVED.__dict__, "exact": 3}]])
def test_a_damaged_reference_is_said_in_a_line(tmp_path: Path, arms: Any) -> None:
    """A file that a merge has spoiled is no traceback."""
    path = tmp_path / "ref.json"
    path.write_text(json.dumps({"kind": reference.KIND, "schema": 1, "arms": arms}))
    with pytest.raises(AblationError, match=r"ref.json: damaged, its arms cannot be read. --abl"):
        reference.load(path)


@pytest.mark.parametrize(
    ("changes", "quantity", "why"),
    [
        ({}, "accuracy", ""),
        ({"profile": "full"}, "accuracy", "it is of the quick profile, and this session trains"),
        ({"dataset": "d"}, "accuracy", "it is of other data: CIFAR-10, and this is another CIFAR"),
        ({"dataset": "d", "data": "x"}, "accuracy", "CIFAR-10, and this is x"),
        ({"dataset": "d", "profile": "full", "hosts": ()}, "params", ""),
        ({"hosts": ("b", "c")}, "time", "its times are of another kind of machine: a processor, 2"),
        ({"hosts": ("b",)}, "accuracy", ""),
        ({}, "auc", "its auc of baseline is no number with every seed"),
        ({}, "loss", "it has no loss of baseline to compare with. It has accuracy, time, auc, par"),
        ({"exact": {"params": 1.0, "flops": 2.0}}, "flops", "it has no flops"),
        ({"exact": {}}, "params", "exact, and now not all layers can be counted"),
    ],
)
def test_a_reference_speaks_only_for_what_it_is_of(
    changes: dict[str, Any], quantity: str, why: str
) -> None:
    """Numbers of another profile, other data or another machine are never taken for a change."""
    said = SAVED.cannot_speak_for(quantity, replace(SAVED, **changes))
    assert (why in said) if why else (said == "")


# ------------------------------------------------------------------------------- the verdict


def since_saved(now: float, then: float, bound: Bound, *, seeds: int = 5) -> Any:
    """Return the verdict on arms of some noise, of which five seeds were saved."""
    draw = random.Random(0)  # noqa: S311 # a simulation
    ours = [now + draw.gauss(0, 0.002) for _ in range(9)]
    saved = [then + draw.gauss(0, 0.002) for _ in range(5)]
    return decide_since(ours.__getitem__, saved, bound, seeds=(2, seeds), alpha=0.05)


@pytest.mark.parametrize(
    ("now", "outcome"), [(0.6, "holds"), (0.56, "violated"), (0.58, "undecided")]
)
def test_a_change_since_has_a_verdict(now: float, outcome: str) -> None:
    """A model that lost points is red, one that did not is green, and doubt is undecided."""
    assert since_saved(now, 0.6, Bound(at_least=-0.02)).outcome == outcome


def test_no_more_seeds_are_compared_than_were_saved() -> None:
    """Who gives a session more seeds than its reference has is told that it needs a new one."""
    verdict = since_saved(0.58, 0.6, Bound(at_least=-0.02), seeds=9)
    assert verdict.seeds == 5
    assert "the reference has 5 seeds an arm" in verdict.reason


def test_of_one_seed_nothing_is_known_of_how_trainings_differ() -> None:
    """A reference of one seed never makes a test red or green by luck."""
    verdict = decide_since(lambda _: 0.5, [0.6], Bound(at_least=0), seeds=(2, 5), alpha=0.05)
    assert (verdict.outcome, verdict.seeds) == ("undecided", 1)


# ------------------------------------------------------------------------------- the outputs


def compared(tmp_path: Path, **changes: Any) -> Findings:
    """Return findings whose baseline lost two points since the reference, and a variant nothing."""
    now = replace(SAVED, values={"accuracy": (0.56, 0.57, 0.58)}, exact={"params": 700_000.0})
    other = replace(SAVED, arm="remove a")
    gone, new = replace(SAVED, arm="remove <gone>"), replace(SAVED, arm="remove new")
    metrics = [{"accuracy": value} for value in (0.56, 0.57, 0.58)]
    baseline = tuple(replace(run, metrics=metrics[run.seed]) for run in runs(0.57, 0.8, seeds=3))
    variant = tuple(replace(run, metrics={"accuracy": 0.58 + run.seed / 100}) for run in baseline)
    found = [
        entry("test_a", "remove a", variant, baseline=baseline, kept=(now, other)),
        entry("test_new", "remove new", variant, baseline=baseline, kept=(now, new)),
    ]
    kept = [replace(each, **changes) for each in (SAVED, other, gone)]
    against = saved_in(tmp_path / "ref.json", *kept)
    return Findings({each.test: each for each in found}, reference=against)


def test_every_output_says_what_changed_since(tmp_path: Path) -> None:
    """Page, terminal, comment and JSON have the change since the reference, and the same one."""
    findings = compared(tmp_path)
    baseline, variant, new = findings.rows()
    assert baseline.since == pytest.approx(-0.02)
    assert baseline.since_low < -0.02 < baseline.since_high
    assert variant.since == pytest.approx(0)
    assert math.isnan(new.since)
    told = json.loads(export.rendered(findings, ".json"))
    assert told["reference"] == "ref.json"
    assert told["arms"][0]["since"] == baseline.since
    assert ",since,fraction,,,-0.0" in export.rendered(findings, ".csv")
    page, table = text_of(html.page(findings)), terminal.table(findings, width=120, color=False)
    comment = export.rendered(findings, ".md")
    assert "Since ref.json" in page
    assert " since " in table
    assert "| since |" in comment
    for text in (page, table, comment):
        assert "−2.0 points" in text


def test_what_changed_since_is_said_in_words(tmp_path: Path) -> None:
    """A reviewer reads which arms changed, which are new and which are gone, and nothing else."""
    findings = compared(tmp_path)
    changed = since.changed(findings, findings.rows())
    assert changed == [
        ("baseline", "accuracy −2.0 points (−3.7 … −0.3 points)"),
        ("baseline", "params 736,618 → 700,000"),
        ("remove new", "not in the reference"),
        ("remove <gone>", "in the reference, and in no test of this session"),
    ]
    unclear = compared(tmp_path, values={"accuracy": (0.5, 0.59, 0.65)})
    assert since.changed(unclear, unclear.rows()) == changed[1:]
    assert "<code>remove &#60;gone&#62;</code>" in export.rendered(unclear, ".md")


def test_a_reference_of_something_else_fills_no_column(tmp_path: Path) -> None:
    """Beside numbers of other data stands no change since, but why there is none."""
    findings = compared(tmp_path, dataset="d")
    assert all(math.isnan(row.since) for row in findings.rows())
    assert "accuracy cannot be compared: it is of other data" in export.rendered(findings, ".md")
    assert " since " not in terminal.table(findings, width=160, color=False)


def test_without_a_reference_there_is_no_column() -> None:
    """Who compares with nothing sees nothing of it."""
    findings = Findings({"t": entry("t", "remove a", runs(0.5, 0.6))})
    assert "Since" not in text_of(html.page(findings))
    assert "since" not in export.rendered(findings, ".md").lower()


# ------------------------------------------------------------------------------- a session

CONFTEST = """
import random
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    skill = trial.config["skill"] + random.Random(f"{trial.seed}{trial.config}").gauss(0, 0.002)
    return {"accuracy": skill, "params": 100 * trial.config["size"]}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"skill": 0.8, "size": 2}, train=fit, name="formula", data="of-2024")
"""
TESTS = """
import pytest
from pytest_ablation import *

def test_baseline(baseline):
    assert baseline.accuracy.since >= -0.01

@pytest.mark.ablation(override(size=1))
def test_variant(variant):
    assert -0.01 <= variant.accuracy.since <= 0.01
    assert variant.params.since.mean == 0
"""
FILL = """
import pytest
from pytest_ablation import *

def test_baseline(baseline):
    assert baseline.accuracy >= 0.1

@pytest.mark.ablation(override(size=1))
def test_variant(variant):
    assert variant.accuracy.change <= 0.1
"""


@pytest.fixture
def saved(pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite with its reference, of five seeds an arm."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_study=FILL)
    result = pytester.runpytest("--ablation-save=kept/ref.json", "--ablation-seeds=5")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["reference written to *ref.json"])
    pytester.makepyfile(test_study=TESTS)
    return pytester


AGAINST = ("--ablation-against=kept/ref.json", "--ablation-seeds=2:5")


def test_a_model_that_is_as_good_holds(saved: pytest.Pytester) -> None:
    """Nothing changed: what a session saved is no worse than itself."""
    result = saved.runpytest(*AGAINST, "--ablation-export=a.json")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["formula *since*"])
    told = json.loads((saved.path / "a.json").read_text())
    assert [each["form"] for each in told["claims"]] == ["since"] * 3
    assert told["claims"][0]["claim"] == "accuracy.since ≥ −1.0 points"


def test_processes_compare_and_keep_one_reference(saved: pytest.Pytester) -> None:
    """Under pytest-xdist each process compares, and the controller keeps what all of them found."""
    result = saved.runpytest_subprocess("-n2", *AGAINST, "--ablation-save=new.json")
    result.assert_outcomes(passed=2)
    kept = reference.load(saved.path / "new.json")
    assert {arm for _, arm in kept.arms} == {"baseline", "set size=1"}
    assert kept.of("formula", "baseline").seeds == 2


def test_a_model_that_lost_points_is_red(saved: pytest.Pytester) -> None:
    """A change of the model that costs five points fails, with both sessions' values."""
    saved.makeconftest(CONFTEST.replace('"skill": 0.8', '"skill": 0.75'))
    result = saved.runpytest(*AGAINST)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*assert baseline.accuracy.since >= -0.01",
            "*baseline: 7*.* %, *",
            "*baseline, in the reference: *.* %, *.* %",
            "*accuracy.since ≥ −1.0 points: violated with an error of 5 % *",
        ]
    )


def test_without_a_reference_since_says_how_to_have_one(saved: pytest.Pytester) -> None:
    """A test of a change since fails in words where no reference is named."""
    result = saved.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*baseline.accuracy.since: nothing to compare with. --abl*"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("of-2024", "of-2025", "*baseline.accuracy.since: *ref.json cannot tell: it is of other*"),
        ("formula", "other", '*baseline.accuracy.since: *ref.json has no "baseline" of other.*'),
    ],
)
def test_a_reference_of_something_else_is_refused(
    saved: pytest.Pytester, old: str, new: str, message: str
) -> None:
    """Nobody compares with numbers of other data."""
    saved.makeconftest(CONFTEST.replace(old, new))
    result = saved.runpytest(*AGAINST, "-k", "baseline")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([message])


def test_times_of_another_machine_are_refused(saved: pytest.Pytester) -> None:
    """Seconds of another kind of machine are no change; of a machine of the same kind they are."""
    saved.makepyfile(test_study="def test_it(baseline):\n    assert baseline.wall.since <= 60\n")
    path = saved.path / "kept/ref.json"
    saved.runpytest(*AGAINST).assert_outcomes(passed=1)
    told = json.loads(path.read_text())
    for arm in told["arms"]:
        arm["hosts"] = ["an abacus, 1 cores, CPU"]
    path.write_text(json.dumps(told))
    result = saved.runpytest(*AGAINST)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*cannot tell: its times are of another kind of machine: an*"])


def test_other_packages_are_warned_of(saved: pytest.Pytester) -> None:
    """A change may be that of an upgrade, and who reads it is told so."""
    path = saved.path / "kept/ref.json"
    told = json.loads(path.read_text())
    for arm in told["arms"]:
        arm["versions"] = {"sklearn": "1.4"}
    path.write_text(json.dumps(told))
    result = saved.runpytest(*AGAINST)
    result.stdout.fnmatch_lines(["*AblationWarning: *.since: the reference is of sklearn 1.4*"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--ablation-against=none.json",
            "*--ablation-against=*none.json: no such file. *",
        ),
        ("--ablation-against=conftest.py", "*conftest.py: damaged, this is no JSON. *"),
        ("--ablation-save=conftest.py/a.json", "*--ablation-save=*: cannot be written in *"),
    ],
)
def test_a_wrong_reference_is_refused_before_anything_runs(
    saved: pytest.Pytester, option: str, message: str
) -> None:
    """A typo in the path of a reference costs no training."""
    result = saved.runpytest(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*collected*")


def test_what_is_exact_of_a_network_needs_no_training(suite: pytest.Pytester) -> None:
    """Parameters and operations since a reference are counted, in any profile."""
    tests = """
from pytest_ablation import remove
import pytest

@pytest.mark.ablation(remove("drop*"))
def test_it(variant, baseline):
    assert variant.params == 938
"""
    since_tests = tests.replace("== 938", ".since == 0").replace("\n", "\n", 1) + (
        "    assert baseline.flops.since == -48\n    assert variant.flops.since <= 0\n"
    )
    suite.makepyfile(test_study=tests)
    suite.runpytest("--ablation-save=ref.json", "--ablation-profile=full").assert_outcomes(passed=1)
    path = suite.path / "ref.json"
    assert path.stat().st_size < 2_000
    told = json.loads(path.read_text())
    told["arms"][0]["exact"]["flops"] += 48
    path.write_text(json.dumps(told))
    suite.makepyfile(test_study=since_tests)
    arguments = ("--ablation-against=ref.json", "--ablation-profile=quick")
    suite.runpytest(*arguments, "--ablation-export=a.md").assert_outcomes(passed=1)
    assert "flops 1.98 kFLOP → 1.93 kFLOP" in (suite.path / "a.md").read_text()
