"""What collected tests ask of a study, before any of them runs."""

from __future__ import annotations

import pytest

from pytest_ablation import suite as asked

SUITE = """
import pytest

def helper(variant):
    return variant.accuracy >= 0

def test_change(variant):
    assert variant.accuracy.change >= 0

def test_value(variant):
    assert -1 <= variant.loss <= 1

def test_inner(variant):
    assert all(variant.gap >= bound for bound in (0, 1))

def test_exact(variant):
    assert variant.params.change <= 0

def test_time(variant):
    assert variant.time.ratio <= 1

def test_baseline(baseline):
    assert baseline.accuracy.mean

def test_through_a_helper(variant):
    helper(variant)

def test_in_a_loop(variant):
    for name in ("accuracy", "loss"):
        assert variant.metric(name).change >= 0

@pytest.mark.skip
def test_skipped(variant):
    assert variant.accuracy.change >= 0

def test_of_something_else():
    assert 1 < 2
"""


def test_what_is_surely_trained_is_read_off_the_code(pytester: pytest.Pytester) -> None:
    """Trainings start before the test that needs them does; none starts that may not be needed."""
    items = {item.name.removeprefix("test_"): item for item in pytester.getitems(SUITE)}
    variants = {name for name, item in items.items() if asked.trains_variant(item)}
    baselines = {name for name, item in items.items() if asked.trains_baseline(item)}
    assert variants == {"change", "value", "inner", "in_a_loop"}
    assert baselines == {"change", "in_a_loop", "baseline"}
    assert not asked.is_of_an_arm(items["of_something_else"])


def test_comparisons_are_counted(pytester: pytest.Pytester) -> None:
    """The session's error is shared among as many comparisons as its tests' code shows."""
    items = {item.name.removeprefix("test_"): item for item in pytester.getitems(SUITE)}
    assert asked.comparisons(items["change"]) == 1
    assert asked.comparisons(items["value"]) == 2
    assert asked.comparisons(items["baseline"]) == 1


def test_a_comparison_that_may_be_made_again_is_none_of_one(pytester: pytest.Pytester) -> None:
    """What a loop or a helper compares, however often, takes one share of the error together."""
    items = {item.name.removeprefix("test_"): item for item in pytester.getitems(SUITE)}
    once = {name: asked.comparisons_made_once(item) for name, item in items.items()}
    assert (once["value"], once["change"]) == (2, 1)
    assert (once["in_a_loop"], once["through_a_helper"]) == (0, 0)
