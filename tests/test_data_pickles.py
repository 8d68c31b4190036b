"""Pickled batches give their images and labels, and get nothing of what else they ask for."""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_ablation.data import pickles
from pytest_ablation.errors import DataError

PLANES = np.random.default_rng(2).integers(0, 256, (4, 3072), np.uint8)
LABELS = [6, 9, 0, 4]


def number(value: int) -> bytes:
    """Pickle a small whole number."""
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)


def text(value: str) -> bytes:
    """Pickle a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def call(name: str, *arguments: bytes) -> bytes:
    """Pickle a call of a function by its name, with arguments that are pickled already."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


UINT8 = call("numpy.dtype", b"U\x02u1", number(0), number(1)) + (
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
NEW_ARRAY = call("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", b"K\x00\x85U\x01b")


def array(
    planes: NDArray[np.uint8] = PLANES,
    *,
    shape: tuple[int, ...] | None = None,
    kind: bytes = UINT8,
    fortran: bool = False,
) -> bytes:
    """Pickle an array as numpy 1 did under Python 2, or with something wrong in it."""
    dimensions = b"(" + b"".join(map(number, shape or planes.shape)) + b"t"
    raw = planes.tobytes("F" if fortran else "C")
    flag = b"\x88" if fortran else b"\x89"
    return (
        NEW_ARRAY
        + b"(K\x01"
        + dimensions
        + kind
        + flag
        + b"T"
        + struct.pack("<I", len(raw))
        + raw
        + b"tb"
    )


def batch(
    data: bytes, labels: list[int] | bytes = b"](K\x06K\x09K\x00K\x04e", file_names: int = 4
) -> bytes:
    """Pickle a batch in the order and the form of the published ones, from pickled values."""
    if isinstance(labels, list):
        labels = b"](" + b"".join(map(number, labels)) + b"e"
    name = b"U\x11tabby_s_00004.pngr\xff\x00\x00\x00"
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03"
        b"U\x06labelsq\x04"
        + labels
        + b"U\x04dataq\x05"
        + data
        + b"U\x09filenamesq\x06]("
        + name * file_names
        + b"eu."
    )


def test_a_published_batch_is_read() -> None:
    """The form in which Python 2 and numpy 1 pickled the batches gives their images and labels."""
    planes, labels = pickles.read(batch(array()), "batch")

    np.testing.assert_array_equal(planes, PLANES, strict=True)
    assert labels == LABELS


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("encode", [str, str.encode])
def test_a_batch_pickled_anew_is_read(protocol: int, encode: type) -> None:
    """A batch that today's Python and numpy have written again is as good as a published one."""
    content = {encode("batch_label"): b"1", encode("labels"): LABELS, encode("data"): PLANES}
    planes, labels = pickles.read(pickle.dumps(content, protocol), "batch")

    np.testing.assert_array_equal(planes, PLANES, strict=True)
    assert labels == LABELS


def test_columns_first_is_read_too() -> None:
    """An array stored column by column has its values in the right places."""
    planes, _ = pickles.read(batch(array(fortran=True)), "batch")

    np.testing.assert_array_equal(planes, PLANES)


def test_a_whole_batch_is_within_the_limits() -> None:
    """What guards against bombs lets a batch of 10,000 images and file names through."""
    planes = np.zeros((10_000, 3072), np.uint8)
    labels = [number % 10 for number in range(10_000)]

    read, read_labels = pickles.read(batch(array(planes), labels, file_names=10_000), "batch")

    assert read.shape == planes.shape
    assert read_labels == labels


def test_the_same_comes_out_as_by_unrestricted_unpickling() -> None:
    """The batches that these tests write are what Python itself reads as such."""
    content = pickle.loads(batch(array()), encoding="bytes")  # noqa: S301 - written above

    np.testing.assert_array_equal(content[b"data"], PLANES, strict=True)
    assert content[b"labels"] == LABELS


KINDS = {
    "object": call("numpy.dtype", b"U\x02O8", number(0), number(1)),
    "float": call("numpy.dtype", b"U\x02f4", number(0), number(1)),
    "signed": call("numpy.dtype", b"U\x02i1", number(0), number(1)),
    "fields": UINT8[:-1].replace(b"NNN", b"N(U\x01at}") + b"b",
    "odd state": UINT8[: -len(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")] + b"}b",
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_only_uint8_is_an_image(kind: bytes) -> None:
    """An array of another type, above all of objects, is refused as it is described."""
    with pytest.raises(DataError, match=r"^batch: .*uint8"):
        pickles.read(batch(array(kind=kind)), "batch")


HOSTILE = {
    "os.system": (call("os.system", text("touch {marker}")), "'os.system'"),
    "posix.system": (call("posix.system", text("touch {marker}")), "'posix.system'"),
    "eval": (call("__builtin__.eval", text("open('{marker}', 'w')")), "'__builtin__.eval'"),
    "exec": (call("builtins.exec", text("open('{marker}', 'w')")), "'builtins.exec'"),
    "open": (call("io.open", text("{marker}"), text("w")), "'io.open'"),
    "getattr": (call("__builtin__.getattr", b"cnumpy\nload\n", text("x")), "getattr"),
    "numpy.load": (call("numpy.load", text("{marker}")), "'numpy.load'"),
    "frombuffer": (call("numpy.frombuffer", b"U\x04abcd"), "'numpy.frombuffer'"),
    "_frombuffer": (call("numpy._core.numeric._frombuffer", b"U\x04abcd"), "_frombuffer"),
    "memmap": (call("numpy.memmap", text("{marker}"), text("u1"), text("w+")), "'numpy.memmap'"),
    "scalar": (call("numpy.core.multiarray.scalar", UINT8, b"U\x01a"), "multiarray.scalar"),
    "no array but a matrix": (
        call("numpy.core.multiarray._reconstruct", b"cnumpy\nmatrix\n", b"K\x00\x85U\x01b"),
        "'numpy.matrix'",
    ),
    "array of no class": (
        call("numpy.core.multiarray._reconstruct", text("ndarray"), b"K\x00\x85U\x01b"),
        "no published batch",
    ),
    "array outright": (call("numpy.ndarray", b"(K\xffK\xfft"), "outright"),
    "array without values": (NEW_ARRAY, "no array of uint8"),
    "array with a text for a state": (NEW_ARRAY + b"U\x01xb", "other than two dimensions"),
    "array with attributes for a state": (NEW_ARRAY + b"}U\x06valuesK\x01sb", "other than two"),
    "array with slots for a state": (NEW_ARRAY + b"N}X\x06\x00\x00\x00valuesK\x01s\x86b", "other"),
    "array too short": (array(PLANES[:3], shape=(4, 3072)), "with all their bytes"),
    "array too long": (array(shape=(3, 3072)), "with all their bytes"),
    "array of three dimensions": (array(shape=(4, 3, 1024)), "two dimensions"),
    "state for a function": (
        b"c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb",
        "state of a function",
    ),
    "function as a value": (b"c_codecs\nencode\n", "no array of uint8"),
    "text as a value": (text("data"), "no array of uint8"),
    "encoding by another codec": (call("_codecs.encode", text("a"), text("rot13")), "encode"),
    "encoding of a number": (call("_codecs.encode", number(1), text("latin1")), "encode"),
    "call of a number": (number(1) + b")R", "not a pickled batch"),
    "object of a class": (b"(ios\nsystem\n", "INST"),
    "new object": (b"cnumpy\nndarray\n)\x81", "NEWOBJ"),
    "registered extension": (b"\x82\x01", "EXT1"),
    "persistent object": (b"Pmarker\n", "PERSID"),
    "line feeds in a name": (text("os") + text("sys\ntem\x1b[2J") + b"\x93", "'os.sys\\ntem"),
}


@pytest.mark.parametrize(("data", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused(
    tmp_path: Path, data: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pickle asks for beyond a published batch is one line of error and is never run."""
    monkeypatch.chdir(tmp_path)
    marker = "marker"  # As long as the text that it takes the place of, whose length is pickled.
    data = data.replace(b"{marker}", f"./{marker}".encode())

    with pytest.raises(DataError, match=f"^batch.*{re.escape(said)}") as refusal:
        pickles.read(batch(data), "batch")

    assert str(refusal.value).isprintable()
    assert not list(tmp_path.iterdir())


BOMBS = {
    "a place far away": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes that are not there": b"\x80\x03B\xff\xff\xff\xff.",
    "text that is not there": b"\x80\x02X\xff\xff\xff\xff.",
    "a buffer that is not there": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "a frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".",
    "the same bytes many times": batch(
        b"".join(
            [
                *(b"](", text("x" * 100_000), b"q\x20"),
                *([call("_codecs.encode", b"h\x20", text("latin1"))] * 100),
                b"e",
            ]
        )
    ),
    "steps without end": b"\x80\x02](" + b"]" * 1_100_000 + b"e.",
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(raw: bytes) -> None:
    """A small file cannot make the reader take memory out of proportion to its size."""
    with pytest.raises(DataError, match=r"^batch"):
        pickles.read(raw, "batch")


NO_BATCHES = {
    "nothing": b"",
    "text": b"these are no batches",
    "a web page": b"<!DOCTYPE html><html>404</html>",
    "a list": b"\x80\x02].",
    "half a batch": batch(array())[:6000],
    "no data": b"\x80\x02}U\x06labels](K\x01es.",
    "no labels": b"\x80\x02}U\x04data" + array() + b"s.",
    "labels that are no list": batch(array(), b"U\x04\x06\x09\x00\x04"),
}


@pytest.mark.parametrize("raw", NO_BATCHES.values(), ids=NO_BATCHES)
def test_what_is_no_batch_is_said_so(raw: bytes) -> None:
    """A damaged file, or one that is something else, is one line that names it."""
    with pytest.raises(DataError, match=r"^batch") as refusal:
        pickles.read(raw, "batch")

    assert str(refusal.value).isprintable()
