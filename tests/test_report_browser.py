"""The page in a browser: pytest-html builds its rows by script, and ours must survive that."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from typing import Any

import pytest

from tests.test_report import study

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=390,900", "--dump-dom"),
)
FEED = """
import json
from pathlib import Path
import pytest
from pytest_html import extras
from pytest_ablation.table import Entry, Findings
from pytest_ablation.report import columns, html

ENTRIES = [Entry.from_plain(plain) for plain in json.loads(Path("entries.json").read_text())]
BY_NAME = {entry.test.split("::")[1]: entry for entry in ENTRIES}
FINDINGS = Findings()

def found(report):
    entry = BY_NAME.get(report.nodeid.split("::")[1])
    return (entry, Findings({entry.test: entry}).rows()[-1]) if entry else (None, None)

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    entry, row = found(report)
    if entry and report.when == "call":
        FINDINGS.add(entry)
        report.extras = [extras.html(html.unfolded(entry, row))]

def pytest_html_results_table_header(cells):
    cells[2:2] = columns.header_cells()

def pytest_html_results_table_row(report, cells):
    cells[2:2] = columns.row_cells(*found(report))

def pytest_html_results_summary(prefix):
    prefix.append(html.page(FINDINGS))
"""
# What the script finds goes into the document's title, which --dump-dom prints.
LOOK = """<script>
const all = (selector) => [...document.querySelectorAll(selector)]
const shown = (element) => getComputedStyle(element).display !== "none"
const click = (selector) => document.querySelector(selector).click()
const changes = () => all("tr.collapsible .col-change").map((cell) => cell.textContent)
const found = {heads: all("#results-table-head th").filter(shown).length}
found.cells = all("tr.collapsible td").filter(shown).length / all("tr.collapsible").length
if (all(".ablation").some(shown)) {
  click('th[data-column-type="change"]')
  found.changes = changes()
  const folded = () => all("tr.extras-row.hidden").length
  const before = folded()
  click("tr.collapsible .col-accuracy")
  found.toggled = Math.abs(folded() - before)
  const box = document.querySelector(".pytest-ablation.page").getBoundingClientRect()
  found.fits = box.right <= window.innerWidth
  found.overflowing = all(".pytest-ablation.page *:not(.scroll, .scroll *)")
    .filter((each) => each.getBoundingClientRect().right > box.right).length
  found.unfolded = all(".extraHTML .pytest-ablation.unfolded svg").length
}
document.title = JSON.stringify(found)
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome")


FILTERS = """<script>
addEventListener("DOMContentLoaded", async () => {
  const all = (selector) => [...document.querySelectorAll(selector)]
  const rows = () => all("tbody.results-table-row")
    .filter((row) => getComputedStyle(row).display !== "none")
    .map((row) => row.querySelector(".col-result").textContent)
  const filters = all(".filters > span").filter((each) => getComputedStyle(each).display !== "none")
  const found = {labels: filters.map((each) => each.textContent.trim()), at_first: rows()}
  for (const name of ["undecided", "skipped"]) {
    const box = document.querySelector(`[data-ablation-filter="${name}"]`)
    box.click()
    found[`without_${name}`] = rows()
    box.click()
  }
  document.querySelector('th[data-column-type="testId"]').click()
  await Promise.resolve()  // what watches the table has seen it sorted
  document.title = JSON.stringify({...found, sorted: rows()})
})
</script>"""


def test_undecided_tests_have_a_filter_of_their_own(suite: pytest.Pytester) -> None:
    """Who looks for what is open finds it: a count, a filter and a name that survive sorting."""
    suite.makepyfile(
        test_study="""
import pytest
from pytest_ablation import remove

@pytest.mark.ablation(remove("drop1"))
def test_a(variant):
    assert variant.accuracy.change >= -1

@pytest.mark.skip(reason="not today")
def test_b():
    pass

def test_c(baseline):
    assert baseline.params == 938
"""
    )
    suite.runpytest_subprocess(
        "--ablation-profile=smoke", "--html=report.html", "--self-contained-html"
    ).assert_outcomes(passed=1, skipped=1)

    found = looked_at(suite, FILTERS)

    assert "1 Undecided," in found["labels"]
    assert "1 Skipped," in found["labels"]
    assert sorted(found["at_first"]) == ["Passed", "Skipped", "Undecided"]
    assert sorted(found["without_undecided"]) == ["Passed", "Skipped"]
    assert sorted(found["without_skipped"]) == ["Passed", "Undecided"]
    assert sorted(found["sorted"]) == ["Passed", "Skipped", "Undecided"]


def seen(pytester: pytest.Pytester, tests: list[str], entries: list[dict[str, Any]]) -> Any:
    """Return what a browser makes of the report of these tests, of which some are ablations."""
    pytester.makeconftest(FEED)
    pytester.makepyfile("\n".join(f"def {test}(): pass" for test in tests))
    (pytester.path / "entries.json").write_text(json.dumps(entries))
    os.environ.pop(
        "PYTEST_ADDOPTS", None
    )  # the plugin is loaded by hand here, so without its options
    pytester.runpytest_subprocess(
        "-p", "no:ablation", "--html=report.html", "--self-contained-html"
    ).assert_outcomes(passed=len(tests))
    return looked_at(pytester, LOOK)


def looked_at(pytester: pytest.Pytester, script: str) -> Any:
    """Return what a script finds in the report, in a browser."""
    report = pytester.path / "report.html"
    report.write_text(report.read_text(encoding="utf-8") + script, encoding="utf-8")
    dom = subprocess.run(
        [str(BROWSER), *FLAGS, f"--user-data-dir={pytester.mkdir('profile')}", report.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    title = re.search(r"<title[^>]*>(.*?)</title>", dom)
    assert title
    return json.loads(unescape(title[1]))


def test_a_suite_without_ablations_looks_as_it_did(pytester: pytest.Pytester) -> None:
    """Installing the plugin adds no column to the report of an unrelated suite."""
    found = seen(pytester, ["test_a", "test_b"], [])

    assert found == {"heads": 4, "cells": 4}


def test_the_report_of_a_study_works_in_a_browser(pytester: pytest.Pytester) -> None:
    """Columns are shown and sort by number, rows unfold, and nothing is wider than a phone."""
    entries = list(study().entries.values())
    tests = [*(entry.test.split("::")[1] for entry in entries), "test_of_something_else"]

    found = seen(pytester, tests, [entry.as_plain() for entry in entries])

    assert found.pop("changes") == [
        *("", "", "−48.7 points", "−10.6 points", "−3.6 points", "+1.6 points")
    ]
    assert found == {
        "heads": 8,
        "cells": 8,
        "toggled": 1,
        "fits": True,
        "overflowing": 0,
        "unfolded": len(entries),
    }
