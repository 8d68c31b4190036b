"""Where the time went."""

from __future__ import annotations

import math

from pytest_ablation.report import spent
from pytest_ablation.table import Findings
from tests.test_report import FACTS, entry, runs, study


def test_each_arm_says_what_was_trained_and_what_was_there() -> None:
    """Seconds of this session and of earlier ones are apart, each training counted once."""
    told = spent.of(study())
    arms = {each.arm: each for each in told}

    # Of each arm's two runs this session trained the first of the baseline and of remove Dropout.
    assert (arms["baseline"].trained, arms["baseline"].reused) == (1, 1)
    assert arms["baseline"].seconds == arms["baseline"].saved == 83.0
    assert (arms["remove dense2"].trained, arms["remove dense2"].reused) == (0, 2)
    assert told[-1].arm == ""
    assert (told[-1].trained, told[-1].reused) == (2, 8)
    assert math.isclose(told[-1].total, sum(each.total for each in told[:-1]))
    totals = [each.total for each in told[:-1]]
    assert totals == sorted(totals, reverse=True)


def test_many_arms_are_told_together() -> None:
    """A study of hundreds has two dozen lines, of which the last is all the others."""
    findings = Findings()
    for number in range(40):
        arm = runs(0.4 + number / 1000, 0.9, wall=float(number))
        findings.add(entry(f"t{number}", f"remove {number}", arm, facts=FACTS))

    told = spent.of(findings)

    assert len(told) == spent.MOST + 1
    assert told[-2].reused == 2 * (41 - (spent.MOST - 1))
    assert told[-1].total == 2 * 83.0 + 2 * sum(range(40))


def test_nothing_trained_is_nothing_spent() -> None:
    """A session that trained nothing has no table of it."""
    assert spent.of(study(baseline=(), variant=())) == ()
    assert spent.of(Findings()) == ()
