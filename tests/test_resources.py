"""What a training is given of a cluster's node."""

from __future__ import annotations

import json

import pytest

from pytest_ablation import AblationError, Recipe
from pytest_ablation.resources import most, parsed
from pytest_ablation.training import recipe as recipes
from tests.tiny import RECIPE


def test_what_is_written_is_read() -> None:
    """A fraction of a GPU, memory and a resource of the nodes' own; one CPU unless told."""
    given = parsed("num_gpus=0.5, memory=8e9,tpu=2")
    assert given.amounts == {"CPU": 1, "GPU": 0.5, "memory": 8e9, "tpu": 2}
    assert parsed(str(given)) == given
    assert given.at_a_time({"CPU": 8, "GPU": 2, "memory": 24e9, "tpu": 9}) == 3
    assert given.at_a_time({"CPU": 8}) == 0


def test_steps_in_turn_are_given_what_either_network_needs() -> None:
    """A ratio of times is measured where the larger of two trainings fits."""
    assert most(["", ""]) == ""
    assert parsed(most(["num_gpus=1", "num_cpus=4,num_gpus=0.5", ""])) == parsed(
        "num_cpus=4,num_gpus=1"
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("gpus=1", r"^Recipe\(resources='gpus=1'\): .*Did you mean \"num_gpus\"\?"),
        ("num_gpus=many", r"write a name and an amount, as in "),
    ],
)
def test_a_recipe_of_wrong_resources_is_refused(said: str, message: str) -> None:
    """The line with the mistake says so, and not a node an hour later."""
    with pytest.raises(AblationError, match=message):
        RECIPE.with_changes({"resources": said})


def test_a_trial_is_the_same_whatever_it_is_given() -> None:
    """Who moves to a larger machine trains nothing anew."""
    given = RECIPE.with_changes({"resources": "num_gpus=1"})
    assert recipes.serialized(given) == recipes.serialized(RECIPE)
    assert "resources" not in json.loads(recipes.serialized(given))
    assert "resources" not in Recipe("adam", "mse", resources="tpu=1").of_a_trial
