"""Runs an ablation study of a neural network as a pytest suite."""

from pytest_ablation.ablation import (
    Ablation,
    configure,
    feed_with,
    insert,
    leave_one_out,
    remove,
    replace,
    train_with,
    use,
)
from pytest_ablation.errors import AblationError, AblationWarning, DataError
from pytest_ablation.experiment import Dataset, Experiment, Recipe, Run, Trial
from pytest_ablation.selectors import having

__all__ = [
    "Ablation",
    "AblationError",
    "AblationWarning",
    "DataError",
    "Dataset",
    "Experiment",
    "Recipe",
    "Run",
    "Trial",
    "configure",
    "feed_with",
    "having",
    "insert",
    "leave_one_out",
    "remove",
    "replace",
    "train_with",
    "use",
]
