"""Weights that a training starts from, on disk and in the process that trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_ablation.errors import DataError
from pytest_ablation.network.given import Given, Weights, fingerprint
from pytest_ablation.training import checkpoint

_KNOWN: dict[str, Callable[[], Given]] = {}


def provide(initial: Mapping[str, Callable[[], Given]]) -> None:
    """Make weights known to this process: what gives them, by their fingerprint."""
    _KNOWN.update(initial)


def found(name: str) -> Given:
    """Return the weights of a fingerprint, which were provided."""
    return _KNOWN[name]()


def kept(folder: Path, given: Given) -> Path:
    """Return the file in a folder that has such weights, written unless it has.

    Raises:
        OSError: It cannot be written.
    """
    name = fingerprint(given)
    path = folder / f"{name}.npz"
    if checkpoint.load(path, name) is None:  # not there, or damaged
        layers = [[layer, list(each.values), each.built] for layer, each in given.items()]
        values = [array for each in given.values() for array in each.values.values()]
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, name, {"layers": layers}, values)
    return path


def opened(path: Path) -> Given:
    """Return the weights that a file has.

    Raises:
        DataError: It is not what was written.
    """
    state = checkpoint.load(path, path.stem)
    if state is None:
        raise DataError(
            f"{path}: the weights that a training starts from cannot be read. Delete it."
        )
    head, arrays = state
    values = iter(arrays)
    return {
        layer: Weights(values={place: next(values) for place in places}, built=built)
        for layer, *_, places, built in head["layers"]  # files from before have more
    }
