"""Runs an ablation study of a neural network as a pytest suite.

What is named here is imported when it is first asked for: the plugin is loaded in suites that have
no ablation, too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from pytest_ablation.exported import findings
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
    "findings",
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

_OWNERS = {
    "ablation": "Ablation configure cut feed_with insert lesion override remove replace"
    " train_with use",
    "combinations": "all_pairs leave_one_out lesion_each one_at_a_time",
    "data.edits": "share shuffled_labels without_channel without_class",
    "dataset": "Dataset",
    "errors": "AblationError AblationWarning DataError",
    "experiment": "Experiment Trial",
    "exported": "findings",
    "recipe": "Recipe",
    "run": "Progress Run",
    "selectors": "having shortcut",
}


def __getattr__(name: str) -> Any:
    for module, names in _OWNERS.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
