"""What trainings run on."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from pytest_ablation.experiment import KERAS_TRAINER

NODE = "PYTEST_ABLATION_NODE"  # names this machine among those of a cluster
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # in glibc's malloc.h


def gpus() -> list[str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES allows, else all that the driver lists."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [each.strip() for each in allowed.split(",") if each.strip() not in ("", "-1")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def sees_gpu(trainer: str = KERAS_TRAINER) -> bool:
    """Tell whether there is a GPU to train on: one of Keras's backend where Keras trains."""
    if trainer != KERAS_TRAINER:
        return bool(gpus())
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # JAX's answer where it has no platform of that name
        return False


@cache
def host(trainer: str = KERAS_TRAINER) -> str:
    """Name the machine that times are of: node, processor, cores, and what is trained on.

    On a cluster a node has its address beside its name, by which alone some differ.
    """
    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        processor = found[1].strip() if found else processor
    device = "GPU" if sees_gpu(trainer) else "CPU"
    node = os.environ.get(NODE, platform.node())
    return f"{node}, {processor}, {os.cpu_count()} cores, {device}"


@contextmanager
def without_gradients() -> Iterator[None]:
    """Have PyTorch note nothing for gradients meanwhile; other backends note nothing unasked."""
    import keras

    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    with torch.no_grad():
        yield


def keep_freed_memory() -> None:
    """Have glibc's malloc keep what is freed, for the next step to use.

    Else each step gives the activations' memory back and asks for it again: 1,400 page faults and
    a fifth of the time of a step of the CIFAR-10 network, measured on two cores. Elsewhere it does
    nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
