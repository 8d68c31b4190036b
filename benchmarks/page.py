"""How large a report is and how long it takes to open: ``python -m benchmarks.page``.

Of a study of a thousand ablations, made up; in headless Chromium, by its own clock, from the start
of loading until the page is laid out and takes clicks.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from html import unescape
from pathlib import Path
from statistics import median

from pytest_ablation.claim import Compared
from pytest_ablation.evidence import Entry
from pytest_ablation.run import Run
from tests.test_report import claim, entry, runs
from tests.test_report_browser import BROWSER, FED

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--timeout=20000")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLOCK = """<script>addEventListener("DOMContentLoaded", () => setTimeout(() => {
  const times = [performance.now()]
  const laid = () => { document.body.offsetHeight; times.push(performance.now()) }
  laid()
  document.querySelectorAll("table.findings th button")[1].click()
  laid()
  const least = document.querySelector(".filter input[type=number]")
  least.value = "58"
  least.dispatchEvent(new Event("input", {bubbles: true}))
  laid()
  document.title = JSON.stringify([times[1], times[2] - times[1], times[3] - times[2]])
}))</script>"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ablations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if BROWSER is None:
        sys.exit("no Chromium or Chrome")
    with tempfile.TemporaryDirectory() as folder:
        for page in _pages(Path(folder), options.ablations):
            size = page.stat().st_size / 1e6
            page.write_text(page.read_text(encoding="utf-8") + CLOCK, encoding="utf-8")
            rounds = [_open(page) for _ in range(options.rounds)]
            opens, sorts, filters = (median(each) / 1000 for each in zip(*rounds, strict=True))
            print(
                f"{page.name}: {size:.2f} MB, open after {opens:.2f} s "
                f"({min(rounds)[0] / 1000:.2f} … {max(rounds)[0] / 1000:.2f}), "
                f"sorted in {sorts:.2f} s, filtered in {filters:.2f} s"
            )


def _pages(folder: Path, ablations: int) -> list[Path]:
    """Return pytest-html's page, and the page alone."""
    chance = random.Random(0)  # noqa: S311 # numbers to look at
    entries = [_entry(number, chance) for number in range(ablations)]
    (folder / "entries.json").write_text(json.dumps([each.as_plain() for each in entries]))
    (folder / "conftest.py").write_text(FED)
    tests = "\n".join(f"def {each.test}(): pass" for each in entries)
    (folder / "test_made_up.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--self-contained-html"]
    command += ["--html=report.html", "--ablation-export=findings.html"]
    subprocess.run(command, cwd=folder, check=False, stdout=subprocess.DEVNULL)  # noqa: S603
    return [folder / "report.html", folder / "findings.html"]


def _entry(number: int, chance: random.Random) -> Entry:
    outcome = chance.choice(["passed", "passed", "passed", "failed"])
    accuracy = 0.587 + chance.gauss(0, 0.03)
    return replace(
        entry(f"test_{number}", f"remove block{number}_drop", _runs(accuracy, chance)),
        test=f"test_{number}",
        baseline=_runs(0.587, random.Random(0)),  # noqa: S311 # likewise
        compared=(_claim(accuracy - 0.587, outcome), _claim(0.0, "passed")),
        outcome=outcome,
        classes=CLASSES,
    )


def _claim(change: float, outcome: str) -> Compared:
    verdict = claim("holds" if outcome == "passed" else "violated", value=change, p=0.01)
    return replace(verdict, low=change - 0.01, high=change + 0.01, seeds=3)


def _runs(accuracy: float, chance: random.Random) -> tuple[Run, ...]:
    return tuple(
        replace(
            run,
            fingerprint=f"{chance.getrandbits(256):064x}",
            metrics={"accuracy": accuracy + chance.gauss(0, 0.005), "train_accuracy": 0.9},
        )
        for run in runs(accuracy, 0.9, seeds=3)
    )


def _open(page: Path) -> list[float]:
    """Return milliseconds until a page is open, and that sorting and filtering take."""
    profile = page.with_name("profile")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    shutil.rmtree(profile, ignore_errors=True)
    title = re.search(r"<title[^>]*>(.*?)</title>", seen)
    if title is None:
        raise RuntimeError(seen[:200])
    told: list[float] = json.loads(unescape(title[1]))
    return told


if __name__ == "__main__":
    main()
