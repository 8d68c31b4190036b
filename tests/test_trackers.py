"""A study in the trackers that people have: the real MLflow with SQLite, TensorBoard's files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pytest_ablation.trackers import record

# Its numbers are a formula with a little chance, so that a training takes no time.
CONFTEST = """
import random
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    size = trial.config["size"]
    accuracy = 0.5 + 0.1 * size + random.Random(f"{trial.seed}{trial.config}").gauss(0, 0.001)
    return {
        "accuracy": accuracy,
        "train_accuracy": 0.95,
        "loss": float("nan"),
        "curves": {"accuracy": [0.3, 0.9], "val_accuracy": [0.2, accuracy]},
        "params": 10 * size,
    }

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"size": 2}, train=fit, name="formula")
"""
TESTS = """
import pytest
from pytest_ablation import override

@pytest.mark.ablation(override(size=1))
def test_smaller(variant):
    assert variant.accuracy.change <= -0.05

@pytest.mark.ablation(override(size=3))
def test_larger(variant):
    assert variant.accuracy.change <= 0.05
"""


@pytest.fixture
def database(pytester: pytest.Pytester, empty_database: Path) -> Path:
    """Where a study is kept, in a database that has none as yet."""
    return Path(shutil.copy(empty_database, pytester.path / "kept.db"))


@pytest.fixture
def study(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, database: Path
) -> pytest.Pytester:
    """A study of a claim that holds and one that is violated, and no tracker told of elsewhere."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_study=TESTS)
    return pytester


# --------------------------------------------------------------------------------------- MLflow


def place(study: pytest.Pytester) -> str:
    """Return where a study's database is; MLflow knows one by its name, whatever the folder."""
    return f"sqlite:///{study.path}/kept.db"


def tracked(study: pytest.Pytester) -> tuple[str, str]:
    """Return the options of a session that is kept."""
    return "--ablation-seeds=2", f"--ablation-track=mlflow:{place(study)}"


def client(study: pytest.Pytester) -> MlflowClient:
    """Return a client of the study's database."""
    return MlflowClient(place(study))


def kept(study: pytest.Pytester, experiment: str = "pytest-ablation") -> list[Run]:
    """Return all runs of an experiment, oldest first."""
    here = client(study)
    key = here.get_experiment_by_name(experiment).experiment_id
    return list(here.search_runs([str(key)], order_by=["attributes.start_time ASC"]))


def within(parent: str, runs: list[Run]) -> dict[str, Run]:
    """Return the runs that are nested in one, by name."""
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId", "") == parent]
    return {str(run.info.run_name): run for run in children}


def test_a_study_is_a_tree_of_runs(study: pytest.Pytester, database: Path) -> None:
    """MLflow has the session, in it each arm, in it each seed, with numbers that can be compared.

    The report's page and the exports are there too, as they were written. So is the database, where
    there was none.
    """
    database.unlink()
    files = ("--html=report.html", "--self-contained-html", "--ablation-export=findings.csv")
    result = study.runpytest(*tracked(study), *files)
    result.assert_outcomes(passed=1, failed=1)
    runs = kept(study)
    ((name, session),) = within("", runs).items()
    assert name == "study of formula"
    result.stdout.fnmatch_lines(
        [f'study kept in MLflow, experiment "pytest-ablation", run {session.info.run_id}']
    )
    assert session.data.params["profile"] == "quick"
    assert session.data.params["seeds"] == "2:2"
    assert session.data.metrics["claims_violated"] == session.data.metrics["claims_holding"] == 1
    assert "1 violated" in session.data.tags["mlflow.note.content"]
    arms = within(session.info.run_id, runs)
    assert set(arms) == {"baseline", "set size=1", "set size=3"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert arms["set size=3"].data.tags["verdict"] == "violated"
    found = arms["set size=1"].data.metrics
    assert found["change_low"] < found["change"] < found["change_high"]
    assert found["params_ratio"] == 0.5
    seeds = within(arms["set size=1"].info.run_id, runs)
    assert set(seeds) == {"seed 0", "seed 1"}
    assert seeds["seed 1"].data.params["ablation"] == "set size=1"
    assert seeds["seed 1"].data.metrics["test_accuracy"] == pytest.approx(0.6, abs=0.01)
    curve = client(study).get_metric_history(seeds["seed 1"].info.run_id, "accuracy")
    assert [(each.step, each.value) for each in curve] == [(1, 0.3), (2, 0.9)]
    artifacts = {each.path for each in client(study).list_artifacts(session.info.run_id)}
    assert artifacts == {
        *("report.html", "findings.csv", "findings.json", "findings.md", "claims.json")
    }
    file = client(study).download_artifacts(session.info.run_id, "report.html", str(study.path))
    assert Path(file).read_bytes() == (study.path / "report.html").read_bytes()
    file = client(study).download_artifacts(session.info.run_id, "claims.json", str(study.path))
    table = json.loads(Path(file).read_text(encoding="utf-8"))
    verdicts = [row[table["columns"].index("verdict")] for row in table["data"]]
    assert verdicts == ["holds", "violated"]


def test_a_session_is_one_study_and_has_what_was_trained_before(study: pytest.Pytester) -> None:
    """A second session is a second study, whole, though it trained nothing."""
    study.runpytest(*tracked(study))
    study.runpytest(*tracked(study))
    runs = kept(study)
    sessions = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(sessions) == 2
    assert len(runs) == 2 * (1 + 3 + 3 * 2)
    last = max(sessions, key=lambda run: run.info.start_time)
    assert last.data.metrics["trainings_reused"] == 6
    trained = [run.data.tags["trained"] for run in runs if "trained" in run.data.tags]
    assert sorted(trained) == ["before"] * 6 + ["in this session"] * 6


WATCHED = """
from mlflow import MlflowClient

def test_watched():
    runs = MlflowClient("{place}").search_runs(["1"])
    status = sorted((run.info.run_name, run.info.status) for run in runs)
    assert status == [
        ("baseline", "RUNNING"), *2 * [("seed 0", "FINISHED")], *2 * [("seed 1", "FINISHED")],
        ("set size=1", "RUNNING"), ("study of formula", "RUNNING"),
    ]

def test_ended():
    pytest.exit("enough")
"""


def test_a_study_can_be_watched_and_says_that_it_was_ended(study: pytest.Pytester) -> None:
    """Trainings of an earlier test are there while a later one runs; Ctrl-C is told."""
    first, _, _ = TESTS.rpartition("\n\n")
    study.makepyfile(test_study=first + WATCHED.format(place=place(study)))
    result = study.runpytest(*tracked(study))
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    (session,) = within("", kept(study)).values()
    assert session.info.status == "KILLED"
    assert session.data.metrics["claims_holding"] == 1


def test_processes_make_one_study(study: pytest.Pytester) -> None:
    """Under pytest-xdist the controller alone tells the tracker."""
    result = study.runpytest("-n2", *tracked(study))
    result.assert_outcomes(passed=1, failed=1)
    assert len(kept(study)) == 1 + 3 + 3 * 2


def test_mlflows_own_settings_say_where(
    study: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has MLflow set up names it and no more; an ini file may, too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place(study))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    study.makeini("[pytest]\nablation_track = mlflow\n")
    study.runpytest("--ablation-seeds=2", "-k", "smaller").assert_outcomes(passed=1, deselected=1)
    assert len(kept(study, "mine")) == 1 + 2 + 2 * 2


@pytest.mark.usefixtures("database")
def test_a_recipe_is_of_each_run(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs can be told apart by how they were trained, Keras's objects included."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    suite.makepyfile(
        test_study="""
import pytest
from pytest_ablation import train_with

@pytest.mark.ablation(train_with(batch_size=32))
def test_it(variant):
    assert variant.loss.change.mean <= 10
"""
    )
    arguments = "--ablation-profile=full", *tracked(suite), "--ablation-seeds=1"
    suite.runpytest(*arguments).assert_outcomes(passed=1)
    runs = kept(suite)
    sizes = {
        run.data.params["ablation"]: run.data.params["batch_size"]
        for run in runs
        if "seed" in run.data.params
    }
    assert sizes == {"baseline": "16", "train with batch_size=32": "32"}
    seed = next(run for run in runs if "seed" in run.data.params)
    assert seed.data.params["optimizer"] == "Adam"
    assert seed.data.params["data"] == "dark and bright"
    assert len(client(suite).get_metric_history(seed.info.run_id, "val_loss")) == 6


def test_a_server_that_is_not_there_costs_a_line(study: pytest.Pytester) -> None:
    """The study is done, its verdicts and exit code are its own, and it can be kept later on."""
    arguments = ("--ablation-seeds=2", "-k", "smaller")
    away = study.runpytest(*arguments, "--ablation-track=mlflow:http://127.0.0.1:9")
    assert away.ret == pytest.ExitCode.OK
    away.stdout.fnmatch_lines(["the study is not in mlflow, or not all of it: MlflowException: *"])
    study.runpytest(*arguments, *tracked(study))
    assert len(kept(study)) == 1 + 2 + 2 * 2


def test_names_that_no_tracker_takes_are_made_such(study: pytest.Pytester) -> None:
    """A metric, a network and a parameter may be called anything."""
    conftest = study.path / "conftest.py"
    odd = "../<img src=x onerror=alert(1)>" + 500 * "x"
    said = conftest.read_text(encoding="utf-8")
    said = said.replace('"params": 10 * size', f'"p@r: {odd}": 1.0').replace('"formula"', repr(odd))
    conftest.write_text(said, encoding="utf-8")
    both = (*tracked(study), "--ablation-track=tensorboard:logs/here")
    result = study.runpytest(*both, "-k", "smaller")
    result.stdout.no_fnmatch_line("*the study is not in*")
    assert len(kept(study)) == 1 + 2 + 2 * 2
    folders = [path for path in (study.path / "logs").rglob("*") if path.is_dir()]
    assert len([path for path in folders if path.name.startswith("seed-")]) == 4


# ---------------------------------------------------------------------------------- TensorBoard


def events(folder: Path) -> EventAccumulator:
    """Return what a folder's event files say."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return read


def text(read: EventAccumulator, tag: str) -> str:
    """Return a text."""
    value: Any = read.Tensors(tag)[0].tensor_proto.string_val[0]
    return str(value.decode())


def test_tensorboard_has_curves_and_findings(study: pytest.Pytester) -> None:
    """Each seed is a run of TensorBoard's, beside its arm's effects; the findings are text."""
    result = study.runpytest("--ablation-seeds=2", "--ablation-track=tensorboard")
    result.stdout.fnmatch_lines(["study kept in TensorBoard's files: tensorboard --logdir *logs"])
    (session,) = (study.path / "logs").iterdir()
    assert "1 violated" in text(events(session), "findings")
    assert "| set size=1 | accuracy.change" in text(events(session), "claims")
    arm = events(session / "formula" / "set-size=1")
    assert {"arm/change", "arm/change_low", "arm/test_accuracy"} <= set(arm.Tags()["tensors"])
    seed = events(session / "formula" / "set-size=1" / "seed-0")
    curve = seed.Tensors("curves/accuracy")
    assert [each.step for each in curve] == [1, 2]
    assert [each.tensor_proto.float_val[0] for each in curve] == pytest.approx([0.3, 0.9])
    again = study.runpytest("--ablation-seeds=2", "--ablation-track=tensorboard")
    assert again.ret == result.ret
    assert len(list((study.path / "logs").iterdir())) == 2


# ---------------------------------------------------------------------------------- the option


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("wandb", "*--ablation-track=wandb: the trackers are mlflow, tensorboard.*"),
        (
            "tensorboard",
            "*tensorboard is not installed. pip install 'pytest-ablation[[]tensorboard[]]' *",
        ),
    ],
)
def test_a_tracker_that_there_is_not_is_said_first(
    study: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: str, message: str
) -> None:
    """Nobody trains for an hour to learn that a package is missing."""
    monkeypatch.setattr("pytest_ablation.trackers.find_spec", lambda name: None)
    result = study.runpytest(f"--ablation-track={option}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_settings_of_a_recipe_have_names() -> None:
    """What is nested has the path of its names, objects their class, and what is unset is not."""
    recipe = {
        "batch_size": 8,
        "loss_weights": None,
        "metrics": ["accuracy", "auc"],
        "optimizer": {"class_name": "Adam", "config": {"name": "adam", "learning_rate": 0.1}},
        "augmentation": [{"class_name": "RandomFlip", "config": {"mode": "horizontal"}}],
    }
    assert record.settings(json.dumps(recipe)) == {
        "batch_size": "8",
        "metrics": "accuracy, auc",
        "optimizer": "Adam",
        "optimizer.learning_rate": "0.1",
        "augmentation.0": "RandomFlip",
        "augmentation.0.mode": "horizontal",
    }
    assert record.settings("") == record.settings("null") == {}
