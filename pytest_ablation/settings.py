"""Settings as plain data: checked, merged, compared and said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from pytest_ablation.errors import AblationError, did_you_mean


def plain(value: Any, where: str) -> Any:
    """Return a copy of a value as JSON would give it back: tuples as lists, numbers as Python's.

    Args:
        value: Texts, numbers, booleans, None, and lists and mappings of them.
        where: What to call the value in a message.

    Raises:
        AblationError: Something else is in it, or a name that is no text.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{place}]") for place, each in enumerate(value)]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise AblationError(f"{where}: the name {name!r} is no text.")
        return {name: plain(each, f"{where}.{name}") for name, each in value.items()}
    raise AblationError(
        f"{where} is of type {type(value).__name__}: pass texts, numbers, booleans, None, lists "
        "and mappings of them, from which any process can build the rest."
    )


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes; where both have a mapping, what is in it is changed.

    Raises:
        AblationError: A change of a setting that there is not.
    """
    return _merged(settings, changes, "")


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any], path: str) -> dict[str, Any]:
    result = dict(settings)
    for name, value in changes.items():
        if name not in settings:
            known = ", ".join(f"{path}{each}" for each in settings)
            raise AblationError(
                f'there is no setting "{path}{name}". Settings: {known}.'
                + did_you_mean(name, settings)
            )
        old = settings[name]
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = _merged(old, value, f"{path}{name}.") if both else value
    return result


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> list[str]:
    """Return a line a setting that differs, as ``~ max_depth: 8 → 3``."""
    lines: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{path}{name}.")
        elif old != new:
            lines.append(f"~ {path}{name}: {_word(old)} → {_word(new)}")
    return lines


def flat(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the settings without mappings in them, by names with dots."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        is_mapping = isinstance(value, Mapping) and value
        result |= flat(value, f"{path}{name}.") if is_mapping else {f"{path}{name}": value}
    return result


def listed(settings: Mapping[str, Any]) -> str:
    """Return the settings, a line each."""
    return "\n".join(f"{name}: {_word(value)}" for name, value in flat(settings).items())


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | Mapping) else str(value)
