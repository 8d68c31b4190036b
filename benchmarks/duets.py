"""How far a network's time a step is from itself: ``python -m benchmarks.duets``.

Duets of the shipped network against itself, beside a process that keeps a core busy in bursts. A
perfect measurement says 1.000 each time; a test of `time.ratio <= 1.05` must never fail on it.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

BOUND = 1.05


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duets", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0, help="a duet's, at most")
    parser.add_argument("--no-load", action="store_true", help="start no busy process")
    options = parser.parse_args()
    load = multiprocessing.get_context("spawn").Process(target=_busy, daemon=True)
    if not options.no_load:
        load.start()
    _measure(options.duets, options.seconds)
    if not options.no_load:
        load.terminate()


def _measure(duets: int, seconds: float) -> None:
    from ablation_tests.network import cnn
    from pytest_ablation import Dataset, Experiment, Recipe
    from pytest_ablation.arm import Arm
    from pytest_ablation.data import maps, sample
    from pytest_ablation.execution import local
    from pytest_ablation.execution.timed import Timing
    from pytest_ablation.pairs import Settled
    from pytest_ablation.profile import PROFILES
    from pytest_ablation.store import Store
    from pytest_ablation.study import Study
    from pytest_ablation.verdict import Bound

    images = np.random.default_rng(0).integers(0, 256, (1_000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(1_000, dtype=np.uint8) % 10
    data = Dataset(name="noise", x_train=images, y_train=labels, x_test=images, y_test=labels)
    recipe = Recipe("adam", "sparse_categorical_crossentropy", batch_size=64, steps_per_epoch=100)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        executor = local.executor(
            store,
            workers=None,
            sees_gpu=False,
            sessions=1,
            timeout=None,
            waiting=lambda: nullcontext(lambda board: None),
        )
        study = Study(
            store=store,
            profile=PROFILES["full"],
            asked_seeds=(1, 1),
            refresh=False,
            executor=executor,
        )
        trial = Arm(study, Experiment(cnn, recipe, data), "baseline").trial(0)
        settled = Settled(bound=Bound(at_most=math.log(BOUND)), comparisons=20)
        entry = maps.shared(store.folder / "data", data)
        source = partial(sample.opened, entry, 1.0, None)
        timing = Timing(
            variant=(trial, source),
            baseline=(trial, source),
            store=store,
            settled=settled,
            seconds=seconds,
            name="the network against itself",
        )
        ratios: list[tuple[float, float]] = []
        outcomes: Counter[str] = Counter()
        for number in range(1, duets + 1):
            result = executor.result(timing).value
            ratios.append((float(np.exp(np.median(result.log_ratios))), result.wall_ratio))
            outcomes[settled.verdict(result).outcome] += 1
            print(
                f"{number:3} {result.clock} {ratios[-1][0]:.4f}  wall {ratios[-1][1]:.4f}  "
                f"{len(result.log_ratios):3} pairs, {result.seconds:4.1f} s",
                flush=True,
            )
        executor.close()
    print(f"\n{result.host}\ntime.ratio <= {BOUND}: {dict(outcomes)}")
    for name, values in zip((result.clock, "wall"), np.array(ratios).T, strict=True):
        within = int((np.abs(values - 1) <= 0.03).sum())
        print(f"by {name}: {values.min():.3f} … {values.max():.3f}, {within} of {duets} within 3 %")


def _busy() -> None:
    """Work in bursts of up to a second, with pauses of up to a third of one, until it is alone."""
    chance = random.Random(0)  # noqa: S311 # a load, no secret
    parent = os.getppid()
    while os.getppid() == parent:  # also where the benchmark is killed
        until = time.perf_counter() + chance.random()
        while time.perf_counter() < until:
            pass
        time.sleep(chance.random() / 3)


if __name__ == "__main__":
    main()
