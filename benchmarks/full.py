"""The whole study on a GPU: ``python -m benchmarks.full``.

Five arms of five seeds in the full profile, from an empty store, with compilation, duets and
report, whole epochs on the device (Keras on JAX); and beside it, in the same run and on the same
card, the baseline by ``model.fit``, one seed, which stands for each of the twenty-five.

Five workers share the GPU, an arm each: one compiles while others train.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parents[1]
ARMS = 5
FIT = """
import sys, time
import jax, numpy
from ablation_tests.network import cnn
from benchmarks.cold import images
x_train, y_train, x_test, y_test = images(sys.argv[1], float(sys.argv[2]))

def batches():
    while True:
        order = numpy.random.permutation(len(x_train))
        for start in range(0, len(order) - 63, 64):
            chosen = order[start : start + 64]
            yield x_train[chosen], y_train[chosen]

started = time.perf_counter()
network = cnn()
network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = network.fit(
    batches(),
    steps_per_epoch=100,
    epochs=int(sys.argv[3]),
    validation_data=(x_test, y_test),
    verbose=0,
)
took = time.perf_counter() - started
print(jax.local_devices()[0].device_kind, history.history["val_accuracy"][-1], took, sep="|")
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="shapes10", help="as --ablation-data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=5, help="that share the GPU")
    parser.add_argument("--profile", choices=["full", "quick"], default="full")
    options = parser.parse_args()
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        started = time.perf_counter()
        study = subprocess.run(  # noqa: S603 # this project's own study
            [
                *(sys.executable, "-m", "pytest", "ablation_tests", "-q", "-p", "no:cacheprovider"),
                *(f"--ablation-profile={options.profile}", f"--ablation-seeds={options.seeds}"),
                *(f"--ablation-data={options.data}", f"--ablation-store={store}"),
                *(f"--ablation-workers={options.workers}", f"--html={folder}/report.html"),
            ],
            cwd=ROOT,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        took = time.perf_counter() - started
        runs = [json.loads(path.read_text())["entry"] for path in store.glob("runs/*.json")]
    share = {"full": 1.0, "quick": 0.1}[options.profile]
    fit = subprocess.run(  # noqa: S603 # the script above
        [sys.executable, "-c", FIT, options.data, str(share), str(round(200 * share))],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    card, accuracy, seconds = fit.stdout.strip().splitlines()[-1].split("|")
    versions = ", ".join(
        f"{each} {importlib.metadata.version(each)}" for each in ("jax", "keras", "pytest-ablation")
    )
    print(f"{card}, {versions}; {options.data}, {options.profile}")
    print(study.stdout)
    print(f"the study: {len(runs)} trainings in {took:.1f} s, {took / len(runs):.1f} s each")
    arms: dict[str, list[float]] = {}
    for run in runs:
        arm = run["name"].rpartition(", seed")[0]
        arms.setdefault(arm, []).append(run["run"]["metrics"]["accuracy"])
    for arm, accuracies in sorted(arms.items()):
        print(f"  {100 * fmean(accuracies):5.1f} %  {arm}")
    whole = float(seconds) * ARMS * options.seeds
    print(
        f"model.fit: {float(seconds):.1f} s for the baseline once ({100 * float(accuracy):.1f} %),"
    )
    print(f"  {whole:.0f} s for as many; ratio {took / whole:.2f}")


if __name__ == "__main__":
    main()
