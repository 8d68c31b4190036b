"""Which examples a step is given, and as what."""

from __future__ import annotations

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest

from pytest_ablation.data.sample import stratified
from pytest_ablation.training import examples
from tests.tiny import data


def test_a_stream_shows_every_image_once_a_pass() -> None:
    """Batches run on across passes, each in an order of its own that the seed decides."""
    small = replace(data(), x_train=np.arange(10)[:, None], y_train=np.arange(10, dtype=np.uint8))
    batches = [y for _, y in itertools.islice(examples.batches(small, 4, seed=5), 5)]
    order = np.concatenate(batches)
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert list(order[:10]) != list(order[10:])
    again = np.concatenate([y for _, y in itertools.islice(examples.batches(small, 5, seed=5), 4)])
    np.testing.assert_array_equal(order, again)


def test_images_of_bytes_reach_the_network_as_fractions() -> None:
    """uint8 images are scaled to 0…1; anything else is the user's own scale."""
    assert examples.as_input(np.array([0, 255], np.uint8)).tolist() == [0.0, 1.0]
    assert examples.as_input(np.array([0.0, 255.0])).tolist() == [0.0, 255.0]


@pytest.mark.parametrize("several", [False, True])
def test_batches_from_the_device_are_those_from_memory(several: bool) -> None:
    """To the bit: where the examples lie changes no number, of one input or several."""
    whole = data()
    if several:
        parts = [{"bytes": x, "floats": (x / 7).astype("f")} for x in (whole.x_train, whole.x_test)]
        whole = replace(whole, x_train=parts[0], x_test=parts[1])
    for one, other in itertools.islice(
        zip(
            examples.batches(whole, 7, seed=1, skip=40),
            examples.batches(whole, 7, seed=1, skip=40, on_device=True),
            strict=True,
        ),
        8,
    ):
        expected, given = keras.tree.flatten(one), keras.tree.flatten(other)
        assert all(keras.ops.is_tensor(each) for each in given)
        for here, there in zip(expected, map(keras.ops.convert_to_numpy, given), strict=True):
            assert here.dtype == there.dtype
            np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("labels", [np.arange(1_000), np.arange(1_000) // 3])
def test_a_sample_of_numbers_is_not_the_first_of_them(labels: np.ndarray) -> None:
    """Targets in order, each of another number, are sampled from all of them and not by place."""
    chosen = stratified(labels, 100)
    assert len(set(chosen)) == 100
    assert np.median(chosen) == pytest.approx(500, abs=150)  # three standard errors
    assert chosen.min() < 100 < 900 < chosen.max()
