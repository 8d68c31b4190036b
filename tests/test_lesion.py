"""Lesions: a trained network with part of a layer taken away, evaluated and never trained anew."""

from __future__ import annotations

import pytest

from pytest_ablation import AblationError, lesion, lesion_each, remove
from tests.test_plugin import runs, write
from tests.tiny import EXPERIMENT, net


def test_a_lesion_says_itself() -> None:
    """It prints as a person would say it, and as it is written."""
    assert str(lesion("dense1", units=[3], how="mean")) == "lesion unit 3 of dense1 to the mean"
    assert str(lesion("dense*")) == "lesion dense*"
    both = lesion("dense1", "dense2", units=[0, 1], how="shuffle", examples=50)
    assert repr(both) == ('lesion("dense1", "dense2", units=[0, 1], how=\'shuffle\', examples=50)')


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lesion(), "name a layer"),
        (lambda: lesion("a", units=[]), "name channels by number"),
        (lambda: lesion("a", units=[-1]), "name channels by number"),
        (lambda: lesion("a", how="noise"), "one of zero, mean, shuffle"),  # type: ignore[arg-type] # the mistake
        (lambda: lesion("a", examples=0), "a whole number of at least 1"),
        (lambda: lesion_each(net), "name layers, as lesion_each"),
        (lambda: lesion_each(net, "conv*"), "no layer matches"),
        (lambda: lesion("dense1")(net()), "is done to a trained network, in a study"),
        (lambda: (lesion("dense1") + remove("drop1")).lesion, "after all other edits"),
        (lambda: (lesion("dense1") + lesion("dense2")).lesion, "one lesion at a time"),
    ],
)
def test_a_wrong_lesion_is_refused(call: object, message: str) -> None:
    """What cannot be meant is said before anything trains."""
    assert callable(call)
    with pytest.raises(AblationError, match=message):
        call()


def test_lesion_each_gives_a_parameter_a_unit() -> None:
    """A sweep over a layer's units is one line."""
    parameters = lesion_each(net, "dense2", examples=50)
    assert [parameter.id for parameter in parameters] == [f"dense2-{unit}" for unit in range(8)]
    assert EXPERIMENT.model is net


def test_lesions_are_evaluated_in_the_trained_baseline(suite: pytest.Pytester) -> None:
    """A whole layer zeroed leaves one answer for all images, and nothing but baselines trains.

    Of two classes one answer is half right.
    """
    write(
        suite,
        """
@pytest.mark.ablation(lesion("dense1"))
def test_whole(variant, baseline):
    assert variant.accuracy.change.mean <= -0.1
    assert set(variant.accuracy.values) == {0.5}
    assert variant.params.ratio == 1
    assert str(variant.difference) == "~ dense1: output → zero"

@pytest.mark.ablation(lesion("dense*", how="shuffle"))
def test_shuffled(variant):
    assert variant.accuracy.change.mean <= 0

@pytest.mark.ablation(remove("drop1") + lesion("dense2", how="mean"))
def test_of_a_variant(variant):
    assert variant.accuracy.change.mean <= -0.1

@pytest.mark.parametrize("variant", lesion_each(net, "dense2"), indirect=True)
def test_unit(variant):
    assert variant.accuracy.change.mean <= 0.5

@pytest.mark.ablation(lesion("dense1"))
def test_no_time(variant):
    for name in ("time", "wall", "gap"):
        with pytest.raises(Exception, match="has no training of its own"):
            getattr(variant, name)
    with pytest.raises(Exception, match="has no training of its own|no curves"):
        variant.history
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=2")
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["*lesion dense1*", "*lesion dense[*] by shuffling*"])
    # Two baselines, two variants, and the lesions: 3 + 8, two each.
    assert len(runs(suite)) == 4 + 2 * 11
    again = suite.runpytest(*arguments)
    again.assert_outcomes(passed=12)
    again.stdout.fnmatch_lines(["*0 trainings done, *"])


def test_a_lesion_trains_what_nobody_kept(suite: pytest.Pytester) -> None:
    """A store without the trained weights gives the same numbers, trained once more."""
    write(
        suite,
        """
@pytest.mark.ablation(lesion("dense2", units=[0, 1]))
def test_it(variant):
    assert variant.accuracy.change.mean <= 0.5
    print("values", variant.accuracy.values, variant.loss.values)
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=2", "-rP")
    first = suite.runpytest(*arguments)
    for path in (suite.path / ".ablation").glob("weights/*.npz"):
        path.write_bytes(b"damaged")
    for path in runs(suite):
        if '"lesion": "{' in path.read_text():
            path.unlink()
    second = suite.runpytest(*arguments)
    values = [[line for line in each.outlines if "values" in line] for each in (first, second)]
    assert values[0]
    assert values[0] == values[1]


def test_an_estimate_is_near_the_whole(suite: pytest.Pytester) -> None:
    """A lesion on a part of the test set is the baseline's number plus the change on that part."""
    write(
        suite,
        """
@pytest.mark.ablation(lesion("dense1", units=[0], examples=99))
def test_part(variant, baseline):
    assert variant.loss.change <= 10
    print("part", variant.loss.mean)

@pytest.mark.ablation(lesion("dense1", units=[0]))
def test_whole(variant, baseline):
    assert variant.loss.change <= 10
    print("whole", variant.loss.mean)
""",
    )
    result = suite.runpytest("--ablation-profile=full", "--ablation-seeds=2", "-rP")
    result.assert_outcomes(passed=2)
    said = dict(line.split() for line in result.outlines if line.startswith(("part", "whole")))
    assert float(said["part"]) == pytest.approx(float(said["whole"]), abs=0.05)
    assert said["part"] != said["whole"]


def test_lesions_are_done_by_workers(suite: pytest.Pytester) -> None:
    """Worker processes evaluate all lesions of a network at a time; the page shows a heat map."""
    write(
        suite,
        """
@pytest.mark.parametrize("variant", lesion_each(net, "dense2"), indirect=True)
def test_unit(variant):
    assert variant.accuracy.change.mean <= 0.5

@pytest.mark.ablation(lesion("dense1", units=[16]))
def test_wrong(variant):
    assert variant.accuracy.change.mean <= 0.5
""",
    )
    result = suite.runpytest_subprocess(
        "--ablation-profile=full",
        "--ablation-seeds=2",
        "--ablation-workers=2",
        "--html=report.html",
        "--self-contained-html",
    )
    result.assert_outcomes(passed=8, errors=1)
    result.stdout.fnmatch_lines(["8 units of dense2, set to zero, one by one: *"])
    page = (suite.path / "report.html").read_text()
    assert page.count("<rect ") == 8
    assert "8 lesions of single units, one by one" in page
    result.stdout.fnmatch_lines(['*"dense1" has 16 units, 0 to 15.*'])


def test_a_plan_says_that_lesions_are_not_trained(suite: pytest.Pytester) -> None:
    """A plan names a lesion among its trials, without a training's time."""
    write(
        suite,
        """
@pytest.mark.ablation(lesion("dense1"))
def test_it(variant):
    assert variant.accuracy.change.mean <= 0
""",
    )
    suite.runpytest("--ablation-plan").stdout.fnmatch_lines(
        ["*baseline, seed 0*", "*lesion dense1, seed 0 * evaluated", "*~ dense1: output → zero*"]
    )
