"""Learning curves, with a band over seeds."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from pytest_ablation.quantity import ACCURACY, LOSS, metric
from pytest_ablation.report import curves
from pytest_ablation.run import Run
from tests.test_report import runs


def with_curve(*each: tuple[float, ...]) -> tuple[Run, ...]:
    """Return a run a curve of test accuracy."""
    return tuple(
        replace(runs(0.5, 0.5)[0], seed=seed, curves={"val_accuracy": curve})
        for seed, curve in enumerate(each)
    )


def points(path: str) -> list[tuple[float, float]]:
    """Return the points of a path."""
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_a_mean_lies_in_its_band() -> None:
    """The line is the mean over seeds; the band goes from the least to the most at each epoch."""
    arm = with_curve((0.1, 0.2, 0.6), (0.3, 0.4, 0.2))

    drawn = curves.of(arm, (), ACCURACY, label="of it")

    assert drawn is not None
    (curve,) = drawn.curves
    assert (curve.arm, curve.split) == ("variant", "test")
    mean, band = points(curve.mean), points(curve.band)
    assert len(band) == 2 * len(mean) == 6
    for (x, y), over, under in zip(mean, band[:3], reversed(band[3:]), strict=True):
        assert over[0] == under[0] == x
        assert over[1] < y < under[1]


def test_one_seed_has_no_band() -> None:
    """With one seed nothing is known of how seeds differ, and none is drawn."""
    drawn = curves.of(with_curve((0.1, 0.2)), (), ACCURACY, label="")

    assert drawn is not None
    assert drawn.curves[0].band == ""


def test_variant_and_baseline_test_and_training_are_drawn() -> None:
    """Where all is known there are four lines, the variant in front."""
    drawn = curves.of(runs(0.5, 0.9), runs(0.6, 0.8), ACCURACY, label="")

    assert drawn is not None
    assert [(curve.arm, curve.split) for curve in drawn.curves] == [
        *(("baseline", "training"), ("baseline", "test")),
        *(("variant", "training"), ("variant", "test")),
    ]
    assert drawn.epochs == 20


def test_figures_side_by_side_have_one_axis() -> None:
    """An axis of accuracy goes to 25, 50 or 100 %, whichever all figures of a row fit in."""
    low = with_curve((0.1, 0.2))

    tops = [
        figure.ticks[-1][1]
        for beside in ((), with_curve((0.4,)), with_curve((0.7,)))
        if (figure := curves.of(low, (), ACCURACY, label="", beside=beside))
    ]

    assert tops == ["25 %", "50 %", "100 %"]


@pytest.mark.parametrize(
    ("curve", "numbers"),
    [
        ((0.1012, 0.1041), ["0.102", "0.103", "0.104"]),
        ((-23.0, -123.0), ["−100", "−50"]),
        ((4.4e9, -2.2e9), ["−2e+09", "0", "2e+09", "4e+09"]),
        ((0.5, 0.5), ["0.6", "0.8", "1.0"]),
        ((1e17, 1e17), ["1e+17", "1.5e+17", "2e+17"]),
    ],
)
def test_the_numbers_of_an_axis_are_round_and_told_apart(
    curve: tuple[float, ...], numbers: list[str]
) -> None:
    """Three times "0.1" is no scale, and a loss of any size is drawn."""
    low = tuple(replace(run, curves={"val_loss": curve}) for run in runs(0.5, 0.9))
    drawn = curves.of(low, (), LOSS, label="")
    assert drawn is not None
    assert [said for _, said in drawn.ticks] == numbers


def test_a_long_training_is_drawn_with_few_points() -> None:
    """1,000 epochs take no more room in the page than a picture would, and end where they end."""
    arm = with_curve(tuple(n / 1000 for n in range(1000)), (0.5,) * 1000)

    drawn = curves.of(arm, arm, ACCURACY, label="")

    assert drawn is not None
    assert drawn.epochs == 1000
    for curve in drawn.curves:
        assert len(points(curve.mean)) <= curves.MOST_POINTS + 1
        assert points(curve.mean)[-1][0] == drawn.right


@pytest.mark.parametrize(
    "each",
    [{}, {"accuracy": ()}, {"accuracy": (math.nan,)}, {"accuracy": (0.1, math.nan, 0.2)}],
)
def test_any_curve_can_be_drawn(each: dict[str, tuple[float, ...]]) -> None:
    """A run without curves, or with gaps in them, never costs a study its report."""
    arm = runs(math.nan, math.nan, curves=each, diverged=2)

    for drawn in (
        curves.of(arm, (), ACCURACY, label=""),
        curves.of((), arm, ACCURACY, label=""),
        curves.of(arm, arm, metric("mae"), label=""),
    ):
        if drawn is not None:
            assert "nan" not in str([curve.mean for curve in drawn.curves])
            assert drawn.diverged == "2"
