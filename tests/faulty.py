"""Layers that do harm where they are trained: in a worker process, and only there."""

from __future__ import annotations

import multiprocessing
import os
import time
import warnings
from typing import Any

import keras


def is_in_a_worker() -> bool:
    """Tell whether this process was started by another."""
    return multiprocessing.parent_process() is not None


class Leaves(keras.layers.Layer):  # type: ignore[misc] # Keras is Any to mypy
    """Ends its process."""

    def call(self, x: Any) -> Any:
        """Pass on what comes in, outside of a worker."""
        if is_in_a_worker():
            print("leaving", flush=True)
            os._exit(3)
        return x


class LeavesOnce(keras.layers.Layer):  # type: ignore[misc] # likewise
    """Ends its process where a file is, and takes the file away."""

    def __init__(self, file: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.file = file

    def call(self, x: Any) -> Any:
        """Pass on what comes in, outside of a worker and the second time."""
        if is_in_a_worker() and os.path.exists(self.file):
            os.unlink(self.file)
            os.kill(os.getpid(), 9)
        return x

    def get_config(self) -> dict[str, Any]:
        """Return the settings."""
        return {**super().get_config(), "file": self.file}


class Sleeps(keras.layers.Layer):  # type: ignore[misc] # likewise
    """Never ends."""

    def call(self, x: Any) -> Any:
        """Pass on what comes in, outside of a worker."""
        if is_in_a_worker():
            print("good night", flush=True)
            time.sleep(3_600)
        return x


class Raises(keras.layers.Layer):  # type: ignore[misc] # likewise
    """Fails."""

    def call(self, x: Any, training: bool = False) -> Any:
        """Pass on what comes in, outside of a training."""
        if training:
            raise ValueError("not on a Tuesday")
        return x


class Warns(keras.layers.Layer):  # type: ignore[misc] # likewise
    """Has something to say while it is trained."""

    def call(self, x: Any, training: bool = False) -> Any:
        """Pass on what comes in."""
        if training:
            warnings.warn("mind the gap", UserWarning, stacklevel=1)
        return x
