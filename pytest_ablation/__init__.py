"""Runs an ablation study of a neural network as a pytest suite."""

from pytest_ablation.ablation import (
    Ablation,
    configure,
    cut,
    feed_with,
    insert,
    lesion,
    override,
    remove,
    replace,
    train_with,
    use,
)
from pytest_ablation.combinations import all_pairs, leave_one_out, lesion_each, one_at_a_time
from pytest_ablation.data.edits import share, shuffled_labels, without_channel, without_class
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError, AblationWarning, DataError
from pytest_ablation.experiment import Experiment, Trial
from pytest_ablation.recipe import Recipe
from pytest_ablation.run import Progress, Run
from pytest_ablation.selectors import having, shortcut

__all__ = [
    "Ablation",
    "AblationError",
    "AblationWarning",
    "DataError",
    "Dataset",
    "Experiment",
    "Progress",
    "Recipe",
    "Run",
    "Trial",
    "all_pairs",
    "configure",
    "cut",
    "feed_with",
    "having",
    "insert",
    "leave_one_out",
    "lesion",
    "lesion_each",
    "one_at_a_time",
    "override",
    "remove",
    "replace",
    "share",
    "shortcut",
    "shuffled_labels",
    "train_with",
    "use",
    "without_channel",
    "without_class",
]
