"""The cold study against five trainings by plain Keras: ``python -m benchmarks.cold``.

The shipped study with one seed and an empty store, duets and report included; and beside it, in the
same run, what a notebook does: each of the five networks built and given to
``fit(validation_data=…)``, for as many steps on the same images. Each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PLAIN = "--plain-keras"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="shapes10", help="as --ablation-data")
    parser.add_argument("--plain-first", action="store_true", help="let plain Keras begin")
    parser.add_argument(PLAIN, metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain_keras:
        Path(options.plain_keras).write_text(json.dumps(_plain(options.data)), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        sides = [_study, _by_hand]
        took: dict[str, float] = {}
        found: dict[str, list[float]] = {}
        for side in reversed(sides) if options.plain_first else sides:
            started = time.perf_counter()
            found[side.__name__] = side(Path(folder), options.data)
            took[side.__name__] = time.perf_counter() - started
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.data}")
    for name, label in (("_study", "the study, cold"), ("_by_hand", "plain Keras")):
        accuracies = ", ".join(f"{100 * each:.1f}" for each in found[name])
        print(f"{label:16} {took[name]:7.1f} s   test accuracies, %: {accuracies}")
    print(f"ratio            {took['_study'] / took['_by_hand']:7.2f}")


def _study(folder: Path, data: str) -> list[float]:
    store = folder / "store"
    command = [sys.executable, "-m", "pytest", "ablation_tests", "-q", "-p", "no:cacheprovider"]
    options = ["--ablation-profile=quick", "--ablation-seeds=1", f"--ablation-data={data}"]
    places = [f"--ablation-store={store}", f"--html={folder / 'report.html'}"]
    subprocess.run(  # noqa: S603 # this project's own study; some claims may be undecided
        [*command, *options, *places], cwd=ROOT, check=False, stdout=subprocess.DEVNULL
    )
    runs = [json.loads(path.read_text())["entry"] for path in store.glob("runs/*.json")]
    return sorted(run["run"]["metrics"]["accuracy"] for run in runs)


def _by_hand(folder: Path, data: str) -> list[float]:
    file = folder / "plain.json"
    subprocess.run(  # noqa: S603 # this file
        [sys.executable, "-m", "benchmarks.cold", "--data", data, PLAIN, str(file)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return sorted(json.loads(file.read_text()))


def _plain(choice: str) -> list[float]:
    """Return the test accuracy of each network, trained as in a notebook."""
    import numpy as np
    import tensorflow as tf
    from keras import layers

    from ablation_tests.network import cnn
    from pytest_ablation import configure, data, having, remove
    from pytest_ablation.data import sample
    from pytest_ablation.profile import PROFILES

    images = sample.reduced(data.load(choice, ROOT / ".ablation" / "data"), 0.1, None)
    x_train, x_test = (np.divide(x, 255, dtype=np.float32) for x in (images.x_train, images.x_test))
    y_train, y_test = (np.asarray(y).astype(np.int32) for y in (images.y_train, images.y_test))
    pool = configure(layers.MaxPooling2D, pool_size=4) + remove("*3")
    relu = configure(having(activation="relu"), activation="exponential")
    variants: list[Any] = [remove(layers.Dropout), pool, remove("*256"), relu]
    epochs = round(200 * PROFILES["quick"].share)
    accuracies = []
    for network in (cnn(), *(variant(cnn()) for variant in variants)):
        network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        batches = tf.data.Dataset.from_tensor_slices((x_train, y_train))
        batches = batches.shuffle(len(x_train)).repeat().batch(64).prefetch(2)
        history = network.fit(
            batches, epochs=epochs, steps_per_epoch=100, validation_data=(x_test, y_test), verbose=0
        )
        accuracies.append(float(history.history["val_accuracy"][-1]))
    return accuracies


if __name__ == "__main__":
    main()
