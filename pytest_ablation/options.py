"""The options, their ini twins, and what is wrong with what a user wrote in them."""

from __future__ import annotations

import re
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_ablation import trackers
from pytest_ablation.errors import AblationError
from pytest_ablation.report import export
from pytest_ablation.resources import Resources, parsed

SOURCES = ("auto", "cifar10", "shapes10")
PROFILES = ("auto", "full", "quick", "smoke")


def add(parser: pytest.Parser) -> None:
    """Add the options, each with an ini twin of the same name."""
    group = parser.getgroup("ablation", "ablation studies")
    for name, metavar, text in (
        ("data", "WHERE", "auto, cifar10, shapes10, or a PATH to CIFAR-10 (default: auto)"),
        ("profile", "NAME", f"how large to train: {', '.join(PROFILES)} (default: auto)"),
        ("seeds", "MIN:MAX", "seeds an arm, MIN:MAX or N (default: 2:5)"),
        ("alpha", "A", "error rate of a verdict, between 0 and 0.5 (default: 0.05)"),
        ("store", "DIR", "where runs are kept (default: .ablation in the rootdir)"),
        ("workers", "N", "trainings at a time, or auto (default: auto); 0: in pytest's process"),
        ("save", "FILE", "keep the findings as a reference for later sessions (default: none)"),
        ("against", "FILE", "a reference that .since compares with (default: none)"),
        ("timeout", "SECONDS", "longest training (default: none)"),
        ("executor", "WHO", "who trains: local, ray or ray://HOST:PORT (default: local)"),
        (
            "resources",
            "NAME=N,…",
            "what a training is given on a Ray cluster, as num_gpus=1,memory=8e9 (default: what "
            "the recipe says, else one GPU where the cluster has any, else one CPU)",
        ),
    ):
        group.addoption(f"--ablation-{name}", metavar=metavar, default=None, help=text)
        parser.addini(f"ablation_{name}", text, default=None)
    text = f"write the findings to PATH, by suffix {_suffixes()}; may be repeated"
    group.addoption("--ablation-export", metavar="PATH", action="append", default=None, help=text)
    parser.addini("ablation_export", text, type="linelist", default=[])
    text = f"keep the study in a tracker, {' or '.join(trackers.NAMES)}, at WHERE; may be repeated"
    group.addoption(
        "--ablation-track", metavar="NAME[:WHERE]", action="append", default=None, help=text
    )
    parser.addini("ablation_track", text, type="linelist", default=[])
    for name, text in (
        ("strict", "an undecided test fails"),
        ("refresh", "train anew what this session needs"),
        ("plan", "check every ablation, list the trials with their cost, train nothing"),
    ):
        group.addoption(f"--ablation-{name}", action="store_true", default=False, help=text)
        parser.addini(f"ablation_{name}", text, type="bool", default=False)


def data(config: pytest.Config) -> str:
    """Return where images come from: "auto", "cifar10", "shapes10" or a path.

    "auto" on the command line leaves the choice to the ini file, where it makes one.
    """
    given = config.getoption("ablation_data") or "auto"
    choice = given if given != "auto" else config.getini("ablation_data") or "auto"
    if choice in SOURCES:
        return choice
    return str(_beside(config, choice, from_ini=given == "auto"))


def profile(config: pytest.Config) -> str:
    """Return how large to train: "auto", "full", "quick" or "smoke"."""
    name = _option(config, "profile") or "auto"
    if name not in PROFILES:
        raise pytest.UsageError(
            f"--ablation-profile={name}: the profiles are {', '.join(PROFILES)}."
        )
    return name


def seeds(config: pytest.Config) -> tuple[int, int]:
    """Return the least and the most seeds an arm."""
    text = _option(config, "seeds") or "2:5"
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most:
        raise pytest.UsageError(
            f"--ablation-seeds={text}: write MIN:MAX or N, whole numbers from 1, MIN ≤ MAX."
        )
    return least, most


def alpha(config: pytest.Config) -> float:
    """Return the error rate of a verdict."""
    text = _option(config, "alpha") or "0.05"
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 0.5:
        raise pytest.UsageError(
            f"--ablation-alpha={text}: write how often a verdict may be wrong, as 0.05; "
            "above 0 and below 0.5."
        )
    return rate


def store(config: pytest.Config) -> Path:
    """Return the folder where runs are kept."""
    return _path(config, "store") or config.rootpath / ".ablation"


def workers(config: pytest.Config) -> int | None:
    """Return how many trainings at a time: 0 in pytest's own process, None for as many as fit."""
    text = _option(config, "workers") or "auto"
    if text == "auto":
        return None
    if not re.fullmatch(r"\d+", text):
        raise pytest.UsageError(
            f"--ablation-workers={text}: write how many trainings at a time, or auto; 0 trains in "
            "pytest's own process."
        )
    return int(text)


def timeout(config: pytest.Config) -> float | None:
    """Return how many seconds a training may take; None where there is no limit."""
    text = _option(config, "timeout")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise pytest.UsageError(
            f"--ablation-timeout={text}: write how many seconds a training may take, as 3600."
        )
    return seconds


def executor(config: pytest.Config) -> str:
    """Return who trains: "local", "ray", or the address of a Ray cluster's server for clients."""
    name = _option(config, "executor") or "local"
    if name not in ("local", "ray") and not re.fullmatch(r"ray://[^/]+/?", name):
        raise pytest.UsageError(
            f"--ablation-executor={name}: write local, ray, or ray://HOST:PORT for a cluster's "
            "server for clients."
        )
    if name != "local" and workers(config) == 0:
        raise pytest.UsageError(
            f"--ablation-executor={name}: --ablation-workers=0 trains in pytest's own process; "
            "leave one of them out."
        )
    if name != "local" and find_spec("ray") is None:
        raise pytest.UsageError(
            f"--ablation-executor={name}: ray is not installed. "
            "pip install 'pytest-ablation[ray]' brings it."
        )
    return name


def resources(config: pytest.Config) -> Resources | None:
    """Return what a training is given on a cluster; None where it is not said."""
    text = _option(config, "resources")
    try:
        return parsed(text) if text else None
    except AblationError as error:
        raise pytest.UsageError(f"--ablation-resources={error}") from error


def exports(config: pytest.Config) -> list[Path]:
    """Return the files that the findings are written to."""
    given = config.getoption("ablation_export")
    paths = given or config.getini("ablation_export")
    return [_beside(config, path, from_ini=not given) for path in paths]


def writes_page(config: pytest.Config) -> bool:
    """Tell whether a page is written: by pytest-html, or by itself."""
    alone = any(path.suffix.lower() == ".html" for path in exports(config))
    return alone or bool(config.getoption("htmlpath", None))


def check_exports(config: pytest.Config) -> None:
    """Refuse a format that there is not, and a place where nothing can be written.

    It makes the folders, since only that tells for sure; so a study of hours ends with its files.
    """
    for path in exports(config):
        if path.suffix.lower() not in export.MODULES:
            raise pytest.UsageError(
                f"--ablation-export={path}: the suffix says the format; there are {_suffixes()}."
            )
        _check_writable(path, "export")


def tracked(config: pytest.Config) -> list[tuple[str, str]]:
    """Return the trackers that keep the study, each with where; empty for its own choice.

    MLflow's places are MLflow's to understand; TensorBoard's are folders, "logs" unless told.
    """
    given = config.getoption("ablation_track")
    pairs = [each.partition(":")[::2] for each in given or config.getini("ablation_track") if each]
    return [
        (
            name,
            where
            if name == "mlflow"
            else str(_beside(config, where or "logs", from_ini=not given)),
        )
        for name, where in pairs
    ]


def check_tracked(config: pytest.Config) -> None:
    """Refuse a tracker that there is not, or whose package is not installed."""
    for name, _ in tracked(config):
        if name not in trackers.NAMES:
            raise pytest.UsageError(
                f"--ablation-track={name}: the trackers are {', '.join(trackers.NAMES)}."
            )
        if not trackers.is_installed(name):
            raise pytest.UsageError(
                f"--ablation-track={name}: {name} is not installed. "
                f"pip install 'pytest-ablation[{name}]' brings it."
            )


def save(config: pytest.Config) -> Path | None:
    """Return the file in which the findings are kept as a reference."""
    return _path(config, "save")


def check_save(config: pytest.Config) -> None:
    """Refuse a place where no reference can be kept."""
    path = save(config)
    if path is not None:
        _check_writable(path, "save")


def against(config: pytest.Config) -> Path | None:
    """Return the reference to compare with."""
    return _path(config, "against")


def _path(config: pytest.Config, name: str) -> Path | None:
    given = config.getoption(f"ablation_{name}")
    path = given or config.getini(f"ablation_{name}")
    return _beside(config, path, from_ini=not given) if path else None


def _check_writable(path: Path, option: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        problem = "is a folder" if path.is_dir() else ""
    except OSError as error:
        problem = f"cannot be written in {path.parent}: {error.strerror}"
    if problem:
        raise pytest.UsageError(f"--ablation-{option}={path}: {problem}. Name a file elsewhere.")


def _suffixes() -> str:
    return ", ".join(export.MODULES)


def plan(config: pytest.Config) -> bool:
    """Tell whether nothing is trained, and the trials are listed."""
    return _switched_on(config, "plan")


def strict(config: pytest.Config) -> bool:
    """Tell whether an undecided test fails."""
    return _switched_on(config, "strict")


def refresh(config: pytest.Config) -> bool:
    """Tell whether runs from before this session are left aside."""
    return _switched_on(config, "refresh")


def _switched_on(config: pytest.Config, name: str) -> bool:
    return bool(config.getoption(f"ablation_{name}") or config.getini(f"ablation_{name}"))


def _option(config: pytest.Config, name: str) -> str:
    return config.getoption(f"ablation_{name}") or config.getini(f"ablation_{name}") or ""


def _beside(config: pytest.Config, path: str, *, from_ini: bool) -> Path:
    """Return a path as it was meant: beside the ini file, or where pytest was called."""
    folder = config.invocation_params.dir
    if from_ini:
        folder = config.inipath.parent if config.inipath else config.rootpath
    return folder / Path(path).expanduser()
