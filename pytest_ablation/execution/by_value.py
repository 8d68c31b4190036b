"""The user's own classes and functions, carried to where their modules are not.

A worker of this machine imports them from their files. On a cluster's node there may be no such
files, so they travel as they are here, and stand there under the names that they have here.
"""

from __future__ import annotations

import pkgutil
import sys
import types
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ray import cloudpickle

from pytest_ablation.experiment import KERAS_TRAINER, Trial
from pytest_ablation.trainer import NOT_OF_A_TRAINING, is_installed


def own_names(trial: Trial) -> tuple[str, ...]:
    """Return the classes and functions of the user's own that a trial names: "module:name"."""
    named = [name for name in trial.sources if ":" in name and "<" not in name]
    named += [trial.trainer] if trial.trainer != KERAS_TRAINER else []
    return tuple(name for name in named if _is_own(sys.modules.get(name.partition(":")[0])))


def packed(names: Iterable[str]) -> bytes:
    """Return classes and functions by value, and with them all of the user's own that they use.

    Raises:
        Exception: Something that they use cannot be carried, as an open file.
    """
    for module in list(sys.modules.values()):
        if _is_own(module):
            with suppress(ValueError):
                cloudpickle.register_pickle_by_value(module)
    return bytes(cloudpickle.dumps({name: pkgutil.resolve_name(name) for name in names}))


def provide(content: bytes) -> None:
    """Put what was packed where trials look for it."""
    things: Mapping[str, Any] = cloudpickle.loads(content)
    for name, thing in things.items():
        module, _, attribute = name.partition(":")
        if module not in sys.modules:
            sys.modules[module] = types.ModuleType(module)
        if "." not in attribute:
            setattr(sys.modules[module], attribute, thing)


def _is_own(module: types.ModuleType | None) -> bool:
    """Tell whether a module is the user's: neither Python's own, nor installed, nor this plugin."""
    file = getattr(module, "__file__", None)
    if module is None or not isinstance(file, str):
        return False
    top = module.__name__.partition(".")[0]
    if top in sys.stdlib_module_names or top in NOT_OF_A_TRAINING:
        return False
    return not is_installed(file)
