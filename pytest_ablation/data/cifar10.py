"""CIFAR-10 as it is published: python or binary batches, a tar archive of either, or an .npz.

Reads what a path holds and checks all of it; where the path comes from is for others to say.
Archives are read as streams, and nothing of them is written to disk under a name of theirs.
"""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ablation.data import maps, pickles
from pytest_ablation.dataset import PARTS, Dataset
from pytest_ablation.errors import DataError, one_line

Bytes = NDArray[np.uint8]
Splits = tuple[Bytes, Bytes, Bytes, Bytes]

# fmt: off
CLASSES = ("airplane", "automobile", "bird", "cat", "deer",
           "dog", "frog", "horse", "ship", "truck")
# fmt: on
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
RECORDS_PER_BATCH = 10_000
LISTED = 8  # names of what is in a folder
PIXELS = 3 * 32 * 32  # of a record: the red, the green and the blue plane

_FOLDERS = (
    "",
    "cifar-10-batches-py",
    "cifar-10-batches-bin",
    "cifar-10-batches-py-target/cifar-10-batches-py",
)


def load(path: Path, cache: Path, *, sha256: str = "") -> Dataset:
    """Return the CIFAR-10 that a path holds.

    Args:
        path: A folder of published batches or one that contains it, a tar archive of the batches,
            or an .npz with x_train, y_train, x_test and y_test.
        cache: Folder of decoded data; see ``maps``.
        sha256: What the file must have, as hexadecimal digits; empty for anything.

    Returns:
        Images of uint8, shape (n, 32, 32, 3), and labels 0…9 of uint8, shape (n,).

    Raises:
        DataError: Something is missing, damaged, or not CIFAR-10.
    """
    try:
        source = _recognise(path)
        key = _key(source.files, sha256)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error

    def make() -> Dataset:
        try:
            if sha256:
                _verify(path, sha256)
            x_train, y_train, x_test, y_test = source.read()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        return Dataset(
            name="CIFAR-10",
            x_train=x_train,
            y_train=y_train,
            x_test=x_test,
            y_test=y_test,
            classes=CLASSES,
            source=source.text,
        )

    return maps.keep(cache, key, make)


@dataclass(frozen=True)
class _Source:
    """What a path turned out to be.

    Attributes:
        text: It in words.
        files: All files that its content depends on.
        read: Decodes it.
    """

    text: str
    files: tuple[Path, ...]
    read: Callable[[], Splits]


@dataclass(frozen=True)
class _Layout:
    """A form in which batches are published.

    Attributes:
        name: What to call it.
        suffix: What follows the batch's name in the file's.
        smallest: Bytes a record, at least.
        largest: Bytes a record, at most.
        decode: From a file's bytes and what to call it in an error to labels and planes.
    """

    name: str
    suffix: str
    smallest: int
    largest: int
    decode: Callable[[bytes, str], tuple[Bytes, Bytes]]


def _recognise(path: Path) -> _Source:
    """Return what a path holds, by its content; nothing is decoded yet."""
    if path.is_dir():
        folder, layout = _find_batches(path)
        files = tuple(folder / f"{name}{layout.suffix}" for name in BATCHES)
        for file in files:
            if not file.is_file():
                raise DataError(f"{folder}: {file.name} is missing. It holds: {_listing(folder)}.")
        return _Source(f"{layout.name} in {folder}", files, lambda: _read_folder(files, layout))
    if not path.is_file():
        raise DataError(f"{path} is neither a folder nor a file.")
    if path.suffix == ".npz" or zipfile.is_zipfile(path):
        return _Source(f"arrays in {path}", (path,), lambda: _read_npz(path))
    return _Source(f"archive {path}", (path,), lambda: _read_archive(path))


def _find_batches(path: Path) -> tuple[Path, _Layout]:
    for folder in (path / name for name in _FOLDERS):
        for layout in _LAYOUTS:
            if any((folder / f"{name}{layout.suffix}").is_file() for name in BATCHES):
                return folder, layout
    raise DataError(
        f"{path}: no batches of CIFAR-10 ({BATCHES[0]} or {BATCHES[0]}.bin, …, {BATCHES[-1]}). "
        f"It holds: {_listing(path)}."
    )


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return (", ".join(names[:LISTED]) or "nothing") + (", …" if len(names) > LISTED else "")


def _key(files: tuple[Path, ...], sha256: str) -> str:
    """Return a name for what the files hold now: one that is changed or replaced gets another."""
    about = [sha256]
    for file in files:
        status = file.stat()
        about.append(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}")
    return "cifar10-" + hashlib.sha256("\n".join(about).encode(errors="replace")).hexdigest()[:16]


def _verify(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DataError(f"{path} is not the published archive: its SHA-256 is {found}.")


def _read_folder(files: tuple[Path, ...], layout: _Layout) -> Splits:
    def batches() -> Iterator[_Batch]:
        for name, file in zip(BATCHES, files, strict=True):
            _check_size(file.stat().st_size, layout, str(file))
            yield name, layout, str(file), file.read_bytes()

    return _assemble(batches(), str(files[0].parent))


def _read_archive(path: Path) -> Splits:
    try:
        with tarfile.open(path) as archive:
            splits = _assemble(_batches_in(archive, path), str(path))
            # Compressed files carry a checksum at their end, which only reading to it compares.
            while archive.fileobj is not None and archive.fileobj.read(1 << 20):
                pass
            return splits
    except (tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a tar archive that can be read to its end ({one_line(error)})."
        ) from error


def _batches_in(archive: tarfile.TarFile, path: Path) -> Iterator[_Batch]:
    known = {f"{name}{layout.suffix}": (name, layout) for name in BATCHES for layout in _LAYOUTS}
    for member in archive:
        inside = PurePosixPath(member.name)
        where = f"{path}: {member.name!r}"
        if inside.is_absolute() or ".." in inside.parts:
            raise DataError(f"{where} points outside the archive; the archive is refused.")
        if not (member.isreg() or member.isdir()):
            raise DataError(f"{where} is a link or a device; the archive is refused.")
        if member.isreg() and inside.name in known:
            name, layout = known[inside.name]
            _check_size(member.size, layout, where)
            content = archive.extractfile(member)
            assert content is not None  # It is so of links and devices only.
            yield name, layout, where, content.read()


def _check_size(size: int, layout: _Layout, where: str) -> None:
    """Refuse a file too short or too long before any of it is read."""
    smallest, largest = (RECORDS_PER_BATCH * each for each in (layout.smallest, layout.largest))
    expected = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    if not smallest <= size <= largest:
        raise DataError(
            f"{where} is {'truncated' if size < smallest else 'too long'}: {size:,} bytes, where "
            f"{RECORDS_PER_BATCH:,} images take {expected}."
        )


def _assemble(batches: Iterable[_Batch], where: str) -> Splits:
    """Decode batches, which may come in any order, and put each in its place."""
    count = RECORDS_PER_BATCH
    images = np.empty((count * len(BATCHES), 32, 32, 3), np.uint8)
    labels = np.empty(len(images), np.uint8)
    missing = list(BATCHES)
    for name, layout, file, raw in batches:
        if name not in missing:
            raise DataError(f"{file}: there is a second {name} in {where}.")
        missing.remove(name)
        part = slice(count * BATCHES.index(name), count * (BATCHES.index(name) + 1))
        labels[part], planes = layout.decode(raw, file)
        images[part] = planes.reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)
    if missing:
        raise DataError(f"{where}: no {', '.join(missing)}.")
    end = count * (len(BATCHES) - 1)
    return images[:end], labels[:end], images[end:], labels[end:]


def _decode_pickle(raw: bytes, where: str) -> tuple[Bytes, Bytes]:
    planes, labels = pickles.read(raw, where)
    if planes.shape != (RECORDS_PER_BATCH, PIXELS):
        raise DataError(f"{where}: data of shape {planes.shape}, not {RECORDS_PER_BATCH, PIXELS}.")
    if len(labels) != RECORDS_PER_BATCH:
        raise DataError(f"{where}: {len(labels):,} labels, not {RECORDS_PER_BATCH:,}.")
    if not all(type(label) is int for label in labels):
        raise DataError(f"{where}: labels that are not whole numbers.")
    _check_labels(min(labels), max(labels), where)
    return np.array(labels, np.uint8), planes


def _decode_records(raw: bytes, where: str) -> tuple[Bytes, Bytes]:
    records = np.frombuffer(raw, np.uint8).reshape(RECORDS_PER_BATCH, 1 + PIXELS)
    labels = records[:, 0]
    _check_labels(int(labels.min()), int(labels.max()), where)
    return labels, records[:, 1:]


def _check_labels(lowest: int, highest: int, where: str) -> None:
    last = len(CLASSES) - 1
    if lowest < 0 or highest > last:
        wrong = lowest if lowest < 0 else highest
        raise DataError(f"{where}: a label {wrong}; those of CIFAR-10 are 0 to {last}.")


def _read_npz(path: Path) -> Splits:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in PARTS:
                if name not in arrays.files:
                    there = ", ".join(arrays.files) or "nothing"
                    raise DataError(f"{path}: no array {name}. It holds: {there}.")
            x_train, y_train, x_test, y_test = (arrays[name] for name in PARTS)
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds on a damaged file.
        raise DataError(f"{path} is not an .npz of plain arrays ({one_line(error)}).") from error
    for split, images, labels in (("train", x_train, y_train), ("test", x_test, y_test)):
        _check_images(images, f"{path}: x_{split}")
        _check_label_array(labels, len(images), f"{path}: y_{split}")
    return x_train, _flat(y_train), x_test, _flat(y_test)


def _check_images(images: Any, where: str) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise DataError(f"{where} is {_kind(images)}, not uint8.")
    if images.shape[1:] != (32, 32, 3) or not len(images):
        raise DataError(f"{where} has the shape {images.shape}, not (n, 32, 32, 3).")


def _check_label_array(labels: Any, count: int, where: str) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        raise DataError(f"{where} is {_kind(labels)}, not whole numbers.")
    if labels.shape not in ((count,), (count, 1)):
        raise DataError(
            f"{where} has the shape {labels.shape}, not ({count},), for {count} images."
        )
    _check_labels(int(labels.min()), int(labels.max()), where)


def _flat(labels: NDArray[Any]) -> Bytes:
    return labels.reshape(-1).astype(np.uint8)


def _kind(value: Any) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__


_Batch = tuple[str, _Layout, str, bytes]  # name, layout, what to call it in an error, content
_LAYOUTS = (
    # Python 3 pickles bytes as text, in which half of the values take two; then 256 for file names.
    _Layout("python batches", "", PIXELS, 2 * PIXELS + 256, _decode_pickle),
    _Layout("binary batches", ".bin", 1 + PIXELS, 1 + PIXELS, _decode_records),
)
