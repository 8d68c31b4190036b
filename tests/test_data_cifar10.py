"""CIFAR-10 is read from every form in which it is published, and from nothing else."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_ablation.data import cifar10
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import DataError

COUNT = 20  # images a batch, where the published ones have 10,000
IMAGES = np.random.default_rng(3).integers(0, 256, (6 * COUNT, 32, 32, 3), np.uint8)
LABELS = np.random.default_rng(4).permutation(6 * COUNT).astype(np.uint8) % 10
TRAIN, TEST = slice(5 * COUNT), slice(5 * COUNT, None)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch have few images, so that a test takes no time."""
    monkeypatch.setattr(cifar10, "RECORDS_PER_BATCH", COUNT)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return where decoded data goes."""
    return tmp_path / "cache"


def batch(number: int) -> tuple[Any, Any]:
    """Return the labels and the colour planes of a batch, counted from zero."""
    part = slice(COUNT * number, COUNT * (number + 1))
    return LABELS[part], IMAGES[part].transpose(0, 3, 1, 2).reshape(COUNT, 3072)


def binary(number: int) -> bytes:
    """Return a binary batch."""
    labels, planes = batch(number)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes()


def python(number: int, **other: Any) -> bytes:
    """Return a python batch, or one with something else in it."""
    labels, planes = batch(number)
    content = {"batch_label": b"a batch", "labels": labels.tolist(), "data": planes, **other}
    return pickle.dumps({name.encode(): value for name, value in content.items()}, protocol=2)


def write_batches(folder: Path, layout: str) -> Path:
    """Write all batches into a folder, which is returned."""
    folder.mkdir(parents=True)
    for number, name in enumerate(cifar10.BATCHES):
        if layout == "bin":
            (folder / f"{name}.bin").write_bytes(binary(number))
        else:
            (folder / name).write_bytes(python(number))
    (folder / "batches.meta").write_bytes(b"not read")
    (folder / "readme.html").write_text("nor is this")
    return folder


def write_npz(path: Path, **other: Any) -> Path:
    """Write all images as an .npz, or with something else in it; None leaves an array out."""
    arrays = {
        "x_train": IMAGES[TRAIN],
        "y_train": LABELS[TRAIN],
        "x_test": IMAGES[TEST],
        "y_test": LABELS[TEST],
        **other,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def write_tar(path: Path, folder: Path, mode: str = "w:gz") -> Path:
    """Pack a folder as the published archives are packed."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname=folder.name)
    return path


def assert_cifar10(data: Dataset) -> None:
    """Compare all that the data should be."""
    np.testing.assert_array_equal(data.x_train, IMAGES[TRAIN], strict=True)
    np.testing.assert_array_equal(data.y_train, LABELS[TRAIN], strict=True)
    np.testing.assert_array_equal(data.x_test, IMAGES[TEST], strict=True)
    np.testing.assert_array_equal(data.y_test, LABELS[TEST], strict=True)
    assert data.name == "CIFAR-10"
    assert data.classes[3] == "cat"
    assert len(data.classes) == 10
    assert not data.stand_in


def refusal(path: Path, cache: Path) -> str:
    """Return the one line in which a path is refused."""
    with pytest.raises(DataError) as error:
        cifar10.load(path, cache)
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize(
    ("at", "layout"),
    [
        ("", "py"),
        ("", "bin"),
        ("cifar-10-batches-py", "py"),
        ("cifar-10-batches-bin", "bin"),
        ("cifar-10-batches-py-target/cifar-10-batches-py", "py"),
    ],
)
def test_folders_of_batches(tmp_path: Path, cache: Path, at: str, layout: str) -> None:
    """Python and binary batches are found in the folder named and in the usual ones below it."""
    write_batches(tmp_path / "data" / at, layout)

    data = cifar10.load(tmp_path / "data", cache)

    assert_cifar10(data)
    assert str(tmp_path / "data") in data.source


@pytest.mark.parametrize("layout", ["py", "bin"])
@pytest.mark.parametrize("mode", ["w:gz", "w", "w:xz"])
def test_archives(tmp_path: Path, cache: Path, layout: str, mode: str) -> None:
    """The published archives are read as they are, packed or not, whatever they are called."""
    folder = write_batches(tmp_path / f"cifar-10-batches-{layout}", layout)

    assert_cifar10(cifar10.load(write_tar(tmp_path / "archive", folder, mode), cache))
    assert not (cache / folder.name).exists()


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32])
def test_npz(tmp_path: Path, cache: Path, shape: tuple[int, ...], dtype: type) -> None:
    """An .npz is read with labels of any whole type, in one column or flat, as Keras has them."""
    y_train: Any = LABELS[TRAIN].astype(dtype).reshape(shape)
    y_test: Any = LABELS[TEST].astype(dtype).reshape(shape)

    assert_cifar10(
        cifar10.load(write_npz(tmp_path / "c.npz", y_train=y_train, y_test=y_test), cache)
    )


def test_npz_of_any_number_of_images(tmp_path: Path, cache: Path) -> None:
    """A user's own selection of images in an .npz is taken as it is."""
    path = write_npz(tmp_path / "few.npz", x_train=IMAGES[:3], y_train=LABELS[:3])

    assert len(cifar10.load(path, cache).x_train) == 3


def test_all_forms_are_the_same_data(tmp_path: Path, cache: Path) -> None:
    """Trainings on one form count for the others: the fingerprint is of the images alone."""
    python_batches = write_batches(tmp_path / "py", "py")
    paths = [
        python_batches,
        write_batches(tmp_path / "bin", "bin"),
        write_npz(tmp_path / "c.npz"),
        write_tar(tmp_path / "c.tar.gz", python_batches),
    ]

    fingerprints = {cifar10.load(path, cache).fingerprint for path in paths}

    assert len(fingerprints) == 1


def test_published_size(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 10,000 give the 50,000 training and 10,000 test images of CIFAR-10."""
    monkeypatch.undo()  # of small_batches
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = np.arange(10_000) % 10
    (tmp_path / "data_batch_1.bin").write_bytes(records.tobytes())
    for name in cifar10.BATCHES[1:]:
        os.link(tmp_path / "data_batch_1.bin", tmp_path / f"{name}.bin")

    data = cifar10.load(tmp_path, cache)

    assert data.x_train.shape == (50_000, 32, 32, 3)
    assert data.x_test.shape == (10_000, 32, 32, 3)
    assert data.y_test[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    for large in (*cache.glob("*/x_*.npy"), *tmp_path.glob("*.bin")):
        large.unlink()  # pytest keeps the folders of three sessions.


def test_a_changed_source_is_read_again(tmp_path: Path, cache: Path) -> None:
    """What was decoded before is not taken for the content of a file that has changed since."""
    path = write_npz(tmp_path / "c.npz")
    before = cifar10.load(path, cache)
    write_npz(path, x_test=255 - IMAGES[TEST])
    os.utime(path, (1, 1))

    assert cifar10.load(path, cache).fingerprint != before.fingerprint


def test_an_unchanged_source_is_decoded_once(tmp_path: Path, cache: Path) -> None:
    """A later session reads the maps and not the source, whose content is not even looked at."""
    path = write_npz(tmp_path / "c.npz")
    cifar10.load(path, cache)
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert_cifar10(cifar10.load(path, cache))


def test_a_hash_that_must_be(tmp_path: Path, cache: Path) -> None:
    """A file with another SHA-256 than it must have is refused, the right one is read."""
    path = write_npz(tmp_path / "c.npz")
    right = hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(DataError, match=r"c\.npz is not the published archive: its SHA-256 is"):
        cifar10.load(path, cache, sha256="0" * 64)
    assert_cifar10(cifar10.load(path, cache, sha256=right))


@pytest.mark.parametrize("layout", ["py", "bin"])
def test_a_truncated_batch(tmp_path: Path, cache: Path, layout: str) -> None:
    """A batch that is cut short is named, with the bytes it has and those it should have."""
    folder = write_batches(tmp_path / "data", layout)
    name = "data_batch_3" + (".bin" if layout == "bin" else "")
    (folder / name).write_bytes((folder / name).read_bytes()[:50_000])

    said = refusal(folder, cache)

    assert str(folder / name) in said
    assert "truncated: 50,000 bytes" in said
    assert ("61,460" if layout == "bin" else "61,440") in said


@pytest.mark.parametrize("layout", ["py", "bin"])
def test_a_batch_that_is_too_long(tmp_path: Path, cache: Path, layout: str) -> None:
    """A file larger than any batch is refused before it is read into memory."""
    folder = write_batches(tmp_path / "data", layout)
    with next(folder.glob("data_batch_2*")).open("r+b") as file:
        file.truncate(1 << 33)  # Takes no space on disk.

    assert "data_batch_2" in (said := refusal(folder, cache))
    assert "too long: 8,589,934,592 bytes" in said


@pytest.mark.parametrize("layout", ["py", "bin"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_missing_batch(tmp_path: Path, cache: Path, layout: str, packed: bool) -> None:
    """A batch that is not there is named."""
    folder = write_batches(tmp_path / "data", layout)
    next(folder.glob("test_batch*")).unlink()

    said = refusal(write_tar(tmp_path / "c.tar.gz", folder) if packed else folder, cache)

    assert "test_batch" in said
    assert str(tmp_path) in said


def test_a_binary_label_out_of_range(tmp_path: Path, cache: Path) -> None:
    """A label that CIFAR-10 does not have is named, with the file it is in."""
    folder = write_batches(tmp_path / "data", "bin")
    (folder / "data_batch_4.bin").write_bytes(b"\x0b" + binary(3)[1:])

    assert "data_batch_4.bin: a label 11" in refusal(folder, cache)


WRONG_BATCHES = {
    "label too high": ({"labels": [10] * COUNT}, "a label 10"),
    "label negative": ({"labels": [-1] * COUNT}, "a label -1"),
    "label true": ({"labels": [True] * COUNT}, "not whole numbers"),
    "label a text": ({"labels": ["cat"] * COUNT}, "not whole numbers"),
    "label huge": ({"labels": [1 << 70] * COUNT}, "a label"),
    "too few labels": ({"labels": [1] * 7}, "7 labels, not 20"),
    "coarse labels only": ({"labels": None, "fine_labels": [1] * COUNT}, 'under "labels"'),
    "wrong shape": ({"data": batch(1)[1].reshape(COUNT * 2, 1536)}, "shape (40, 1536)"),
    "three dimensions": ({"data": batch(1)[1].reshape(COUNT, 3, 1024)}, "two dimensions"),
    "wrong type": ({"data": batch(1)[1][:5].astype(np.float32)}, "another type than uint8"),
    "objects": ({"a": "x" * 62_000, "data": np.array([[os.getcwd]])}, "another type than uint8"),
    "another thing": ({"other": Path}, "asks for 'pathlib.Path'"),
}


@pytest.mark.parametrize(("other", "reason"), WRONG_BATCHES.values(), ids=WRONG_BATCHES)
def test_a_wrong_python_batch(
    tmp_path: Path, cache: Path, other: dict[str, Any], reason: str
) -> None:
    """What is wrong in a python batch is said in one line, with the file it is in."""
    folder = write_batches(tmp_path / "data", "py")
    (folder / "data_batch_2").write_bytes(python(1, **other))

    said = refusal(folder, cache)

    assert said.startswith(str(folder / "data_batch_2"))
    assert reason in said


class Touch:
    """What pickles as a call that leaves a folder behind."""

    def __init__(self, marker: Path) -> None:
        """Take the folder."""
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the call."""
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("packed", [False, True])
def test_a_hostile_batch_is_never_run(tmp_path: Path, cache: Path, packed: bool) -> None:
    """A pickle that asks for more than the published ones do is refused and not executed."""
    folder = write_batches(tmp_path / "data", "py")
    (folder / "data_batch_1").write_bytes(python(0, more=Touch(tmp_path / "marker")))

    said = refusal(write_tar(tmp_path / "c.tar", folder, "w") if packed else folder, cache)

    assert "data_batch_1" in said
    assert "mkdir" in said
    assert not (tmp_path / "marker").exists()


WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "array missing": ({"y_test": None}, "no array y_test. It holds: x_train, y_train, x_test"),
    "floats": ({"x_train": IMAGES[TRAIN] / 255}, "x_train is float64, not uint8"),
    "colour first": (
        {"x_test": IMAGES[TEST].transpose(0, 3, 1, 2)},
        "x_test has the shape (20, 3, 32, 32), not (n, 32, 32, 3)",
    ),
    "no images": ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "x_test has the shape (0,"),
    "a single number": ({"x_test": np.uint8(3)}, "x_test has the shape ()"),
    "one-hot labels": ({"y_train": np.eye(10, dtype=int)[LABELS[TRAIN]]}, "shape (100, 10)"),
    "fewer labels": ({"y_train": LABELS[:99]}, "y_train has the shape (99,), not (100,)"),
    "float labels": ({"y_test": LABELS[TEST] / 1}, "y_test is float64, not whole numbers"),
    "label too high": ({"y_test": LABELS[TEST] + 90}, "y_test: a label 9"),
    "label negative": ({"y_test": LABELS[TEST].astype(int) - 100}, "y_test: a label -"),
    "objects": ({"y_test": np.array([print] * 20)}, "Object arrays cannot be loaded"),
}


@pytest.mark.parametrize(("other", "reason"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_a_wrong_npz(tmp_path: Path, cache: Path, other: dict[str, Any], reason: str) -> None:
    """What is wrong in an .npz is said in one line, with the array it is in."""
    path = write_npz(tmp_path / "c.npz", **other)

    said = refusal(path, cache)

    assert said.startswith(str(path))
    assert reason in said


def test_an_npz_of_something_else(tmp_path: Path, cache: Path) -> None:
    """A zip file whose members are no arrays, and a file that is no zip, are said to be so."""
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", "no array")
    (tmp_path / "text.npz").write_text("no zip")

    assert "c.npz" in refusal(tmp_path / "c.npz", cache)
    assert "text.npz is not an .npz" in refusal(tmp_path / "text.npz", cache)


def member(name: str, content: bytes = b"", **attributes: Any) -> Callable[[tarfile.TarFile], None]:
    """Return what adds a member to an archive."""

    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        archive.addfile(info, io.BytesIO(content))

    return add


MEMBERS = {
    "outside": member("../../escaped", b"x"),
    "inside, then outside": member("cifar-10-batches-py/../../escaped", b"x"),
    "absolute": member("/escaped", b"x"),
    "symbolic link": member("data_batch_1", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": member("data_batch_1", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": member("zero", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "pipe": member("pipe", type=tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("add", MEMBERS.values(), ids=MEMBERS)
@pytest.mark.parametrize("first", [True, False])
def test_a_hostile_archive(
    tmp_path: Path, cache: Path, add: Callable[[tarfile.TarFile], None], first: bool
) -> None:
    """An archive with a link, a device or a name outside is refused whole, naming the member."""
    folder = write_batches(tmp_path / "cifar-10-batches-py", "py")
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        if first:
            add(archive)
        archive.add(folder, arcname=folder.name)
        if not first:
            add(archive)

    said = refusal(tmp_path / "c.tar.gz", cache)

    assert "the archive is refused" in said
    assert any(name in said for name in ("escaped", "data_batch_1", "zero", "pipe"))


def test_an_archive_with_a_batch_twice(tmp_path: Path, cache: Path) -> None:
    """Which of two batches of one name is meant is not guessed."""
    write_batches(tmp_path / "data" / "a", "bin")
    write_batches(tmp_path / "data" / "b", "py")

    assert "a second data_batch_1" in refusal(
        write_tar(tmp_path / "c.tar", tmp_path / "data"), cache
    )


def cut(raw: bytes) -> bytes:
    """Lose the second half."""
    return raw[: len(raw) // 2]


def cut_the_end(raw: bytes) -> bytes:
    """Lose the checksum."""
    return raw[:-6]


def flip(raw: bytes) -> bytes:
    """Change a byte in the middle."""
    return raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 0xFF]) + raw[len(raw) // 2 + 1 :]


def forge(raw: bytes) -> bytes:
    """Change the checksum."""
    return raw[:-8] + b"\0\0\0\0" + raw[-4:]


@pytest.mark.parametrize("damage", [cut, cut_the_end, flip, forge])
def test_a_corrupt_archive(tmp_path: Path, cache: Path, damage: Callable[[bytes], bytes]) -> None:
    """A download that was cut short or altered is said to be so, down to its last byte."""
    path = write_tar(tmp_path / "c.tar.gz", write_batches(tmp_path / "data", "py"))
    path.write_bytes(damage(path.read_bytes()))

    assert refusal(path, cache).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x1f\x8b\x08rubbish"])
def test_no_archive_at_all(tmp_path: Path, cache: Path, content: bytes) -> None:
    """A file that is something else, such as a saved web page, is said to be no archive."""
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content)

    assert "is not a tar archive" in refusal(tmp_path / "cifar-10-python.tar.gz", cache)


def test_a_folder_without_batches(tmp_path: Path, cache: Path) -> None:
    """A folder of something else, as of CIFAR-100, is told what was looked for."""
    (tmp_path / "train").touch()
    (tmp_path / "fine_label_names").touch()

    said = refusal(tmp_path, cache)

    assert "data_batch_1" in said
    assert "It holds: fine_label_names, train." in said
