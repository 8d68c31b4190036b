"""CIFAR-10's python batches, which are pickles, read as data.

Nothing that a pickle asks for is ever looked up or run. The few names that the published batches
ask for stand here for inert records, good for one array of uint8; every other name is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ablation.errors import DataError

_OPCODES = frozenset(
    # What Python 2 wrote into the published files, then what Python 3 writes for the same content.
    [
        "PROTO",
        "STOP",
        "MARK",
        "GLOBAL",
        "REDUCE",
        "BUILD",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "SHORT_BINSTRING",
        "BINSTRING",
        "BINUNICODE",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_DICT",
        "SETITEM",
        "SETITEMS",
        "BINPUT",
        "LONG_BINPUT",
        "BINGET",
        "LONG_BINGET",
        "FRAME",
        "MEMOIZE",
        "STACK_GLOBAL",
        "SHORT_BINUNICODE",
        "SHORT_BINBYTES",
        "BINBYTES",
    ]
)
_MOST_STEPS = 1_000_000  # A batch of 10,000 images with their file names takes up to 100,000.


def read(raw: bytes, where: str) -> tuple[NDArray[np.uint8], list[Any]]:
    """Return the images and labels of a pickled batch.

    Args:
        raw: The pickle.
        where: What to call it in an error.

    Returns:
        The array under "data", any shape, and the list under "labels", its content unchecked.

    Raises:
        DataError: The pickle is damaged, is no batch, or asks for what published batches do not.
    """
    try:
        _check_steps(raw)
        batch = _Reader(raw).load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{where}: {error}.") from error
    except Exception as error:  # The pickle module documents no end to what damage may raise.
        raise DataError(
            f"{where} is not a pickled batch ({type(error).__name__} on reading it)."
        ) from error
    content = {}
    if isinstance(batch, dict):
        content = {name: batch.get(name.encode(), batch.get(name)) for name in ("data", "labels")}
    data, labels = content.get("data"), content.get("labels")
    if not isinstance(data, _Array) or data.values is None:
        raise DataError(f'{where}: no array of uint8 under "data".')
    if not isinstance(labels, list):
        raise DataError(f'{where}: no list under "labels".')
    return data.values, labels


def _check_steps(raw: bytes) -> None:
    """Refuse what would cost memory or time out of proportion: lengths and places are claims.

    Walking over the steps runs none of them, and finds lengths that exceed the file.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(raw))):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"asks for {opcode.name}, which no published batch does")
        place = argument if opcode.name == "LONG_BINPUT" else 0
        if max(count, place or 0) > _MOST_STEPS:
            raise pickle.UnpicklingError("asks for more steps than a published batch takes")


class _Reader(pickle.Unpickler):
    """An unpickler in which a name is never more than one of the stand-ins below."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(io.BytesIO(raw), encoding="bytes")
        self._characters_left = len(raw)
        array, kind = _StandIn(_new_array), _StandIn(_new_kind)
        self._known = {
            "numpy.core.multiarray._reconstruct": array,
            "numpy._core.multiarray._reconstruct": array,
            "numpy.dtype": kind,
            "numpy.ndarray": _NDARRAY,
            "_codecs.encode": _StandIn(self._encode),
        }

    def find_class(self, module: str, name: str, /) -> Any:
        """Return the stand-in for a name that published batches ask for; refuse any other."""
        asked = f"{module}.{name}"
        if asked not in self._known:
            raise pickle.UnpicklingError(
                f"asks for {asked[:100]!r}, which no published batch does; refused, and nothing run"
            )
        return self._known[asked]

    def _encode(self, text: object = None, encoding: object = None) -> bytes:
        """Give bytes back that Python 3 pickled as text, as it does below protocol 3."""
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError("asks to encode something other than bytes")
        self._characters_left -= len(text)
        if self._characters_left < 0:
            raise pickle.UnpicklingError("asks for the same bytes again and again")
        return text.encode("latin1")


class _StandIn:
    """What a pickle gets for a name: to be called as published batches do, and no more."""

    __slots__ = ("_stand_in",)

    def __init__(self, stand_in: Any) -> None:
        self._stand_in = stand_in

    def __call__(self, *arguments: object) -> Any:
        return self._stand_in(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("asks to change the state of a function")


class _Kind:
    """A data type, which can only be uint8."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subarray, names, fields, item size, alignment, flags)
        if not isinstance(state, tuple) or len(state) < 5 or any(x is not None for x in state[2:5]):
            raise pickle.UnpicklingError("describes a data type other than plain uint8")


class _Array:
    """An array of uint8 in two dimensions, its values None until the pickle tells them."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), (int(rows), int(columns)), _Kind(), bool(fortran), bytes(raw)) if min(
                rows, columns
            ) >= 0 and rows * columns == len(raw):
                values = np.frombuffer(raw, np.uint8)
                self.values = values.reshape((rows, columns), order="F" if fortran else "C")
            case _:
                raise pickle.UnpicklingError(
                    "describes an array other than two dimensions of uint8 with all their bytes"
                )


def _new_kind(*arguments: object) -> _Kind:
    if not arguments or arguments[0] not in ("u1", b"u1"):
        raise pickle.UnpicklingError("asks for an array of another type than uint8")
    return _Kind()


def _new_array(*arguments: object) -> _Array:
    if len(arguments) != 3 or arguments[0] is not _NDARRAY:
        raise pickle.UnpicklingError("asks for an array in a way that no published batch does")
    return _Array()


def _refuse(*_: object) -> None:
    raise pickle.UnpicklingError("asks numpy for an array outright, which no published batch does")


_NDARRAY = _StandIn(_refuse)
