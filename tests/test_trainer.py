"""A trainer of the user's own: how it is named, and what its trials' fingerprints stand on."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ablation import AblationError, trainer


def train(trial: Any, data: Any, progress: Any) -> dict[str, float]:
    """Return a metric."""
    return {"accuracy": 0.5}


def of_two(trial: Any, data: Any) -> dict[str, float]:
    """Lack an argument."""
    return {"accuracy": 0.5}


class Fits:
    """Holds a trainer."""

    @staticmethod
    def train(trial: Any, data: Any, progress: Any) -> dict[str, float]:
        """Return a metric."""
        return {"accuracy": 0.5}

    def __call__(self, trial: Any, data: Any, progress: Any) -> dict[str, float]:
        """Return a metric."""
        return {"accuracy": 0.5}


def test_a_function_is_known_by_its_name() -> None:
    """A worker process and a later session find the function under this name."""
    assert trainer.named(train) == "tests.test_trainer:train"
    assert trainer.named(Fits.train) == "tests.test_trainer:Fits.train"
    assert trainer.found("tests.test_trainer:train") is train


def test_a_function_that_no_process_would_find_is_refused() -> None:
    """A lambda, a nested function or an object is refused where it is written, in one line."""

    def nested(trial: Any, data: Any, progress: Any) -> dict[str, float]:
        return {"accuracy": 0.5}

    wrong: tuple[Any, ...] = (lambda t, d, p: {}, nested, functools.partial(train), Fits())
    for each in wrong:
        with pytest.raises(AblationError, match=r"at the top level of a module: def train\(trial"):
            trainer.named(each)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (of_two, r"train=of_two\): it is called as train\(trial, data, progress\): too many"),
        (3, "pass a function"),
        ("tests.test_trainer.train", 'write "module:function"'),
    ],
)
def test_what_is_no_trainer_is_refused(wrong: Any, message: str) -> None:
    """A trainer of another shape is known before anything trains."""
    with pytest.raises(AblationError, match=message):
        trainer.named(wrong)


@pytest.mark.parametrize("name", ["tests.test_trainer:trian", "tests.nowhere:train"])
def test_a_name_without_a_function_is_an_error(name: str) -> None:
    """A typo in a trainer's name is one line."""
    with pytest.raises(AblationError, match=f'train="{name}"'):
        trainer.found(name)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which modules of a user's own are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, **modules: str) -> trainer.Made:
    """Write modules, import "study", and return what its function is made of."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    for name in [*modules, "study"]:
        sys.modules.pop(name, None)
    return trainer.made_of(importlib.import_module("study").train)


STUDY = """
import numpy as np
from helper import half

def train(trial, data, progress):
    import late
    from sklearn.svm import SVC
    return {"accuracy": half(1.0)}
"""


def test_the_fingerprint_stands_on_all_modules_of_ones_own(package: Path) -> None:
    """Changing a function that the trainer calls, wherever it is, trains anew; a test does not."""
    before = write(
        package, study=STUDY, helper="def half(x): return x / 2", late="x = 1", other="y = 1"
    )
    assert set(before.sources) == {"study", "helper", "late"}
    assert write(package, other="y = 2").sources == before.sources
    for name, text in {"helper": "def half(x): return x * 0.5", "late": "x = 2"}.items():
        after = write(package, **{name: text})
        assert {n for n, digest in after.sources.items() if before.sources[n] != digest} == {name}
        before = after


HELPER = """
import json, pytest, pytest_ablation

def half(x):
    import of_another_machine
    return x / 2
"""


def test_the_versions_of_what_it_imports_are_known(package: Path) -> None:
    """Another scikit-learn may give other numbers, so its version is in the fingerprint."""
    made = write(package, study=STUDY, helper=HELPER)
    assert set(made.versions) == {"numpy", "scikit-learn"}


def test_only_what_is_imported_is_brought_to_other_processes(package: Path) -> None:
    """A worker imports what pytest imported, and no more."""
    made = write(package, study=STUDY, helper="def half(x): return x / 2", late="x = 1")
    assert made.files == {n: str(package / f"{n}.py") for n in ("study", "helper")}


def test_modules_in_packages_are_found(package: Path) -> None:
    """A trainer may stand in a package, with or without __init__.py, and import its neighbours."""
    for folder in ("whole", "bare"):
        (package / folder).mkdir()
        (package / folder / "near.py").write_text("x = 1")
        (package / folder / "fits.py").write_text(
            f"from {folder} import near\nfrom . import near as same\n"
            "def train(trial, data, progress): return {'accuracy': near.x}\n"
        )
    (package / "whole" / "__init__.py").write_text("")
    whole, bare = (trainer.made_of(f"{folder}.fits:train") for folder in ("whole", "bare"))
    assert set(whole.sources) == {"whole", "whole.fits", "whole.near"}
    assert set(bare.sources) == {"bare.fits", "bare.near"}


def test_two_files_of_one_name_are_told_apart(package: Path) -> None:
    """Of two conftest.py files, which pytest imports under one name, each keeps its function."""
    first = write(package, study="def train(trial, data, progress): return {'accuracy': 1}\n")
    (package / "other").mkdir()
    sys.path.insert(0, str(package / "other"))
    second = write(package / "other", study="def train(trial, data, progress): return {}\n")
    sys.path.remove(str(package / "other"))
    again = trainer.made_of(first.function)
    assert again.sources == first.sources != second.sources
    assert again.files == first.files != second.files
