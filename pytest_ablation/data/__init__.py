"""Where the images come from: a choice of the user's becomes a dataset.

Each source has a module of its own; all of them decode once, into memory maps that processes share.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import DataError, did_you_mean

__all__ = ["CHOICES", "load"]

CHOICES = ("auto", "cifar10", "shapes10")


def load(choice: str, cache: Path) -> Dataset:
    """Return the data that a user chose.

    Args:
        choice: "cifar10" for the real one, from Keras's cache or downloaded; "shapes10" for the
            generated stand-in; "auto" for CIFAR-10 where it can be had, else shapes10; or a path,
            see ``cifar10.load``.
        cache: Folder of decoded data; created when needed.

    Returns:
        The data. Where "auto" fell back, its ``stand_in`` says why.

    Raises:
        DataError: There is no such choice or path, or what is there cannot be read.
    """
    from pytest_ablation.data import cifar10, keras_cache, shapes10

    if choice == "shapes10":
        return shapes10.load(cache)
    if choice in CHOICES:
        try:
            return keras_cache.load(cache)
        except DataError as error:
            if choice == "cifar10":
                raise
            shapes = shapes10.load(cache)
            return replace(shapes, stand_in=str(error)).known_as(shapes.fingerprint)
    path = Path(os.path.expanduser(choice))
    if not choice or not os.path.lexists(path):
        raise DataError(
            f"--ablation-data={choice}: neither {', '.join(CHOICES)} nor a path: there is no file "
            f"or folder {path.absolute()}.{did_you_mean(choice, CHOICES)}"
        )
    return cifar10.load(path, cache)
