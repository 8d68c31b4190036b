"""Accuracy class by class, from which test examples each run got right."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pytest_ablation.run import Run

MOST_CLASSES = 1000


@dataclass(frozen=True)
class ClassChange:
    """What an ablation did to one class of the test set: fractions, means over the seeds.

    Attributes:
        name: The class's.
        baseline: Share of its examples that the baseline classifies right.
        variant: The variant's.
        low: The change with the seed that has the least of it.
        high: With the seed that has the most.
    """

    name: str
    baseline: float
    variant: float
    low: float
    high: float

    @property
    def change(self) -> float:
        """Variant less baseline."""
        return self.variant - self.baseline


def of(
    variant: Sequence[Run], baseline: Sequence[Run], labels: Any, names: Sequence[str]
) -> tuple[ClassChange, ...]:
    """Return the change of each class, over the seeds that both arms have.

    Args:
        variant: The variant's runs, one a seed.
        baseline: The baseline's.
        labels: Of the test set, an array of integers of shape (examples,) or (examples, 1).
        names: Of the classes, by label; where one has none, it is called by its number.

    Returns:
        A change a class that the test set has; none where the labels are no classes, or the runs do
        not say which examples of this test set they got right.
    """
    import numpy as np

    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        return ()
    labels = labels.reshape(-1) if labels.size == len(labels) else labels
    if labels.ndim != 1 or not labels.size or not 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        return ()
    seeds = min(len(variant), len(baseline))
    arms = [[_share(run, labels) for run in arm[:seeds]] for arm in (variant, baseline)]
    if not seeds or any(share is None for arm in arms for share in arm):
        return ()
    changes = []
    for label in np.unique(labels).tolist():
        after, before = (
            [float(share[label]) for share in arm if share is not None] for arm in arms
        )
        each = [a - b for a, b in zip(after, before, strict=True)]
        name = names[label] if label < len(names) else f"class {label}"
        changes.append(ClassChange(name, fmean(before), fmean(after), min(each), max(each)))
    return tuple(changes)


def _share(run: Run, labels: np.ndarray) -> np.ndarray | None:
    """Return by label the share of examples that a run got right; None where it does not say."""
    import numpy as np

    packed = np.frombuffer(base64.b64decode(run.correct), dtype=np.uint8)
    is_of_these = run.tested in (0, len(labels)) and len(packed) == -(-len(labels) // 8)
    if not is_of_these:
        return None
    correct = np.unpackbits(packed, count=len(labels))
    counts = np.bincount(labels)
    return np.bincount(labels, weights=correct) / np.maximum(counts, 1)
