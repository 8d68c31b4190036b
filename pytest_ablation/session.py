"""What one session of pytest has: its data, its study, and who trains for it."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_ablation import options, suite
from pytest_ablation.errors import AblationError, of_one_name

if TYPE_CHECKING:
    from pytest_ablation.arm import Arm
    from pytest_ablation.dataset import Dataset
    from pytest_ablation.execution.executor import Executor
    from pytest_ablation.experiment import Experiment
    from pytest_ablation.reference import Reference
    from pytest_ablation.store import Store
    from pytest_ablation.study import Study

STUDY = pytest.StashKey["Study"]()
STORE = pytest.StashKey["Store"]()
READY = pytest.StashKey["Executor"]()
DATA = pytest.StashKey["Dataset"]()
REFERENCE = pytest.StashKey["Reference"]()
NAMED = pytest.StashKey[dict[str, "Arm"]]()
SEEN = pytest.StashKey[dict[int, "Experiment"]]()


def study_of(session: pytest.Session, trainer: str = "") -> Study:
    """Return the session's study; who trains its first experiment tells of the machine."""
    config = session.config
    if STUDY not in config.stash:
        from pytest_ablation.execution import machine
        from pytest_ablation.plan import NothingTrained
        from pytest_ablation.profile import PROFILES
        from pytest_ablation.study import Study
        from pytest_ablation.training.device import sees_gpu

        machine.share_gpus()
        # Nothing that Keras has imported is garbage: each look at all of it took 0.4 s.
        gc.freeze()
        store = _store(config)
        try:
            executor = _ready(config, trainer) or _executor(config, store, sees_gpu(trainer))
        except AblationError as error:  # without a cluster no other test has one either
            session.shouldstop = str(error)
            raise
        profile = options.profile(config)
        if profile == "auto":
            profile = "full" if executor.uses_gpus() or sees_gpu(trainer) else "quick"
        config.stash[STUDY] = Study(
            store=store,
            profile=PROFILES[profile],
            asked_seeds=options.seeds(config),
            refresh=options.refresh(config),
            alpha=options.alpha(config),
            reference=config.stash.get(REFERENCE, None),
            comparisons=max(
                1, sum(map(suite.comparisons, filter(suite.may_compare, session.items)))
            ),
            executor=NothingTrained(executor) if options.plan(config) else executor,
        )
    return config.stash[STUDY]


def get_ready(config: pytest.Config, arms: int) -> None:
    """Start workers while other things are done, where Keras will probably train in them.

    So it will where the suite has imported it and the store is empty.

    Args:
        config: The session's.
        arms: How many arms there may be.
    """
    from pytest_ablation.execution import machine
    from pytest_ablation.execution.local import Workers

    store = _store(config)
    others = options.plan(config) or options.executor(config) != "local"
    is_apart = others or "PYTEST_XDIST_WORKER" in os.environ
    if is_apart or "keras" not in sys.modules or store.keys("runs"):
        return
    from pytest_ablation.training.device import gpus, sees_gpu

    machine.share_gpus()

    def start(*, expects_gpu: bool) -> Executor:
        executor = _executor(config, store, expects_gpu)
        if isinstance(executor, Workers):
            executor.get_ready(arms)
            config.stash[READY] = executor
        return executor

    # Before Keras is asked here, which takes as long as a worker takes to wake the GPU.
    executor = start(expects_gpu=bool(gpus()))
    if gpus() and not sees_gpu():
        executor.close()
        start(expects_gpu=False)


def _store(config: pytest.Config) -> Store:
    """Return the session's store: one, which warns once."""
    from pytest_ablation.store import Store

    return config.stash.setdefault(STORE, Store(options.store(config)))


def _ready(config: pytest.Config, trainer: str) -> Executor | None:
    """Return who was got ready to train, if that is whom this trainer wants."""
    from pytest_ablation.experiment import KERAS_TRAINER

    executor = config.stash.get(READY, None)
    if executor is None:
        return None
    del config.stash[READY]
    if trainer in ("", KERAS_TRAINER):
        return executor
    executor.close()
    return None


def _executor(config: pytest.Config, store: Store, sees_gpu: bool) -> Executor:
    """Return who trains."""
    from pytest_ablation.report.progress import shown

    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    sessions = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if (asked := options.executor(config)) != "local":
        from pytest_ablation.execution import connect

        return connect.executor(
            store,
            asked=asked,
            resources=options.resources(config),
            workers=options.workers(config),
            sessions=sessions,
            timeout=options.timeout(config),
            waiting=lambda: shown(reporter, capture),
            shows_output=config.getoption("capture") == "no",
        )
    from pytest_ablation.execution import local

    return local.executor(
        store,
        workers=options.workers(config),
        sees_gpu=sees_gpu,
        sessions=sessions,
        index=int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
        timeout=options.timeout(config),
        waiting=lambda: shown(reporter, capture),
        may_be_fewer=not options.plan(config),
    )


def data_of(config: pytest.Config) -> Dataset:
    """Return CIFAR-10 from where the options say, decoded once a session."""
    if DATA not in config.stash:
        from pytest_ablation import data

        config.stash[DATA] = data.load(options.data(config), options.store(config) / "data")
    return config.stash[DATA]


def reference_of(config: pytest.Config) -> Reference | None:
    """Return the findings that the session is compared with, if it is."""
    path = options.against(config)
    if path is None:
        return None
    from pytest_ablation import reference

    try:
        config.stash[REFERENCE] = reference.load(path)
    except AblationError as error:
        raise pytest.UsageError(f"--ablation-against={error}") from error
    return config.stash[REFERENCE]


def checked(experiment: object) -> None:
    """Refuse what is no experiment, or one whose trainer cannot be found."""
    from pytest_ablation import trainer
    from pytest_ablation.experiment import KERAS_TRAINER, Experiment

    if not isinstance(experiment, Experiment):
        raise AblationError(
            f"the fixture `experiment` returned {type(experiment).__name__}; return an Experiment."
        )
    if experiment.trainer != KERAS_TRAINER:
        trainer.found(experiment.train)


def look_ahead(request: pytest.FixtureRequest, experiment: Experiment, study: Study) -> None:
    """Before this experiment's first training, see what all its tests will need.

    What they surely need trains while other things are waited for. A wrong ablation is said now, so
    that who reads it can mend it; its test ends as an error when it is its turn.

    Raises:
        AblationError: Another experiment has its name, by which reports tell them apart.
    """
    _check_name(request.config, study.baseline(experiment))
    seen = request.config.stash.setdefault(SEEN, {})
    if id(experiment) in seen:
        return
    seen[id(experiment)] = experiment  # kept, so that the id stays its own
    from pytest_ablation import plan

    needed, to_come = [], []
    for item in suite.of_one_experiment(request.node):
        arms = [study.baseline(experiment)] if suite.trains_baseline(item) else []
        try:
            suite.check_marker(item)
            if suite.asks_for_a_variant(item):
                variant = study.variant(experiment, suite.ablation(item))
                arms += [variant] if suite.trains_variant(item) else []
                to_come.append((variant, suite.trains_variant(item), suite.times_steps(item)))
        except AblationError as error:
            skips = suite.may_be_skipped(item) or suite.is_to_be_skipped(item, error)
            if item is not request.node and not skips:
                _say(request.config, f"will end in an error: {item.nodeid}: {error}")
        needed.append(arms)
    if options.plan(request.config):
        plan.prepare(study, [arm for arms in needed for arm in arms])
        return
    for arms in needed:
        study.queue(*arms, seeds=study.seeds[0])
    for variant, trained, timed in to_come:
        study.foresee(variant, study.baseline(experiment), trained=trained, timed=timed)


def _check_name(config: pytest.Config, baseline: Arm) -> None:
    """Refuse a second experiment of one name."""
    name = baseline.experiment.name
    first = config.stash.setdefault(NAMED, {}).setdefault(name, baseline)
    try:
        is_other = (
            first is not baseline and first.trial(0).fingerprint != baseline.trial(0).fingerprint
        )
    except AblationError:
        return  # one cannot train: that is said of its own tests
    if is_other:
        raise AblationError(of_one_name(name))


def _say(config: pytest.Config, text: str) -> None:
    """Write a line in red, in the midst of a test."""
    from pytest_ablation.report.progress import uncaptured

    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if reporter is not None:
        with uncaptured(capture):
            reporter.ensure_newline()
            reporter.write_line(text, red=True)


def end(session: pytest.Session) -> None:
    """End the workers, and note what was used of the store."""
    if unused := session.config.stash.get(READY, None):
        unused.close()
    study = session.config.stash.get(STUDY, None)
    if study is None:
        return
    study.executor.close()
    if study.used:
        study.store.note_used(study.name, study.used)
