"""What an ablation changed of an experiment: in its network, its recipe and its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ablation.experiment import Dataset
from pytest_ablation.study import Arm

if TYPE_CHECKING:
    from pytest_ablation.network.difference import LayerChange


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a variant differs from its baseline. It prints a line a change.

    Attributes:
        layers: The layers that are gone, added or changed.
        recipe: The settings that are others, as ``batch_size 64 → 128``.
        data: What of the data is other.
    """

    layers: tuple[LayerChange, ...]
    recipe: tuple[str, ...]
    data: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """A line a change."""
        return (
            *map(str, self.layers),
            *(f"~ recipe: {change}" for change in self.recipe),
            *(f"~ data: {change}" for change in self.data),
        )

    def __str__(self) -> str:
        return "\n".join(self.lines)


def of(variant: Arm, baseline: Arm) -> Difference:
    """Return how a variant differs from its baseline; no training is needed for it."""
    from pytest_ablation.network import difference

    trials = variant.trial(0), baseline.trial(0)
    new, old = (json.loads(trial.recipe) for trial in trials)
    has_other_network = trials[0].model != trials[1].model
    return Difference(
        layers=difference.of(baseline.model, variant.model, (baseline.cost, variant.cost))
        if has_other_network
        else (),
        recipe=difference.of_settings(old, new),
        data=_data(baseline.experiment.data, variant.experiment.data),
    )


def _data(before: Dataset, after: Dataset) -> tuple[str, ...]:
    if before.fingerprint == after.fingerprint:
        return ()
    sizes = {
        "training": (len(before.y_train), len(after.y_train)),
        "test": (len(before.y_test), len(after.y_test)),
    }
    counts = [
        f"{old:,} → {new:,} {split} examples" for split, (old, new) in sizes.items() if old != new
    ]
    return (", ".join(counts) or "examples or labels are others",)
