"""A user's choice of data becomes a dataset, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_ablation import data
from pytest_ablation.data import keras_cache, shapes10
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import DataError

IMAGES = np.zeros((3, 32, 32, 3), np.uint8)
LABELS = np.array([0, 1, 2], np.uint8)
REASON = "CIFAR-10 is nowhere to be had."


def dataset(name: str) -> Dataset:
    """Return a small dataset of that name."""
    return Dataset(name=name, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both named sources give something small."""
    monkeypatch.setattr(keras_cache, "load", lambda _: dataset("CIFAR-10"))
    monkeypatch.setattr(shapes10, "load", lambda _: dataset("shapes10"))


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CIFAR-10 be nowhere to be had."""

    def fail(_: Path) -> Dataset:
        raise DataError(REASON)

    monkeypatch.setattr(keras_cache, "load", fail)


@pytest.mark.parametrize(
    ("choice", "name"), [("auto", "CIFAR-10"), ("cifar10", "CIFAR-10"), ("shapes10", "shapes10")]
)
def test_a_choice_is_what_it_says(tmp_path: Path, choice: str, name: str) -> None:
    """Where everything can be had, nobody gets a stand-in that was not asked for."""
    chosen = data.load(choice, tmp_path)

    assert chosen.name == name
    assert chosen.stand_in == ""


@pytest.mark.usefixtures("nowhere")
def test_auto_falls_back_and_says_why(tmp_path: Path) -> None:
    """Where CIFAR-10 cannot be had, auto studies shapes10, and never without the reason."""
    chosen = data.load("auto", tmp_path)

    assert chosen.name == "shapes10"
    assert chosen.stand_in == REASON
    np.testing.assert_array_equal(chosen.x_train, IMAGES)


@pytest.mark.usefixtures("nowhere")
def test_cifar10_never_falls_back(tmp_path: Path) -> None:
    """Who asks for CIFAR-10 by name gets it or an error."""
    with pytest.raises(DataError, match=REASON):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("choice", ["{}/my.npz", "~/my.npz", "my.npz"])
def test_a_path_is_read(tmp_path: Path, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be absolute, in the user's home, or seen from the working directory."""
    np.savez(tmp_path / "my.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    chosen = data.load(choice.format(tmp_path), tmp_path / "cache")

    assert chosen.name == "CIFAR-10"
    assert "my.npz" in chosen.source


@pytest.mark.parametrize("choice", ["cifar100", "", "nothing/here", "a\0b", "x" * 5000])
def test_neither_choice_nor_path(
    tmp_path: Path, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that is nothing is answered with the choices there are and the path looked for."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError, match="neither auto, cifar10, shapes10 nor a path") as error:
        data.load(choice, tmp_path / "cache")
    assert str(tmp_path / choice) in str(error.value)


def test_a_slip_of_the_pen_is_recognised(tmp_path: Path) -> None:
    """A choice that is misspelled is answered with the one that was meant."""
    with pytest.raises(DataError, match=r'Did you mean "shapes10"\?'):
        data.load("shape10", tmp_path)


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    """A path that is there but leads nowhere is named."""
    (tmp_path / "link").symlink_to(tmp_path / "gone")

    with pytest.raises(DataError, match="link is neither a folder nor a file"):
        data.load(str(tmp_path / "link"), tmp_path / "cache")
