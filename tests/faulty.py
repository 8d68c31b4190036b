"""Layers that do harm where they are trained, and only there."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar
from weakref import WeakSet

import keras


class Raises(keras.layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Fails."""

    def call(self, x: Any, training: bool = False) -> Any:
        """Pass on what comes in, outside of a training."""
        if training:
            raise ValueError("not on a Tuesday")
        return x


class Counts(keras.layers.Layer):  # type: ignore[misc] # likewise
    """Fails, and says how many of its kind there are."""

    known: ClassVar[WeakSet[Any]] = WeakSet()

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.known.add(self)

    def call(self, x: Any, training: bool = False) -> Any:
        """Pass on what comes in, outside of a training."""
        if training:
            raise ValueError(f"{len(self.known)} in memory")
        return x


class Warns(keras.layers.Layer):  # type: ignore[misc] # likewise
    """Has something to say while it is trained."""

    def call(self, x: Any, training: bool = False) -> Any:
        """Pass on what comes in."""
        if training:
            warnings.warn("mind the gap", UserWarning, stacklevel=1)
        return x
