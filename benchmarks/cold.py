"""The cold study against the same trainings by others: ``python -m benchmarks.cold``.

The shipped study with one seed and an empty store, duets and report included; and beside it, in the
same run, what people do today. Plain Keras, as a notebook has it: each of the five networks built
and given to ``fit(validation_data=…)``, one after another. And Ray Tune, where it is installed:
the same five trainings as its trials, one a core. All take as many steps on the same images; each
runs in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STUDY = "the study, cold"
VARIANTS = 5
RIVAL = "--rival"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="shapes10", help="as --ablation-data")
    parser.add_argument("--rivals-first", action="store_true", help="let the others begin")
    parser.add_argument(
        "--beside", action="append", choices=RIVALS, help="a rival, of those that are installed"
    )
    parser.add_argument(RIVAL, nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rival:
        name, file = options.rival
        Path(file).write_text(json.dumps(RIVALS[name](options.data)), encoding="utf-8")
        return
    asked = options.beside or RIVALS
    names = [STUDY, *(name for name in asked if name != RAY or _has_tune())]
    took: dict[str, float] = {}
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in reversed(names) if options.rivals_first else names:
            started = time.perf_counter()
            side = _study if name == STUDY else _rival
            found[name] = side(name, Path(folder), options.data)
            took[name] = time.perf_counter() - started
    packages = ("tensorflow", "keras", *(["ray"] if RAY in names else []))
    versions = ", ".join(f"{each} {importlib.metadata.version(each)}" for each in packages)
    print(f"{_processor()}, {os.cpu_count()} cores, {versions}; {options.data}")
    for name in names:
        accuracies = " ".join(f"{100 * each:.1f}" for each in found[name])
        ratio = took[STUDY] / took[name]
        print(f"{name:16} {took[name]:7.1f} s  ratio {ratio:.2f}  test accuracies, %: {accuracies}")


def _has_tune() -> bool:
    """Tell whether Ray Tune is installed (``ray[tune]``): Ray alone lacks what it needs."""
    try:
        import ray.tune  # noqa: F401
    except ImportError:
        return False
    return True


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _study(_name: str, folder: Path, data: str) -> list[float]:
    store = folder / "store"
    command = [sys.executable, "-m", "pytest", "ablation_tests", "-q", "-p", "no:cacheprovider"]
    options = ["--ablation-profile=quick", "--ablation-seeds=1", f"--ablation-data={data}"]
    places = [f"--ablation-store={store}", f"--html={folder / 'report.html'}"]
    subprocess.run(  # noqa: S603 # this project's own study; some claims may be undecided
        [*command, *options, *places], cwd=ROOT, check=False, stdout=subprocess.DEVNULL
    )
    runs = [json.loads(path.read_text())["entry"] for path in store.glob("runs/*.json")]
    return sorted(run["run"]["metrics"]["accuracy"] for run in runs)


def _rival(name: str, folder: Path, data: str) -> list[float]:
    file = folder / "rival.json"
    subprocess.run(  # noqa: S603 # this file
        [sys.executable, "-m", "benchmarks.cold", "--data", data, RIVAL, name, str(file)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return sorted(json.loads(file.read_text()))


def _plain_keras(data: str) -> list[float]:
    """Return the test accuracy of each network, trained as in a notebook."""
    arrays = images(data)
    return [fitted(i, *arrays) for i in range(VARIANTS)]


def _ray_tune(data: str) -> list[float]:
    """Return the test accuracy of each network, trained as a trial of Ray Tune."""
    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tune.report({"accuracy": fitted(config["variant"], *(map(ray.get, config["images"])))})

    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
    arrays = [ray.put(each) for each in images(data)]
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space={"variant": tune.grid_search(list(range(VARIANTS))), "images": arrays},
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        return [result.metrics["accuracy"] for result in tuner.fit()]


RAY = "Ray Tune"
RIVALS: dict[str, Callable[[str], list[float]]] = {"plain Keras": _plain_keras, RAY: _ray_tune}


def images(choice: str, share: float = 0.1) -> tuple[Any, Any, Any, Any]:
    """Return a share of the training images and labels, and those of the test."""
    import numpy as np

    from pytest_ablation import data
    from pytest_ablation.data import sample

    some = sample.reduced(data.load(choice, ROOT / ".ablation" / "data"), share, None)
    x_train, x_test = (np.divide(x, 255, dtype=np.float32) for x in (some.x_train, some.x_test))
    y_train, y_test = (np.asarray(y).astype(np.int32) for y in (some.y_train, some.y_test))
    return x_train, y_train, x_test, y_test


def fitted(variant: int, x_train: Any, y_train: Any, x_test: Any, y_test: Any) -> float:
    """Return the test accuracy of the network, or of one of its four variants, after training."""
    import tensorflow as tf
    from keras import layers

    from ablation_tests.network import cnn
    from pytest_ablation import configure, having, remove

    edits: list[Any] = [
        remove(layers.Dropout),
        configure(layers.MaxPooling2D, pool_size=4) + remove("*3"),
        remove("*256"),
        configure(having(activation="relu"), activation="exponential"),
    ]
    network = edits[variant - 1](cnn()) if variant else cnn()
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = tf.data.Dataset.from_tensor_slices((x_train, y_train))
    batches = batches.shuffle(len(x_train)).repeat().batch(64).prefetch(2)
    history = network.fit(
        batches,
        epochs=20,
        steps_per_epoch=100,
        validation_data=(x_test, y_test),
        verbose=0,
    )
    return float(history.history["val_accuracy"][-1])


if __name__ == "__main__":
    main()
