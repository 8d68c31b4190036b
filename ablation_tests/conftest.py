"""What the published study studies: a CIFAR-10 network and how it was trained."""

import pytest

from ablation_tests.network import cnn
from pytest_ablation import Experiment, Recipe


@pytest.fixture(scope="session")
def experiment(cifar10):
    """The published network and recipe, on CIFAR-10."""
    recipe = Recipe(
        optimizer="adam",
        loss="sparse_categorical_crossentropy",
        batch_size=64,
        steps_per_epoch=100,
        epochs=200,
    )
    return Experiment(cnn, recipe, cifar10)
