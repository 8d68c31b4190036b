"""Keras on JAX or PyTorch, without TensorFlow, which it would import all the same."""

from __future__ import annotations

import sys
from typing import Any

from keras.src.saving import serialization_lib  # private: there is no setting for it
from keras.src.utils import rng_utils  # private: likewise


class _WhereImported:
    """TensorFlow where it is imported already, as Keras's own modules see it."""

    def __init__(self, lazy: Any) -> None:
        self._lazy = lazy

    @property
    def available(self) -> bool:
        return "tensorflow" in sys.modules and bool(self._lazy.available)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lazy, name)


def spare_tensorflow() -> None:
    """Have Keras import no TensorFlow to write a network, or to seed.

    It asks of all that it writes whether it is TensorFlow's, and seeds TensorFlow with the rest,
    and imports it for that, which takes as long as importing Keras: of what was never imported
    there are no objects, and nothing is drawn.
    """
    for module in (serialization_lib, rng_utils):
        lazy = getattr(module, "tf", None)
        if lazy is not None and "tensorflow" not in sys.modules:
            module.tf = _WhereImported(lazy)
