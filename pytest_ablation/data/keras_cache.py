"""Keras's own copy of CIFAR-10: found in its cache, else downloaded into it.

Its folder is found by Keras's rules, without Keras: only a download imports it.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_ablation.data import cifar10, maps
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import DataError, one_line

# As in keras.datasets.cifar10, and under the name it looks for, so that Keras finds it too.
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
ARCHIVE = "cifar-10-batches-py-target_archive"

TIMEOUT = 15.0  # seconds without an answer, after which a machine counts as offline

_FOLDERS = ("cifar-10-batches-py-target", "cifar-10-batches-py")
_ARCHIVES = (ARCHIVE, "cifar-10-batches-py-target.tar.gz", "cifar-10-batches-py.tar.gz")


def load(cache: Path) -> Dataset:
    """Return CIFAR-10 from Keras's cache, downloaded into it first where it is not there.

    Args:
        cache: Folder of decoded data; see ``maps``.

    Raises:
        DataError: It is neither there nor to be had.
    """
    keras = folder()
    complaint = f"CIFAR-10 is neither in Keras's cache ({keras}) nor"
    for name in (*_FOLDERS, *_ARCHIVES):
        path = keras / name
        if path.exists():
            try:
                return cifar10.load(path, cache, sha256=SHA256 if path.is_file() else "")
            except DataError as error:
                complaint = f"CIFAR-10 in Keras's cache cannot be read ({_clause(error)}), nor"
    try:
        return cifar10.load(_download(cache), cache, sha256=SHA256)
    except DataError as error:
        raise DataError(
            f"{complaint} could it be downloaded ({_clause(error)}); "
            "name it with --ablation-data=PATH."
        ) from error


def folder() -> Path:
    """Return the folder in which Keras keeps datasets."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = os.path.expanduser("~")
        base = user if os.access(user, os.W_OK) else "/tmp"  # noqa: S108 - Keras's own rule
        home = f"{base}/.keras"
    return Path(os.path.expanduser(home)) / "datasets"


def _download(cache: Path) -> Path:
    """Return the published archive in Keras's cache, downloaded and checked by its SHA-256.

    Of several processes, one downloads. Where that fails, those that waited for it fail with its
    reason, instead of each waiting for an offline machine in turn.
    """
    asked = time.time()
    failure = cache / "cifar10-download.failed"
    with maps.locked(cache, "cifar10-download"):
        with contextlib.suppress(OSError):
            if failure.stat().st_mtime >= asked:
                raise DataError(failure.read_text(encoding="utf-8"))
        try:
            return _get_file()
        except Exception as error:  # get_file raises bare Exception, and whatever the network does.
            reason = one_line(error)
            with contextlib.suppress(OSError):
                failure.write_text(reason, encoding="utf-8")
            raise DataError(reason) from error


def _get_file() -> Path:
    with contextlib.suppress(OSError):
        # Where it does not exist, get_file does not make it, but goes to a folder of all users.
        folder().mkdir(parents=True, exist_ok=True)
    # Keras draws its progress on stdout, in the middle of pytest's own.
    with contextlib.redirect_stdout(io.StringIO()), _socket_timeout(TIMEOUT):
        from keras.utils import get_file

        return Path(
            get_file(
                fname=ARCHIVE,
                origin=ORIGIN,
                file_hash=SHA256,
                cache_dir=str(folder().parent),
            )
        )


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # get_file takes no timeout of its own.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _clause(error: DataError) -> str:
    return str(error).rstrip(".")
