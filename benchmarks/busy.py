"""Whether a suite keeps a cluster busy: ``python -m benchmarks.busy``.

Pytest runs a suite of 200 ablations, with five seeds each and without a decision to wait for, on a
Ray node of this machine that says that it has 64 GPUs. Its trainings sleep, and return when they
began and ended: of that is made how busy the GPUs were, from when all first had a training until
the last 64 trainings were all that was left. Starting 64 processes takes this machine's cores a
while, which is told apart. Beside it is the model of a study's time: trainings × time ÷ slots.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SUITE = """
import time

import pytest
from pytest_ablation import Experiment, override


def fit(trial, data, progress):
    began = time.time()
    time.sleep(SECONDS)
    return {"accuracy": 0.5 + trial.seed / 1000, "began": began, "ended": time.time()}


@pytest.fixture(scope="session")
def experiment():
    return Experiment({"width": 0}, train=fit)


@pytest.mark.parametrize(
    "variant", [override(width=width) for width in range(1, ABLATIONS + 1)], indirect=True
)
def test_each(variant):
    assert variant.accuracy.change >= -1
"""
Span = tuple[float, float]


def main() -> None:
    """Run the suite, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ablations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=25.0, help="that a training sleeps")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder)
        text = SUITE.replace("SECONDS", str(asked.seconds))
        (suite / "test_study.py").write_text(text.replace("ABLATIONS", str(asked.ablations)))
        spans = _spans(suite, asked.gpus, asked.seeds)
    _tell(spans, asked.gpus, asked.seconds)


def _spans(suite: Path, gpus: int, seeds: int) -> list[Span]:
    """Return when each training began and ended, in the order of their beginnings."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    node = ray.init(
        address="local",
        num_cpus=gpus,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        # It starts a process a CPU, which no task with an environment of its own can use.
        _system_config={"enable_worker_prestart": False},
    )
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--ablation-executor=ray",
        ),
        *(f"--ablation-seeds={seeds}", "--ablation-export=findings.json"),
    ]
    environment = {**os.environ, "RAY_ADDRESS": node.address_info["address"]}
    with (suite / "log").open("wb") as log:
        status = subprocess.run(  # noqa: S603 # our own
            command, cwd=suite, env=environment, stdout=log, stderr=log, check=False
        ).returncode
    ray.shutdown()
    print("\n".join((suite / "log").read_text().splitlines()[-6:]))
    if status:
        raise SystemExit(status)
    arms = json.loads((suite / "findings.json").read_text())["arms"]
    runs = [run["metrics"] for arm in arms for run in arm["runs"]]
    return sorted((run["began"], run["ended"]) for run in runs)


def _tell(spans: Sequence[Span], gpus: int, seconds: float) -> None:
    begun = [began for began, _ in spans]
    ended = sorted(end for _, end in spans)
    filled = _filled(spans, gpus)
    last = ended[-gpus - 1]
    print(f"{len(spans)} trainings on {gpus} GPUs; the places were filled in ", end="")
    print(f"{filled - begun[0]:.0f} s")
    for said, since in (("then", filled), ("from the first training", begun[0])):
        print(f"busy {said} until the last {gpus}: {100 * _busy(spans, since, last, gpus):.1f} %")
    model = len(spans) * seconds / gpus
    print(f"trainings × time ÷ slots: {model:.0f} s; it took {ended[-1] - begun[0]:.0f} s")


def _filled(spans: Sequence[Span], places: int) -> float:
    """Return when all places first had a training."""
    for began, _ in spans:
        if sum(other <= began < end for other, end in spans) >= places:
            return began
    raise SystemExit(f"never were {places} trainings under way at once")


def _busy(spans: Sequence[Span], start: float, end: float, places: int) -> float:
    """Return the share of the places' time that trainings took between two moments."""
    took = sum(max(0.0, min(ended, end) - max(began, start)) for began, ended in spans)
    return took / places / (end - start)


if __name__ == "__main__":
    main()
