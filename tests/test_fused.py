"""Training on JAX with whole epochs on the device, in a process where Keras is on JAX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend import on_jax


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
        env=on_jax(tmp_path / "compiled"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
