"""Whether a study survives being killed: ``python -m benchmarks.kills``.

Pytest, a worker, or both are killed (signal 9) at random moments, over and over. Then the study
must end with exactly the numbers of one that nothing disturbed, and its store must hold no damage.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from pytest_ablation.store import Store

SUITE = '''
import keras
import numpy as np
import pytest
from keras import layers
from pytest_ablation import Dataset, Experiment, Recipe, leave_one_out, remove


def net():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(16, 3, activation="relu", name="conv"),
            layers.Dropout(0.2, name="drop1"),
            layers.Flatten(name="flatten"),
            layers.Dense(32, activation="relu", name="dense"),
            layers.Dropout(0.5, name="drop2"),
            layers.Dense(4, activation="softmax", name="classes"),
        ]
    )


@pytest.fixture(scope="session")
def experiment():
    chance = np.random.default_rng(0)
    y = np.arange(2_000, dtype=np.uint8) % 4
    x = chance.integers(0, 150, (2_000, 16, 16, 3)) + 20 * y[:, None, None, None]
    x = x.astype(np.uint8)
    data = Dataset(name="made", x_train=x[500:], y_train=y[500:], x_test=x[:500], y_test=y[:500])
    recipe = Recipe("adam", "sparse_categorical_crossentropy", batch_size=32, steps_per_epoch=100,
                    epochs=EPOCHS)
    return Experiment(net, recipe, data)


@pytest.mark.parametrize("variant", leave_one_out(net, layers.Dropout), indirect=True)
def test_each(variant):
    assert variant.accuracy.change >= -1
'''  # fmt: skip


def main() -> None:
    """Kill, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--longest", type=float, default=25.0, help="seconds before a kill, at most"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder)
        (suite / "test_study.py").write_text(SUITE.replace("EPOCHS", str(options.epochs)))
        undisturbed, killed = suite / "undisturbed", suite / "killed"
        started = time.perf_counter()
        assert _pytest(suite, undisturbed).wait() == 0
        print(f"undisturbed: {time.perf_counter() - started:.0f} s", flush=True)
        counts = _kill(suite, killed, options.kills, options.longest)
        assert _pytest(suite, killed).wait() == 0
        compare(Store(undisturbed), Store(killed), counts)


def _pytest(suite: Path, store: Path) -> subprocess.Popen[bytes]:
    arguments = [f"--ablation-store={store}", "--ablation-profile=full", "--ablation-seeds=2"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with (suite / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=suite, stdout=log, stderr=log)  # noqa: S603 # our own


def _kill(suite: Path, store: Path, kills: int, longest: float) -> Counter[str]:
    chance = random.Random(0)  # noqa: S311 # moments, no secret
    counts: Counter[str] = Counter()
    session = _pytest(suite, store)
    while counts.total() < kills:
        time.sleep(chance.uniform(0.5, longest))
        if session.poll() is not None:
            # The study ended before it was killed: of what it kept, two runs are to be done anew.
            for path in sorted((store / "runs").glob("*.json"))[:2]:
                path.unlink()
            session = _pytest(suite, store)
            continue
        what = chance.choice(["pytest", "worker", "both"])
        workers = [p for p in psutil.Process(session.pid).children() if "spawn_main" in _line(p)]
        if what != "pytest" and not workers:
            continue
        chosen = [chance.choice(workers).pid] if what != "pytest" else []
        chosen += [session.pid] if what != "worker" else []
        for process in chosen:
            os.kill(process, signal.SIGKILL)
        counts[what] += 1
        kept, open_ = (len(list((store / f).glob(g))) for f, g in _COUNTED)
        print(f"{counts.total():3} {what:6}  {kept} runs, {open_} checkpoints", flush=True)
        if what != "worker":
            session.wait()
            _wait_until_gone(workers)
            session = _pytest(suite, store)
    session.kill()
    session.wait()
    return counts


_COUNTED = (("runs", "*.json"), ("checkpoints", "*.npz"))


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _wait_until_gone(workers: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(workers, timeout=10)
    if alive:
        raise SystemExit(f"workers outlived pytest: {alive}")


def compare(
    undisturbed: Store, killed: Store, counts: Counter[str], keys: Sequence[str] = ()
) -> None:
    """Print in what two stores differ, and end with an error where it is in more than times.

    Args:
        undisturbed: Of the study that nothing disturbed.
        killed: Of the other.
        counts: What was killed how often.
        keys: The runs that both are to have; unless told, those of the first.
    """
    keys = keys or undisturbed.keys("runs")
    differ = []
    for key in keys:
        one, other = (store.read("runs", key).run for store in (undisturbed, killed))
        assert one is not None
        assert other is not None
        # As text, in which NaN is NaN, and a number has all its digits.
        facts = [repr((run.metrics, run.curves, run.correct, run.steps)) for run in (one, other)]
        differ += [key] if facts[0] != facts[1] else []
    damaged = sorted(path.name for path in (killed.folder / "damaged").glob("*"))
    left = sorted(path.name for path in (killed.folder / "checkpoints").iterdir())
    print(f"killed: {dict(counts)}; {len(keys)} runs")
    print(f"runs that differ: {len(differ)}; entries set aside: {len(damaged)}; ", end="")
    print(f"checkpoints left: {len(left)}; other runs: {len(set(killed.keys('runs')) ^ set(keys))}")
    if differ or damaged or left:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
