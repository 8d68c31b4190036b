"""Two networks or lists of settings side by side."""

from __future__ import annotations

from pytest_ablation import beside

BEFORE = {name: f"{name} (Dense)" for name in ("a", "b", "c", "d", "e", "f", "g")}


def test_a_layer_that_is_gone_leaves_a_gap() -> None:
    """What is left stands beside itself, so that the eye finds what is not there any more."""
    after = {name: said for name, said in BEFORE.items() if name != "c"}

    pairs = beside.of(BEFORE, after, {})

    assert [(pair.kind, pair.before, pair.after) for pair in pairs] == [
        ("same", "a (Dense)", "a (Dense)"),
        ("same", "b (Dense)", "b (Dense)"),
        ("gone", "c (Dense)", ""),
        ("same", "d (Dense)", "d (Dense)"),
        ("left out", "3 the same", "3 the same"),
    ]


def test_added_and_changed_layers_are_told_apart() -> None:
    """A layer that is set otherwise says how, though it may be said alike; a new one has a gap."""
    after = {**BEFORE, "h": "h (Dense)", "b": "b (Dense), 12"}

    pairs = beside.of(BEFORE, after, {"d": "units 8 → 4"})

    assert [(pair.kind, pair.after, pair.note) for pair in pairs if pair.kind != "same"] == [
        ("changed", "b (Dense), 12", ""),
        ("changed", "d (Dense)", "units 8 → 4"),
        ("added", "h (Dense)", ""),
    ]


def test_networks_that_are_the_same_are_only_counted() -> None:
    """A deep network takes a line where nothing of it changes."""
    assert beside.of(BEFORE, BEFORE, {}) == (beside.Pair("left out", "7 the same", "7 the same"),)
    assert beside.of({}, {}, {}) == ()
