"""JSON documents that one session writes and another reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ablation import AblationError, document

KIND = "pytest-ablation thing"


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """A document comes back as it was, in a folder that was not there, with nothing beside it."""
    path = tmp_path / "new" / "thing.json"
    document.save(path, document.written(KIND, 1, {"name": 'a"b\n\udc80é', "values": [1.5, None]}))
    told = document.read(path, KIND, 1, "--save")
    assert told["values"] == [1.5, None]
    assert told["name"] == 'a"b\n\udc80é'
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"thing.json: no such file. --save writes one.$"),
        ("{", r"thing.json: damaged, this is no JSON. --save writes it anew.$"),
        ("[" * 100_000, r"damaged, this is no JSON"),
        ("[]", r"thing.json: this is no pytest-ablation thing. --save writes one.$"),
        ('{"kind": "other", "schema": 1}', r"this is no pytest-ablation thing"),
        (f'{{"kind": "{KIND}"}}', r"damaged, its schema is not known"),
        (f'{{"kind": "{KIND}", "schema": 9}}', r"newer pytest-ablation \(schema 9; this one .* 1"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    """A file that is gone, cut off, of something else or of a newer version is no traceback."""
    path = tmp_path / "thing.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AblationError, match=message) as caught:
        document.read(path, KIND, 1, "--save")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """Half a document never takes the place of a whole one."""
    path = tmp_path / "thing.json"
    path.mkdir()
    with pytest.raises(OSError, match="irectory"):
        document.save(path, "{}")
    assert list(tmp_path.iterdir()) == [path]
