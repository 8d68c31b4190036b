"""Settings as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_ablation import AblationError
from pytest_ablation.settings import differences, flat, listed, merged, plain

SETTINGS = {"scale": True, "pca": {"components": 30, "whiten": False}, "widths": [8, 4]}


def test_settings_are_a_copy_that_json_gives_back() -> None:
    """A fingerprint does not change with a mapping that is changed later, nor by NumPy's."""
    given: dict[str, Any] = {"a": (1, np.int64(2)), "b": {"c": np.float32(0.5)}, "d": None}
    copy = plain(given, "settings")
    given["b"]["c"] = 3
    assert copy == {"a": [1, 2], "b": {"c": 0.5}, "d": None}
    assert type(copy["a"][1]) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": [0, print]}}, r"settings\.a\.b\[1\] is of type builtin_function"),
        ({"a": {1: 2}}, r"settings\.a: the name 1 is no text"),
        ({"a": np.zeros(2)}, r"settings\.a is of type ndarray"),
    ],
)
def test_what_is_no_plain_data_is_named_with_its_place(value: object, message: str) -> None:
    """A function or an array among forty settings is found at once."""
    with pytest.raises(AblationError, match=message):
        plain(value, "settings")


def test_mappings_are_merged() -> None:
    """One setting of a component changes alone; a component is switched off as a whole."""
    assert merged(SETTINGS, {"pca": {"components": 8}})["pca"] == {"components": 8, "whiten": False}
    assert merged(SETTINGS, {"pca": None})["pca"] is None
    assert SETTINGS["pca"] == {"components": 30, "whiten": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scael": 1}, 'no setting "scael".*scale, pca, widths.*Did you mean "scale"'),
        ({"pca": {"component": 1}}, 'no setting "pca.component".*Did you mean "components"'),
    ],
)
def test_a_setting_that_there_is_not_is_refused(changes: dict[str, Any], message: str) -> None:
    """A misspelled setting is never an ablation that changes nothing."""
    with pytest.raises(AblationError, match=message):
        merged(SETTINGS, changes)


def test_differences_are_a_line_each() -> None:
    """The report says what an ablation changed, and from what."""
    changed = merged(SETTINGS, {"pca": {"whiten": True}, "widths": [8], "scale": False})
    assert differences(SETTINGS, changed) == [
        "~ scale: True → False",
        "~ pca.whiten: False → True",
        "~ widths: [8, 4] → [8]",
    ]
    assert differences(SETTINGS, merged(SETTINGS, {"pca": None})) == [
        '~ pca: {"components": 30, "whiten": false} → None'
    ]


def test_settings_are_listed_by_names_with_dots() -> None:
    """A nested setting is found in the report under the name that an error gives it."""
    assert list(flat(SETTINGS)) == ["scale", "pca.components", "pca.whiten", "widths"]
    assert listed(SETTINGS).splitlines()[1] == "pca.components: 30"
