"""What an edit changed: layers gone, added and set differently, said a line each."""

from __future__ import annotations

import json
from typing import Any


def of(before: str, after: str) -> list[str]:
    """Return how one network differs from another, both as `blueprint.of` gives them."""
    old, new = _layers(before), _layers(after)
    lines = [f"− {name} ({old[name]['class_name']})" for name in old if name not in new]
    lines += [f"+ {name} ({new[name]['class_name']})" for name in new if name not in old]
    for name in old:
        if name in new and old[name] != new[name]:
            lines.append(f"~ {name}: {', '.join(_changes(old[name], new[name]))}")
    return lines


def of_settings(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return which settings differ, as ``batch_size 64 → 128``."""
    names = dict.fromkeys([*before, *after])
    return [
        f"{name} {_short(before.get(name))} → {_short(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _layers(network: str) -> dict[str, dict[str, Any]]:
    layers = json.loads(network)["config"]["layers"]
    return {layer["config"]["name"]: layer for layer in layers}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    kind = [f"{old['class_name']} → {new['class_name']}"]
    return [
        *(kind if old["class_name"] != new["class_name"] else []),
        *of_settings(old["config"], new["config"]),
    ]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        settings = value.get("config")
        name = str(value.get("class_name", "…"))
        learned = settings.get("learning_rate") if isinstance(settings, dict) else None
        return f"{name}({learned:.3g})" if isinstance(learned, float) else name
    if isinstance(value, list):
        return "×".join(map(str, value))
    return str(value)
