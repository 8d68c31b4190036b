"""What an edit changed in a network: layers gone, added and changed, and what that saves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pytest_ablation.network import naming
from pytest_ablation.network.anatomy import Anatomy
from pytest_ablation.network.naming import WHOLE
from pytest_ablation.quantity import MINUS, said

MOST_NAMED = 4  # layers that only start otherwise, each in a line of its own
STARTS = (
    ("given weights → initial weights",),
    ("initial weights → given weights",),
    ("other given weights",),
)
SIGNS = {"gone": MINUS, "added": "+", "changed": "~"}


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """One layer that an edit took away, added or changed.

    Attributes:
        kind: "gone", "added" or "changed"; a layer with weights whose input alone is another is
            changed too, where it costs more or less for it.
        name: The layer's, its networks' before it: "encoder/dense1".
        layer: Its class; both, where that has changed: "Dropout → GaussianNoise".
        settings: What is set otherwise, as ``units 8 → 4``.
        params: Its parameters before and after.
        flops: Its floating point operations an example, before and after.
    """

    kind: Literal["gone", "added", "changed"]
    name: str
    layer: str
    settings: tuple[str, ...] = ()
    params: tuple[int, int] = (0, 0)
    flops: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        params, flops = (after - before for before, after in (self.params, self.flops))
        parts = [
            *self.settings,
            *([f"{said(params, 'count', 'change')} parameters"] if params else []),
            *([said(flops, "operations", "change")] if flops else []),
        ]
        is_known = self.kind == "changed" and "→" not in self.layer
        name = self.name if is_known else f"{self.name} ({self.layer})"
        return f"{SIGNS[self.kind]} {name}{': ' if parts else ''}{', '.join(parts)}"


def lines(changes: Sequence[LayerChange]) -> list[str]:
    """Return a line a change, but one for many layers that do nothing else than start otherwise."""
    starts = Counter(change.settings for change in changes if _only_starts(change))
    result: dict[str, None] = {}
    for change in changes:
        count = starts[change.settings] if _only_starts(change) else 1
        said = replace(change, name=f"{count} layers") if count > MOST_NAMED else change
        result[str(said)] = None
    return list(result)


def _only_starts(change: LayerChange) -> bool:
    is_one = change.params[0] == change.params[1] and change.flops[0] == change.flops[1]
    return is_one and change.settings in STARTS


def of(before: Anatomy, after: Anatomy) -> tuple[LayerChange, ...]:
    """Return how a variant's network differs from its baseline's, a change a layer."""
    old, new = (dict(_layers(json.loads(each.config))) for each in (before, after))
    params, costs = (before.params, after.params), (before.cost, after.cost)
    changes = []
    for name in dict.fromkeys([*old, *new]):
        size = (params[0].get(name, 0), params[1].get(name, 0))
        flops = (costs[0].layers.get(name, 0), costs[1].layers.get(name, 0))
        if name not in new:
            change = _change("gone", name, old[name], size, flops)
        elif name not in old:
            change = _change("added", name, new[name], size, flops)
        else:
            settings = (*_settings(old[name], new[name]), *_start(name, before, after))
            kinds = [each["class_name"] for each in (old[name], new[name])]
            costs_other = size[0] != size[1] or (size[0] > 0 and flops[0] != flops[1])
            if not settings and kinds[0] == kinds[1] and not costs_other:
                continue
            kind = " → ".join(dict.fromkeys(kinds))
            change = LayerChange(
                kind="changed", name=name, layer=kind, settings=settings, params=size, flops=flops
            )
        changes.append(change)
    order = {"gone": 0, "added": 1, "changed": 2}
    return tuple(sorted(changes, key=lambda change: order[change.kind])) or _rewired(old, new)


def _start(name: str, before: Anatomy, after: Anatomy) -> tuple[str, ...]:
    """Return how a layer starts otherwise, where it does."""
    old, new = before.given.get(name), after.given.get(name)
    if old == new:
        return ()
    return STARTS[2 if old and new else 0 if old else 1]


def of_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which settings differ, as ``batch_size 64 → 128``.

    Where two objects read alike it is their own settings: ``optimizer.weight_decay None → 0.01``.
    """
    names = dict.fromkeys([*before, *after])
    return tuple(
        line for name in names for line in _changes(name, before.get(name), after.get(name))
    )


def _changes(name: str, old: Any, new: Any) -> list[str]:
    if old == new:
        return []
    words = [_short(old), _short(new)]
    if words[0] == words[1]:
        inner = of_settings(_inner(old), _inner(new))
        if inner:
            return [f"{name}.{line}" for line in inner]
    return [f"{name} {words[0]} → {words[1]}"]


def _inner(value: Any) -> dict[str, Any]:
    """Return what a setting is made of, by name or number."""
    if isinstance(value, list):
        return {str(number): each for number, each in enumerate(value)}
    inner = value.get("config", value) if isinstance(value, dict) else {}
    return inner if isinstance(inner, dict) else {}


def _change(
    kind: Literal["gone", "added"],
    name: str,
    config: Mapping[str, Any],
    params: tuple[int, int],
    flops: tuple[int, int],
) -> LayerChange:
    return LayerChange(kind=kind, name=name, layer=config["class_name"], params=params, flops=flops)


def _layers(network: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the layers of a configuration by name, those of networks within it too.

    A network whose call is code of its own is one layer: which it has, it does not say.
    """
    if not isinstance(network["config"].get("layers"), list):
        yield WHOLE, dict(network)
        return
    for layer in network["config"]["layers"]:
        name = path + layer["config"]["name"]
        if _is_network(layer):
            yield from _layers(layer, f"{name}/")
        else:
            yield name, layer


def _is_network(layer: Mapping[str, Any]) -> bool:
    # Layers of a user's own may have a setting called "layers" too.
    return "input_layers" in layer["config"] or naming.is_chain(layer)


# ------------------------------------------------------------------------------------- settings


def _settings(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    """Return what a layer is set to, called with and enters it, where that is another now."""
    if old["class_name"] != new["class_name"]:
        return ()
    calls = [each.get("inbound_nodes", []) for each in (old, new)]
    entering = [[len(_taken(call)) for call in each] for each in calls]
    return (
        *of_settings(old["config"], new["config"]),
        *of_settings(*map(_arguments, calls)),
        *(_inputs(old, new) if entering[0] != entering[1] else ()),
    )


def _arguments(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a layer is called with besides tensors."""
    return {
        key: value for call in calls for key, value in call["kwargs"].items() if not _taken(value)
    }


def _taken(value: Any) -> list[str]:
    """Return the names of the layers whose tensors stand in a configuration."""
    if isinstance(value, list):
        return [name for each in value for name in _taken(each)]
    if not isinstance(value, dict):
        return []
    if value.get("class_name") == "__keras_tensor__":
        return [str(value["config"]["keras_history"][0])]
    return [name for each in value.values() for name in _taken(each)]


def _inputs(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    before, after = (", ".join(_taken(each.get("inbound_nodes", []))) for each in (old, new))
    return (f"takes {before} → {after}",)


def _rewired(old: dict[str, Any], new: dict[str, Any]) -> tuple[LayerChange, ...]:
    """Return the layers that take other tensors, where nothing else tells two networks apart."""
    return tuple(
        LayerChange(
            kind="changed",
            name=name,
            layer=new[name]["class_name"],
            settings=_inputs(old[name], new[name]),
        )
        for name in new
        if _taken(old[name].get("inbound_nodes", [])) != _taken(new[name].get("inbound_nodes", []))
    )


# ---------------------------------------------------------------------------------------- words


def _short(value: Any) -> str:
    if isinstance(value, dict) and "class_name" not in value:
        return ", ".join(f"{name}: {_short(each)}" for name, each in value.items())
    if isinstance(value, dict):
        settings = value.get("config")
        name = str(value["class_name"])
        learned = settings.get("learning_rate") if isinstance(settings, dict) else None
        return f"{name}({learned:.3g})" if isinstance(learned, float) else name
    if isinstance(value, list):
        is_size = all(isinstance(each, int) for each in value)
        return ("×" if is_size else ", ").join(map(_short, value)) or "none"
    return str(value)
