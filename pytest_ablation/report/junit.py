"""What a test found, as properties of it, which --junitxml writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ablation.claim import Compared

PREFIX = "ablation."


def properties(compared: Sequence[Compared]) -> list[tuple[str, object]]:
    """Return a test's claims: ``ablation.1.quantity``, ``.value``, ``.low``, ``.high``, ….

    A number that is none, as an end of an interval that has none, is left out.
    """
    return [
        (f"{PREFIX}{place}.{name}", value)
        for place, each in enumerate(compared, 1)
        for name, value in (
            ("quantity", each.quantity if each.form == "value" else f"{each.quantity}.{each.form}"),
            ("claim", each.claim),
            ("value", each.value),
            ("low", each.low),
            ("high", each.high),
            ("seeds", each.seeds),
            ("baseline_seeds", each.baseline_seeds),
            ("verdict", each.outcome),
        )
        if not isinstance(value, float) or math.isfinite(value)
    ]


def is_ours(given: tuple[str, object]) -> bool:
    """Tell whether a property is one of these."""
    return given[0].startswith(PREFIX)
