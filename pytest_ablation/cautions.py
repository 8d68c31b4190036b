"""What to be warned of in a comparison: each a text, empty where there is nothing to warn of."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from pytest_ablation.arm import Arm
from pytest_ablation.claim import Compared
from pytest_ablation.errors import AblationError
from pytest_ablation.verdict import seeds_to_tell, smallest_detectable

MOST_NAMED = 3  # layers


def of_uncounted(name: str, arms: Sequence[Arm]) -> str:
    """Return which layers' operations are not known.

    Raises:
        AblationError: They are others than the baseline's, so nothing is known of the change.
    """
    missing = [sorted(part.call for part in arm.cost.uncounted) for arm in arms]
    parts = {part.name: part.why for arm in arms for part in arm.cost.uncounted}
    if not parts:
        return ""
    said = "; ".join(f"{name}: {why}" for name, why in list(parts.items())[:MOST_NAMED])
    said += f"; and {len(parts) - MOST_NAMED} more" if len(parts) > MOST_NAMED else ""
    if any(each != missing[0] for each in missing):
        raise AblationError(
            f"{name}: operations are not known of layers in which variant and baseline "
            f"differ: {said}. Compare time.ratio or params instead."
        )
    return f"{name} leaves out what cannot be counted: {said}."


def of_another_loss(name: str, arm: Arm, baseline: Arm) -> str:
    """Return that two losses are compared that are not of a kind."""
    if not arm.has_network:
        return ""
    recipes = [json.loads(each.trial(0).recipe) for each in (arm, baseline)]
    settings = ("loss", "loss_weights")
    others = [each for each in settings if recipes[0].get(each) != recipes[1].get(each)]
    if not others:
        return ""
    return (
        f"{name} is of two losses: the variant's recipe has another {' and '.join(others)}. Less "
        "of one is not better than more of the other; compare a metric that both measure."
    )


def of_a_tight_bound(compared: Compared, margin: float, deviation: float, arm: Arm) -> str:
    """Return that a bound is nearer to "no change" than the session's seeds can tell from it.

    Args:
        compared: The comparison.
        margin: How far its bound is from no change; of a ratio as a logarithm.
        deviation: Standard deviation of one value, likewise.
        arm: Of the session's study.
    """
    study = arm.study
    least = smallest_detectable(deviation, seeds=study.seeds, alpha=study.alpha)
    if not 0 < margin < least:
        return ""
    needed = seeds_to_tell(margin, deviation * math.sqrt(2), seeds=study.seeds, alpha=study.alpha)
    detected = compared.said(math.exp(least) if compared.form == "ratio" else least).lstrip("+")
    return (
        f"{compared.claim} is a tighter bound than {study.seeds[1]} seeds an arm can tell: they "
        f"would probably detect a change of {detected}. An ablation that changes nothing takes "
        f"{f'about {needed}' if needed else 'more than 200'} seeds to show it."
    )


def of_equal_seeds(arm: Arm, seeds: int) -> str:
    """Return that a trainer of the user's own gives numbers that do not depend on the seed."""
    runs = arm.known[:seeds]
    if arm.made is None or len(runs) < 2:
        return ""
    # Of few test examples equally many may be told by trainings that tell others of them.
    first, *others = ((run.metrics, run.correct) for run in runs)
    if any(each != first for each in others):
        return ""
    return (
        f"{arm.experiment.trainer} gave equal metrics with {len(runs)} seeds of "
        f"{arm.description}. If training involves chance, derive it from "
        "trial.seed: as it is, the verdict is of this one training only."
    )
