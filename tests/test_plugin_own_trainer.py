"""Experiments with a trainer of the user's own: pytest runs of suites in folders of their own."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import pytest_ablation

# Its accuracy is a formula with a little chance, so that a training takes no time.
CONFTEST = """
import random
import pytest
from pytest_ablation import Experiment, Progress, override

SETTINGS = {"depth": 8, "pca": {"components": 30}, "fail": "", "noise": 0.002}

class OddError(Exception):
    def __init__(self, one, other):
        super().__init__(f"neither {one} nor {other}")  # with which pickle cannot make it again

def accuracy_of(depth):
    return 0.5 + 0.05 * depth

def fit(trial, data, progress):
    settings = trial.config
    assert data == {"rows": 400}
    if settings["fail"] == "raise":
        raise ValueError("not on a Tuesday")
    if settings["fail"] == "odd":
        raise OddError("here", "there")
    if settings["fail"] == "late":
        raise TimeoutError("the database did not answer")
    if settings["fail"] == "none":
        return None
    progress(Progress(epoch=1, epochs=1))
    draw = random.Random(f"{trial.seed}/{settings}")
    accuracy = accuracy_of(settings["depth"]) + settings["noise"] * draw.gauss(0, 1)
    return {
        "accuracy": accuracy,
        "train_accuracy": 0.95,
        "f1": accuracy / 2,
        "curves": {"accuracy": [0.3, 0.9], "val_accuracy": [0.2, accuracy]},
        "correct": [number < 400 * accuracy for number in range(400)],
        "params": 10 * settings["depth"],
    }

@pytest.fixture(scope="session")
def experiment():
    return Experiment(SETTINGS, data={"rows": 400}, train=fit, name="formula")
"""
STUDY = """
import pytest
from pytest_ablation import *

@pytest.mark.ablation(override(depth=3))
def test_depth(variant):
    assert variant.accuracy.change <= -0.1
    assert variant.metric("f1").change <= -0.05
    assert variant.gap.change >= 0.1
    assert variant.params.ratio <= 0.5
    assert variant.wall.mean > 0

def test_baseline(baseline):
    assert baseline.accuracy >= 0.8
    assert list(baseline.history) == ["seed", "epoch", "accuracy", "val_accuracy"]
"""


MINIMAL = """
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    return {"error": trial.config["x"] + trial.seed / 1000}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"x": 1.0}, train=fit)
"""


@pytest.fixture
def own(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with a trainer of its own in the conftest.py, and a study of its settings."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_study=STUDY)
    return pytester


def write(suite: pytest.Pytester, tests: str) -> None:
    """Write the suite's one test module."""
    suite.makepyfile(test_study="import pytest\nfrom pytest_ablation import *\n" + tests)


def runs(suite: pytest.Pytester) -> list[Path]:
    """Return the runs in the suite's store."""
    return sorted((suite.path / ".ablation" / "runs").glob("*.json"))


def test_settings_are_ablated_and_runs_are_kept(own: pytest.Pytester) -> None:
    """Verdicts, table and page are those of any study, and the second session trains nothing."""
    first = own.runpytest("--html=report.html", "--self-contained-html", "-v")
    first.assert_outcomes(passed=2)
    first.stdout.fnmatch_lines(
        [
            "formula *accuracy *change *verdict*",
            "baseline * 9*.* % * holds *",
            "  It reaches 9*.* % on test examples and 95.0 % on training examples.",
            "set depth=3 * 6*.* % * points *holds*",
            "All 5 claims hold*.",
        ]
    )
    page = (own.path / "report.html").read_text(encoding="utf-8")
    for said in ("~ depth: 8", "pca.components: 30", "The settings"):
        assert said in page
    kept = {path: path.stat().st_mtime_ns for path in runs(own)}
    own.runpytest().assert_outcomes(passed=2)
    assert {path: path.stat().st_mtime_ns for path in runs(own)} == kept


def test_workers_train_and_import_no_keras(own: pytest.Pytester) -> None:
    """A study of another framework starts in a second, here and in the workers."""
    conftest = own.path / "conftest.py"
    conftest.write_text(
        CONFTEST.replace(
            "    settings = trial.config\n",
            """    settings = trial.config
    import os, sys
    assert not {"keras", "tensorflow"} & set(sys.modules)
    assert os.getpid() != data.get("pid")
""",
        )
        + """
@pytest.fixture(scope="session", autouse=True)
def without_keras():
    yield
    import sys
    assert not {"keras", "tensorflow"} & set(sys.modules)
"""
    )
    arguments = ("--ablation-workers=1", "--ablation-seeds=2", "--html=report.html")
    result = own.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=2)
    assert len(runs(own)) == 4


def test_a_trainer_anywhere_reaches_the_workers(own: pytest.Pytester) -> None:
    """A trainer in a test module, or named as text, with a helper beside it, trains in workers."""
    own.makepyfile(
        helper="def half(x): return x / 2",
        mine="""
            from helper import half

            def fit(trial, data, progress):
                return {"accuracy": half(trial.config["twice"]) + trial.seed / 1000}
        """,
        test_study="""
            import pytest
            from pytest_ablation import Experiment, override
            from helper import half

            def of_this_module(trial, data, progress):
                return {"accuracy": half(trial.config["twice"]) + trial.seed / 1000}

            @pytest.fixture(scope="module", params=[of_this_module, "mine:fit"])
            def experiment(request):
                name = getattr(request.param, "__name__", request.param)
                return Experiment({"twice": 1.0}, train=request.param, name=name)

            @pytest.mark.ablation(override(twice=0.5))
            def test_it(variant):
                assert variant.accuracy.change <= -0.2
        """,
    )
    own.syspathinsert()
    options = ("--ablation-workers=2", "--ablation-seeds=2", "--import-mode=importlib")
    result = own.runpytest(*options)
    result.assert_outcomes(passed=2)
    assert len(runs(own)) == 8


@pytest.mark.parametrize("workers", [0, 1])
def test_each_conftest_has_its_own_trainer(pytester: pytest.Pytester, workers: int) -> None:
    """Two suites of one session, a conftest.py each, do not train with each other's function."""
    for folder, gives in (("one", 0.25), ("two", 0.75)):
        pytester.mkdir(folder)
        conftest = MINIMAL.replace('trial.config["x"]', str(gives))
        conftest = conftest.replace("train=fit", f"train=fit, name={folder!r}")
        (pytester.path / folder / "conftest.py").write_text(conftest)
        (pytester.path / folder / f"test_{folder}.py").write_text(
            f"""
def test_it(baseline):
    assert abs(baseline.metric("error").mean - {gives}) < 0.01
"""
        )
    result = pytester.runpytest(f"--ablation-workers={workers}")
    result.assert_outcomes(passed=2)


def test_two_experiments_of_one_name_fail_a_session_of_several_processes(
    pytester: pytest.Pytester,
) -> None:
    """Where no process has both, their one table is no success, and says what to do."""
    pytester.makepyfile(
        mine="def fit(trial, data, progress):\n    return {'error': trial.config['x']}\n"
    )
    pytester.syspathinsert()
    for x in ("1.0", "2.0"):
        study = MINIMAL.replace("train=fit", "train='mine:fit'").replace("1.0", x)
        test = "def test_it(baseline):\n    assert baseline.metric('error').mean > 0\n"
        pytester.makepyfile(**{f"test_{x[0]}": study + test})
    result = pytester.runpytest_subprocess("-n2", "--dist=loadfile", "--ablation-seeds=1")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(['two experiments are called "fit", *: Experiment(…, name="…").'])


def test_an_error_of_one_of_several_conftests_is_told(pytester: pytest.Pytester) -> None:
    """What a worker raises is told where pytest finds another conftest.py by the same name."""
    for folder in ("one", "two"):
        pytester.mkdir(folder)
        error = f"{folder.title()}Error"
        conftest = f"class {error}(Exception): pass\n" + MINIMAL.replace(
            "return {", f"raise {error}('not on a Tuesday')\n    return {{"
        )
        conftest = conftest.replace("train=fit", f"train=fit, name={folder!r}")
        (pytester.path / folder / "conftest.py").write_text(conftest)
        (pytester.path / folder / f"test_{folder}.py").write_text(
            "def test_it(baseline):\n    assert baseline.metric('error').mean >= 0\n"
        )
    result = pytester.runpytest("--ablation-workers=1")
    result.assert_outcomes(errors=2)
    for error in ("OneError", "TwoError"):
        result.stdout.fnmatch_lines(
            [
                f"baseline, seed 0: the training failed: {error}. Its last lines:",
                f"*{error}: not on a Tuesday",
            ]
        )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_that_goes_wrong_is_an_error_and_others_go_on(
    own: pytest.Pytester, workers: int
) -> None:
    """What raises, or returns nothing, says so in the test's own lines; the rest is tested."""
    write(
        own,
        """
WRONG = [override(fail=how) for how in ("raise", "odd", "late", "none")]

@pytest.mark.parametrize("variant", WRONG, indirect=True)
def test_wrong(variant):
    assert variant.accuracy.change >= -1

def test_right(baseline):
    assert baseline.accuracy >= 0.5
""",
    )
    result = own.runpytest(f"--ablation-workers={workers}")
    result.assert_outcomes(passed=1, errors=4)
    result.stdout.fnmatch_lines(
        [
            "set fail='raise', seed 0: the training failed: ValueError. Its last lines:",
            "Traceback (most recent call last):",
            '  File "*conftest.py", line *, in fit',
            "*not on a Tuesday*",
            "set fail='odd', seed 0: the training failed: OddError. Its last lines:",
            "*neither here nor there*",
            "set fail='late', seed 0: the training* failed: TimeoutError. Its last lines:",
            "*the database did not answer*",
            "set fail='none', seed 0: the training failed: conftest:fit returned None: return a *",
        ]
    )
    result.stdout.no_fnmatch_line("*comparison.py*")
    result.stdout.no_fnmatch_line("*, in train")


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        ("variant.time.ratio <= 1", "*variant.time: conftest:fit is a trainer of your own, *"),
        ("variant.time.ratio <= 1", "*as variant.wall.ratio.*"),
        ("variant.metric('f2').change <= 1", '*no metric "f2". Metrics: accuracy, f1*'),
        ("variant.loss.change <= 1", '*no metric "loss". Metrics: accuracy, f1*'),
    ],
)
def test_a_quantity_that_is_not_there_says_what_is(
    own: pytest.Pytester, comparison: str, message: str
) -> None:
    """Whoever asks for what a trainer does not give reads what to compare instead."""
    write(
        own,
        f"""
@pytest.mark.ablation(override(depth=3))
def test_it(variant):
    assert {comparison}
""",
    )
    result = own.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([message])


def test_a_trainer_that_knows_no_accuracy_is_reported_all_the_same(
    own: pytest.Pytester,
) -> None:
    """One metric of any name is enough for verdicts, table and page."""
    own.makeconftest(MINIMAL)
    write(
        own,
        """
@pytest.mark.ablation(override(x=0.5))
def test_it(variant):
    assert variant.metric("error").change <= -0.4

@pytest.mark.ablation(override(x=0.6))
def test_gap(variant):
    assert variant.gap.change <= -0.4

@pytest.mark.ablation(override(x=0.7))
def test_params(variant):
    assert variant.params <= 3

@pytest.mark.ablation(override(x=0.8))
def test_history(variant):
    assert len(variant.history)
""",
    )
    result = own.runpytest("--html=report.html", "--self-contained-html")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            '*the training gave no metric "accuracy". Metrics: error.*',
            '*told of no parameters: have it return them as "params"*',
            "*conftest:fit returned no curves: have it return them*",
            "  error 0.5005.",
        ]
    )
    assert "~ x: 1.0" in (own.path / "report.html").read_text(encoding="utf-8")


def test_seeds_that_make_no_difference_are_warned_of(own: pytest.Pytester) -> None:
    """A trainer that forgets the seed gives equal numbers: no verdict rests on them unsaid."""
    own.makeconftest(CONFTEST.replace('"noise": 0.002', '"noise": 0'))
    result = own.runpytest()
    result.stdout.fnmatch_lines(["*conftest:fit gave equal metrics with 2 seeds of *trial.seed*"])
    own.makeconftest(CONFTEST)
    own.runpytest().stdout.no_fnmatch_line("*equal metrics*")
    # As many examples told, but others, is another training.
    other = CONFTEST.replace('"noise": 0.002', '"noise": 0')
    own.makeconftest(other.replace("[number <", "[(number + trial.seed) % 400 <"))
    own.runpytest().stdout.no_fnmatch_line("*equal metrics*")


def test_what_decides_the_numbers_is_in_the_fingerprint(own: pytest.Pytester) -> None:
    """Another helper in the trainer's module, or other data, is trained for anew."""
    own.runpytest("--ablation-seeds=2").assert_outcomes(passed=2)
    assert len(runs(own)) == 4
    conftest = own.path / "conftest.py"
    conftest.write_text(CONFTEST.replace("0.05 * depth", "depth / 20"))
    own.runpytest("--ablation-seeds=2").assert_outcomes(passed=2)
    assert len(runs(own)) == 8
    conftest.write_text(CONFTEST.replace('data={"rows": 400}', 'data={"rows": 400.0}'))
    own.runpytest("--ablation-seeds=2").assert_outcomes(passed=2)
    assert len(runs(own)) == 12


def test_a_plan_lists_what_it_knows(own: pytest.Pytester) -> None:
    """A plan of another trainer has its trials; times are of earlier ones, or unknown."""
    plan = own.runpytest("--ablation-plan")
    assert plan.ret == pytest.ExitCode.OK
    plan.stdout.fnmatch_lines(
        [
            "baseline, seed 0 *– *– *unknown",
            "set depth=3, seed 1 *– *– *unknown",
            "4 trials: 0 cached, 4 to train.",
            "How long 4 of them take is not known: *",
        ]
    )
    assert not runs(own)
    own.runpytest("--ablation-seeds=1")
    plan = own.runpytest("--ablation-plan")
    plan.stdout.fnmatch_lines(
        ["baseline, seed 0 *cached", "4 trials: 2 cached, 2 to train, under 1 s."]
    )


def test_a_plan_of_several_experiments_says_whose_each_trial_is(own: pytest.Pytester) -> None:
    """The same edit of two is two, with what it changes in each."""
    write(
        own,
        """
from dataclasses import replace

@pytest.fixture(scope="session", params=[8, 4])
def experiment(request):
    settings = {"depth": request.param, "pca": {"components": 30}, "fail": "", "noise": 0.002}
    made = request.getfixturevalue("formula")
    return replace(made, model=settings, name=f"depth {request.param}")

@pytest.mark.ablation(override(noise=0.1))
def test_noise(variant):
    assert variant.accuracy.change <= 0
""",
    )
    own.makeconftest(CONFTEST.replace("def experiment():", "def formula():"))
    own.runpytest("--ablation-plan", "--ablation-seeds=1").stdout.fnmatch_lines(
        [
            "depth 8: baseline, seed 0 *",
            "depth 8: set noise=0.1, seed 0 *",
            "depth 4: baseline, seed 0 *",
            "depth 8: set noise=0.1",
            "  ~ noise: 0.002 → 0.1",
            "depth 4: set noise=0.1",
            "  ~ noise: 0.002 → 0.1",
        ]
    )


def test_a_wrong_edit_is_one_line_before_training(own: pytest.Pytester) -> None:
    """A setting that there is not, and an edit of Keras's, end in one line each."""
    write(
        own,
        """
@pytest.mark.parametrize("variant", [override(dept=3), remove("drop*")], indirect=True)
def test_it(variant):
    assert variant.accuracy.change >= 0
""",
    )
    result = own.runpytest()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            '*override(dept=3): there is no setting "dept". *Did you mean "depth"?',
            '*remove("drop[*]"): the experiment has settings and no Keras network to edit.*',
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert not runs(own)


@pytest.mark.slow
def test_it_lives_beside_a_network(own: pytest.Pytester, suite: pytest.Pytester) -> None:
    """One session may study a Keras network and something else, in the same workers."""
    suite.makepyfile(
        test_network="""
            import pytest
            from pytest_ablation import remove

            @pytest.mark.ablation(remove("drop*"))
            def test_network(variant):
                assert variant.accuracy.change >= -1
        """,
        test_own=CONFTEST + "\n" + STUDY.replace("import pytest\n", ""),
    )
    (suite.path / "test_study.py").unlink()
    arguments = ("--ablation-workers=1", "--ablation-seeds=1:2", "--ablation-profile=full")
    result = suite.runpytest_subprocess(*arguments, "-p", "no:randomly")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["net *", "formula *"])


def test_processes_train_each_trial_once_and_report_together(own: pytest.Pytester) -> None:
    """Under pytest-xdist each trial is trained once, and one table and one file come out of it."""
    own.makeconftest(
        CONFTEST.replace(
            "    progress(Progress(epoch=1, epochs=1))\n",
            """    progress(Progress(epoch=1, epochs=1))
    with open("trained", "a") as file:
        print(settings, trial.seed, file=file)
    import time
    time.sleep(0.2)  # as a training does, meanwhile the other process comes to want it too
""",
        )
    )
    own.makepyfile(
        test_study=STUDY
        + """
@pytest.mark.ablation(override(depth=3))
def test_again(variant):
    assert variant.accuracy.change.mean <= -0.1

@pytest.mark.ablation(override(noise=0.1))
def test_doubtful(variant):
    assert variant.accuracy.change >= 0.001
"""
    )
    result = own.runpytest_subprocess("-n2", "--ablation-seeds=2", "--ablation-export=a.json")
    assert result.ret == pytest.ExitCode.OK
    verdicts = list(pytest_ablation.findings(own.path / "a.json").verdict)
    assert sorted(verdicts) == ["holds"] * 5 + ["undecided"]
    result.stdout.fnmatch_lines(
        [
            "*ablation findings*",
            "*on CPU · 6",
            "trainings done, 0 reused",
            "5 of 6 claims hold, 1 undecided; *",
            "*3 passed, * 1 undecided*",
        ]
    )
    trained = (own.path / "trained").read_text().splitlines()
    assert len(trained) == len(set(trained)) == 6
    assert len(runs(own)) == 6
    assert len(list((own.path / ".ablation" / "runs").glob("*.npz"))) == 6


RESUMING = """
import json, os
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    path = progress.checkpoint
    done = json.loads(path.read_text()) if path.exists() else []
    for epoch in range(len(done), 3):
        done.append(epoch)
        path.write_text(json.dumps(done))
        if len(done) == 2 and not os.path.exists(data):
            open(data, "w").close()
            os.kill(os.getpid(), 9)
    return {"error": len(done) + trial.seed / 1000, "begun": epoch}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({}, data=os.path.abspath("killed"), train=fit)
"""


def test_a_trainer_that_was_killed_goes_on_from_its_checkpoint(own: pytest.Pytester) -> None:
    """What a trainer keeps at progress.checkpoint is there when it is tried again."""
    own.makeconftest(RESUMING)
    write(own, "def test_it(baseline):\n    assert abs(baseline.metric('error').mean - 3) < 0.01\n")
    result = own.runpytest_subprocess("--ablation-workers=1")
    result.assert_outcomes(passed=1)
    assert (own.path / "killed").exists()
    assert not list((own.path / ".ablation" / "checkpoints").iterdir())


ENDING = """
import os, signal
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    with open(data, "w") as file:
        print(os.getpid(), file=file)
    os.kill(os.getppid(), 9)
    signal.pause()

@pytest.fixture(scope="session")
def experiment(request):
    return Experiment({}, data=str(request.config.rootpath / "pid"), train=fit)
"""


def test_a_session_that_is_killed_leaves_nothing_behind(
    own: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends studies by kill -9 has no processes left, and no folders of theirs."""
    own.makeconftest(ENDING)
    write(own, "def test_it(baseline):\n    assert baseline.metric('error') >= 0\n")
    monkeypatch.setenv("TMPDIR", str(own.mkdir("scratch")))
    result = own.runpytest_subprocess("--ablation-workers=1", "-p", "no:cacheprovider")
    assert result.ret == -9
    with suppress(psutil.Error):  # it has ended, or nobody asks how it did
        psutil.Process(int((own.path / "pid").read_text())).wait(timeout=30)
    assert not list((own.path / "scratch").glob("pytest-ablation-*"))


LOSING = """
import shutil
from pathlib import Path
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    store = Path(trial.config["store"])
    with store.with_name("trained").open("a") as file:
        print(trial.seed, file=file)
    if store.is_dir():
        shutil.rmtree(store)
        store.touch()
    return {"error": trial.seed}

@pytest.fixture(scope="session")
def experiment(request):
    return Experiment({"store": str(request.config.rootpath / ".ablation")}, train=fit)
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("lost", ["before", "meanwhile"])
def test_a_store_that_is_lost_costs_no_training(
    own: pytest.Pytester, workers: int, lost: str
) -> None:
    """Where the store cannot be written, or no longer, what was trained counts all the same.

    That is said once, and not by each training.
    """
    own.makeconftest(LOSING)
    write(own, "def test_it(baseline):\n    assert baseline.metric('error').values == (0, 1)\n")
    if lost == "before":
        (own.path / ".ablation").touch()
    result = own.runpytest(f"--ablation-workers={workers}", "--ablation-seeds=2")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*runs cannot be kept in *: the study goes on*"])
    assert sorted((own.path / "trained").read_text().split()) == ["0", "1"]


def test_a_network_may_be_trained_by_ones_own_function(suite: pytest.Pytester) -> None:
    """A training loop of one's own for a Keras network has all edits, and parameters as ever."""
    suite.makepyfile(
        test_study="""
            from dataclasses import replace
            import pytest
            from pytest_ablation import Experiment, remove
            from pytest_ablation.training import fit
            from tiny import RECIPE, data, net

            def twice(trial, data, progress):
                run = fit.train(trial, data, progress)
                return replace(run, metrics={**run.metrics, "twice": 2 * run.metrics["accuracy"]})

            @pytest.fixture(scope="session")
            def experiment():
                return Experiment(net, RECIPE, data(), train=twice)

            @pytest.mark.ablation(remove("drop*", "dense2"))
            def test_it(variant):
                assert variant.params.ratio < 1
                assert variant.metric("twice").change.mean >= -2

            @pytest.mark.ablation(remove("drop1"))
            def test_time(variant):
                assert variant.time.ratio <= 2
        """
    )
    result = suite.runpytest("--ablation-profile=full", "--ablation-seeds=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*variant.time: test_study:twice is a trainer of your own*"])


def test_one_more_seed_of_the_arm_that_varies_more_may_decide(pytester: pytest.Pytester) -> None:
    """A training that nobody needs is not done; every output tells of how many seeds each arm."""
    pytester.makeconftest(
        """
import pytest
from pytest_ablation import Experiment

NOISE = {1.0: (0.0, 0.0001, 0.0001), 2.0: (0.0, 0.01, 0.005)}

def fit(trial, data, progress):
    return {"error": trial.config["x"] + NOISE[trial.config["x"]][trial.seed]}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"x": 1.0}, train=fit)
"""
    )
    write(
        pytester,
        """
@pytest.mark.ablation(override(x=2.0))
def test_x(variant, baseline):
    error = variant.metric("error")
    assert error.change >= 0.8
    assert error.change.mean == pytest.approx(2.005 - 1.00005)
    low, high = error.change.interval
    assert 0.8 < low < 1.00495 < high
    assert (len(error.values), len(baseline.metric("error").values)) == (3, 2)

@pytest.mark.ablation(override(x=2.0))
def test_x_again(variant, baseline):
    baseline.arm.run(2)
    assert variant.metric("error").change >= 0.8
    assert variant.metric("error").change.mean == pytest.approx(2.005 - 1.00005)
""",
    )
    options = ("--ablation-workers=1", "--ablation-export=out.json", "--html=report.html")
    pytester.runpytest(*options, "-k", "not again").assert_outcomes(passed=1, deselected=1)
    assert len(runs(pytester)) == 5
    pytester.runpytest(*options).assert_outcomes(passed=2)
    claim = json.loads((pytester.path / "out.json").read_text())["claims"][0]
    assert (claim["seeds"], claim["baseline_seeds"]) == (3, 2)
    assert "over 3 seeds and 2 of the baseline" in (pytester.path / "report.html").read_text()


@pytest.mark.parametrize("seeds", ["2:5", "1:5"])
def test_accuracies_that_tie_on_few_examples_decide_nothing(
    pytester: pytest.Pytester, seeds: str
) -> None:
    """Twice 8 of 10 right beside twice 9 is chance, and not a change that was seen exactly."""
    pytester.makepyfile(
        test_study="""
import pytest
import numpy as np
from pytest_ablation import Dataset, Experiment, override

X, Y = np.zeros((10, 1)), np.arange(10) % 2
DATA = Dataset(name="ten", x_train=X, y_train=Y, x_test=X, y_test=Y)
RIGHT = {1.0: (9, 9, 7, 8, 9), 2.0: (8, 8, 9, 9, 8)}

def fit(trial, data, progress):
    return {"accuracy": RIGHT[trial.config["x"]][trial.seed] / 10, "loss": trial.seed / 10}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"x": 1.0}, data=DATA, train=fit)

@pytest.mark.ablation(override(x=2.0))
def test_x_costs_little(variant):
    assert variant.accuracy.change >= -0.05
"""
    )
    result = pytester.runpytest(
        "--ablation-workers=0", "--ablation-profile=full", f"--ablation-seeds={seeds}"
    )
    result.stdout.fnmatch_lines(["* 1 undecided *"])
