"""The machines that runs are of, and what of them is not compared from one to another.

A host is said as `training.device` does: its node, then what kind of machine that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ablation.run import Run

OF_A_HOST = ("time", "wall")  # quantities
UNKNOWN = "a node not known"


def node(host: str) -> str:
    """Return a host's node: its name, and on a cluster its address."""
    return host.partition(", ")[0]


def kind(host: str) -> str:
    """Return what kind of machine a host is: processor, cores, and what is trained on."""
    return host.partition(", ")[2]


def apart(arms: Mapping[str, Sequence[Run]]) -> str:
    """Say which arm was trained where: ``baseline on a; remove drop1 on a and b``.

    Args:
        arms: Runs by what their arm is called.

    Returns:
        Nothing where all are of one host.
    """
    hosts = {name: sorted({run.host for run in runs}) for name, runs in arms.items()}
    every = {host for each in hosts.values() for host in each}
    if len(every) < 2:
        return ""
    is_clear = len(set(map(node, every))) == len(every)
    return "; ".join(
        f"{name} on {' and '.join((node(h) if is_clear else h) or UNKNOWN for h in each)}"
        for name, each in hosts.items()
    )
