"""Augmented images are those of the seed and the step, in training alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import layers

from pytest_ablation import AblationError
from pytest_ablation.training import augmentation

X = np.random.default_rng(0).random((8, 6, 6, 3), np.float32)
Y = np.arange(8)
FLIP, SHIFT = layers.RandomFlip(), layers.RandomTranslation(0.5, 0.5)


def changed(*augmenting: Any, step: int = 3, seed: int = 0, x: Any = X, y: Any = Y) -> Any:
    """Return the examples and labels of a step."""
    copies = augmentation.deserialized(augmentation.serialized(augmenting))
    return augmentation.of(copies, seed)(step, x, y)


def test_the_same_seed_and_step_give_the_same_images() -> None:
    """Two arms see the same augmented images, and a resumed training those it would have seen."""
    augment = augmentation.of((FLIP, SHIFT), 0)
    images = [augment(step, X, Y)[0] for step in (3, 4, 3)]
    np.testing.assert_array_equal(images[0], images[2])
    np.testing.assert_array_equal(images[0], changed(FLIP, SHIFT)[0])
    assert (images[0] != images[1]).any()
    assert (images[0] != changed(FLIP, SHIFT, seed=1)[0]).any()


def test_a_layer_more_does_not_change_what_another_draws() -> None:
    """Leaving one augmentation out leaves the others' random numbers as they were."""
    noise = layers.GaussianNoise(0.0)
    np.testing.assert_array_equal(changed(noise, SHIFT)[0], changed(SHIFT)[0])


def test_labels_of_pixels_move_with_their_pixels() -> None:
    """A flipped image keeps the right label at each pixel."""
    masks = (X[..., 0] * 100).astype(np.uint8)
    images, moved = changed(FLIP, y=masks)
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved, (images[..., 0] * 100).astype(np.uint8))
    assert (moved != masks).any()


def test_mixed_images_have_mixed_labels() -> None:
    """MixUp mixes one-hot labels as it mixes images."""
    x = np.repeat(np.eye(8, dtype=np.float32), 3, axis=1).reshape(8, 1, 8, 3)
    images, labels = changed(layers.MixUp(alpha=1.0), x=x, y=np.eye(8, dtype=np.uint8))
    np.testing.assert_allclose(images[:, 0, :, 0], labels, atol=1e-5)
    assert (labels.max(axis=1) < 1).any()


def test_a_layer_that_changes_the_shape_is_refused() -> None:
    """Test images are not augmented, so they would no longer be of one shape with the others."""
    with pytest.raises(AblationError, match=r"of shape \(6, 6, 3\) become \(4, 4, 3\)"):
        changed(layers.RandomCrop(4, 4))


def test_other_examples_than_images_are_augmented_too() -> None:
    """Noise on a table of numbers is an augmentation."""
    table, _ = changed(layers.GaussianNoise(1.0), x=X[:, 0, 0])
    assert table.shape == (8, 3)
    assert (table != X[:, 0, 0]).any()
