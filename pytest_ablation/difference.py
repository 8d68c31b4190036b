"""What an ablation changed of an experiment: in its network, its recipe and its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ablation import arrays, settings
from pytest_ablation.arm import Arm
from pytest_ablation.experiment import Experiment, Lesion

if TYPE_CHECKING:
    from pytest_ablation.network.difference import LayerChange


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a variant differs from its baseline. It prints a line a change.

    Attributes:
        layers: The layers that are gone, added or changed.
        settings: The settings that are others, where settings are studied and no network.
        recipe: The settings that are others, as ``batch_size 64 → 128``.
        data: What of the data is other.
    """

    layers: tuple[LayerChange, ...]
    settings: tuple[str, ...]
    recipe: tuple[str, ...]
    data: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """A line a change."""
        return (
            *self._of_layers,
            *self.settings,
            *(f"~ recipe: {change}" for change in self.recipe),
            *(f"~ data: {change}" for change in self.data),
        )

    @property
    def _of_layers(self) -> list[str]:
        if not self.layers:  # Keras is not imported for settings
            return []
        from pytest_ablation.network import difference

        return difference.lines(self.layers)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def of(variant: Arm, baseline: Arm) -> Difference:
    """Return how a variant differs from its baseline; no training is needed for it."""
    trials = baseline.trial(0), variant.trial(0)
    recipes = [json.loads(trial.recipe) or {} for trial in trials]
    layers: tuple[LayerChange, ...] = ()
    networks = [(trial.model, trial.initial_weights) for trial in trials]
    if networks[0] != networks[1] and variant.has_network:
        from pytest_ablation.network import difference

        layers = difference.of(baseline.anatomy, variant.anatomy)
    if variant.lesion is not None:
        layers = _lesioned(variant.lesion)
    return Difference(
        layers=layers,
        settings=tuple(settings.differences(baseline.experiment.config, variant.experiment.config)),
        recipe=_recipe(*recipes, has_network=variant.has_network),
        data=_data(baseline.experiment, variant.experiment),
    )


def _lesioned(lesion: Lesion) -> tuple[LayerChange, ...]:
    """Return the layers whose output a lesion takes away."""
    from pytest_ablation.network.difference import LayerChange

    units = f"unit{'s' if len(lesion.units) > 1 else ''} {', '.join(map(str, lesion.units))}"
    what = f"{units if lesion.units else 'output'} → {lesion.how}"
    return tuple(
        LayerChange(kind="changed", name=name, layer="", settings=(what,)) for name in lesion.layers
    )


def _recipe(old: Any, new: Any, *, has_network: bool) -> tuple[str, ...]:
    if old == new:
        return ()
    if not has_network:  # Keras is not imported for settings
        return tuple(line.removeprefix("~ ") for line in settings.differences(old, new))
    from pytest_ablation.network import difference

    return difference.of_settings(old, new)


def _data(before: Experiment, after: Experiment) -> tuple[str, ...]:
    if before.data_fingerprint == after.data_fingerprint:
        return ()
    old, new = before.dataset, after.dataset
    if old is None or new is None:
        return (f"{before.data_name} → {after.data_name}",)
    sizes = {
        "training": (arrays.count(old.y_train), arrays.count(new.y_train)),
        "test": (arrays.count(old.y_test), arrays.count(new.y_test)),
    }
    counts = [f"{n:,} → {m:,} {split} examples" for split, (n, m) in sizes.items() if n != m]
    return (", ".join(counts) or "examples or labels are others",)
