"""What a training is given of a cluster's node."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_ablation.errors import AblationError, did_you_mean

# As Ray's tasks name them, and as its nodes do; any other name is one that the nodes were given.
NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
EXAMPLE = '"num_gpus=1,memory=8e9"'


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a training is given of a cluster's node.

    Attributes:
        amounts: By the name that nodes have for it: CPU, GPU, memory in bytes, or one that the
            nodes were started with.
    """

    amounts: Mapping[str, float]

    @property
    def threads(self) -> int:
        """Threads that a training may use: the CPUs it is given."""
        return max(1, int(self.amounts.get("CPU", 0)))

    @property
    def options(self) -> dict[str, object]:
        """As options of a Ray task."""
        known: dict[str, object] = {
            option: self.amounts.get(name, 0.0) or (None if option == "memory" else 0)
            for option, name in NAMES.items()
        }
        own = {name: n for name, n in self.amounts.items() if name not in NAMES.values()}
        return {**known, "resources": own}

    def at_a_time(self, node: Mapping[str, float]) -> int:
        """Return how many trainings fit on a node that has these amounts."""
        shares = [node.get(name, 0.0) / amount for name, amount in self.amounts.items() if amount]
        return math.floor(min(shares) + 1e-9)

    def __str__(self) -> str:
        """As a user writes them."""
        options = {name: option for option, name in NAMES.items()}
        return ",".join(f"{options.get(name, name)}={n:g}" for name, n in self.amounts.items())


def check(given: Resources, nodes: Sequence[Mapping[str, float]], asked: str) -> None:
    """See that a training fits on some node.

    Args:
        given: What it is given.
        nodes: What each has.
        asked: Who asks for it, as ``--ablation-resources=num_cpus=3``.

    Raises:
        AblationError: No node has that.
    """
    if not any(map(given.at_a_time, nodes)):
        has = "; ".join(sorted(set(map(_said, nodes))))
        raise AblationError(
            f"{asked}: no node of the cluster has that for a training. Nodes: {has}. Ask for less, "
            "or start the cluster with such a node."
        )


def _said(node: Mapping[str, float]) -> str:
    """Say what a node has, leaving out what Ray itself gives it."""
    own = {
        name: amount
        for name, amount in sorted(node.items())
        if not name.startswith(("node:", "object_store", "accelerator_type:"))
    }
    return str(Resources(amounts=own))


def most(texts: Iterable[str]) -> str:
    """Return what is enough for each of some texts; the empty ones ask for nothing."""
    asked = set(filter(None, texts))
    if len(asked) < 2:
        return "".join(asked)
    amounts: dict[str, float] = {}
    for each in asked:
        for name, amount in parsed(each).amounts.items():
            amounts[name] = max(amount, amounts.get(name, 0.0))
    return str(Resources(amounts=amounts))


def parsed(text: str) -> Resources:
    """Return the resources of a text like ``num_gpus=0.5,memory=8e9``; one CPU unless it says so.

    Raises:
        AblationError: The text is of another form, or an amount is no number from 0.
    """
    amounts = {"CPU": 1.0}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, said = (each.strip() for each in part.partition("="))
        try:
            amount = float(said)
        except ValueError:
            amount = math.nan
        if not equals or not name or not 0 <= amount < math.inf:
            raise AblationError(f"{part!r}: write a name and an amount, as in {EXAMPLE}.")
        if name not in NAMES and re.fullmatch(r"(?i)(num_)?[cg]pus?|mem(ory)?", name):
            meant = did_you_mean(name.lower(), NAMES)
            raise AblationError(f"{name!r}: Ray's tasks name {', '.join(NAMES)}.{meant}")
        if amount > 1 and name == "num_gpus" and amount != int(amount):
            raise AblationError(f"{part!r}: beyond one, GPUs are given whole.")
        amounts[NAMES.get(name, name)] = amount
    if not any(amounts.values()):
        raise AblationError(f"{text!r}: a training that is given nothing fits any number of times.")
    return Resources(amounts=amounts)
