"""Training on JAX, with whole epochs on the device and step by step, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend import on_jax

INTERRUPTED = "test_a_training_that_is_interrupted_ends_with_the_same_numbers"


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_whole_epochs_on_the_device(tmp_path: Path, which: str) -> None:
    """Each contract is a test of its own in `jax_fused.py`; this one needs all of them to hold.

    One of `test_fit.py` is among them: a checkpoint has what is to be kept on each backend.
    """
    pytest.importorskip("jax")
    file = Path(__file__).with_name("jax_fused.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            file,
            f"{file.with_name('test_fit.py')}::{INTERRUPTED}",
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
    assert ("test_fit.py .." in done.stdout) == (which == "not slow")
