"""The pytest plugin: options, fixtures and hooks, each handing over to the module that owns it.

Loading it imports neither Keras nor numpy: what a suite without ablations does not need is
imported where it is used.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ablation import hookspecs, options, suite
from pytest_ablation.errors import AblationError, AblationWarning, TrainingError
from pytest_ablation.report import junit
from pytest_ablation.reporting import Reporting
from pytest_ablation.session import (
    checked,
    data_of,
    end,
    get_ready,
    look_ahead,
    reference_of,
    study_of,
)

if TYPE_CHECKING:
    from pytest_ablation.arm import Arm
    from pytest_ablation.claim import Asserted
    from pytest_ablation.dataset import Dataset
    from pytest_ablation.evidence import Entry
    from pytest_ablation.experiment import Experiment
    from pytest_ablation.trained import Trained

PACKAGE = Path(__file__).parent
# Keras 3.15 has NumPy 2 copy its variables and tensors so, hundreds of times a training.
KERAS_ASKS_IN_THE_OLD_WAY = (
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras"
)

TRAINED = pytest.StashKey["Trained"]()
ASSERTED = pytest.StashKey["Asserted"]()
TOLD = pytest.StashKey[tuple[str, int]]()  # the outcome, and of how many comparisons
OF_A_TEST: tuple[pytest.StashKey[Any], ...] = (TRAINED, ASSERTED, TOLD)
SHEET_SENT = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    options.add(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse a wrong option before anything is collected."""
    config.addinivalue_line(
        "markers", "ablation(edit): the edit whose variant the test's `variant` fixture trains"
    )
    config.addinivalue_line("filterwarnings", KERAS_ASKS_IN_THE_OLD_WAY)
    options.profile(config)
    options.seeds(config)
    options.alpha(config)
    options.workers(config)
    options.timeout(config)
    options.executor(config)
    options.resources(config)
    if not hasattr(config, "workerinput"):
        options.check_exports(config)
        options.check_save(config)
        options.check_tracked(config)
    reference = reference_of(config)
    if options.plan(config):
        config.option.setuponly = True  # pytest's own way to set tests up and not call them
    config.pluginmanager.register(Reporting(config, reference), "ablation-reporting")
    if not hasattr(config, "workerinput"):
        _track(config)


def _track(config: pytest.Config) -> None:
    """Have the session kept in the trackers that are asked for."""
    for number, (name, where) in enumerate(options.tracked(config)):
        from pytest_ablation.trackers.tracking import Tracking

        tracking = Tracking(config, name, where, options.exports(config))
        config.pluginmanager.register(tracking, f"ablation-tracking-{number}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the workers, however the session ends, and note what was used of the store."""
    end(session)


@contextmanager
def _one_line() -> Iterator[None]:
    """Say a mistake in the study as one line, without the way it took through this package."""
    try:
        yield
    except AblationError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


# ----------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def cifar10(pytestconfig: pytest.Config) -> Dataset:
    """CIFAR-10 as a Dataset: from where --ablation-data says."""
    with _one_line():
        data = data_of(pytestconfig)
    if data.stand_in:
        warnings.warn(AblationWarning(data.stand_in), stacklevel=2)
    return data


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """What is studied; a suite overrides it with its own Experiment."""
    pytest.fail(
        "no experiment: define a session-scoped fixture `experiment` in a conftest.py or in this "
        "module that returns Experiment(model_function, Recipe(…), dataset).",
        pytrace=False,
    )


@pytest.fixture
def baseline(request: pytest.FixtureRequest, experiment: Experiment) -> Trained:
    """The experiment unedited; it trains when a quantity of it is compared."""
    from pytest_ablation.trained import Trained

    with _one_line():
        checked(experiment)
        study = study_of(request.session, experiment.trainer)
        look_ahead(request, experiment, study)
        trained = Trained(study.baseline(experiment), asserted=_asserted(request.node))
    request.node.stash.setdefault(TRAINED, trained)
    return trained


@pytest.fixture
def variant(request: pytest.FixtureRequest, experiment: Experiment) -> Trained:
    """The experiment under this test's ablation, from the marker or an indirect parameter."""
    from pytest_ablation.trained import Trained

    with _one_line():
        checked(experiment)
        study = study_of(request.session, experiment.trainer)
        look_ahead(request, experiment, study)
        ablation = suite.ablation(request.node)

        def parts() -> tuple[Arm, ...]:
            return tuple(study.part(experiment, part) for part in ablation.parts)

        try:
            arm = study.variant(experiment, ablation)
        except AblationError as error:
            if suite.is_to_be_skipped(request.node, error):
                pytest.skip(str(error))
            raise
        trained = Trained(
            arm,
            study.baseline(experiment),
            _asserted(request.node),
            parts,
        )
    request.node.stash[TRAINED] = trained
    return trained


def _asserted(item: pytest.Item) -> Asserted:
    from pytest_ablation.claim import Asserted

    return item.stash.setdefault(ASSERTED, Asserted(expected=suite.comparisons_made_once(item)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget what a test compared before, where another plugin runs it again; check its marker."""
    for key in OF_A_TEST:
        if key in item.stash:
            del item.stash[key]
    _note(item, [])
    with _one_line():
        suite.check_marker(item)


@pytest.hookimpl(specname="pytest_runtest_setup", trylast=True)
def pytest_ablation_as_set_up(item: pytest.Item) -> None:
    """Refuse what a test was given as its `variant` and is none."""
    if "pytest_ablation.ablation" in sys.modules:
        with _one_line():
            suite.check_given(item)


def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> None:
    """Refuse a test that the marker has made an ablation of, which pytest would leave out."""
    if "pytest_ablation.ablation" in sys.modules and collector.funcnamefilter(name):
        with _one_line():
            suite.check_is_test(name, obj)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse ablations that would be a test's `variant` themselves, untrained."""
    if "pytest_ablation.ablation" in sys.modules:
        with _one_line():
            for mark in metafunc.definition.iter_markers("parametrize"):
                suite.check_parameters(*mark.args, **mark.kwargs)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a parametrized test after its ablation."""
    if "pytest_ablation.ablation" not in sys.modules:
        return None
    from pytest_ablation.ablation import Ablation

    return re.sub(r"[^\w.=*]+", "-", str(val)).strip("-") if isinstance(val, Ablation) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a plan's session, leave other tests aside."""
    if options.plan(config):
        others = [item for item in items if not suite.is_of_a_study(item)]
        if others:
            config.hook.pytest_deselected(items=others)
            items[:] = filter(suite.is_of_a_study, items)


# ------------------------------------------------------------------------ reports and findings


def pytest_report_collectionfinish(
    config: pytest.Config, items: list[pytest.Item]
) -> list[str] | None:
    """Say, before anything runs, which images are studied; refuse those that cannot be read."""
    of_arms = [*filter(suite.is_of_an_arm, items)]
    if not of_arms or config.option.collectonly:
        return None
    get_ready(config, len(of_arms) + 1)
    if not any("cifar10" in getattr(item, "fixturenames", ()) for item in of_arms):
        return None
    try:
        data = data_of(config)
    except AblationError as error:
        raise pytest.UsageError(str(error)) from error
    if data.stand_in:
        return [f"!!! NOT CIFAR-10: {data.stand_in}", f"!!! studying {data.name}"]
    return [f"ablation: {data.name}, {data.source}"]


@pytest.hookimpl(specname="pytest_runtest_makereport")
def pytest_ablation_as_reported(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Say a mistake at the user's line, and have doubt fail where it must.

    By now pytest has put in what `unittest` caught, and has yet to ask whether a test may fail.
    """
    error = call.excinfo.value if call.excinfo else None
    if error and _is_undecided(error) and options.strict(item.config):
        failure = pytest.fail.Exception(f"undecided: {error}", pytrace=False)
        call.excinfo = pytest.ExceptionInfo.from_exception(
            failure.with_traceback(error.__traceback__)
        )
    if isinstance(error, AblationError) and not item.config.getoption("fulltrace", False):
        _leave_out_own_frames(error.__traceback__)
        call.excinfo = pytest.ExceptionInfo.from_exception(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what the test found to its report, which pytest-xdist carries to the controller."""
    report = yield
    error = call.excinfo.value if call.excinfo else None  # of a TestCase not known before
    if report.failed and report.when == "setup" and suite.is_of_a_study(item):
        report.ablation_error = True  # type: ignore[attr-defined] # pytest carries it along
    subject = item.stash.get(TRAINED, None)
    if subject is None:
        return report
    if options.plan(item.config):
        return _planned(item, subject, report, error)
    if isinstance(error, TrainingError) and report.failed:
        # Nothing was found of the claim: no failure, but an error, which pytest knows by its phase.
        report.when = "setup" if report.when == "call" else report.when
        report.longrepr = str(error)
    elif _is_undecided(error):
        path, line, _ = item.location
        report.longrepr = (str(path), (line or 0) + 1, f"undecided: {error}")
        report.undecided = True  # type: ignore[attr-defined] # pytest carries it along
    elif report.when != "call" and not _has_more(item, subject):
        return report
    try:
        entry = _entry(item, subject, report)
    except Exception:  # what the test raised of an arm, asking for its trial raises here too
        if not report.failed:
            raise
        return report
    report.ablation = entry.as_plain()  # type: ignore[attr-defined] # as above
    item.stash[TOLD] = entry.outcome, len(entry.compared)
    _note(item, junit.properties(entry.compared))
    report.user_properties = list(item.user_properties)
    return report


def _is_undecided(error: BaseException | None) -> bool:
    if "pytest_ablation.comparison" not in sys.modules:
        return False
    from pytest_ablation.comparison import Undecided

    return isinstance(error, Undecided)


def _has_more(item: pytest.Item, subject: Trained) -> bool:
    """Tell whether a fixture compared something that no report has told of yet."""
    _, told = item.stash.get(TOLD, ("", 0))
    return len(subject.asserted.made) > told


def _note(item: pytest.Item, properties: list[tuple[str, object]]) -> None:
    """Have these properties of ours, and no others: --junitxml takes a test's from its teardown."""
    others = [each for each in item.user_properties if not junit.is_ours(each)]
    item.user_properties[:] = [*others, *properties]


def _leave_out_own_frames(trace: TracebackType | None) -> None:
    """Say a mistake at the user's line, without the way it took through this package."""
    while trace is not None:
        following = trace.tb_next
        while following and PACKAGE in Path(following.tb_frame.f_code.co_filename).parents:
            following = following.tb_next
        trace.tb_next = following
        trace = following


def _planned(
    item: pytest.Item, subject: Trained, report: pytest.TestReport, raised: BaseException | None
) -> pytest.TestReport:
    """Attach the trials that a test would need to the report of its setup."""
    from pytest_ablation import plan

    in_fixture = isinstance(raised, plan.AskedForTrainingError)
    if report.when == "setup" and (report.passed or in_fixture):
        of_variant = suite.asks_for_a_variant(item)
        arms = [subject.baseline or subject.arm] if suite.trains_baseline(item) else []
        arms += [subject.arm] if in_fixture or (of_variant and suite.trains_variant(item)) else []
        study = study_of(item.session)
        try:
            planned = plan.of(study, arms)
        except AblationError as error:
            report.outcome, report.longrepr = "failed", str(error)
        else:
            report.ablation_plan = {  # type: ignore[attr-defined] # pytest carries it along
                "experiment": subject.arm.experiment.name,
                "trials": [each.as_plain() for each in planned],
                "ablation": subject.arm.description if of_variant else "",
                "changes": subject.difference.lines if of_variant else (),
                "workers": plan.at_a_time(subject.arm),
                "seeds": study.seeds,
            }
    return report


def _entry(item: pytest.Item, subject: Trained, report: pytest.TestReport) -> Entry:
    from pytest_ablation.evidence import WORST_FIRST, entry_of

    data = subject.arm.experiment.dataset
    outcome: str = report.outcome
    if report.failed and report.when != "call":
        outcome = "error"
    for status, mark in (("undecided", "undecided"), ("xfailed", "wasxfail")):
        if hasattr(report, mark) and outcome == "skipped":
            outcome = status
    if told := item.stash.get(TOLD, None):  # by a subtest, or before a fixture was torn down
        outcome = min(outcome, told[0], key=WORST_FIRST.index)
    wants_sheet = options.writes_page(item.config) and SHEET_SENT not in item.config.stash
    item.config.stash[SHEET_SENT] = True
    return entry_of(
        item.nodeid,
        outcome,
        subject,
        told=(inspect.getdoc(item.obj) or "") if hasattr(item, "obj") else "",
        sample=_sheet(data) if wants_sheet and data else "",
        keeps=bool(options.save(item.config) or options.against(item.config)),
    )


def _sheet(data: Dataset) -> str:
    from pytest_ablation.report.images import sheet

    return sheet(data)


@pytest.hookimpl(tryfirst=True)  # pytest passes over subtests that are skipped
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, Any] | None:
    """Give undecided tests a status of their own."""
    if getattr(report, "undecided", False):
        return "undecided", "U", ("UNDECIDED", {"yellow": True})
    return None


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain a bound that does not hold by the values it rests on."""
    if "pytest_ablation.comparison" not in sys.modules:
        return None
    from pytest_ablation.comparison import Quantity

    for compared in (left, right):
        if isinstance(compared, Quantity) and compared.made:
            return [f"{_written(left)} {op} {_written(right)}", *compared.explained()]
    return None


def _written(side: object) -> str:
    return getattr(side, "name", None) or repr(side)
