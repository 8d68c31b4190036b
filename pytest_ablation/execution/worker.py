"""A process that does tasks: made ready for them, and cleared after each."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from pytest_ablation.errors import AblationWarning, TrainingError, with_last_lines
from pytest_ablation.execution.result import Result, Tell
from pytest_ablation.execution.task import Task

_FAILED: list[Exception] = []  # what the last task raised, if it did


def start(environment: Mapping[str, str], log: Path, by_keras: bool) -> None:
    """Make ready a process that was started for tasks: called once, before the first.

    Args:
        environment: Variables to set before Keras is imported.
        log: File that takes what the process writes, for the message when it dies.
        by_keras: Whether the first task is Keras's, which takes seconds to import.
    """
    os.environ.update(environment)
    _write_to(log)
    _end_with_parent(log.parent)
    # What may be killed when memory runs out is the training, not pytest.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")
    # At once, also amid a step: all that counts is on disk.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if by_keras:
        _make_keras_ready()


def get_ready() -> None:
    """Import what trains and have it look for a GPU, each of which takes a while."""
    from pytest_ablation.training import device, fit  # noqa: F401

    device.sees_gpu()


def run(task: Task, log: Path) -> Result | None:
    """Do a task in a worker's process."""
    os.truncate(log, 0)
    return done(task)


def done(task: Task, tell: Tell | None = None) -> Result | None:
    """Do a task in a process that does others before and after."""
    _let_go()
    if task.is_by_keras:
        _make_keras_ready()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AblationWarning)
            result = task(wait=False, tell=tell)
    except Exception as error:
        _FAILED.append(error)
        if not _can_be_sent(error, task.needs.modules):
            trace = "".join(traceback.format_exception(error))
            raise TrainingError(with_last_lines(type(error).__name__, trace)) from error
        raise
    finally:
        _forget()
    _keep_what_is_imported()
    own = [str(each.message) for each in caught if issubclass(each.category, AblationWarning)]
    return replace(result, warned=tuple(own)) if result else None


def _can_be_sent(error: Exception, modules: Mapping[str, str]) -> bool:
    """Tell whether pytest's process can have an error as it is.

    It can where pickle makes the error again, and finds its class there too: by the name of one
    conftest.py it may find another.
    """
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301 # our own bytes
        return type(error).__module__ not in modules
    return False


def _let_go() -> None:
    """Forget what the last task trained if it failed: Pebble has its error until this one ends.

    It may have failed for want of memory, which the calls that led to its error hold.
    """
    while _FAILED:
        error = _FAILED.pop()
        error.__traceback__ = error.__context__ = error.__cause__ = None
        del error
        gc.collect()


def _forget() -> None:
    """Give back what a task's networks took: a hundred duets held 4.7 GB."""
    if keras := sys.modules.get("keras"):
        keras.backend.clear_session()
    gc.collect()


@cache
def _keep_what_is_imported() -> None:
    """Have no later look for garbage among what the first task has imported: 0.4 s each.

    Not after one that failed: what it trained would be kept too, as long as its error is known.
    """
    gc.freeze()


def _write_to(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 # stays for good
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def _end_with_parent(scratch: Path) -> None:
    """End this process when pytest's does, however that ends, and with it the locks held.

    Its folder for what processes share goes too, which pytest's own end would have removed.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            shutil.rmtree(scratch, ignore_errors=True)
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def _make_keras_ready() -> None:
    """Import Keras, and have it keep to the threads and the memory that it uses."""
    import keras

    threads = int(os.environ["OMP_NUM_THREADS"])
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # A user's own trainer may have used TensorFlow here: then the variables alone limit it.
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 2)
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
    elif backend == "torch":
        import torch

        torch.set_num_threads(threads)
