"""Accuracy against what it takes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_ablation.experiment import Lesion
from pytest_ablation.report import forest, tradeoff
from pytest_ablation.table import Findings, Row
from tests.test_report import claim, entry, runs, study


def rows(**variants: tuple[float, float]) -> list[Row]:
    """Return rows of variants with these accuracies and times a step, timed side by side."""
    findings = Findings()
    for name, (accuracy, ratio) in variants.items():
        timed = claim(quantity="time", unit="seconds", form="ratio", value=ratio)
        findings.add(entry(name, name, runs(accuracy, 0.9), compared=(timed,)))
    return findings.rows()


def test_what_is_better_and_cheaper_stands_out() -> None:
    """The best are those that none is both better and cheaper than."""
    drawn = tradeoff.of(rows(fast=(0.50, 0.5), bad=(0.45, 0.8), good=(0.65, 0.9), slow=(0.6, 1.2)))

    assert drawn is not None
    assert drawn.cost.startswith("time a step")
    points = {point.title.partition(":")[0]: point for point in drawn.points}
    assert {name for name, point in points.items() if point.is_best} == {"fast", "good"}
    assert points["baseline"].is_baseline
    assert points["fast"].x < points["bad"].x < points["good"].x < points["slow"].x
    assert points["good"].y < points["slow"].y < points["fast"].y < points["bad"].y


def test_times_of_trainings_apart_are_shown_as_rough() -> None:
    """What was not timed side by side is never among the best: it may be the machine's doing."""
    drawn = tradeoff.of(study().rows())

    assert drawn is not None
    rough = {point.title.partition(":")[0] for point in drawn.points if point.is_rough}
    assert "remove dense2" in rough
    assert not {"baseline", "configure MaxPooling2D"} & rough
    assert not any(point.is_rough and point.is_best for point in drawn.points)


def test_without_times_parameters_are_shown() -> None:
    """Sizes are exact, times of trainings apart are not; and last there is the wall time."""
    untimed = study()
    for name, found in untimed.entries.items():
        untimed.entries[name] = replace(found, compared=found.compared[:1])
    drawn = tradeoff.of(untimed.rows())
    assert drawn is not None
    assert drawn.cost.startswith("parameters")
    assert not any(point.is_rough for point in drawn.points)
    for name, found in untimed.entries.items():
        untimed.entries[name] = replace(found, params=0, baseline_params=0)
    drawn = tradeoff.of(untimed.rows())
    assert drawn is not None
    assert drawn.cost.startswith("time a step")
    unknown = study()
    for name, found in unknown.entries.items():
        arms = [
            tuple(replace(run, seconds_per_step=math.nan) for run in arm)
            for arm in (found.baseline, found.variant)
        ]
        unknown.entries[name] = replace(
            found, baseline=arms[0], variant=arms[1], compared=found.compared[:1]
        )
    drawn = tradeoff.of(unknown.rows())
    assert drawn is not None
    assert drawn.cost.startswith("parameters")
    for name, found in unknown.entries.items():
        unknown.entries[name] = replace(found, params=0, baseline_params=0)
    drawn = tradeoff.of(unknown.rows())
    assert drawn is not None
    assert drawn.cost.startswith("seconds a training took")
    assert tradeoff.of([]) is None


def test_lesions_are_no_trainings() -> None:
    """What is done to a trained network takes no time of its own, and is not worth removing."""
    findings = study()
    lesion = Lesion(of="", layers=("conv1",), units=(), how="zero")
    for name, found in findings.entries.items():
        findings.entries[name] = replace(found, lesion=lesion if found.ablation else None)

    assert tradeoff.of(findings.rows()) is None
    assert tradeoff.worth(findings.rows()) == []


def test_names_cover_nothing() -> None:
    """A name is left out where it would stand on a point or on another name."""
    crowd = rows(**{f"a name of some length {n}": (0.6 + n / 1000, 1 + n / 1000) for n in range(8)})
    drawn = tradeoff.of(crowd)

    assert drawn is not None
    named = [point for point in drawn.points if point.name]
    assert 1 <= len(named) < 8
    alone = tradeoff.of(rows(fast=(0.50, 0.5), slow=(0.7, 1.5)))
    assert alone is not None
    assert [point.name for point in alone.points] == ["baseline", "fast", "slow"]


def test_worth_removing_is_what_loses_nothing_and_saves() -> None:
    """An ablation that clearly costs accuracy is not worth it, nor one that saves nothing."""

    def found(accuracy: float, ratio: float, params: float = 1.0, half: float = 0.01) -> list[str]:
        (row,) = [row for row in rows(v=(accuracy, ratio)) if row.arm == "v"]
        low, high = row.change - half, row.change + half
        row = replace(row, change_low=low, change_high=high, params_ratio=params)
        return [saved for _, saved in tradeoff.worth([row])]

    assert found(0.59, 0.8) == ["0.80× the time a step"]
    assert found(0.59, 0.8, params=0.5) == ["0.80× the time a step, 0.50× the parameters"]
    assert found(0.59, 0.8, params=2.0) == ["0.80× the time a step, but 2.00× the parameters"]
    assert found(0.5, 0.8) == []
    assert found(0.59, 1.0) == []
    assert found(0.59, 0.8, half=math.nan) == []


def test_arms_that_hardly_differ_have_an_axis_that_can_be_read() -> None:
    """Its numbers differ from one tick to the next, and are short."""
    nearly = zip(rows(one=(0.6, 0.9)), (181 / 300, 181 / 300 + 1e-15), strict=True)
    drawn = tradeoff.of([replace(row, value=value) for row, value in nearly])
    assert drawn is not None
    for texts in ([text for _, text in axis] for axis in (drawn.upwards, drawn.across)):
        assert len(texts) == len(set(texts))
        assert max(map(len, texts)) <= len("60.05 %")
    assert len(drawn.upwards) > 1


def test_the_numbers_to_the_right_stand_where_they_say() -> None:
    """Times that differ by a hundredth have numbers with as many decimals as it takes."""
    drawn = tradeoff.of(rows(fast=(0.50, 0.99), slow=(0.6, 1.008)))
    assert drawn is not None
    numbers = [float(said.removesuffix("×")) for _, said in drawn.across]
    scale = (drawn.across[-1][0] - drawn.across[0][0]) / (numbers[-1] - numbers[0])
    for x, number in zip((x for x, _ in drawn.across), numbers, strict=True):
        assert x == pytest.approx(drawn.across[0][0] + scale * (number - numbers[0]), abs=0.2)


def test_what_is_far_away_is_so_in_both_plots() -> None:
    """Of two ablations the one that does most is the finding, and no exception beyond the axis."""
    two = rows(little=(0.58, 0.9), much=(0.40, 0.5))
    drawn, changes = tradeoff.of(two), forest.of(two)
    assert drawn is not None
    assert changes is not None
    assert not any(point.beyond for point in drawn.points)
    assert not any(line.beyond for line in changes.lines)
