"""What a session gives the page, from the tests that ran in it."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tests.test_plugin_own_trainer import MINIMAL

STUDY = """
import pytest
from pytest_ablation import configure, remove

@pytest.mark.ablation(remove("drop1"))
def test_removed(variant):
    '''Dropout is worth <b>nothing</b>.'''
    assert variant.accuracy.change >= -1

@pytest.mark.ablation(configure("dense2", units=4))
def test_set(variant):
    assert variant.params.change < 0
    assert variant.accuracy.change >= -1
"""


def read(text: str) -> str:
    """Return what a reader sees of HTML."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text)))


def test_a_session_fills_the_page(suite: pytest.Pytester) -> None:
    """Docstrings, classes, networks side by side and fingerprints are those of the tests."""
    suite.makepyfile(test_study=STUDY)
    arguments = ("--ablation-profile=full", "--ablation-seeds=2")
    suite.runpytest(*arguments).assert_outcomes(passed=2)
    result = suite.runpytest(
        *arguments, "--html=report.html", "--self-contained-html", "--ablation-export=alone.html"
    )
    result.assert_outcomes(passed=2)
    store = {path.stem for path in (suite.path / ".ablation" / "runs").rglob("*.json")}

    alone = (suite.path / "alone.html").read_text()
    theirs = (suite.path / "report.html").read_text()
    blob = re.search(r'data-jsonblob="([^"]*)"', theirs)
    assert blob
    for text in (read(alone), read(unescape(blob[1]).encode().decode("unicode_escape"))):
        assert "Dropout is worth <b>nothing</b>." in text
        assert "Class by class" in text
        assert "units 8 → 4" in text.replace("\\u2192", "→")
        fingerprints = re.findall(r"\b([0-9a-f]{16})\b cached", text)
        assert len(set(fingerprints)) == 6
        assert all(any(name.startswith(each) for name in store) for each in fingerprints)
    assert "0 trained in this session; 6 taken from before" in read(alone)
    assert 'class="gone"><td><bdi>drop1 (Dropout)' in alone


def test_without_a_page_nothing_of_it_is_imported(pytester: pytest.Pytester) -> None:
    """Who asks for no report waits for none of it."""
    pytester.makeconftest(
        MINIMAL
        + """
import sys

def pytest_unconfigure(config):
    loaded = [name for name in sys.modules if name.startswith("pytest_ablation.report.")]
    print("loaded:", *loaded)
"""
    )
    pytester.makepyfile("""
import pytest
from pytest_ablation import override

@pytest.mark.ablation(override(x=2.0))
def test_it(variant):
    assert variant.metric("error").change >= 0.5
""")
    result = pytester.runpytest_subprocess("-p", "no:xdist")
    result.assert_outcomes(passed=1)
    (line,) = [line for line in result.outlines if line.startswith("loaded:")]
    names = {name.rpartition(".")[2] for name in line.split()[1:]}
    assert names <= {"export", "junit", "progress", "terminal", "words", "sweep"}
