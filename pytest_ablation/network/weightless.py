"""Networks to look at and not to train: built once for all who look, and without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import keras
from keras.src.backend.common import global_state  # private: there is no other way to the list

from pytest_ablation.errors import AblationError
from pytest_ablation.network.blueprint import fresh, shaped

_LOOKED_AT: WeakKeyDictionary[Callable[[], keras.Model], dict[str, keras.Model]]
_LOOKED_AT = WeakKeyDictionary()


def looked_at(model_function: Callable[[], keras.Model], shapes: Any = None) -> keras.Model:
    """Return a function's network as `fresh` does, to look at and not to train.

    It is built once for all who look, and without weights, which takes a third of the time. A
    function that computes with its weights gets them.

    Args:
        model_function: The function.
        shapes: Of the examples that it will be given, where that is known.

    Raises:
        AblationError: As `fresh` and `shaped` do.
    """
    known = _LOOKED_AT.setdefault(model_function, {})
    policy = str(keras.config.dtype_policy().name)
    for key, given in ((policy, None), (f"{policy} {shapes}", shapes)):
        if key not in known:
            known[key] = _looked_at(model_function, given)
        if known[key].built or shapes is None:
            break
    return known[key]


def forget(model_function: Callable[[], keras.Model]) -> list[keras.Model]:
    """Return what was looked at of a function, which is built anew when it is looked at again."""
    return list(_LOOKED_AT.pop(model_function, {}).values())


@contextmanager
def without_weights() -> Iterator[None]:
    """Have networks built without weights, now and later.

    Keras notes variables that wait for their values, and gives all of them one at the end of the
    next scope of its own: a hundred variants that were only looked at would fill the memory.
    """
    waiting = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = len(waiting)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        del waiting[before:]


def is_without_weights() -> bool:
    """Tell whether a network built now has no weights."""
    scope = global_state.get_global_attribute("stateless_scope")
    return scope is not None and not scope.initialize_variables


def _looked_at(model_function: Callable[[], keras.Model], shapes: Any) -> keras.Model:
    try:
        with without_weights():
            return shaped(fresh(model_function), shapes)
    except AblationError:
        raise
    except Exception:
        return shaped(fresh(model_function), shapes)
