"""Suites of the tiny experiment, for the tests that run pytest inside pytest."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from pathlib import Path

import pytest

import pytest_ablation
from pytest_ablation import trackers

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

# A run of pytest inside pytest forgets what it imported, and these cannot be imported twice; of the
# plugin itself some modules would be of one run and some of another.
for module in ("keras", "PIL.Image", "pandas", "rich.table", "scipy.special"):
    importlib.import_module(module)
OF_RAY = {f"pytest_ablation.execution.{name}" for name in ("by_value", "connect", "node", "ray")}
for each in pkgutil.walk_packages(pytest_ablation.__path__, "pytest_ablation."):
    if each.name in OF_RAY and importlib.util.find_spec("ray") is None:
        continue
    if each.name.removeprefix("pytest_ablation.trackers.") not in trackers.NAMES:  # take seconds
        importlib.import_module(each.name)

TINY = Path(__file__).with_name("tiny.py")

CONFTEST = """
import pytest
from tiny import EXPERIMENT

@pytest.fixture(scope="session")
def experiment():
    return EXPERIMENT
"""


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Pytest's own, its runs training in this process, which has imported Keras for all of them."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--ablation-workers=0")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)  # of the job that runs these tests
    return pytester


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no study take another's for its own session, as all would where these run with -n."""
    monkeypatch.delenv("PYTEST_XDIST_TESTRUNUID", raising=False)


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the tiny experiment as its `experiment` fixture; the tests are the caller's."""
    pytester.makepyfile(tiny=TINY.read_text(encoding="utf-8"))
    pytester.makeconftest(CONFTEST)
    pytester.syspathinsert()
    return pytester


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's with nothing in it: a copy takes a thirtieth of making another."""
    for name in trackers.NAMES:
        importlib.import_module(f"pytest_ablation.trackers.{name}")
    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    importlib.import_module("mlflow").MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="session")
def mlflow_imported(empty_database: Path) -> None:
    """MLflow with all that it imports, and TensorBoard, likewise, for the tests that need them."""
