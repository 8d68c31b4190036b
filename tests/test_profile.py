"""A shorter training keeps its shape."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras.optimizers import schedules

from pytest_ablation import Recipe
from pytest_ablation.profile import PROFILES
from tests.test_recipe import Halving, cosine, of_optimizer

FULL = Recipe("sgd", "mse", batch_size=50, epochs=200, steps_per_epoch=100)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            schedules.CosineDecay(0.1, 18_000, warmup_steps=2000, warmup_target=1.0),
            {"decay_steps": 1800, "warmup_steps": 200, "warmup_target": 1.0},
        ),
        (schedules.CosineDecay(0.1, 18_000), {"decay_steps": 1800, "warmup_steps": 0}),
        (schedules.CosineDecayRestarts(0.1, 1000, t_mul=2.0), {"first_decay_steps": 100}),
        (
            schedules.PiecewiseConstantDecay([10_000, 15_000], [0.1, 0.01, 0.001]),
            {"boundaries": [1000, 1500], "values": [0.1, 0.01, 0.001]},
        ),
        (schedules.ExponentialDecay(0.1, 500, 0.9), {"decay_steps": 50, "decay_rate": 0.9}),
        (Halving(2000), {"every_steps": 200}),
    ],
)
def test_a_schedule_gets_shorter_with_the_training(schedule: Any, expected: dict[str, Any]) -> None:
    """In quick the learning rate falls as early in the training as in full, wherever given."""
    for recipe in (
        FULL.with_changes({"learning_rate": schedule}),
        FULL.with_changes({"optimizer": keras.optimizers.SGD(schedule)}),
    ):
        quick = of_optimizer(PROFILES["quick"].recipe(recipe, 50_000))["learning_rate"]["config"]
        assert {name: quick[name] for name in expected} == expected
        full = PROFILES["full"].recipe(recipe, 50_000)
        assert full == recipe


def test_only_schedules_get_shorter_of_an_optimizer() -> None:
    """Gradients are added up over as many steps; a schedule is found behind a scaled loss too."""
    cosine = schedules.CosineDecay(0.1, 18_000)
    adding = keras.optimizers.SGD(cosine, gradient_accumulation_steps=20)
    scaling = keras.optimizers.LossScaleOptimizer(adding, dynamic_growth_steps=500)
    recipe = PROFILES["quick"].recipe(FULL.with_changes({"optimizer": scaling}), 50_000)
    quick = of_optimizer(recipe)
    inner = quick["inner_optimizer"]["config"]
    assert quick["dynamic_growth_steps"] == 500
    assert inner["gradient_accumulation_steps"] == 20
    assert inner["learning_rate"]["config"]["decay_steps"] == 1800


def test_a_schedule_made_for_a_length_is_made_for_the_shorter_one() -> None:
    """A function of the steps in all is given those of the profile."""
    recipe = FULL.with_changes({"learning_rate": cosine})
    smoke = PROFILES["smoke"].recipe(recipe, 50_000)
    assert of_optimizer(smoke)["learning_rate"]["config"]["decay_steps"] == 2 * 5


def test_epochs_get_fewer_and_steps_stay() -> None:
    """Quick has a tenth of the epochs, each as long; a rate that is a number stays."""
    recipe = FULL.with_changes({"learning_rate": 0.3, "steps_per_epoch": None})
    quick = PROFILES["quick"].recipe(recipe, 50_000)
    assert (quick.epochs, quick.steps_per_epoch, quick.learning_rate) == (20, 1000, 0.3)
