"""The forest plot: each ablation's change, its interval and its bound."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from pytest_ablation.report import forest, html
from pytest_ablation.run import Run
from pytest_ablation.table import Findings
from tests.test_report import claim, entry, runs, study, study_of_error


def spread(accuracy: float, step: float = 0.01) -> tuple[Run, ...]:
    """Return three runs around an accuracy."""
    return tuple(
        replace(run, metrics={"accuracy": accuracy + step * (run.seed - 1), "train_accuracy": 0.9})
        for run in runs(accuracy, 0.9, seeds=3)
    )


def plot(**variants: float) -> forest.Forest:
    """Return the plot of variants with these changes of accuracy, in fractions."""
    findings = Findings()
    for name, change in variants.items():
        found = entry(name, name, spread(0.6 + change), baseline=spread(0.6))
        findings.add(replace(found, compared=(claim("holds", at_least=-0.04, at_most=0.02),)))
    drawn = forest.of(findings.rows())
    assert drawn is not None
    return drawn


def test_ablations_stand_in_the_order_of_their_change() -> None:
    """The worst comes first: that is what people look for."""
    drawn = plot(a=0.01, b=-0.05, c=-0.01)

    assert [line.arm for line in drawn.lines] == ["b", "c", "a"]
    assert [line.said for line in drawn.lines] == ["−5.0 points", "−1.0 points", "+1.0 points"]
    xs = [line.x for line in drawn.lines]
    assert xs == sorted(xs)
    assert xs[1] < drawn.zero < xs[2]


def test_where_less_is_better_the_largest_rise_comes_first() -> None:
    """An error that rises is worse, and stands first."""
    drawn = forest.of(study_of_error().rows())

    assert drawn is not None
    assert [line.said for line in drawn.lines] == ["+0.19", "−0.06"]


def test_interval_and_bound_are_drawn_about_the_change() -> None:
    """The change is within its interval, and the bound's edges are where they are on the axis."""
    (line,) = plot(a=-0.03).lines

    assert line.interval is not None
    assert line.interval[0] < line.x < line.interval[1]
    assert len(line.edges) == 2
    assert line.allowed == line.edges
    assert line.edges[0] < line.x < line.edges[1]
    assert "interval" in line.title
    assert "accuracy.change ≥ −4.0 points and ≤ +2.0 points: holds" in line.title


def test_lines_have_the_verdict_of_what_is_claimed_of_the_change() -> None:
    """A claim of time that is violated does not colour a change of accuracy, nor does none."""
    late = claim("violated", quantity="time", unit="seconds", form="ratio")
    findings = study()
    for name, claims in {"t": (claim("holds"), late), "u": (late,)}.items():
        findings.add(entry(name, name, runs(0.5, 0.6), compared=claims))

    drawn = forest.of(findings.rows())

    assert drawn is not None
    verdicts = {line.arm: line.verdict for line in drawn.lines}
    assert verdicts["remove dense2"] == "violated"
    assert verdicts["replace relu"] == "undecided"
    assert (verdicts["t"], verdicts["u"]) == ("holds", "unclaimed")
    assert next(line for line in drawn.lines if line.arm == "u").allowed is None


def test_a_collapse_does_not_squeeze_the_others() -> None:
    """An arm that loses ten times as much as any other is shown as beyond the plot's edge."""
    drawn = plot(a=-0.04, b=-0.02, c=0.02, d=-0.5)

    first, *others = drawn.lines
    assert (first.arm, first.beyond) == ("d", -1)
    assert first.said == "−50.0 points"
    assert all(line.beyond == 0 for line in others)
    assert max(line.x for line in others) - min(line.x for line in others) > drawn.width / 3


def test_of_many_the_largest_changes_are_drawn() -> None:
    """A plot of hundreds of ablations is still read: two dozen are drawn, the rest counted."""
    drawn = plot(**{f"v{number}": number / 1000 for number in range(1, 41)})

    assert len(drawn.lines) == forest.MOST
    assert drawn.left_out == 40 - forest.MOST
    assert min(float(line.arm[1:]) for line in drawn.lines) == 17


def test_an_undecided_claim_outside_its_bound_is_explained() -> None:
    """To call a claim violated takes more than its interval, which a reader cannot know."""
    findings = Findings()
    findings.add(entry("clear", "clear", runs(0.551, 0.98)))
    assert not forest.of(findings.rows()).is_unclear  # type: ignore[union-attr] # there is one
    unclear = claim("undecided", at_least=0.0, low=-0.049, high=-0.023)
    findings.add(entry("t", "t", runs(0.5, 0.6), compared=(unclear,)))

    assert forest.of(findings.rows()).is_unclear  # type: ignore[union-attr] # likewise


def test_an_undecided_claim_that_the_drawing_would_decide_is_explained() -> None:
    """A claim is judged by a wider interval than is drawn, which a reader would take for a bug."""
    findings = Findings()
    for name, at_least in (("clear", -0.04), ("across", 0.0)):
        found = entry(name, name, spread(0.6), baseline=spread(0.6))
        undecided = claim("undecided", at_least=at_least, low=-0.05, high=0.05)
        findings.add(replace(found, compared=(undecided,)))
    rows = findings.rows()
    drawn = {row.arm: forest.of([row]) for row in rows if row.arm != "baseline"}
    assert {name: plot.is_unclear for name, plot in drawn.items() if plot} == {
        "clear": True,
        "across": False,
    }


def test_what_is_claimed_of_another_metric_is_said() -> None:
    """Lines without a verdict, beside a table that has them, name what the verdicts are of."""
    findings = study_of_error()
    for name, found in findings.entries.items():
        of_loss = claim("holds", quantity="loss", unit="number")
        findings.entries[name] = replace(found, compared=(of_loss,) if found.variant else ())
    drawn = forest.of(findings.rows())
    assert drawn is not None
    assert (drawn.metric, drawn.claimed) == ("mae", "loss")
    assert plot(a=0.01).claimed == ""


def test_anything_can_be_drawn() -> None:
    """No number there is, is none, or is infinite costs a study its report."""
    assert forest.of([]) is None
    assert forest.of(study(variant=()).rows()) is None
    assert forest.of(study(baseline=()).rows()) is None
    findings = study()
    findings.add(entry("same", "same", runs(0.587, 0.6), compared=(claim(at_least=-math.inf),)))
    for rows in (findings.rows(), findings.rows()[-1:], findings.rows()[:2]):
        drawn = forest.of(rows)
        assert drawn is not None
        numbers = [x for line in drawn.lines for x in (line.x, line.y, *line.edges)]
        assert all(math.isfinite(number) for number in [*numbers, drawn.zero])


def test_a_long_name_leaves_room_for_its_change() -> None:
    """On a phone letters are larger: 40 of them and "−11.2 points" are as wide as the figure."""
    found = entry("t", "set rate=0." + 40 * "1", spread(0.5), baseline=spread(0.612))
    page = html.page(Findings({found.test: found}))
    drawn = page[page.index('<svg class="forest"') :].partition("</svg>")[0]
    names = re.findall(r"<text x=\"10\"[^>]*>([^<]*)", drawn)
    assert names == ["set rate=0." + 28 * "1" + "…"]
