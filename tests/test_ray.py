"""Trainings on a Ray cluster: a real one of this machine, its workers killed now and then."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pytest_ablation import Experiment, Recipe, Trial, configure, insert, lesion, remove
from pytest_ablation.arm import Arm
from pytest_ablation.errors import AblationError, TrainingError
from pytest_ablation.execution.board import Board
from pytest_ablation.execution.local import Workers
from pytest_ablation.pairs import Settled
from pytest_ablation.profile import PROFILES
from pytest_ablation.resources import Resources, parsed
from pytest_ablation.store import Store
from pytest_ablation.study import Study
from pytest_ablation.training import fit, initial
from pytest_ablation.verdict import Bound
from tests.tiny import EXPERIMENT, net, with_weights

ray = pytest.importorskip("ray")

BOARDS: list[Board] = []


def killed(trial: Trial, data: Any, progress: Any) -> dict[str, Any]:
    """Kill the process where a file is, and take that away unless it is to be so each time."""
    file = Path(trial.config["file"])
    if file.exists():
        if file.name != "always":
            file.unlink()
        os.kill(os.getpid(), 9)
    return {"accuracy": 0.5 + trial.seed / 100, "pid": os.getpid()}


def threads_given(trial: Trial, data: Any, progress: Any) -> dict[str, Any]:
    """Return how many threads libraries are told to use."""
    return {"threads": float(os.environ["OMP_NUM_THREADS"])}


def mapped(trial: Trial, data: Any, progress: Any) -> dict[str, Any]:
    """Tell whether the images are a file's, mapped, and what is in them."""
    return {
        "mapped": float(isinstance(data.x_train, np.memmap)),
        "sum": float(data.x_train.sum()),
    }


def sleeps(trial: Trial, data: Any, progress: Any) -> dict[str, Any]:
    """Never end."""
    time.sleep(3_600)
    return {}


class OddError(Exception):
    """An error that pickle cannot make again, of which a class needs two words and keeps one."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"neither {one} nor {other}")


def odd(trial: Trial, data: Any, progress: Any) -> dict[str, Any]:
    """Fail with an error that cannot leave its process."""
    raise OddError("here", "there")


def unanswered(trial: Trial, data: Any, progress: Any) -> dict[str, Any]:
    """Wait for something that does not come."""
    raise TimeoutError("the database did not answer")


class Raises(keras.layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Fails."""

    def call(self, x: Any, training: bool = False) -> Any:
        """Pass on what comes in, outside of a training."""
        if training:
            raise ValueError("not on a Tuesday")
        return x


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two CPUs."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def connected(
    store: Store, asked: str = "ray", resources: Resources | None = None, timeout: float = 60.0
) -> Workers:
    """Return who trains on a cluster."""
    from pytest_ablation.execution import connect

    return connect.executor(
        store,
        asked=asked,
        resources=resources,
        workers=None,
        sessions=1,
        timeout=timeout,
        waiting=lambda: nullcontext(BOARDS.append),
    )


def study_of(store: Store, executor: Workers) -> Study:
    """Return a study of one seed an arm."""
    return Study(
        store=store,
        profile=PROFILES["full"],
        asked_seeds=(1, 1),
        refresh=False,
        executor=executor,
    )


@pytest.fixture(scope="module")
def study(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study that all tests share, whose trainings are on the cluster."""
    store = Store(tmp_path_factory.mktemp("store"))
    executor = connected(store)
    yield study_of(store, executor)
    usage = executor.usage
    executor.close()
    assert usage is not None
    assert usage.places == 2
    assert 0 < usage.busy <= 1


def test_a_node_trains_as_this_process_does(study: Study) -> None:
    """Where a trial is trained changes no number, and its run and weights are in the store."""
    baseline = study.baseline(EXPERIMENT)
    there, trial = baseline.run(0), baseline.trial(0)
    here = fit.train(trial, EXPERIMENT.data, lambda progress: None)
    assert (there.metrics, there.curves, there.correct) == (
        here.metrics,
        here.curves,
        here.correct,
    )
    assert study.trained == [trial.fingerprint]
    assert study.store.load(trial.fingerprint) == there
    weights = study.store.weights(trial.fingerprint)
    assert weights is not None
    assert weights.exists()
    assert study.executor.workers == 2


def test_a_node_is_given_the_weights_to_start_from(study: Study) -> None:
    """A node has no function to ask for them."""
    arm = study.baseline(replace(EXPERIMENT, model=with_weights(net, 0.1)))
    initial.provide({arm.trial(0).initial_weights: lambda: arm.given})
    here = fit.train(arm.trial(0), EXPERIMENT.data, lambda progress: None)
    assert arm.given
    assert arm.run(0).curves == here.curves


def of_killed(study: Study, file: Path) -> Arm:
    """Return the arm of the trainer that is killed where a file is."""
    file.touch()
    return study.baseline(Experiment({"file": str(file)}, train=killed, name=file.name))


def test_what_was_killed_is_done_anew(study: Study, tmp_path: Path) -> None:
    """A worker that dies costs time and nothing else."""
    run = of_killed(study, tmp_path / "once").run(1)
    assert run.metrics["accuracy"] == 0.51
    assert run.metrics["pid"] != os.getpid()
    assert not (tmp_path / "once").exists()


def test_what_fails_says_so(study: Study, tmp_path: Path) -> None:
    """After the last attempt the test has the cause, and the other trainings go on."""
    with pytest.raises(TrainingError, match=r"the training was lost.* tried it 11 times: "):
        of_killed(study, tmp_path / "always").run(0)
    wrong = study.variant(EXPERIMENT, insert(Raises(), after="flatten"))
    with pytest.raises(TrainingError, match=r"(?s)failed: ValueError on .*\n.*not on a Tuesday"):
        wrong.run(0)
    with pytest.raises(TrainingError, match=r"(?s)failed: TimeoutError on .*\n.*did not answer"):
        study.baseline(Experiment({"depth": 1}, train=unanswered)).run(0)
    with pytest.raises(TrainingError, match=r"(?s)failed: OddError.*\n.*neither here nor there"):
        study.baseline(Experiment({"depth": 1}, train=odd)).run(0)
    assert study.variant(EXPERIMENT, remove("drop1")).run(0).steps == 48


def test_what_takes_too_long_is_ended(cluster: None, tmp_path: Path) -> None:
    """A training that hangs ends its test, and gives its place to the next."""
    store = Store(tmp_path)
    executor = connected(store, timeout=1.0)
    study = study_of(store, executor)
    with pytest.raises(TrainingError, match=r"took longer than --ablation-timeout on .*was ended"):
        study.baseline(Experiment({"depth": 1}, train=sleeps)).run(0)
    assert executor.usage is None
    executor.close()


def test_a_trial_of_another_session_is_waited_for(study: Study) -> None:
    """A trial that another process is at is not sent: its run is taken over."""
    theirs = study.variant(EXPERIMENT, remove("drop2"))
    trial = theirs.trial(0)
    with Store(study.store.folder).lock(trial.fingerprint):
        study.queue(theirs, seeds=1)
        run = fit.train(trial, EXPERIMENT.data, lambda progress: None)
        study.store.save(trial, run)
    assert theirs.run(0) == run
    assert trial.fingerprint not in study.trained


def test_what_is_queued_trains_while_other_things_are_done(study: Study) -> None:
    """Trials that were queued are each trained once."""
    narrow = study.variant(EXPERIMENT, configure("dense1", units=4))
    study.queue(narrow, study.baseline(EXPERIMENT), seeds=2)
    assert [narrow.run(seed).seed for seed in (1, 0)] == [1, 0]
    keys = [narrow.trial(seed).fingerprint for seed in (1, 0)]
    assert [key for key in study.trained if key in keys] == keys
    assert any(name == "set units=4 in dense1, seed 1" for b in BOARDS for name, _ in b.running)


def test_lesions_and_times_are_of_the_cluster(study: Study) -> None:
    """A lesion is of the network that was trained; a ratio of times is measured on one node."""
    study.baseline(EXPERIMENT).run(0)
    before = len(study.trained)
    blind = study.variant(EXPERIMENT, lesion("dense1"))
    assert blind.run(0).steps == 0
    assert len(study.trained) == before
    wide = study.variant(EXPERIMENT, configure("dense1", units=5_000))
    settled = Settled(bound=Bound(at_least=0.1))
    duet = study.duets.of(wide, study.baseline(EXPERIMENT), settled)
    assert settled.verdict(duet).outcome == "holds"
    assert duet.host


def test_a_recipe_says_what_its_trainings_are_given(cluster: None, tmp_path: Path) -> None:
    """What a training is given is no part of the trial; the option takes a recipe's place."""

    def threads(folder: str, asked: str, said: str) -> float:
        store = Store(tmp_path / folder)
        executor = connected(store, resources=parsed(asked) if asked else None)
        try:
            recipe = Recipe("adam", "mse", resources=said)
            given = Experiment({"depth": 1}, recipe, train=threads_given)
            return study_of(store, executor).baseline(given).run(0).metrics["threads"]
        finally:
            executor.close()

    assert threads("told", "", "num_cpus=2") == 2
    assert threads("not told", "", "") == 1
    assert threads("overridden", "num_cpus=1", "num_cpus=2") == 1
    names = [path.stem for path in tmp_path.glob("*/runs/*.json")]
    assert (len(names), len(set(names))) == (3, 1)
    with pytest.raises(
        TrainingError, match=r'failed: Recipe\(resources="num_cpus=9"\): no node of the cluster has'
    ):
        threads("too much", "", "num_cpus=9")


def test_data_is_mapped_where_the_store_is_seen(cluster: None, tmp_path: Path) -> None:
    """On a shared file system no node gets a copy of its own; elsewhere each has the same data."""
    found = []
    for folder in ("seen", "not seen"):
        store = Store(tmp_path / folder)
        executor = connected(store)
        if folder == "not seen":
            shutil.rmtree(store.folder / "cluster")
        experiment = Experiment({"depth": 1}, data=EXPERIMENT.data, train=mapped)
        found.append(study_of(store, executor).baseline(experiment).run(0).metrics)
        executor.close()
    assert [each["mapped"] for each in found] == [1, 0]
    assert {each["sum"] for each in found} == {float(EXPERIMENT.data.x_train.sum())}


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ("num_gpus=1", r"num_cpus=1,num_gpus=1: no node of the cluster has that .*num_cpus=2,mem"),
        ("num_cpus=3", r"num_cpus=3: no node"),
        ("tpu=0.5", r"num_cpus=1,tpu=0.5: no node"),
    ],
)
def test_what_no_node_has_is_said_at_once(
    cluster: None, tmp_path: Path, resources: str, said: str
) -> None:
    """What can never be trained does not wait for good."""
    with pytest.raises(AblationError, match=said):
        connected(Store(tmp_path), resources=parsed(resources))


def test_a_cluster_that_is_not_there_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wrong address is one line, which names it."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(
        AblationError, match=r"^--ablation-executor=ray: no Ray cluster answers at "
    ):
        connected(Store(tmp_path))
    with pytest.raises(AblationError, match=r"answers at ray://localhost:8: .*Connection refused"):
        connected(Store(tmp_path), asked="ray://localhost:8")


CONFTEST = """
import pytest
import keras
from helper import doubled
from tiny import EXPERIMENT

class Doubled(keras.layers.Layer):
    def call(self, x):
        return doubled(x)

@pytest.fixture(scope="session")
def experiment():
    return EXPERIMENT
"""
SUITE = """
import pytest
from conftest import Doubled
from pytest_ablation import insert, remove

@pytest.mark.ablation(insert(Doubled(), after="flatten"))
def test_a_layer_of_ones_own(variant):
    assert variant.accuracy.change >= -0.9

@pytest.mark.ablation(remove("drop1"))
def test_dropout(variant):
    assert variant.accuracy.change >= -0.9
"""


def test_a_suite_is_trained_on_the_cluster(
    cluster: None, suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer of the conftest, and what it uses, are known to nodes that have no such files."""
    suite.makepyfile(helper="def doubled(x):\n    return 2 * x", test_suite=SUITE)
    suite.makeconftest(CONFTEST)
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    options = ("--ablation-profile=full", "--ablation-seeds=2")
    result = suite.runpytest(*options, "--ablation-executor=ray", "--ablation-export=findings.html")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["Tasks done on a Ray cluster: * 6; 2 places, * % busy."])
    page = (suite.path / "findings.html").read_text()
    assert page.count("<th>Node</th>") == 2  # a test each
    assert "Tasks done on a Ray cluster: " in page
    again = suite.runpytest(*options, "--ablation-workers=0")  # here, from the same store
    again.assert_outcomes(passed=2)
    assert len(list((suite.path / ".ablation" / "runs").glob("*.json"))) == 6


PRINTING = """
import pytest
from pytest_ablation import Experiment

def fit(trial, data, progress):
    print(f"seed {trial.seed} sees the light")
    return {"accuracy": 0.5 + trial.seed / 1000}

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"depth": 1}, train=fit)

def test_it(baseline):
    assert baseline.accuracy >= 0.1
"""


@pytest.mark.parametrize("is_shown", [True, False])
def test_what_trainings_print_is_shown_as_pytest_shows_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, is_shown: bool
) -> None:
    """With -s, as what is printed here; without, a session's report is not strewn with it."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pytester.makepyfile(test_printing=PRINTING)
    options = ["-s"] if is_shown else []
    result = pytester.runpytest_subprocess("--ablation-executor=ray", *options)
    result.assert_outcomes(passed=1)
    shown = re.findall(r"baseline, seed (\d) .*seed \1 sees the light", result.stdout.str())
    assert sorted(shown) == (["0", "1"] if is_shown else [])


GREEDY = """
import time
import pytest
from pytest_ablation import Experiment

def takes_memory(trial, data, progress):
    held = bytearray(300_000_000)
    time.sleep(60)
    return {"accuracy": len(held)}

@pytest.fixture(scope="module")
def experiment():
    return Experiment({}, train=takes_memory)

def test_it(baseline):
    assert baseline.accuracy >= 0
"""


def test_what_runs_out_of_memory_ends(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray kills for its memory each time ends its test, with the cause, and not never."""
    suite.makeconftest("")
    suite.makepyfile(test_suite=GREEDY)
    for name in ("PYTEST_ADDOPTS", "RAY_ADDRESS", "RAY_task_oom_retries"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    result = suite.runpytest_subprocess("--ablation-executor=ray", "--ablation-seeds=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*was killed * since memory ran out: *low on memory*"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ablation-executor=slurm"], "*--ablation-executor=slurm: write local, ray, or ray://*"),
        (["--ablation-executor=ray", "--ablation-workers=0"], "*leave one of them out*"),
        (["--ablation-resources=gpus=1"], "*'gpus': *Did you mean \"num_gpus\"?"),
        (["--ablation-resources=num_gpus"], "*'num_gpus': write a name and an amount*"),
        (["--ablation-resources=num_gpus=1.5"], "*beyond one, GPUs are given whole*"),
        (["--ablation-resources=num_cpus=0"], "*is given nothing*"),
    ],
)
def test_a_wrong_option_is_refused(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    """Before anything is collected, in one line."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    result = suite.runpytest(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])
