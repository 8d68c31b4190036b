"""Training on JAX with whole epochs on the device, in a process where Keras is on JAX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_whole_epochs_on_the_device(tmp_path: Path, which: str) -> None:
    """Each contract is a test of its own in `jax_fused.py`; this one needs all of them to hold."""
    pytest.importorskip("jax")
    file = Path(__file__).with_name("jax_fused.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            file,
            "-m",
            which,
            "-p",
            "no:cacheprovider",
            f"--basetemp={tmp_path}/i",
        ],
        # Tests compile the same programs again and again, and run each for a moment.
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": f"{tmp_path}/compiled",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
