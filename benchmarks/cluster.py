"""What a trial on a Ray cluster costs the session's process: ``python -m benchmarks.cluster``.

Trainings that take no time, by a trainer of one's own, as many in flight as a cluster of 500 slots
would have; this machine's cores do them. Told are the processor's seconds of the session's process
a trial, in all its threads: building the trial, sending it, taking its run in, keeping that on
disk; and its memory after each tenth of the trials. And the model of a study's time: trials × time
÷ slots, or trials × overhead where that is more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil

from pytest_ablation import Experiment, Trial
from pytest_ablation.execution import connect
from pytest_ablation.profile import PROFILES
from pytest_ablation.resources import Resources
from pytest_ablation.store import Store
from pytest_ablation.study import Study


def simulated(trial: Trial, data: Any, progress: Any) -> dict[str, Any]:
    """Train nothing, and return curves of twenty epochs."""
    curve = [trial.seed + epoch / 20 for epoch in range(20)]
    return {"accuracy": 0.5, "curves": {"accuracy": curve, "val_accuracy": curve}}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=500)
    asked = parser.parse_args()
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        executor = connect.executor(
            store,
            asked="ray",
            resources=Resources(amounts={"CPU": 1.0}),
            workers=asked.slots,
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
        experiments = [
            Experiment({"number": number}, train=simulated, name=str(number))
            for number in range(asked.trials)
        ]
        arms = [study.baseline(experiment) for experiment in experiments]
        wall, processor = time.perf_counter(), time.process_time()
        study.queue(*arms, seeds=1)
        print(f"queued in {time.perf_counter() - wall:.1f} s")
        for number, arm in enumerate(arms, start=1):
            arm.run(0)
            if number % max(1, asked.trials // 10) == 0:
                memory = process.memory_info().rss / 1e6
                print(f"{number} trials: {memory:.0f} MB, {time.perf_counter() - wall:.0f} s")
        own = 1e3 * (time.process_time() - processor) / asked.trials
        took = 1e3 * (time.perf_counter() - wall) / asked.trials
        print(f"{own:.2f} ms of the processor a trial in this process; {took:.2f} ms on the wall")
        least = own * asked.slots / 1e3
        print(f"so {asked.slots} slots stay busy with trainings over {least:.1f} s")
        print(executor.usage)
        executor.close()


if __name__ == "__main__":
    main()
