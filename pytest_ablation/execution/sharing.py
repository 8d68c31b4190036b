"""How trainings share a machine's cores: one worker with all of them, or one a core."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from pytest_ablation.execution.board import Board, Show
from pytest_ablation.execution.slot import Slot
from pytest_ablation.execution.task import Training
from pytest_ablation.execution.timed import Probing
from pytest_ablation.store import Store

SECONDS_BETWEEN_LOOKS = 0.25
WORTH_A_PROBE = 120.0  # seconds of training, below which it does not matter how they are shared out
TRYING = "trying whether trainings are faster side by side"


def is_one_faster(
    many: Sequence[Slot],
    one: Sequence[Slot],
    trainings: Sequence[Training],
    *,
    store: Store,
    timeout: float | None,
    show: Show,
) -> bool:
    """Tell whether one worker with all cores trains faster than many, by trying both once.

    Which is faster depends on the network and the machine: measured with the network of the
    CIFAR-10 study, two workers of a thread did 0.8 to 1.4 times the steps of one with two.

    Args:
        many: The workers that share the cores.
        one: The worker that has all.
        trainings: What is to be trained.
        store: Where it is remembered.
        timeout: Seconds that a try may take.
        show: Shows that it is being tried.
    """
    task, cores = trainings[0], one[0].threads
    # Remembered, and for any number of trainings: with other threads, sums round differently,
    # and what was killed must end with the numbers that it would have had.
    name = "/".join([task.trial.model, task.trial.recipe, str(cores)])
    known = store.recall("workers", name)
    if known is None and len(trainings) > 1:
        together = _seconds_a_step(many[: len(trainings)], task, timeout, show)
        recipe = json.loads(task.trial.recipe)
        steps = recipe["epochs"] * recipe["steps_per_epoch"] * len(trainings)
        if together is None or together * steps < WORTH_A_PROBE:
            return False
        alone = _seconds_a_step(one, task, timeout, show)
        known = 1 if alone is not None and alone < together else len(many)
        store.remember("workers", name, known)
    return bool(known == 1)


def _seconds_a_step(
    slots: Sequence[Slot], task: Training, timeout: float | None, show: Show
) -> float | None:
    """Return how long workers side by side take for a step each; None where one fails."""
    probing = Probing(
        trial=task.trial,
        data=task.data,
        store=task.store,
        seeds=int(task.fused),
        name=f"{task.name}: trying",
        needs=task.needs,
    )
    futures = [slot.start(probing, timeout) for slot in slots]
    while not all(future.done() for future in futures):
        show(Board(running=((TRYING, None),), done=0, known=0, seconds_left=None))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    results = [None if future.exception() else future.result() for future in futures]
    if not all(results):
        return None
    return float(sum(each.value for each in results if each)) / len(slots) ** 2
