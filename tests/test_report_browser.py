"""The page in a browser: pytest-html builds its rows by script, and ours must survive that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from pytest_ablation.beside import Pair
from pytest_ablation.evidence import Entry
from pytest_ablation.per_class import ClassChange
from tests.test_plugin_own_trainer import MINIMAL
from tests.test_report import FACTS, entry, runs, study

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=390,900", "--enable-logging=stderr", "--virtual-time-budget=10000"),
)
DARK = "--blink-settings=preferredColorScheme=0"
# Gives tests what they found: the plugin then reports it as it does what it found itself.
FED = """
import json
from pathlib import Path
import pytest

FED = {each["test"]: each for each in json.loads(Path("entries.json").read_text())}

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if item.name in FED and report.when == "call":
        report.ablation = {**FED[item.name], "test": item.nodeid}
        if report.ablation["outcome"] == "failed":
            report.outcome, report.longrepr = "failed", "assert 1 == 2"
    return report
"""
# What a script finds goes into the document's title, which --dump-dom prints.
ASIDE = """
const all = (selector, within = document) => [...within.querySelectorAll(selector)]
const shown = (element) => element.checkVisibility()
const click = (selector) => document.querySelector(selector).click()
const passed = () => new Promise((done) => setTimeout(done, 300))
// Timers run in a time of their own, which does not wait for what is unpacked meanwhile: this does.
const until = async (done) => {
  for (let turn = 0, sum = 0; turn < 60 && !done(); turn++) {
    for (let n = 0; n < 3e6; n++) sum += n % 7
    await new Promise((next) => setTimeout(next, 100))
  }
}
const fill = (field, value) => {
  field.value = value
  field.dispatchEvent(new Event("input", {bubbles: true}))
}
const look = (found) => addEventListener("load", async () => {
  document.title = JSON.stringify(await found())
})
"""
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
HOSTILE = (
    "<img src=x onerror=\"document.title='run'\"> \\N \\N{x} \"q\" 'q' & </script><script>x"
    " \N{HEBREW LETTER ALEF}\N{RIGHT-TO-LEFT OVERRIDE}abc "
) + 500 * "x"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome")


# ------------------------------------------------------------------------------- what is run


def reported(
    pytester: pytest.Pytester, entries: Sequence[Entry], *arguments: str, others: int = 0
) -> Path:
    """Return the report of a session whose tests found this, and of some that are no ablations."""
    plain = [{**each.as_plain(), "test": f"test_{n}"} for n, each in enumerate(entries)]
    (pytester.path / "entries.json").write_text(json.dumps(plain))
    if not (pytester.path / "conftest.py").exists():
        pytester.makeconftest(FED)
    count = len(entries) + others
    pytester.makepyfile(test_study="\n".join(f"def test_{n}(): pass" for n in range(count)))
    result = pytester.runpytest(
        "--html=report.html", "--self-contained-html", "-p", "no:xdist", *arguments
    )
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    return pytester.path / "report.html"


def looked_at(page: Path, found: str, *flags: str) -> Any:
    """Return what an asynchronous function finds in a page, which must log nothing."""
    looked = page.with_name(f"looked_at_{page.name}")
    script = f"<script>{ASIDE}look(async () => {{{found}}})</script>"
    looked.write_text(page.read_text(encoding="utf-8") + script, encoding="utf-8")
    seen = browse(looked, "--dump-dom", *flags)
    title = re.search(r"<title[^>]*>(.*?)</title>", seen)
    assert title
    return json.loads(unescape(title[1]))


def browse(page: Path, *flags: str) -> str:
    """Return what the browser prints."""
    profile = page.with_name("profile")
    done = subprocess.run(
        [str(BROWSER), *FLAGS, *flags, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the pages that several tests look at."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def both(pytester: pytest.Pytester, kept: Path) -> list[Path]:
    """The small study, and a test beside it, in pytest-html's page, and as a page of its own."""
    pages = [kept / "report.html", kept / "findings.html"]
    if not pages[-1].exists():
        entries = list(study().entries.values())
        reported(pytester, entries, "--ablation-export=findings.html", others=1)
        for page in pages:
            shutil.copy(pytester.path / page.name, page)
    return pages


# ------------------------------------------------------------------------------- pytest-html


def test_a_suite_without_ablations_looks_as_it_did(pytester: pytest.Pytester) -> None:
    """Installing the plugin adds no column to the report of an unrelated suite."""
    found = looked_at(
        reported(pytester, [], others=2),
        """
        return {
          heads: all("#results-table-head th").filter(shown).length,
          cells: all("tr.collapsible td").filter(shown).length,
          ours: all(".pytest-ablation").length,
        }""",
    )

    assert found == {"heads": 4, "cells": 8, "ours": 0}


def test_the_report_of_a_study_works_in_a_browser(both: list[Path]) -> None:
    """Columns are shown and sort by number, rows unfold, and nothing is wider than a phone.

    What took time has its name beside it, and not two letters of it to a line.
    """
    found = looked_at(
        both[0],
        """
        const rows = all("tr.collapsible").length
        const folded = () => all("tr.extras-row.hidden").length
        click('th[data-column-type="change"]')
        const changes = all("tr.collapsible .col-change").map((cell) => cell.textContent)
        const before = folded()
        click("tr.collapsible .col-accuracy")
        const box = document.querySelector(".pytest-ablation.page").getBoundingClientRect()
        document.querySelector(".scroll:has(.spent)").style.width = "324px"  // as on a phone
        return {
          changes,
          heads: all("#results-table-head th").filter(shown).length,
          cells: all("tr.collapsible td").filter(shown).length / rows,
          toggled: Math.abs(folded() - before),
          fits: box.right <= innerWidth && document.documentElement.scrollWidth <= innerWidth,
          overflowing: all(".pytest-ablation.page *:not(.scroll, .scroll *)")
            .filter((each) => each.getBoundingClientRect().right > box.right + 1).length,
          squeezed: all(".spent tbody th").filter((each) => each.clientWidth < 100).length,
          unfolded: all(".extraHTML .pytest-ablation.unfolded svg.curves").length,
        }""",
    )

    assert found.pop("changes") == [
        *("", "", "−48.7 points", "−10.6 points", "−3.6 points", "+1.6 points")
    ]
    assert found == {
        "heads": 8,
        "cells": 8,
        "toggled": 1,
        "fits": True,
        "overflowing": 0,
        "squeezed": 0,
        "unfolded": len(study().entries),
    }


def test_undecided_tests_have_a_filter_of_their_own(pytester: pytest.Pytester) -> None:
    """Who looks for what is open finds it: a count, a filter and a name that survive sorting.

    Its log says why in words, and it is one of the tests that ran.
    """
    pytester.makeconftest(MINIMAL)
    pytester.makepyfile(
        test_study="""
import pytest
from pytest_ablation import override

@pytest.mark.ablation(override(x=2.0))
def test_a(variant):
    assert variant.metric("error").change >= -1

@pytest.mark.skip(reason="not today")
def test_b():
    pass

def test_c(baseline):
    assert baseline.metric("error").values
"""
    )
    pytester.runpytest(
        "--ablation-profile=smoke", "--html=report.html", "--self-contained-html"
    ).assert_outcomes(passed=1, skipped=1)

    found = looked_at(
        pytester.path / "report.html",
        """
        const rows = () => all("tbody.results-table-row").filter(shown)
          .map((row) => row.querySelector(".col-result").textContent)
        const filters = all(".filters > span").filter(shown)
        const found = {labels: filters.map((each) => each.textContent.trim()), at_first: rows()}
        found.took = document.querySelector(".run-count").textContent
        found.logs = all(".log").map((each) => each.textContent)
        for (const name of ["undecided", "skipped"]) {
          click(`[data-ablation-filter="${name}"]`)
          found[`without_${name}`] = rows()
          click(`[data-ablation-filter="${name}"]`)
        }
        click('th[data-column-type="testId"]')
        await passed()  // what watches the table has seen it sorted
        return {...found, sorted: rows()}""",
    )

    assert "1 Undecided," in found["labels"]
    assert "1 Skipped," in found["labels"]
    assert found["took"].startswith("2 tests took ")
    reason = "undecided: variant.error.change ≥ −1: the smoke profile is too short to"
    assert any(each.startswith(f"test_study.py:4: {reason} tell\n") for each in found["logs"])
    assert sorted(found["at_first"]) == ["Passed", "Skipped", "Undecided"]
    assert sorted(found["without_undecided"]) == ["Passed", "Skipped"]
    assert sorted(found["without_skipped"]) == ["Passed", "Undecided"]
    assert sorted(found["sorted"]) == ["Passed", "Skipped", "Undecided"]


def test_tests_are_filtered_by_number(both: list[Path]) -> None:
    """A range of changes leaves the tests in it, also after pytest-html has built them anew."""
    found = looked_at(
        both[0],
        """
        const form = document.querySelector("#results-table").previousElementSibling
        const [least, most] = all("input[type=number]", form)
        const changes = () => all("tbody.results-table-row").filter(shown)
          .map((row) => row.querySelector(".col-change").textContent)
        fill(form.querySelector("select"), "change")
        fill(least, "-11")
        fill(most, "0")
        const filtered = changes()
        click('th[data-column-type="testId"]')
        await passed()
        const again = changes()
        const count = form.querySelector("output").textContent
        fill(least, "")
        fill(most, "")
        return {filtered, again, count, all: changes().length}""",
    )

    assert sorted(found["filtered"]) == ["−10.6 points", "−3.6 points"]
    assert sorted(found["again"]) == sorted(found["filtered"])
    assert found["count"] == "2 of 6"
    assert found["all"] == 6


def test_hooks_and_styles_of_the_users_own_still_work(pytester: pytest.Pytester) -> None:
    """What a suite does to pytest-html's report it still does: title, columns, words and style."""
    pytester.makeconftest(
        FED
        + """
def pytest_html_report_title(report):
    report.title = "Ours"

def pytest_html_results_table_header(cells):
    cells.insert(1, '<th class="sortable" data-column-type="owner">Owner</th>')

def pytest_html_results_table_row(report, cells):
    if report.nodeid.endswith("test_1"):
        del cells[:]
    else:
        cells.insert(1, '<td class="col-owner">somebody</td>')

def pytest_html_results_summary(prefix, summary, postfix):
    prefix.append('<p id="before">before</p>')
    postfix.append('<p id="after">after</p>')
"""
    )
    (pytester.path / "own.css").write_text(
        ".pytest-ablation { --holds: rgb(1, 2, 3) } body { background: rgb(4, 5, 6) }"
    )
    page = reported(pytester, list(study().entries.values()), "--css=own.css")
    found = looked_at(
        page,
        """
        return {
          title: document.querySelector("h1").textContent,
          heads: all("#results-table-head th").filter(shown).map((head) => head.textContent.trim()),
          owners: all("td.col-owner").map((cell) => cell.textContent),
          said: ["before", "after"].map((id) => document.getElementById(id).textContent),
          holds: getComputedStyle(document.querySelector(".verdict.holds")).color,
          body: getComputedStyle(document.body).backgroundColor,
        }""",
        DARK,
    )

    assert found["title"] == "Ours"
    assert sorted(found["heads"]) == sorted(
        [
            *("Result", "Test", "Owner", "Duration", "Links"),
            *("Accuracy", "Change", "Gap", "Time a step"),
        ]
    )
    assert found["owners"] == ["somebody"] * 4
    assert found["said"] == ["before", "after"]
    assert found["holds"] == "rgb(1, 2, 3)"
    assert found["body"] == "rgb(4, 5, 6)"


# ---------------------------------------------------------------------------------- our page


def test_arms_are_sorted_and_filtered_by_number(both: list[Path]) -> None:
    """−48.7 comes before −3.6 and +1.6, and a range, a verdict or a word leaves what it says."""
    for page in both:
        found = looked_at(
            page,
            """
            const table = document.querySelector("table[data-filter=arms]")
            const form = table.parentElement.previousElementSibling
            const arms = () => [...table.tBodies[0].rows].filter(shown)
              .map((row) => row.querySelector(".arm").textContent)
            const heads = all("th button", table)
            const change = heads.find((each) => each.textContent === "Change")
            const found = {original: arms()}
            for (const order of ["ascending", "descending", "again"]) {
              change.click()
              found[order] = arms()
            }
            const [text] = all("input[type=search]", form)
            const [verdict, column] = all("select", form)
            const [least, most] = all("input[type=number]", form)
            fill(column, [...column.options].find((each) => each.textContent === "Gap").value)
            fill(least, "30")
            found.gap = arms()
            fill(least, "")
            fill(verdict, "violated")
            found.violated = arms()
            fill(verdict, "")
            fill(text, "RELU")
            found.relu = arms()
            return found""",
        )

        variants = ["replace relu", "configure MaxPooling2D", "remove Dropout (5 layers)"]
        variants += ["remove dense2"]
        assert found["ascending"] == [*variants, "baseline"]
        assert found["descending"] == [*reversed(variants), "baseline"]
        assert found["again"] == found["original"]
        assert found["gap"] == ["remove Dropout (5 layers)", "remove dense2"]
        assert found["violated"] == ["remove dense2"]
        assert found["relu"] == ["replace relu"]


@pytest.mark.parametrize("flags", [(), (DARK,)], ids=["light", "dark"])
def test_the_page_can_be_read(both: list[Path], flags: tuple[str, ...]) -> None:
    """In the light and in the dark every text stands out from what is behind it, 4.5 to 1."""
    for page in both:
        found = looked_at(
            page,
            """
            const channels = (color) => color.match(/[\\d.]+/g).map(Number)
            const light = (color) => channels(color).slice(0, 3)
              .map((c) => c / 255)
              .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
              .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0)
            const behind = (element) => {
              for (; element; element = element.parentElement) {
                const color = getComputedStyle(element).backgroundColor
                const solid = channels(color)
                if (color.startsWith("rgb") && (solid.length === 3 || solid[3] === 1)) return color
              }
              return "rgb(255, 255, 255)"
            }
            all("tr.extras-row.hidden").forEach((row) => row.classList.remove("hidden"))
            all("details").forEach((each) => each.open = true)
            const texts = all(".pytest-ablation *").filter((each) => shown(each)
              && [...each.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim()))
            const faint = texts.map((each) => {
              const style = getComputedStyle(each)
              const color = each instanceof SVGElement ? style.fill : style.color
              const [a, b] = [light(color), light(behind(each))].sort()
              return [(b + 0.05) / (a + 0.05), each.textContent.trim().slice(0, 40), color]
            }).filter(([contrast]) => contrast < 4.5)
            return {texts: texts.length, faint, ground: light(behind(document.body)) < 0.05}""",
            *flags,
        )

        assert found["texts"] > 200
        assert found["faint"] == []
        assert found["ground"] == bool(flags)


def test_the_page_is_printed(both: list[Path]) -> None:
    """A report is kept as a PDF: of a few pages, on which the filters are not."""
    for page in both:
        pdf = page.with_suffix(".pdf")
        browse(page, f"--print-to-pdf={pdf}")
        content = pdf.read_bytes()
        assert content.startswith(b"%PDF")
        assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 20


def test_what_users_name_is_text_in_a_browser(pytester: pytest.Pytester) -> None:
    """No name of a test, layer, class or arm, and no docstring, is run, taken away or broken."""
    attacked = entry(
        HOSTILE,
        HOSTILE,
        runs(0.5, 0.5),
        experiment=HOSTILE,
        changes=(HOSTILE,),
        layers=(Pair("changed", HOSTILE, HOSTILE, HOSTILE),),
        per_class=(ClassChange(HOSTILE, 0.5, 0.4, -0.2, 0.0),),
        told=HOSTILE,
        summary=HOSTILE,
        classes=(HOSTILE,),
        sample=PIXEL,
        facts={**FACTS, "source": HOSTILE, "stand_in": HOSTILE, "environment": {HOSTILE: HOSTILE}},
    )
    page = reported(pytester, [attacked], "--ablation-export=findings.html")
    for each in (page, pytester.path / "findings.html"):
        found = looked_at(
            each,
            """
            all("tr.extras-row.hidden").forEach((row) => row.classList.remove("hidden"))
            all("details").forEach((each) => each.open = true)
            await passed()
            const box = document.querySelector(".pytest-ablation.page").getBoundingClientRect()
            return {
              images: all("img[src=x]").length,
              scripts: all("script").filter((each) => each.textContent === "x").length,
              told: document.querySelector(".told").textContent,
              layer: document.querySelector(".layers td bdi").textContent,
              class: document.querySelector(".classes tbody td").textContent,
              fits: box.right <= innerWidth,
              wide: all(".pytest-ablation *:not(.scroll, .scroll *, svg *)").filter(shown)
                .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
                .map((each) => each.outerHTML.slice(0, 90)),
            }""",
        )

        assert found["images"] == 0
        assert found["scripts"] == 0
        assert [found[name] for name in ("told", "layer", "class")] == [HOSTILE] * 3
        assert found["fits"]
        assert found["wide"] == []


@pytest.mark.parametrize("is_ablation", [True, False], ids=["ablation", "other"])
def test_a_test_id_is_text(pytester: pytest.Pytester, is_ablation: bool) -> None:
    """An id with markup in it, which pytest-html writes as it is, is shown as it is written."""
    fed = FED.replace("FED[item.name]", "next(iter(FED.values()))")
    pytester.makeconftest(fed.replace("item.name in FED", str(is_ablation)))
    plain = entry("test_it", "remove a", runs(0.5, 0.6)).as_plain()
    (pytester.path / "entries.json").write_text(json.dumps([plain]))
    pytester.makepyfile(
        test_it=f"""
import pytest

@pytest.mark.parametrize("name", [1], ids=[{HOSTILE!r}])
def test_it(name):
    pass
"""
    )
    result = pytester.runpytest(
        *("--html=report.html", "--self-contained-html", "--ablation-export=findings.html")
    )
    result.assert_outcomes(passed=1)
    looked = """
    const id = document.querySelector(".col-testId, .tests summary bdi")
    const images = all("img[src=x]").length
    return {images, id: id.textContent, fits: id.getBoundingClientRect().right <= innerWidth}"""
    for page in ("report.html", "findings.html")[: 1 + is_ablation]:
        found = looked_at(pytester.path / page, looked)
        assert found["images"] == 0
        assert found["fits"] or not is_ablation  # the page of another suite is left alone
        for part in ("[<img src=x onerror=", "\\N{x}", "\"q\" 'q' &", "</script>", 500 * "x"):
            assert part in found["id"].replace("\\\\", "\\")


def test_an_id_that_is_no_escape_costs_nobody_the_report(pytester: pytest.Pytester) -> None:
    """pytest-html reads ids as escapes, and ends with an error at one that is none."""
    pytester.makeconftest(
        FED.replace("FED[item.name]", "next(iter(FED.values()))").replace(
            "item.name in FED", "True"
        )
    )
    plain = entry("test_it", "remove a", runs(0.5, 0.6)).as_plain()
    (pytester.path / "entries.json").write_text(json.dumps([plain]))
    pytester.makeini(
        """
[pytest]
disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true
"""
    )
    pytester.makepyfile(
        test_it=r"""
import pytest

@pytest.mark.parametrize("name", [1], ids=["\\N and \\x"])
def test_it(name):
    pass
"""
    )
    result = pytester.runpytest("--html=report.html", "--self-contained-html")
    result.assert_outcomes(passed=1)
    found = looked_at(
        pytester.path / "report.html",
        """return [document.querySelector(".col-testId"), document.querySelector(".told")]
          .map((each) => each.textContent)""",
    )

    assert found == [r"test_it.py::test_it[\N and \x]", "What is said of it."]


# ----------------------------------------------------------------------------- a large study


def test_a_thousand_ablations_make_a_page_that_opens(pytester: pytest.Pytester) -> None:
    """A page of a thousand tests has under 5 MB, and each test's row still has all its evidence."""
    dropped = next(each for each in study().entries.values() if each.ablation)
    entries = [
        replace(
            dropped,
            ablation=f"remove layer{number}",
            told=f"Layer {number} is worth nothing.",
            variant=runs(0.4 + number / 10_000, 0.9),
        )
        for number in range(1000)
    ]
    page = reported(pytester, entries, "--ablation-export=findings.html")
    alone = pytester.path / "findings.html"
    for each, opened in ((page, ".collapsible .col-accuracy"), (alone, ".tests > details summary")):
        assert each.stat().st_size < 5_000_000
        found = looked_at(
            each,
            f"""
            const rows = all("{opened}")
            const last = rows.findLast(shown)
            last.scrollIntoView()
            last.click()
            const told = () => all(".later .told").filter(shown)
            await until(() => told().length)
            return {{
              rows: rows.length,
              arms: all("table[data-filter=arms] tbody tr").length,
              drawn: all("svg.forest g").length,
              told: told().map((each) => each.textContent),
              evidence: all(".unfolded :is(svg.curves, .layers, .classes)").filter(shown).length,
            }}""",
        )

        assert found["rows"] == 1000
        assert found["arms"] == 1001
        assert found["drawn"] == 24
        assert "Layer 999 is worth nothing." in found["told"]
        assert found["evidence"] >= 3
