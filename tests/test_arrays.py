"""Examples of several inputs or outputs are handled like those of one."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from pytest_ablation import arrays
from pytest_ablation.errors import DataError

ONE = np.arange(6).reshape(3, 2)
SEVERAL: Any = {"image": ONE, "more": (ONE[:, 0], ONE[:, 1])}


def test_the_digest_of_an_array_is_that_of_its_bytes() -> None:
    """Runs in a store from before data could have several arrays are still found."""
    content = f"{ONE.dtype.str}(3, 2)".encode() + ONE.tobytes()
    assert arrays.digest(ONE) == hashlib.sha256(content).hexdigest()


def test_the_digest_knows_names_and_places() -> None:
    """The same arrays under other names, or in another order, are other data."""
    trees: list[Any] = [ONE, (ONE,), {"a": ONE}, {"b": ONE}, (ONE[:, 0], ONE[:, 1])]
    trees += [(ONE[:, 1], ONE[:, 0]), SEVERAL]
    assert len({arrays.digest(tree) for tree in trees}) == len(trees)
    assert arrays.digest({"a": ONE, "b": ONE}) == arrays.digest({"b": ONE, "a": ONE})


def test_examples_are_taken_from_each_array() -> None:
    """A batch has the same examples of every input."""
    taken = arrays.taken(SEVERAL, [2, 0])
    assert taken["image"].tolist() == [[4, 5], [0, 1]]
    assert [part.tolist() for part in taken["more"]] == [[4, 0], [5, 1]]
    assert arrays.count(taken) == 2


def test_what_numpy_makes_an_array_of_is_one() -> None:
    """Labels may be a list of numbers; several arrays may be a list of arrays."""
    assert arrays.checked([0, 1], "y").tolist() == [0, 1]  # type: ignore[union-attr]
    assert isinstance(arrays.checked([ONE, ONE], "x"), tuple)
    assert arrays.checked(ONE, "x") is ONE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[1, 2], [3]], "padded to one"),
        (np.array(["a", None]), "an array of Python objects"),
        ({"ids": 3}, r'x\["ids"\]: 3 is a single value'),
        (None, "an array of Python objects"),
    ],
)
def test_what_is_no_array_is_refused(given: object, said: str) -> None:
    """Ragged lists, objects and single values get a line that says what to do."""
    with pytest.raises(DataError, match=said):
        arrays.checked(given, "x")
