"""A connection to a Ray cluster, or one clear line of why there is none, within half a minute."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from typing import Any

import ray

from pytest_ablation.errors import AblationError, one_line
from pytest_ablation.execution.board import Waiting
from pytest_ablation.execution.local import Workers
from pytest_ablation.execution.machine import cores
from pytest_ablation.execution.ray import Cluster, nodes
from pytest_ablation.resources import Resources, check
from pytest_ablation.store import Store

SECONDS_TO_REACH = 10.0
SECONDS_TO_CONNECT = 20.0  # after it was reached
MEMORY_RETRIES = "3"  # of what runs out of memory; unless told, Ray tries it for good
CLIENT_PORT = 10001  # Ray's own choice


def executor(
    store: Store,
    *,
    asked: str,
    resources: Resources | None,
    workers: int | None,
    sessions: int,
    timeout: float | None,
    waiting: Waiting,
    shows_output: bool = False,
) -> Workers:
    """Return who trains on a Ray cluster: the one asked for, else one started on this machine.

    Args:
        store: Where runs are kept.
        asked: "ray", for the cluster that RAY_ADDRESS names where it is set, or "ray://HOST:PORT".
        resources: What a training is given, whatever its recipe says; None for what that says, else
            a GPU where the cluster has any, else a CPU.
        workers: How many trainings at a time; None for as many as fit.
        sessions: Processes of this session, which share this machine's cores.
        timeout: Seconds that a training may take.
        waiting: A context while a result is waited for.
        shows_output: Whether what trainings print is written here, too.

    Raises:
        AblationError: No cluster answers, or none of its nodes has the resources.
    """
    address = asked if asked.startswith("ray://") else os.environ.get("RAY_ADDRESS", "")
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(asked, address, max(1, cores() // sessions), shows_output)
    there = nodes()
    given = resources or _by_default(there)
    try:
        check(given, there, f"--ablation-resources={given}")
    except AblationError:
        if is_ours:
            ray.shutdown()
        raise
    cluster = Cluster(store=store, asked=resources, default=given, is_ours=is_ours)
    executor = Workers(
        store=store,
        environments=(),
        cores=given.threads,
        waiting=waiting,
        timeout=timeout,
        where=f"a Ray cluster{_at(address)}",
        cluster=cluster,
    )
    cluster.serve(executor, workers)
    return executor


def _connect(asked: str, address: str, cpus: int, shows_output: bool) -> None:
    host = re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?(?::(\d+))?/?", address)
    wrong = f"--ablation-executor={asked}: no Ray cluster answers{_at(address)}"
    if host and (host[2] or address.startswith("ray://")):
        try:
            place = host[1], int(host[2] or CLIENT_PORT)
            socket.create_connection(place, timeout=SECONDS_TO_REACH).close()
        except (OSError, OverflowError) as error:
            raise AblationError(f"{wrong}: {error}. {_ADVICE}") from error
    os.environ.setdefault("RAY_task_oom_retries", MEMORY_RETRIES)
    options: dict[str, Any] = {"address": address}
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a test run reports to nobody
        options = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    failed: list[BaseException] = []

    def connect() -> None:
        try:
            ray.init(**options, logging_level=logging.ERROR, log_to_driver=shows_output)
        except BaseException as error:
            failed.append(error)

    # In a thread, since what answers and is no cluster can keep Ray waiting for minutes.
    thread = threading.Thread(target=connect, daemon=True)
    if address:
        thread.start()
        thread.join(SECONDS_TO_CONNECT)
    else:
        connect()
    if thread.is_alive():
        raise AblationError(f"{wrong}: it said nothing for {SECONDS_TO_CONNECT:.0f} s. {_ADVICE}")
    if failed:
        cause = one_line(failed[0])
        raise AblationError(f"{wrong}: {cause}") from failed[0]


_ADVICE = "RAY_ADDRESS or --ablation-executor=ray://HOST:PORT names a cluster; without, one is "
_ADVICE += "started on this machine."


def _at(address: str) -> str:
    return f" at {address}" if address else ""


def _by_default(there: list[dict[str, float]]) -> Resources:
    gpus = any(node.get("GPU", 0) >= 1 for node in there)
    return Resources(amounts={"CPU": 1.0, "GPU": 1.0} if gpus else {"CPU": 1.0})
