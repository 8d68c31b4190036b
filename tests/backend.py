"""Another of Keras's backends than the tests have, for the processes that they start."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def on_jax(compiled: Path) -> dict[str, str]:
    """Return the environment of a process in which Keras is on JAX, on the CPU.

    Args:
        compiled: A folder for what is compiled: as it comes, since tests run each program for a
            moment, and once, since they compile the same ones again and again.
    """
    return {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
