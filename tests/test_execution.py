"""Trainings in worker processes, some of which go wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Protocol

import pytest

from pytest_ablation import Experiment, configure, duets, insert, override, plan, remove
from pytest_ablation.arm import Arm
from pytest_ablation.errors import TrainingError
from pytest_ablation.execution import local, machine, sharing
from pytest_ablation.execution.board import Board
from pytest_ablation.execution.executor import Executor
from pytest_ablation.execution.here import Here
from pytest_ablation.execution.local import Workers
from pytest_ablation.execution.task import Together
from pytest_ablation.pairs import Settled
from pytest_ablation.profile import PROFILES
from pytest_ablation.store import Store
from pytest_ablation.study import Study
from pytest_ablation.training import device, fit
from pytest_ablation.verdict import Bound
from tests import faulty, obedient
from tests.tiny import EXPERIMENT, data

IsShown = Callable[[Board], bool]
BOARDS: list[Board] = []
LOOKING: list[Callable[[Board], None]] = []


def show(board: Board) -> None:
    """Keep a board, and let those look at it who wait for something to be shown."""
    BOARDS.append(board)
    for look in LOOKING:
        look(board)


def workers_of(
    store: Store,
    *,
    workers: int | None = None,
    sees_gpu: bool = False,
    sessions: int = 1,
    index: int = 0,
) -> Workers:
    """Return the workers of a session, whose boards are kept in BOARDS."""
    executor = local.executor(
        store,
        workers=workers,
        sees_gpu=sees_gpu,
        sessions=sessions,
        index=index,
        timeout=None,
        waiting=lambda: nullcontext(show),
    )
    assert isinstance(executor, Workers)
    return executor


def study_of(store: Store, executor: Executor) -> Study:
    """Return a study of one seed an arm."""
    return Study(
        store=store,
        profile=PROFILES["full"],
        asked_seeds=(1, 1),
        refresh=False,
        executor=executor,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study whose two workers serve all tests of who trains what, and when."""
    store = Store(tmp_path_factory.mktemp("store"))
    executor = workers_of(store, workers=2)
    yield study_of(store, executor)
    executor.close()


@pytest.fixture(scope="module")
def keras_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study whose one worker, of one thread as for timing, serves all tests of Keras in it."""
    store = Store(tmp_path_factory.mktemp("keras_store"))
    executor = workers_of(store, workers=1, sessions=machine.cores())
    yield study_of(store, executor)
    executor.close()


class Hold(Protocol):
    """Holds trainings of the obedient experiment until something is shown."""

    def __call__(self, *, begin: IsShown | None = None, end: IsShown | None = None) -> None:
        """Hold those that are about to begin, or to end, and forget what was shown."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The obedient experiment's folder, in which nothing is held."""
    folder = tmp_path_factory.mktemp("obedient")
    for name in (obedient.MAY_BEGIN, obedient.MAY_END):
        (folder / name).touch()
    return folder


@pytest.fixture(scope="module")
def experiment(folder: Path) -> Experiment:
    """The obedient experiment."""
    return obedient.experiment(folder)


@pytest.fixture
def hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    """Hold trainings until something is shown, so that what is faster decides nothing."""
    monkeypatch.setattr(sharing, "SECONDS_BETWEEN_LOOKS", 0.02)  # what begins is shown at once

    def until(*, begin: IsShown | None = None, end: IsShown | None = None) -> None:
        BOARDS.clear()
        for name, is_shown in ((obedient.MAY_BEGIN, begin), (obedient.MAY_END, end)):
            if is_shown is not None:
                (folder / name).unlink()
                LOOKING.append(letting(folder / name, is_shown))

    yield until
    LOOKING.clear()
    for name in (obedient.MAY_BEGIN, obedient.MAY_END):
        (folder / name).touch()


def letting(file: Path, is_shown: IsShown) -> Callable[[Board], None]:
    """Return what makes a file when it is shown a board as is waited for."""

    def look(board: Board) -> None:
        if is_shown(board):
            file.touch()

    return look


def running(board: Board) -> set[str]:
    """Return the names of what a board shows."""
    return {name for name, _ in board.running}


def begun() -> set[str]:
    """Return what was under way since trainings were held."""
    return {name for board in BOARDS for name in running(board)}


def is_over(arm: Arm, seed: int) -> IsShown:
    """Return what tells whether a training has ended, and its worker has been given what is next.

    It is in the store somewhat before its worker is free.
    """
    key, name = arm.trial(seed).fingerprint, f"{arm.description}, seed {seed}"
    return lambda board: arm.study.store.load(key) is not None and name not in running(board)


def finish(*arms: Arm) -> None:
    """Wait for what was queued or begun ahead, so that the next test's workers are idle."""
    for each in arms:
        for seed in range(2):
            each.run(seed)


def in_this_process(folder: Path) -> Study:
    """Return a study that trains in this process, and knows of no other's runs."""
    return study_of(Store(folder), Here(waiting=lambda: nullcontext(lambda board: None)))


def test_a_worker_trains_as_this_process_does(keras_study: Study, tmp_path: Path) -> None:
    """Where a trial is trained does not change a number, and its run is in the store."""
    study = keras_study
    there = study.baseline(EXPERIMENT).run(0)
    trial = study.baseline(EXPERIMENT).trial(0)
    run = in_this_process(tmp_path).baseline(EXPERIMENT).run(0)
    assert there.metrics == run.metrics
    assert there.curves == run.curves
    assert there.correct == run.correct
    assert study.trained.count(trial.fingerprint) == 1
    assert study.store.load(trial.fingerprint) is not None
    assert not list((study.store.folder / "checkpoints").glob("*.npz"))


def test_processes_of_a_session_share_the_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under pytest-xdist no two processes train on one GPU while another is free."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    seen = []
    for index in range(2):
        executor = workers_of(Store(tmp_path), sees_gpu=True, sessions=2, index=index)
        seen.append([each["CUDA_VISIBLE_DEVICES"] for each in executor.environments])
        executor.close()
    assert seen == [["0", "2"], ["1"]]


def test_a_plan_takes_those_that_share_a_gpu_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beside each other they take as much longer."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for sees_gpu, at_a_time in ((True, 2), (False, 5)):
        monkeypatch.setattr(device, "sees_gpu", lambda trainer="", sees_gpu=sees_gpu: sees_gpu)
        executor = workers_of(Store(tmp_path), workers=5, sees_gpu=sees_gpu)
        study = study_of(Store(tmp_path), executor)
        assert plan.at_a_time(study.baseline(EXPERIMENT)) == at_a_time
        executor.close()


def test_what_is_queued_trains_while_other_things_are_done(
    study: Study, experiment: Experiment, hold: Hold
) -> None:
    """A result that was queued is there when it is asked for, or soon after, trained once."""
    narrow, baseline = study.variant(experiment, override(width=4)), study.baseline(experiment)
    hold(end=lambda board: running(board) == {"set width=4, seed 0", "baseline, seed 0"})
    study.queue(narrow, baseline, seeds=2)
    assert narrow.run(1).seed == 1
    assert narrow.run(0).seed == 0
    trained = [narrow.trial(seed).fingerprint for seed in (1, 0)]
    assert [key for key in study.trained if key in trained] == trained
    assert BOARDS[0].known == BOARDS[0].done + 4
    finish(baseline)


def test_an_idle_worker_trains_what_is_probably_next(
    study: Study, experiment: Experiment, hold: Hold
) -> None:
    """The seed after those asked for is under way while they are waited for, and counts later."""
    asking = replace(study, asked_seeds=(1, 2))
    wide = asking.variant(experiment, override(width=24))
    hold(end=lambda board: running(board) == {"set width=24, seed 0", "set width=24, seed 1"})
    asking.queue(wide, seeds=1, following=[wide])
    wide.run(0)
    # What nobody has asked for is not counted.
    assert {board.known - board.done for board in BOARDS} == {1}
    assert wide.run(1).seed == 1
    keys = [wide.trial(seed).fingerprint for seed in (0, 1)]
    assert [key for key in asking.trained if key in keys] == keys


def test_an_idle_worker_trains_the_baseline_ahead_first(
    study: Study, experiment: Experiment, hold: Hold
) -> None:
    """Other tests will ask for the baseline's next seed too, and for a variant's none."""
    asking = replace(study, asked_seeds=(1, 2))
    fresh = override(width=6)(experiment)
    narrow, baseline = asking.variant(fresh, override(width=5)), asking.baseline(fresh)
    baseline.run(0)
    hold(end=lambda board: running(board) == {"set width=5, seed 0", "baseline, seed 1"})
    asking.queue(narrow, baseline, seeds=1, following=[baseline, narrow])
    narrow.run(0)
    assert "set width=5, seed 1" not in running(BOARDS[0])
    finish(narrow, baseline)


def test_what_a_verdict_no_longer_needs_is_not_trained_ahead(
    study: Study, experiment: Experiment, hold: Hold
) -> None:
    """A worker is idle for what is compared now, not for what was compared before."""
    asking = replace(study, asked_seeds=(1, 2))
    before = asking.variant(experiment, override(width=23, held=[]))
    now = asking.variant(experiment, override(width=22, held=[0]))
    hold(end=is_over(now, 1))
    asking.queue(before, seeds=1, following=[before])
    asking.queue(now, seeds=1, following=[now])
    before.run(0)
    now.run(0)
    assert f"{before.description}, seed 1" not in begun()
    assert before.trial(1).fingerprint not in study.store.keys("runs")
    finish(now)


def test_an_idle_worker_trains_what_a_later_test_will_probably_need(
    study: Study, experiment: Experiment, hold: Hold
) -> None:
    """The least seeds seldom tell: the one after them, of a variant to come, counts later."""
    asking = replace(study, asked_seeds=(1, 3))
    now = asking.variant(experiment, override(width=21))
    later = asking.variant(experiment, override(width=26, held=[]))
    hold(end=is_over(later, 1))
    asking.foresee(later, asking.baseline(experiment), trained=True, timed=False)
    asking.queue(now, seeds=1)
    now.run(0)
    assert f"{later.description}, seed 2" not in begun()
    assert later.trial(2).fingerprint not in study.store.keys("runs")
    finish(later)


@pytest.mark.parametrize(
    ("does", "message"),
    [
        (
            "leave",
            r"(?s)set does='leave', seed 0: the training, tried 2 times, was lost: its worker "
            r"process ended with exit code 3\. Its last lines:\n.*leaving",
        ),
        ("raise", r"(?s)the training failed: ValueError\. Its last lines:\n.*Tuesday"),
        (
            "sleep",
            r"(?s)took longer than --ablation-timeout and was ended\. Its last.*good night",
        ),
    ],
)
def test_a_fault_stays_where_it_is(
    study: Study, experiment: Experiment, does: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that goes wrong says how, once and for all, and the others go on."""
    wrong = study.variant(experiment, override(does=does))
    with monkeypatch.context() as only_now:
        if does == "sleep":
            only_now.setattr(study.executor, "timeout", 3.0)  # it says good night at once
        with pytest.raises(TrainingError, match=message) as first:
            wrong.run(0)
    with pytest.raises(TrainingError) as second:
        wrong.run(0)
    assert second.value is first.value
    other = study.variant(experiment, override(width=30, does=f"not {does}"))
    assert other.run(0).metrics == {"accuracy": 0.8}


def test_a_fault_of_a_layer_stays_where_it_is(keras_study: Study) -> None:
    """A network that fails in its training says how, once and for all, and the others go on."""
    study = keras_study
    wrong = study.variant(EXPERIMENT, insert(faulty.Raises(), after="flatten"))
    message = r"(?s)the training failed: ValueError\. Its last lines:\n.*Tuesday"
    with pytest.raises(TrainingError, match=message) as first:
        wrong.run(0)
    with pytest.raises(TrainingError) as second:
        wrong.run(0)
    assert second.value is first.value
    assert study.variant(EXPERIMENT, remove("drop1")).run(0).steps == 48


def test_what_failed_is_forgotten(keras_study: Study) -> None:
    """A training that memory was short for leaves no less of it to the next in its process."""
    counts: list[str] = []
    for units in (3, 4):
        counting = insert(faulty.Counts(), after="flatten")
        wrong = keras_study.variant(EXPERIMENT, configure("dense1", units=units) + counting)
        with pytest.raises(TrainingError) as error:
            wrong.run(0)
        counts += re.findall(r"\d+ in memory", str(error.value))
    assert counts == [counts[0]] * 2


def test_a_training_that_was_killed_is_tried_again(
    study: Study, experiment: Experiment, folder: Path
) -> None:
    """What was the machine's fault costs time, and nothing else."""
    file = folder / obedient.ONCE
    file.touch()
    once = study.variant(experiment, override(does="be killed once", width=20))
    assert once.run(0).metrics == {"accuracy": 0.7}
    assert not file.exists()


def test_the_time_left_is_no_less_than_that_of_a_training_that_is_waited_for(
    study: Study, experiment: Experiment, hold: Hold
) -> None:
    """Of the last training no other worker takes a part: it would be said to take half as long."""
    longer = study.variant(experiment, override(width=60))
    hold(end=lambda board: any(progress for _, progress in board.running))
    longer.run(0)
    shown = [
        (board.seconds_left, progress.seconds_left)
        for board in BOARDS
        for name, progress in board.running
        if progress and name == f"{longer.description}, seed 0"
    ]
    assert shown
    assert all(of_all is not None and of_all >= one for of_all, one in shown)


def test_a_trial_of_another_session_is_waited_for(
    study: Study, experiment: Experiment, hold: Hold, tmp_path: Path
) -> None:
    """A trial that another process trains is not trained here too: its run is taken over."""
    theirs, other = (study.variant(experiment, override(width=each)) for each in (2, 3))
    trial = theirs.trial(0)
    hold(end=lambda board: running(board) == {"set width=3, seed 0"})
    with Store(study.store.folder).lock(trial.fingerprint):
        study.queue(theirs, other, seeds=1)
        other.run(0)
        run = in_this_process(tmp_path).variant(experiment, override(width=2)).run(0)
        study.store.save(trial, run)
    assert theirs.run(0) == run
    assert trial.fingerprint not in study.trained


def test_steps_are_timed_in_a_worker(keras_study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ratio of times is measured in a process of its own and kept; a wide network is slower."""
    study = keras_study
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")  # where it is not measured ahead
    monkeypatch.setattr(duets, "DUET_SECONDS", 2.0)
    wide = study.variant(EXPERIMENT, configure("dense1", units=5_000))
    settled = Settled(bound=Bound(at_least=0.1))
    before = len(study.store.keys("duets"))
    duet = study.duets.of(wide, study.baseline(EXPERIMENT), settled)
    assert settled.verdict(duet).outcome == "holds"
    assert len(study.store.keys("duets")) == before + 1
    assert study.duets.of(wide, study.baseline(EXPERIMENT), settled) is duet


def test_a_ratio_that_leaves_a_bound_open_is_measured_again(
    keras_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What told enough for one bound, or was timed ahead for none, need not tell of another."""
    study = keras_study
    wide = study.variant(EXPERIMENT, configure("dense1", units=50))
    baseline = study.baseline(EXPERIMENT)
    monkeypatch.setattr(duets, "DUET_SECONDS", 0.1)
    first = study.duets.of(wide, baseline, Settled(bound=Bound()))
    monkeypatch.setattr(duets, "DUET_SECONDS", 2 * first.seconds)
    open_yet = Settled(bound=Bound(at_least=median(first.log_ratios)))
    second = study.duets.of(wide, baseline, open_yet)
    assert second is not first


@pytest.mark.parametrize("process", ["", "gw0"])
def test_an_idle_worker_times_the_steps_that_a_test_will_ask_for(
    study: Study,
    experiment: Experiment,
    hold: Hold,
    monkeypatch: pytest.MonkeyPatch,
    process: str,
) -> None:
    """They are timed while trainings are waited for, but not by each process of pytest-xdist."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    if process:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", process)
    monkeypatch.setattr(duets, "DUET_SECONDS", 2.0)
    wide = study.variant(EXPERIMENT, configure("dense1", units=5_000 + len(process)))
    other = study.variant(experiment, override(width=12 + len(process)))
    baseline = study.baseline(EXPERIMENT)
    waited_for = f"{other.description}, seed 0"
    ahead = {} if process else {f"time a step, {wide.description} against baseline"}
    hold(end=lambda board: running(board) == {waited_for, *ahead})
    study.queue(other, seeds=1)
    study.foresee(wide, baseline, trained=False, timed=True)
    study.queue(other, seeds=1)
    other.run(0)
    assert begun() == {waited_for, *ahead}
    if not process:
        settled = Settled(bound=Bound(at_least=0.1))
        assert settled.verdict(study.duets.of(wide, baseline, settled)).outcome == "holds"


def test_what_compiles_for_a_gpu_does_so_in_turn(
    study: Study, experiment: Experiment, hold: Hold
) -> None:
    """Of arms whose seeds train at once a second begins when the first one's training has begun."""
    tasks = []
    for edit in (override(width=9, begin_held=[0]), override(width=10)):
        arm = study.variant(experiment, edit)
        trainings = tuple(study._training(arm, seed) for seed in range(2))
        tasks.append(Together(trainings=trainings, name=arm.description))
    first, second = (task.name for task in tasks)
    hold(
        begin=lambda board: running(board) >= {first},
        end=lambda board: running(board) == {first, second},
    )
    for task in tasks:
        study.executor.queue(task)
    for task in tasks:
        assert len(study.executor.result(task).value) == 2
    assert running(BOARDS[0]) == {first}
    both = next(dict(board.running) for board in BOARDS if running(board) == {first, second})
    assert both[first]


@pytest.mark.slow
def test_how_trainings_share_the_cores_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was faster trains, and is remembered: with other threads the numbers may be others."""
    monkeypatch.setattr(sharing, "WORTH_A_PROBE", 0.0)
    monkeypatch.setattr(local, "cores", lambda: 2)
    for tried in (True, False):
        BOARDS.clear()
        executor = workers_of(Store(tmp_path))
        here = Study(
            store=Store(tmp_path),
            profile=PROFILES["full"],
            asked_seeds=(2, 2),
            refresh=not tried,
            executor=executor,
        )
        baseline = here.baseline(EXPERIMENT)
        here.queue(baseline, seeds=2)
        run = baseline.run(0)
        assert run.curves == fit.train(baseline.trial(0), EXPERIMENT.data, lambda _: None).curves
        executor.close()
        assert tried == any(sharing.TRYING in dict(board.running) for board in BOARDS)
        trial = baseline.trial(0)
        found = here.store.recall("workers", f"{trial.model}/{trial.recipe}/2")
        assert found in (1, 2)
        assert executor.workers == found


def test_data_of_ones_own_reaches_the_workers(study: Study, tmp_path: Path) -> None:
    """Arrays made in a conftest are what is trained on, whatever copy they were made from."""
    half = replace(data(), x_train=data().x_train[:150], y_train=data().y_train[:150])
    whole, of_half = (
        Experiment({"of": "data"}, data=given, train=obedient.add_up) for given in (data(), half)
    )
    there, run = (each.baseline(of_half).run(0) for each in (study, in_this_process(tmp_path)))
    assert there.metrics == run.metrics
    assert there.metrics["x_train"] == half.x_train.sum()
    assert study.baseline(whole).run(0).metrics["rows of x_train"] == 300
    assert there.metrics["rows of x_train"] == 150


def test_workers_share_the_cores(tmp_path: Path) -> None:
    """However many workers and sessions there are, their threads are no more than the cores."""
    cores = machine.cores()
    for workers, sessions in ((None, 1), (1, 1), (2, 1), (1, 2), (64, 1)):
        executor = workers_of(Store(tmp_path), workers=workers, sessions=sessions)
        slots = executor._made or executor._make(executor.environments)
        assert len(slots) == executor.workers
        assert all(slot.threads >= 1 for slot in slots)
        threads = sum(slot.threads for slot in slots) * sessions
        assert threads <= max(cores, executor.workers * sessions)
        executor.close()


@pytest.mark.parametrize(
    ("allowed", "devices"),
    [("0,2", ["0", "2"]), ("", []), ("-1", []), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"])],
)
def test_workers_keep_to_the_gpus_they_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: str, devices: list[str]
) -> None:
    """One worker a GPU, each seeing its own, of those that CUDA_VISIBLE_DEVICES allows."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    found = device.gpus()
    assert found == devices
    executor = workers_of(Store(tmp_path), sees_gpu=True)
    if found:
        assert [each["CUDA_VISIBLE_DEVICES"] for each in executor.environments] == found
        assert {slot.threads for slot in executor._made} == {machine.cores()}
    executor.close()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == allowed
