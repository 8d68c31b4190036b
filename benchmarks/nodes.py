"""Whether a study survives the loss of a cluster's nodes: ``python -m benchmarks.nodes``.

The study is first trained here, with one thread a worker; then on a Ray cluster of this machine: a
head, where pytest is, and two nodes of one CPU with addresses of their own on the loopback range.
One of them is killed (signal 9: Ray's processes there and the trainings) at random moments, over
and over, and comes back a little later. The study must end with the same verdicts, and each trial
with exactly the same numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import kills
from pytest_ablation.execution.machine import cores
from pytest_ablation.store import Store

ADDRESSES = ("127.0.0.2", "127.0.0.3")
HEAD, PORT = "127.0.0.9", 6399
SECONDS_TO_START = 60.0
ENVIRONMENT = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
SHIPPED = Path(__file__).parent.parent / "ablation_tests"


def main() -> None:
    """Kill, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--longest", type=float, default=25.0, help="seconds before a kill, at most"
    )
    parser.add_argument(
        "--here", type=Path, help="a store of the same study, trained here with one thread a worker"
    )
    parser.add_argument("--epochs", type=int, default=20, help="of the small study")
    parser.add_argument(
        "--shipped", action="store_true", help="the study of ablation_tests, quick and on shapes10"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        suite, options = folder, ["--ablation-profile=full", "--ablation-seeds=2"]
        if asked.shipped:
            suite, options = SHIPPED, ["--ablation-profile=quick", "--ablation-data=shapes10"]
        else:
            text = kills.SUITE.replace("EPOCHS", str(asked.epochs))
            (folder / "test_study.py").write_text(text)
        started = time.perf_counter()
        here, workers = asked.here or folder / "here", f"--ablation-workers={cores()}"
        status = _pytest(
            suite, folder / "here", [*options, f"--ablation-store={here}", workers]
        ).wait()
        print(f"here: exit code {status}, {time.perf_counter() - started:.0f} s", flush=True)
        started = time.perf_counter()
        with _cluster(folder) as nodes:
            there = [*options, "--ablation-executor=ray"]
            counts = _kill(suite, folder / "there", there, nodes, asked.kills, asked.longest)
        print(f"on the cluster: {time.perf_counter() - started:.0f} s")
        told = [json.loads((folder / f"{name}.json").read_text()) for name in ("here", "there")]
        kills.compare(Store(here), Store(folder / "there"), counts, _used(*told))
        _compare_claims(*(each["claims"] for each in told))


def _pytest(suite: Path, store: Path, options: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite)]
    command += [f"--ablation-store={store}", f"--ablation-export={store}.json", *options]
    environment = {**ENVIRONMENT, "RAY_ADDRESS": f"{HEAD}:{PORT}"}
    with store.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 # our own


# ------------------------------------------------------------------------------- the cluster


class _Node:
    """A node: Ray's processes of one address."""

    def __init__(self, address: str, folder: Path, *options: str) -> None:
        self.address, self._log = address, folder / f"{address}.log"
        ray = Path(sys.executable).with_name("ray")
        self._command = [str(ray), "start", "--block", f"--node-ip-address={address}", *options]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is: two at once would take each other's sockets."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 # our own
                self._command, env=ENVIRONMENT, stdout=log, stderr=log
            )
        until = time.monotonic() + SECONDS_TO_START
        while "Ray runtime started" not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.address}: {self._log.read_text()}")
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill all of it at once."""
        own = psutil.Process(self._process.pid)
        for process in [own, *own.children(recursive=True)]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()


@contextmanager
def _cluster(folder: Path) -> Iterator[list[_Node]]:
    options = ("--include-dashboard=false", "--num-cpus=0", "--head", f"--port={PORT}")
    head = _Node(HEAD, folder, *options)
    nodes: list[_Node] = []
    try:
        joining = (f"--address={HEAD}:{PORT}", "--num-cpus=1")
        nodes += [_Node(address, folder, *joining) for address in ADDRESSES]
        _wait_for(len(nodes) + 1)
        yield nodes
    finally:
        for node in (*nodes, head):
            node.kill()


def _wait_for(count: int) -> None:
    """Wait until the cluster has its nodes; asked in a process of its own, which then is gone."""
    ask = f"import ray; ray.init('{HEAD}:{PORT}', log_to_driver=False)\n"
    ask += "print(sum(node['Alive'] for node in ray.nodes()))"
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until:
        told = subprocess.run(  # noqa: S603 # our own
            [sys.executable, "-c", ask],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        if told.stdout.strip() == str(count):
            return
        time.sleep(1)
    raise SystemExit(f"the cluster does not have its {count} nodes: {told.stdout}{told.stderr}")


def _kill(
    suite: Path, store: Path, options: list[str], nodes: list[_Node], kills: int, longest: float
) -> Counter[str]:
    chance = random.Random(0)  # noqa: S311 # moments, no secret
    counts: Counter[str] = Counter()
    session = _pytest(suite, store, options)
    while counts.total() < kills:
        time.sleep(chance.uniform(0.5, longest))
        if session.poll() is not None:
            # The study ended too early: of what it kept, two runs are to be done anew.
            for path in sorted((store / "runs").glob("*.json"))[:2]:
                path.unlink()
            session = _pytest(suite, store, options)
            continue
        node = chance.choice(nodes)
        node.kill()
        counts[node.address] += 1
        kept = len(list((store / "runs").glob("*.json")))
        open_ = len(list((store / "checkpoints").glob("*.npz")))
        print(f"{counts.total():3} {node.address}  {kept} runs, {open_} checkpoints", flush=True)
        time.sleep(chance.uniform(0.0, 5.0))
        node.start()
    print(f"on the cluster: exit code {session.wait()}")
    print("\n".join(store.with_suffix(".log").read_text().splitlines()[-8:]))
    return counts


def _used(here: Any, there: Any) -> list[str]:
    """Return the runs that the findings are of; those trained on a guess are left out."""
    used, again = (
        {run["fingerprint"] for arm in findings["arms"] for run in arm["runs"]}
        for findings in (here, there)
    )
    if used != again:
        raise SystemExit(f"other trials: {len(used - again)} only here, {len(again - used)} there")
    return sorted(used)


def _compare_claims(one: Any, other: Any) -> None:
    """Print in what verdicts differ, but for those of times, which are this machine's."""
    found, again = (
        {(each["test"], each["claim"]): each["verdict"] for each in claims}
        for claims in (one, other)
    )
    timed = {(each["test"], each["claim"]) for each in one if each["quantity"] == "time"}
    differ = [each for each in found if found[each] != again.get(each)]
    print(f"{len(found)} claims, {len(timed)} of them of times; verdicts that differ: {differ}")
    if not set(differ) <= timed or set(found) != set(again):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
