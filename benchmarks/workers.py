"""One worker with all cores against one a core: ``python -m benchmarks.workers``.

The same trials of the shipped network, shortened, by either, in turn; and what `auto` chooses.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from pytest_ablation.execution import here, local, sharing
from pytest_ablation.execution.board import Board
from pytest_ablation.execution.machine import cores
from pytest_ablation.execution.task import Training
from pytest_ablation.execution.timed import Probing
from pytest_ablation.store import Store


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of each training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trainings = _trainings(Path(folder), options.steps)
        choices = {count: _workers(Path(folder), count) for count in (1, cores())}
        for workers in choices.values():
            _warm_up(workers, trainings)
        took: dict[int, list[float]] = {count: [] for count in choices}
        for number in range(options.rounds):
            for count, workers in choices.items():
                store = Store(Path(folder) / f"{number}-{count}")
                took[count].append(_time(workers, trainings, store))
                threads = f"{count} × {cores() // count} threads"
                print(f"{threads}: {took[count][-1]:6.1f} s for {len(trainings)}", flush=True)
        for workers in choices.values():
            workers.close()
        ratios = [one / many for one, many in zip(*took.values(), strict=True)]
        print(f"\none worker's time over {cores()} workers': {median(ratios):.2f}", end="")
        print(f" ({min(ratios):.2f} … {max(ratios):.2f})")
        sharing.WORTH_A_PROBE = 0.0  # however short the trainings, try both
        auto = _workers(Path(folder), None)
        _time(auto, [*trainings], Store(Path(folder) / "auto"))
        print(f"auto: {auto.workers} × {cores() // auto.workers} threads")
        auto.close()


def _trainings(folder: Path, steps: int) -> list[Training]:
    from ablation_tests.network import cnn
    from pytest_ablation import Dataset, Experiment, Recipe
    from pytest_ablation.arm import Arm
    from pytest_ablation.data import maps, sample
    from pytest_ablation.profile import PROFILES
    from pytest_ablation.study import Study

    images = np.random.default_rng(0).integers(0, 256, (2_000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(2_000, dtype=np.uint8) % 10
    data = Dataset(name="noise", x_train=images, y_train=labels, x_test=images, y_test=labels)
    recipe = Recipe("adam", "sparse_categorical_crossentropy", batch_size=64, steps_per_epoch=steps)
    study = Study(
        store=Store(folder / "none"),
        profile=PROFILES["full"],
        asked_seeds=(1, 1),
        refresh=False,
        executor=here.Here(waiting=lambda: nullcontext(_nothing)),
    )
    arm = Arm(study, Experiment(cnn, recipe, data), "baseline")
    source = partial(sample.opened, maps.shared(folder / "data", data), 1.0, None)
    return [
        Training(
            trial=arm.trial(seed), data=source, name=f"seed {seed}", store=Store(folder / "none")
        )
        for seed in range(2 * cores())
    ]


def _workers(folder: Path, count: int | None) -> local.Workers:
    executor = local.executor(
        Store(folder / "none"),
        workers=count,
        sees_gpu=False,
        sessions=1,
        timeout=None,
        waiting=lambda: nullcontext(_nothing),
    )
    assert isinstance(executor, local.Workers)
    return executor


def _warm_up(workers: local.Workers, trainings: list[Training]) -> None:
    probes = [
        Probing(trial=each.trial, data=each.data, store=each.store, name=each.name)
        for each in trainings[: workers.workers]
    ]
    for probe in probes:
        workers.queue(probe)
    for probe in probes:
        workers.result(probe)


def _time(workers: local.Workers, trainings: list[Training], store: Store) -> float:
    started = time.perf_counter()
    anew = [
        Training(trial=each.trial, data=each.data, name=each.name, store=store)
        for each in trainings
    ]
    for each in anew:
        workers.queue(each)
    for each in anew:
        workers.result(each)
    return time.perf_counter() - started


def _nothing(board: Board) -> None:
    """Show nothing."""


if __name__ == "__main__":
    main()
