"""Batches of a user's own, as `tf.data` or `keras.utils.PyDataset` gives them, read into arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_ablation import arrays
from pytest_ablation.arrays import Arrays
from pytest_ablation.errors import DataError


def read(given: Iterable[Any], called: str) -> tuple[Arrays, Arrays]:
    """Return all examples and labels of batches, in the order of their content.

    In no order of their own, since a source that shuffles would be other data each time.

    Args:
        given: Pairs of examples and labels, a known number: a finite `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a `DataLoader`, or a list of them.
        called: What to call it in a message, as "train".

    Raises:
        DataError: It has no end, or its batches are no pairs, or of unequal shapes.
    """
    parts = [_pair(batch, called) for batch in _finite(given, called)]
    if not parts:
        raise DataError(f"{called}: no batches.")
    x, y = (_joined([part[i] for part in parts], called) for i in (0, 1))
    order = _order(x, y)
    return arrays.taken(x, order), arrays.taken(y, order)


def _finite(given: Any, called: str) -> Iterator[Any]:
    kind = type(given).__name__
    if hasattr(given, "cardinality"):
        size = int(given.cardinality())
        if size == -1:
            raise DataError(f"{called}: the {kind} repeats without end; leave out repeat().")
        if size < 0:
            raise DataError(
                f"{called}: the {kind} does not know its length. Write list({called}), or "
                "apply tf.data.experimental.assert_cardinality(batches) to it."
            )
        return iter(given)
    size = getattr(given, "num_batches", None) or (len(given) if hasattr(given, "__len__") else 0)
    if not size and not hasattr(given, "__len__"):
        raise DataError(
            f"{called}: the {kind} does not know its length, and may have no end. Read what you "
            f"want of it: list(itertools.islice({called}, batches))."
        )
    if not hasattr(given, "__iter__"):
        return (given[i] for i in range(size))
    return iter(given)


def _pair(batch: Any, called: str) -> tuple[Any, Any]:
    if isinstance(batch, tuple | list) and len(batch) == 3:
        raise DataError(f"{called}: batches with sample weights; give pairs (examples, labels).")
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise DataError(
            f"{called}: a batch is a {type(batch).__name__}, and should be a pair (examples, "
            "labels). Arrays go in as Dataset(x_train=…, y_train=…, …)."
        )
    x, y = (_arrays(each, called) for each in batch)
    counts = [len(array) for array in (*arrays.each(x), *arrays.each(y))]
    if len(set(counts)) > 1:
        raise DataError(
            f"{called}: a batch of {counts[0]} examples with {counts[-1]} labels. Is it batched? "
            "A tf.data.Dataset is by batch(64)."
        )
    return x, y


def _arrays(given: Any, called: str) -> Arrays:
    try:
        return arrays.checked(given, called)
    except DataError as error:
        raise DataError(f"{error} Is it batched? A tf.data.Dataset is by batch(64).") from None


def _joined(parts: list[Arrays], called: str) -> Arrays:
    import numpy as np

    def join(*pieces: Any) -> Any:
        shapes = {piece.shape[1:] for piece in pieces}
        if len(shapes) > 1:
            some = " and ".join(map(str, sorted(shapes)[:2]))
            raise DataError(f"{called}: examples of the shapes {some}; pad all to one length.")
        return np.concatenate(pieces)

    try:
        joined: Arrays = arrays.mapped(join, *parts)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{called}: batches of unequal structure: {error}.") from error
    return joined


def _order(x: Arrays, y: Arrays) -> Any:
    """Return the positions of the examples, by a digest of each."""
    import numpy as np

    leaves = [np.ascontiguousarray(array) for array in (*arrays.each(x), *arrays.each(y))]
    digests = [
        hashlib.sha256(b"".join(leaf[i].tobytes() for leaf in leaves)).digest()
        for i in range(len(leaves[0]))
    ]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__))
