"""CIFAR-10 is taken from Keras's cache, and downloaded into it where it is not there."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import socket
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pytest_ablation.data import cifar10, keras_cache
from pytest_ablation.errors import DataError

COUNT = 5  # images a batch


def pack() -> bytes:
    """Return an archive of python batches, as published but for the number of images."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in cifar10.BATCHES:
            planes = np.full((COUNT, 3072), len(name), np.uint8)
            batch = pickle.dumps({b"labels": [3] * COUNT, b"data": planes}, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(batch)
            archive.addfile(info, io.BytesIO(batch))
    return packed.getvalue()


PUBLISHED = pack()  # Once: gzip writes the time into it.


class Origin(BaseHTTPRequestHandler):
    """The place on the web where the archive is."""

    content: ClassVar[bytes] = b""
    status: ClassVar[int] = 200
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Serve the content."""
        self.requests.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give Keras an empty cache, its folder of datasets returned, and batches few images."""
    monkeypatch.setattr(cifar10, "RECORDS_PER_BATCH", COUNT)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "datasets"


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Origin]]:
    """Serve the archive on this machine, in place of its publisher."""
    Origin.content, Origin.status, Origin.requests = PUBLISHED, 200, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        monkeypatch.setattr(keras_cache, "ORIGIN", url)
        monkeypatch.setattr(keras_cache, "SHA256", hashlib.sha256(Origin.content).hexdigest())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield Origin
        server.shutdown()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing answer where the archive is downloaded from."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/cifar-10-python.tar.gz"
    monkeypatch.setattr(keras_cache, "ORIGIN", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_it_is_downloaded_once(
    tmp_path: Path, origin: type[Origin], capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine that is online gets CIFAR-10 without a word on stdout, and only the first time."""
    data = keras_cache.load(tmp_path / "cache")
    again = keras_cache.load(tmp_path / "another cache")

    assert data.x_train.shape == (5 * COUNT, 32, 32, 3)
    assert data.fingerprint == again.fingerprint
    assert len(origin.requests) == 1
    assert capsys.readouterr().out == ""


def test_a_download_is_where_keras_looks_for_it(tmp_path: Path, origin: type[Origin]) -> None:
    """What was downloaded here, keras.datasets.cifar10 does not download again."""
    import keras.utils

    keras_cache.load(tmp_path / "cache")
    # The call that keras.datasets.cifar10.load_data makes, in Keras 3.
    found = keras.utils.get_file(
        fname="cifar-10-batches-py-target",
        origin=keras_cache.ORIGIN,
        extract=True,
        file_hash=keras_cache.SHA256,
        cache_dir=str(tmp_path / "keras"),
    )

    assert (Path(found) / "cifar-10-batches-py" / "test_batch").is_file()
    assert len(origin.requests) == 1


def test_origin_and_hash_are_those_of_keras() -> None:
    """The archive that is downloaded is the one that Keras itself trusts."""
    import inspect

    import keras.datasets.cifar10

    source = inspect.getsource(keras.datasets.cifar10.load_data)

    assert f'"{keras_cache.ORIGIN}"' in source
    assert f'"{keras_cache.SHA256}"' in source


@pytest.mark.parametrize("name", ["cifar-10-batches-py-target", "cifar-10-batches-py"])
def test_what_keras_extracted_is_found(
    tmp_path: Path, datasets: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that Keras 3 or 2 left in its cache are read, and Keras is not imported for it."""
    inside = datasets / "cifar-10-batches-py-target" if name.endswith("target") else datasets
    with tarfile.open(fileobj=io.BytesIO(PUBLISHED)) as archive:
        archive.extractall(inside, filter="data")
    monkeypatch.setitem(sys.modules, "keras", None)

    assert str(datasets / name) in keras_cache.load(tmp_path / "cache").source


@pytest.mark.parametrize(
    "name",
    [
        "cifar-10-batches-py-target_archive",
        "cifar-10-batches-py-target.tar.gz",
        "cifar-10-batches-py.tar.gz",
    ],
)
def test_what_keras_downloaded_is_found(
    tmp_path: Path, datasets: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that any Keras left in its cache is read, and Keras is not imported for it."""
    datasets.mkdir(parents=True)
    (datasets / name).write_bytes(PUBLISHED)
    monkeypatch.setattr(keras_cache, "SHA256", hashlib.sha256(PUBLISHED).hexdigest())
    monkeypatch.setitem(sys.modules, "keras", None)

    assert str(datasets / name) in keras_cache.load(tmp_path / "cache").source


def test_half_an_extraction_is_passed_over(
    tmp_path: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Keras was killed while it extracted, the archive beside it is read."""
    partial = datasets / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    partial.mkdir(parents=True)
    (partial / "data_batch_1").write_bytes(b"")
    (datasets / keras_cache.ARCHIVE).write_bytes(PUBLISHED)
    monkeypatch.setattr(keras_cache, "SHA256", hashlib.sha256(PUBLISHED).hexdigest())

    assert keras_cache.ARCHIVE in keras_cache.load(tmp_path / "cache").source


def test_half_a_download_is_downloaded_again(
    tmp_path: Path, datasets: Path, origin: type[Origin]
) -> None:
    """An archive that is not what was published is replaced, where that is possible."""
    datasets.mkdir(parents=True)
    (datasets / keras_cache.ARCHIVE).write_bytes(PUBLISHED[:-9])

    assert len(keras_cache.load(tmp_path / "cache").x_test) == COUNT
    assert len(origin.requests) == 1


@pytest.mark.usefixtures("offline")
def test_offline_says_so(tmp_path: Path, datasets: Path) -> None:
    """Without network, one line says where it was looked for, what failed and what to do."""
    with pytest.raises(DataError) as error:
        keras_cache.load(tmp_path / "cache")

    said = str(error.value)
    assert said.startswith(f"CIFAR-10 is neither in Keras's cache ({datasets}) nor could it be")
    assert "Connection refused" in said
    assert said.endswith("name it with --ablation-data=PATH.")
    assert said.isprintable()
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("offline")
def test_offline_with_a_broken_cache_says_so(tmp_path: Path, datasets: Path) -> None:
    """What is in Keras's cache and cannot be read is named, and not left out of the reason."""
    (datasets / "cifar-10-batches-py").mkdir(parents=True)
    (datasets / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")

    with pytest.raises(DataError, match=r"in Keras's cache cannot be read \(.*data_batch_2"):
        keras_cache.load(tmp_path / "cache")


def test_a_server_that_has_it_not(tmp_path: Path, origin: type[Origin]) -> None:
    """An answer other than the archive is a reason in the same line."""
    origin.status = 404

    with pytest.raises(DataError, match=r"nor could it be downloaded \(.*404"):
        keras_cache.load(tmp_path / "cache")


def test_a_server_that_does_not_answer(
    tmp_path: Path, origin: type[Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that swallows everything costs the time-out, not the whole session."""
    released = threading.Event()
    monkeypatch.setattr(origin, "do_GET", lambda _: released.wait(30))
    monkeypatch.setattr(keras_cache, "TIMEOUT", 0.1)

    with pytest.raises(DataError, match=r"timed out"):
        keras_cache.load(tmp_path / "cache")
    released.set()


def test_another_archive_is_not_used(
    tmp_path: Path, origin: type[Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that is not the published archive is refused, that time and the next."""
    monkeypatch.setattr(keras_cache, "SHA256", "0" * 64)

    for _ in range(2):
        with pytest.raises(DataError, match="hash does not match"):
            keras_cache.load(tmp_path / "cache")
    assert len(origin.requests) == 2


@pytest.mark.usefixtures("offline")
def test_no_keras_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Keras cannot be imported, that is why nothing was downloaded."""
    monkeypatch.setitem(sys.modules, "keras.utils", None)

    with pytest.raises(DataError, match=r"could it be downloaded \(.*keras"):
        keras_cache.load(tmp_path / "cache")


def test_those_who_waited_do_not_try_in_turn(tmp_path: Path, origin: type[Origin]) -> None:
    """Of workers that start together without network, one waits for it, and all know."""
    origin.status = 503
    with pytest.raises(DataError, match="503"):
        keras_cache.load(tmp_path)
    (failure,) = tmp_path.glob("*.failed")
    os.utime(failure, (4e9, 4e9))  # As if it had failed after the next one asked.

    with pytest.raises(DataError, match="503"):
        keras_cache.load(tmp_path)
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("keras_home", "expected"),
    [(None, "user/.keras"), ("~/of keras", "user/of keras"), ("{}/else", "else")],
)
def test_the_folder_is_that_of_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keras_home: str | None, expected: str
) -> None:
    """KERAS_HOME moves the cache as it does for Keras; without it, it is in the user's home."""
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("KERAS_HOME")
    if keras_home is not None:
        monkeypatch.setenv("KERAS_HOME", keras_home.format(tmp_path))

    assert keras_cache.folder() == tmp_path / expected / "datasets"
