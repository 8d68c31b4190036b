"""What the plugin adds to trainings that are on disk: ``python -m benchmarks.overheads``.

Loading it in a suite without ablations, beside pytest without it; the shipped study with all runs
cached, beside ``import keras``; and a suite of a thousand ablations of the shipped network whose
runs are in the store: time and memory a test, and the report's size. The thousand's runs are
written by this script, since what is measured is what happens around trainings.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
FEW = 100
CONFTEST = """
import numpy as np
import pytest

from ablation_tests.network import cnn
from pytest_ablation import Dataset, Experiment, Recipe

random = np.random.default_rng(0)
x = random.integers(0, 256, (1_100, 32, 32, 3), dtype=np.uint8)
y = np.arange(1_100, dtype=np.uint8) % 10
EXPERIMENT = Experiment(
    cnn,
    Recipe("adam", "sparse_categorical_crossentropy", 64, epochs=20, steps_per_epoch=100),
    Dataset(name="noise", x_train=x[100:], y_train=y[100:], x_test=x[:100], y_test=y[:100]),
)


@pytest.fixture(scope="session")
def experiment():
    return EXPERIMENT
"""
TESTS = """
import pytest

from pytest_ablation import configure

ABLATIONS = [configure("drop1", rate=round(0.3 + i * 1e-4, 4)) for i in range({count})]


@pytest.mark.parametrize("variant", ABLATIONS, indirect=True)
def test_another_rate_costs_little(variant):
    assert variant.accuracy.change >= -0.05
    assert variant.params.change <= 0
"""
FILL = """
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from conftest import EXPERIMENT
from pytest_ablation import Run
from pytest_ablation.execution.here import Here
from pytest_ablation.profile import PROFILES
from pytest_ablation.store import Store
from pytest_ablation.study import Study
from test_many import ABLATIONS

study = Study(
    store=Store(Path(sys.argv[1])),
    profile=PROFILES["full"],
    asked_seeds=(2, 2),
    refresh=False,
    executor=Here(waiting=lambda: nullcontext(print)),
)
random = np.random.default_rng(0)
for arm in (study.baseline(EXPERIMENT), *(study.variant(EXPERIMENT, each) for each in ABLATIONS)):
    for seed in (0, 1):
        accuracy = 0.6 + 0.01 * random.normal()
        metrics = {"accuracy": accuracy, "loss": 1.0, "train_accuracy": 0.7, "train_loss": 0.9}
        names = ("accuracy", "loss", "val_accuracy", "val_loss")
        run = Run(
            fingerprint=arm.trial(seed).fingerprint,
            seed=seed,
            metrics=metrics,
            curves={name: tuple(random.random(20)) for name in names},
            seconds_per_step=0.05,
            wall=100.0,
            params=arm.params,
            steps=2_000,
            correct="",
            host="here",
        )
        study.store.save(arm.trial(seed), run, arm.description)
"""
PLAIN = "def test_nothing():\n    assert True\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ablations", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5, help="of what takes seconds")
    parser.add_argument("--store", help="of a shipped study that was run, for the warm one")
    parser.add_argument("--data", default="shapes10", help="as --ablation-data, of that study")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        _load(Path(folder) / "plain", options.rounds)
        if options.store:
            _warm(options.store, options.data, options.rounds)
        _many(Path(folder) / "many", options.ablations)


def _load(folder: Path, rounds: int) -> None:
    folder.mkdir()
    (folder / "test_plain.py").write_text(PLAIN)
    took: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(4 * rounds):
        for name, without in (("with", []), ("without", ["-p", "no:ablation"])):
            took[name].append(_pytest(folder, *without)[0])
    more = 1_000 * (median(took["with"]) - median(took["without"]))
    print(f"an unrelated suite   {more:6.0f} ms more with the plugin than without")


def _warm(store: str, data: str, rounds: int) -> None:
    study, keras = [], []
    options = ["--ablation-profile=quick", f"--ablation-data={data}", f"--ablation-store={store}"]
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            page = f"--html={folder}/report.html"
            study.append(_pytest(ROOT / "ablation_tests", *options, page)[0])
        keras.append(_timed([sys.executable, "-c", "import keras"], ROOT)[0])
    ratio = median(study) / median(keras)
    print(
        f"the study, cached    {median(study):6.1f} s; importing Keras {median(keras):.1f} s; "
        f"ratio {ratio:.2f}"
    )


def _many(folder: Path, count: int) -> None:
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_many.py").write_text(TESTS.format(count=count))
    store = folder / "store"
    _timed([sys.executable, "-c", FILL, str(store)], folder, check=True)
    options = ["--ablation-profile=full", "--ablation-seeds=2", f"--ablation-store={store}"]
    collect = ["--collect-only", "-q"]
    _pytest(folder, *options, *collect)  # compiles what is imported
    seconds, memory = {}, {}
    for tests in (FEW, count):
        (folder / "test_many.py").write_text(TESTS.format(count=tests))
        page = folder / f"report-{tests}.html"
        seconds["collect", tests], _ = _pytest(folder, *options, *collect)
        seconds["run", tests], memory[tests] = _pytest(folder, *options)
        seconds["page", tests], _ = _pytest(
            folder, *options, f"--html={page}", "--self-contained-html"
        )
    for name, label in (("collect", "collection"), ("run", "study"), ("page", "study and report")):
        each = 1_000 * (seconds[name, count] - seconds[name, FEW]) / (count - FEW)
        print(f"{label:20} {each:6.1f} ms a test, {seconds[name, count]:.1f} s for {count:,}")
    grown = (memory[count] - memory[FEW]) / (count - FEW)
    print(f"memory               {memory[count] / 1024:6.0f} MB, {grown:.0f} kB a test")
    size = (folder / f"report-{count}.html").stat().st_size / 1e6
    print(f"report               {size:6.1f} MB")


def _pytest(folder: Path, *options: str) -> tuple[float, int]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return _timed([*command, str(folder)], folder)


def _timed(command: list[str], folder: Path, *, check: bool = False) -> tuple[float, int]:
    """Return the seconds that a command took, and the most memory it had, in kB."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process compiles every module anew
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 # commands of this file
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if check and process.returncode:
        raise SystemExit(said.decode())
    return took, int(resource.struct_rusage(usage).ru_maxrss)


if __name__ == "__main__":
    main()
