"""Examples as arrays: one array, or several in a dict by name or in a tuple, all of one length.

A network of one input takes the first, one of several inputs or outputs the others. Whatever is
done to examples is done to each array.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_ablation.errors import DataError

if TYPE_CHECKING:
    import numpy as np

Arrays: TypeAlias = "np.ndarray | dict[str, Arrays] | tuple[Arrays, ...]"


def checked(given: Any, called: str) -> Arrays:
    """Return what a user gave as arrays: a list of numbers becomes one, a list of arrays a tuple.

    Args:
        given: An array or what numpy makes one of, or a dict, tuple or list of those.
        called: What to call it in a message, as "x_train".

    Raises:
        DataError: Something that is no array of numbers or texts.
    """
    import numpy as np

    if isinstance(given, Mapping):
        return {str(name): checked(each, f'{called}["{name}"]') for name, each in given.items()}
    if isinstance(given, tuple | list) and any(_is_array_like(each) for each in given):
        return tuple(checked(each, f"{called}[{i}]") for i, each in enumerate(given))
    try:
        array = given if isinstance(given, np.ndarray) else np.asarray(given)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{called}: {type(given).__name__} does not become an array: "
            f"{str(error).splitlines()[0]} Examples of unequal lengths are padded to one."
        ) from error
    if array.dtype.hasobject:
        raise DataError(
            f"{called}: an array of Python objects. Give numbers, or texts by .astype(str); "
            "examples of unequal lengths are padded to one."
        )
    if array.ndim == 0:
        raise DataError(f"{called}: {given!r} is a single value; give an array, an example a row.")
    return array


def each(arrays: Arrays) -> list[np.ndarray]:
    """Return the arrays one by one, always in the same order."""
    if isinstance(arrays, dict):
        return [leaf for name in sorted(arrays) for leaf in each(arrays[name])]
    if isinstance(arrays, tuple):
        return [leaf for branch in arrays for leaf in each(branch)]
    return [arrays]


def mapped(function: Callable[..., Any], *arrays: Any) -> Any:
    """Return what a function gives of each array, or of those in the same place of several."""
    first = arrays[0]
    if isinstance(first, Mapping):
        return {name: mapped(function, *(tree[name] for tree in arrays)) for name in first}
    if isinstance(first, tuple | list):
        return tuple(mapped(function, *branches) for branches in zip(*arrays, strict=True))
    return function(*arrays)


def count(arrays: Arrays) -> int:
    """Return the number of examples."""
    return len(each(arrays)[0])


def taken(arrays: Arrays, chosen: Any) -> Any:
    """Return the examples at some positions, or in a slice."""
    return mapped(lambda array: array[chosen], arrays)


def shapes(arrays: Arrays) -> Any:
    """Return the shape of any number of examples, of each array."""
    return mapped(lambda array: (None, *array.shape[1:]), arrays)


def digest(*arrays: Arrays) -> str:
    """Return the SHA-256 of dtypes, shapes and values, and of names, as hexadecimal digits."""
    import numpy as np

    sha = hashlib.sha256()
    for tree in arrays:
        if not isinstance(tree, np.ndarray):
            sha.update(json.dumps(_names(tree)).encode())
        for array in each(tree):
            sha.update(f"{array.dtype.str}{array.shape}".encode())
            sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def _is_array_like(thing: Any) -> bool:
    return isinstance(thing, Mapping) or len(getattr(thing, "shape", ())) > 0


def _names(arrays: Arrays) -> Any:
    if isinstance(arrays, dict):
        return {name: _names(arrays[name]) for name in sorted(arrays)}
    return [_names(branch) for branch in arrays] if isinstance(arrays, tuple) else None
