"""A bound that a test asserted, and what became of it."""

from __future__ import annotations

import math
from dataclasses import replace

from pytest_ablation.claim import Asserted, Compared
from tests.test_report import claim


def test_comparisons_that_the_code_shows_share_the_error_alike() -> None:
    """Two asserts in a test count as two of the session's comparisons."""
    asserted = Asserted(expected=2)
    assert asserted.among(10) == 10
    asserted.made.append(claim())
    assert asserted.among(10) == 10


def test_comparisons_in_a_loop_cannot_use_up_more_than_the_error() -> None:
    """A test that compares a hundred times in a loop is not a hundred chances to be red."""
    asserted = Asserted(expected=0)  # a loop's one comparison
    shares = []
    for _ in range(100):
        shares.append(1 / asserted.among(10))
        asserted.made.append(claim())
    assert shares[:3] == [1 / 20, 1 / 40, 1 / 80]
    assert sum(shares) <= 1 / 10


def test_a_claim_is_said_with_its_evidence() -> None:
    """A line of the report or of a failure has bound, value, interval and seeds."""
    compared = claim(at_most=-0.01)
    assert compared.claim == "accuracy.change ≥ −12.0 points and ≤ −1.0 points"
    assert compared.evidence == (
        "−3.6 points, 90 % interval −4.9 points … −2.3 points, 2 seeds an arm"
    )
    assert compared.advice == ""
    fine = claim(at_least=-0.0004, value=-0.0006, low=-0.0012, high=0.0)
    assert fine.claim == "accuracy.change ≥ −0.04 points"
    assert fine.evidence == "−0.06 points, 90 % interval −0.12 points … 0.00 points, 2 seeds an arm"
    assert claim(at_least=-1 / 3).evidence.startswith("−3.6000 points")


def test_an_undecided_claim_says_what_would_decide_it() -> None:
    """Nobody is left with a U and no next step."""

    def advice(**changes: object) -> str:
        undecided: Compared = claim("undecided", **changes)
        return undecided.advice

    assert advice(needed=9) == "9 seeds an arm would probably decide (--ablation-seeds=2:9)"
    assert "more than 200" in advice()
    assert advice(reason="noisy host") == "noisy host"


def test_what_is_exact_has_no_interval() -> None:
    """A count is itself: an interval of no width would say that it was estimated."""
    exact = claim(quantity="params", unit="count", low=3.0, high=3.0, value=3.0, seeds=0)
    assert (exact.interval, exact.evidence) == ("", "+3")
    assert claim(low=-math.inf, high=math.inf).interval == ""
    assert claim(form="ratio", low=0.0, high=math.inf).interval == ""
    assert claim(low=math.nan, high=math.nan).interval == ""


def test_a_claim_says_whose_seeds_it_counts_where_arms_differ() -> None:
    """Five of one arm and four of the other are not five an arm, nor the reference's the arm's."""
    between = replace(claim(), seeds=5, baseline_seeds=4)
    assert between.evidence.endswith(", 5 seeds and 4 of the baseline")
    assert between.seeds_in_a_table == "5 / 4"
    since = replace(between, form="since", seeds=1, baseline_seeds=2)
    assert since.evidence.endswith(", 1 seed and 2 of the reference")
    assert replace(between, seeds=0, baseline_seeds=0).seeds_in_a_table == ""
