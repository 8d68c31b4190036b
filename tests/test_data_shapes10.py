"""The generated stand-in is the same for everyone, and is what a ten-class study needs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pytest_ablation.data import shapes10
from pytest_ablation.dataset import Dataset


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that no other module writes to."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(cache: Path) -> Dataset:
    """Return all 60,000 images, drawn once for the module: it takes seconds."""
    return shapes10.load(cache)


def test_images_are_the_same_on_every_machine() -> None:
    """A seed gives these bytes, whatever the processor, the system and the version of numpy."""
    images, labels = shapes10.generate(200, seed=0)

    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == "ea55081061f3d619"
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "3a4ba2e5b4415e28"


def test_seeds_differ() -> None:
    """Another seed gives other images, so no test image was trained on."""
    images, labels = shapes10.generate(100, seed=0)
    others, other_labels = shapes10.generate(100, seed=1)

    assert not {image.tobytes() for image in images} & {image.tobytes() for image in others}
    assert (labels != other_labels).any()


@pytest.mark.parametrize("count", [10, 1000])
def test_classes_are_balanced_and_mixed(count: int) -> None:
    """Each class has as many images, and no class comes in one piece."""
    _, labels = shapes10.generate(count, seed=3)

    assert np.bincount(labels).tolist() == [count // 10] * 10
    assert (np.diff(labels.astype(int)) != 0).mean() > 0.5


@pytest.mark.parametrize("count", [0, 1, 7, 123])
def test_any_number_of_images(count: int) -> None:
    """There is an image for each label, however few are asked for."""
    images, labels = shapes10.generate(count, seed=3)

    assert images.shape == (count, 32, 32, 3)
    assert labels.shape == (count,)
    assert images.dtype == labels.dtype == np.uint8


def test_figures_fill_what_their_names_say() -> None:
    """A figure with a hole, with stripes or with arms covers less than the one without."""
    x = np.linspace(-1.25, 1.25, 200, dtype=np.float32)
    covered = {name: inside(x, x[:, None]).mean() for name, inside in shapes10.FIGURES.items()}

    assert covered["ring"] < covered["disk"]
    assert covered["crescent"] < covered["disk"]
    assert covered["striped disk"] < covered["disk"]
    assert covered["frame"] < covered["square"]
    assert covered["checkered square"] < covered["square"]
    assert min(covered.values()) > 0.1


def test_split_is_that_of_cifar10(dataset: Dataset) -> None:
    """The stand-in has CIFAR-10's shapes and classes, so that a study of one runs on the other."""
    assert dataset.x_train.shape == (50_000, 32, 32, 3)
    assert dataset.x_test.shape == (10_000, 32, 32, 3)
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.uint8
    assert np.bincount(dataset.y_train).tolist() == [5_000] * 10
    assert np.bincount(dataset.y_test).tolist() == [1_000] * 10
    assert len(set(dataset.classes)) == 10


def test_report_can_say_that_images_are_generated(dataset: Dataset) -> None:
    """The source names the generator and what it did to the labels, so no one takes it for data."""
    assert dataset.name == "shapes10"
    assert "generated" in dataset.source
    assert "labels" in dataset.source


def test_images_are_drawn_once(dataset: Dataset, cache: Path) -> None:
    """A second session maps the file that the first one wrote, and knows it by its fingerprint."""
    before = {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")}

    again = shapes10.load(cache)

    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")} == before
    assert isinstance(again.x_train, np.memmap)
    assert again.fingerprint == dataset.fingerprint
