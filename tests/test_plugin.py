"""The plugin as its users meet it: pytest runs of suites in folders of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pytest_ablation.data import shapes10

IMPORTS = """
import pytest
from keras import layers
from pytest_ablation import *
from tiny import net
"""


# The tiny network, edited and counted as ever, and trained by a formula: of two seeds no arm is
# better than another for certain, nor of three.
QUICK = """
from dataclasses import replace
import pytest
from tiny import EXPERIMENT

def fit(trial, data, progress):
    right = 80 + (trial.seed + trial.model.count('"Dropout"')) % 3  # of 100 images
    return {
        "accuracy": right / 100,
        "correct": [number < right for number in range(100)],
        "train_accuracy": 0.9,
        "loss": 1 - right / 100,
    }

@pytest.fixture(scope="session")
def experiment():
    return replace(EXPERIMENT, train=fit)
"""


@pytest.fixture
def quick(suite: pytest.Pytester) -> pytest.Pytester:
    """The suite, where a training takes no time: for what the plugin makes of any training."""
    suite.makeconftest(QUICK)
    return suite


def write(suite: pytest.Pytester, tests: str) -> None:
    """Write the suite's one test module."""
    suite.makepyfile(test_study=IMPORTS + tests)


def runs(suite: pytest.Pytester) -> list[Path]:
    """Return the runs in the suite's store."""
    return sorted((suite.path / ".ablation" / "runs").glob("*.json"))


def test_baseline_and_variant_are_trained_compared_and_kept(suite: pytest.Pytester) -> None:
    """The first session trains each trial once; the second trains none."""
    write(
        suite,
        """
@pytest.mark.ablation(remove("drop*"))
def test_variant(variant, baseline):
    assert -1 <= variant.accuracy.change.mean <= 1
    assert variant.params.ratio <= 1
    assert 0 <= baseline.accuracy.mean <= 1

def test_baseline(baseline):
    assert baseline.accuracy.mean == sum(baseline.accuracy.values) / 2
    columns = ["seed", "epoch", "accuracy", "val_accuracy", "loss", "val_loss"]
    assert list(baseline.history) == columns
    assert len(baseline.history) == 12
    assert len(baseline.runs) == 2
""",
    )
    first = suite.runpytest("--ablation-profile=full")
    first.assert_outcomes(passed=2)
    kept = {path: path.stat().st_mtime_ns for path in runs(suite)}
    assert len(kept) == 4
    suite.runpytest("--ablation-profile=full").assert_outcomes(passed=2)
    assert {path: path.stat().st_mtime_ns for path in runs(suite)} == kept


def test_refresh_trains_anew(quick: pytest.Pytester) -> None:
    """--ablation-refresh leaves earlier runs aside, once a trial."""
    write(quick, "def test_it(baseline):\n    assert baseline.accuracy >= 0\n")
    quick.runpytest("--ablation-profile=full", "--ablation-seeds=1")
    before = [path.stat().st_mtime_ns for path in runs(quick)]
    quick.runpytest("--ablation-profile=full", "--ablation-seeds=1", "--ablation-refresh")
    assert [path.stat().st_mtime_ns for path in runs(quick)] > before


def test_an_indirect_parameter_is_the_ablation_and_names_the_test(suite: pytest.Pytester) -> None:
    """Parametrized ablations work beside other parameters, with ids that can be read."""
    write(
        suite,
        """
@pytest.mark.parametrize("variant, fewest", [
    (remove("drop1"), 0),
    pytest.param(configure("dense1", units=4), 1, id="narrow"),
], indirect=["variant"])
def test_it(variant, fewest):
    assert variant.params >= fewest

@pytest.mark.parametrize("variant", leave_one_out(net, layers.Dropout), indirect=True)
def test_each(variant):
    assert variant.params > 0
""",
    )
    result = suite.runpytest("-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "*test_it[[]remove-drop1-0] PASSED*",
            "*test_it[[]narrow] PASSED*",
            "*test_each[[]drop1] PASSED*",
            "*test_each[[]drop2] PASSED*",
        ]
    )
    assert not runs(suite)  # parameters are known without training


@pytest.mark.parametrize(
    ("ablation", "message"),
    [
        ('remove("drop4")', '*remove("drop4"): no layer of that name. Layers: flatten, *'),
        ('configure("dense1", unit=8)', '*"dense1" has no setting "unit". Did you mean "units"?*'),
        ("use(net)", "*use(net): the network is so already; nothing would change.*"),
        ("train_with(optimizer='Adam')", "*the variant is the baseline; nothing would change.*"),
        ("'drop1'", "*'drop1' is no ablation. Write an edit, as remove(*"),
        ("remove('drop1'), remove('drop2')", "*2 ablations where one is meant: add them up*"),
        ("", "*which ablation? Mark the test with @pytest.mark.ablation(*"),
    ],
)  # fmt: skip
def test_a_wrong_ablation_is_one_line_before_training(
    suite: pytest.Pytester, ablation: str, message: str
) -> None:
    """A mistake in an ablation is an error of its test, in one line, and nothing has trained."""
    write(
        suite,
        f"""
@pytest.mark.ablation({ablation})
def test_it(variant):
    assert variant.accuracy.change >= 0
""",
    )
    result = suite.runpytest("--ablation-profile=full")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin.py*")
    result.stdout.no_fnmatch_line("*During handling*")
    assert not runs(suite)


STACKED = """
@pytest.mark.ablation(remove("no_such_layer"))
@pytest.mark.ablation(remove("drop1"))
def test_it(variant):
    assert variant.params >= 1

@pytest.mark.ablation(remove("no_such_layer"))
class TestOfAClass:
    @pytest.mark.ablation(remove("drop2"))
    def test_own(self, variant):
        assert "drop2" in str(variant.difference)
"""


@pytest.mark.parametrize("arguments", [(), ("--ablation-plan",)])
def test_no_marker_is_left_aside_in_silence(
    suite: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    """Of two markers on a test both are meant, so it is an error; its own outdoes its class's."""
    write(suite, STACKED)
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=0 if arguments else 1, errors=1)
    result.stdout.fnmatch_lines(["*2 ablations where one is meant: add them up with +.*"])
    result.stdout.no_fnmatch_line("*no_such_layer*")


UNASKED = """
def test_first(baseline):
    assert baseline.params == 938

@pytest.mark.ablation(remove("drop4"))
def test_marked(baseline):
    assert baseline.params == 938

@pytest.mark.skip
@pytest.mark.ablation(remove("drop4"))
def test_skipped():
    pass

@pytest.mark.ablation(remove("drop1"))
class TestOfAClass:
    def test_baseline(self, baseline):
        assert baseline.params == 938

    def test_variant(self, variant):
        assert variant.params >= 1
"""


@pytest.mark.parametrize("arguments", [(), ("--ablation-plan",)])
def test_a_marked_test_takes_its_variant(
    suite: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    """A typo in an ablation is no pass because the test forgot to ask for the variant.

    A class may be marked for some of its tests.
    """
    write(suite, UNASKED)
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=0 if arguments else 3, skipped=1, errors=1)
    message = '*test is marked with remove("drop4") but does not take "variant": take it as an *'
    result.stdout.fnmatch_lines([f"will end in an error: *::test_marked: {message}", message])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("names", "values", "wanted"),
    [
        ('"variant"', 'leave_one_out(net, "drop*")', '"variant", …): add indirect=True'),
        ('"variant"', 'argvalues=[remove("drop1")]', '"variant", …): add indirect=True'),
        (
            '("fewest", "variant")',
            '[(1, remove("drop1"))], indirect=["fewest"]',
            '"fewest, variant", …): add indirect=["fewest", "variant"]',
        ),
    ],
)
def test_a_forgotten_indirect_is_said_where_tests_are_collected(
    suite: pytest.Pytester, names: str, values: str, wanted: str
) -> None:
    """Who parametrizes without it is told to add it, and not that an Ablation has no accuracy."""
    write(
        suite,
        f"""
@pytest.fixture
def fewest(request):
    return request.param

@pytest.mark.parametrize({names}, {values})
def test_it(variant, fewest):
    assert variant.accuracy.change >= 0

@pytest.mark.parametrize("variant, edit", [("small", remove("drop1"))])
def test_of_ones_own(variant, edit):
    assert variant == "small"
""",
    )
    result = suite.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*parametrize({wanted.replace('[', '[[]')}, so that the fixture is *"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_an_edit_that_was_not_called_is_said_where_tests_are_collected(
    suite: pytest.Pytester,
) -> None:
    """pytest marks the edit itself, calls it with the test, and collects none."""
    write(
        suite,
        """
@pytest.mark.ablation(remove)
def test_it(variant):
    assert variant.accuracy.change <= 0

class TestOthers:
    @pytest.mark.ablation(remove)
    def test_it(self, variant):
        assert variant.accuracy.change <= 0

without = remove("drop1")
""",
    )
    result = suite.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['test_it is an ablation and no test: *(remove("conv1"))`.'])
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_a_forgotten_indirect_of_a_hook_is_said(quick: pytest.Pytester) -> None:
    """The ablation itself was the test's variant: it had no accuracy, or passed untrained."""
    write(
        quick,
        """
def pytest_generate_tests(metafunc):
    metafunc.parametrize("variant", leave_one_out(net, "drop*"))

def test_it(variant):
    assert variant
""",
    )
    for arguments in ((), ("--ablation-plan",)):
        result = quick.runpytest(*arguments)
        result.assert_outcomes(errors=2)
        said = '*given an ablation as its "variant", untrained: *add indirect=[[]"variant"], *'
        result.stdout.fnmatch_lines([said] * 2)
        result.stdout.no_fnmatch_line("*Traceback*")


def test_a_mistake_in_a_later_test_is_said_before_the_first_training(
    quick: pytest.Pytester,
) -> None:
    """Nobody waits an hour for trainings to learn of a typo in the last test."""
    write(
        quick,
        """
def test_first(baseline):
    from pathlib import Path
    assert not Path(".ablation").exists()
    print("the first test runs")
    assert baseline.accuracy.mean >= 0

@pytest.mark.ablation(remove("drop4"))
def test_last(variant):
    assert variant.accuracy.change >= 0
""",
    )
    result = quick.runpytest("--ablation-profile=full", "--ablation-seeds=1", "-rP")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            'will end in an error: test_study.py::test_last: remove("drop4"): no layer of that *',
            "*the first test runs*",
        ]
    )


def test_two_ablations_of_one_variant_are_an_error(suite: pytest.Pytester) -> None:
    """Two findings of one network, under two names, are one too many; the same twice is not.

    Nor is one of a sum, which is no finding.
    """
    write(
        suite,
        """
@pytest.mark.ablation(remove("drop1"))
def test_one(variant):
    assert variant.params >= 1

@pytest.mark.ablation(remove("drop1"))
def test_again(variant):
    assert variant.params >= 1

@pytest.mark.ablation(remove("*op1"))
def test_other(variant):
    assert variant.params >= 1

@pytest.mark.ablation(remove("dro*1") + configure("dense2", units=4))
def test_sum(variant):
    assert variant.params.interaction == 0
""",
    )
    result = suite.runpytest()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        ['*remove("[*]op1"): the variant is that of remove("drop1"). If both *write them alike; *']
    )


def test_a_variant_says_how_it_differs(suite: pytest.Pytester) -> None:
    """What an ablation did is known in the test itself, without training."""
    write(
        suite,
        """
from dataclasses import replace as with_fields
from pytest_ablation import feed_with, train_with

def half(data):
    return with_fields(data, x_train=data.x_train[:150], y_train=data.y_train[:150])

@pytest.mark.ablation(configure("dense2", units=4) + train_with(batch_size=32) + feed_with(half))
def test_it(variant, baseline):
    difference = variant.difference
    assert [change.name for change in difference.layers] == ["dense2", "classes"]
    assert difference.layers[0].params == (136, 68)
    assert str(difference).splitlines()[2:] == [
        "~ recipe: batch_size 16 → 32",
        "~ data: 300 → 150 training examples",
    ]
    with pytest.raises(Exception, match="only a variant differs"):
        baseline.difference
""",
    )
    suite.runpytest().assert_outcomes(passed=1)
    assert not runs(suite)


def test_a_suite_without_an_experiment_is_told_how_to_write_one(
    pytester: pytest.Pytester,
) -> None:
    """The first mistake of a new user has its answer in the message."""
    pytester.makepyfile("def test_it(baseline): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*define a session-scoped fixture `experiment`*"])


def test_a_violated_bound_explains_itself(quick: pytest.Pytester) -> None:
    """A red test shows both arms' values a seed, the change, its interval and the bound."""
    write(
        quick,
        """
@pytest.mark.ablation(remove("drop*"))
def test_it(variant):
    assert 0.9 <= variant.accuracy.change <= 1
""",
    )
    result = quick.runpytest("--ablation-profile=full", "--ablation-seeds=3")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*assert 0.9 <= variant.accuracy.change",
        "*remove drop* (drop1, drop2): *.* %, *.* %",
        "*baseline: *.* %, *.* %",
        "*variant.accuracy.change: * points, 90 % interval * points … * points, * seeds an arm",
        "*accuracy.change ≥ +90.0 points: violated with an error of 5 % over the session's 2 *",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        ("variant.accuracy == 0.5", "*variant.accuracy == 0.5: trained values are never equal*"),
        ("baseline.accuracy.change >= 0", "*only a variant's quantities have a change*"),
        ("variant.metric('acuracy') >= 0", '*no metric "acuracy"*Did you mean "accuracy"?*'),
        ("variant.accuracy >= 'high'", "*compare it with a number, not 'high'*"),
        ("variant.accuracy > 'high'", "*compare it with a number, not 'high'*"),
        (
            "variant.accuracy - baseline.accuracy >= 0",
            "*Error: variant.accuracy - baseline.accuracy: write variant.accuracy.change, and *",
        ),
        ("0.9 - variant.accuracy < 0.1", "*Error: 0.9 - variant.accuracy: write variant.acc*"),
        ("variant.loss + 0.1 > 1", "*Error: variant.loss + 0.1: write variant.loss.change, and *"),
        (
            "baseline.accuracy * 0.9 <= variant.accuracy",
            "*Error: baseline.accuracy * 0.9: write variant.accuracy.ratio, and *",
        ),
        ("100 * variant.accuracy > 75", "*100 * variant.accuracy: write variant.accuracy.ratio, *"),
        ("baseline.wall / variant.wall > 1", "*/ variant.wall: write variant.wall.ratio, and *"),
        ("1 / variant.wall.ratio > 1", "*1 / variant.wall.ratio: write variant.wall.ratio, and *"),
        (
            "abs(variant.gap.change) < 0.1",
            "*write both bounds, as -0.01 <= variant.gap.change <= *",
        ),
        ("variant.accuracy >= baseline.accuracy", "*write variant.accuracy.change, and *"),
        ("variant.params == baseline.params", "*write variant.params.change, and *"),
        (
            "variant.acuracy >= 0",
            '*acuracy: nothing of that name. There are *metric. Did you mean "accuracy"?*',
        ),
        (
            "variant.accuracy.chnge >= 0",
            '*variant.accuracy.chnge: *There are *, interaction, since. Did you mean "change"?*',
        ),
        (
            "baseline.accuracy > 95",
            "*95 lies outside 0 … 1: accuracies are fractions: write 0.95.*",
        ),
        ("variant.accuracy.change >= -2", "*-2 lies outside -1 … 1: *: write -0.02.*"),
        ("-5 <= variant.gap <= 5", "*variant.gap: a bound of -5 lies outside -1 … 1: *-0.05.*"),
        ("variant.accuracy", "*compare it with a bound, as variant.accuracy >= 0.*"),
    ],
)
def test_a_wrong_comparison_says_what_to_write(
    suite: pytest.Pytester, comparison: str, message: str
) -> None:
    """A comparison that means nothing fails with the way to write it."""
    write(
        suite,
        f"""
@pytest.mark.ablation(remove("drop1"))
def test_it(variant, baseline):
    assert {comparison}
""",
    )
    result = suite.runpytest("--ablation-profile=smoke")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*>*assert *", message])
    result.stdout.no_fnmatch_line("*comparison.py*")


def test_looking_at_a_quantity_does_not_train_it(quick: pytest.Pytester) -> None:
    """A traceback or a debugger that shows a quantity starts no training; printing it does."""
    write(
        quick,
        """
def test_it(baseline):
    from pathlib import Path
    assert repr(baseline.accuracy) == "<baseline.accuracy>"
    assert not Path(".ablation").exists()
    assert str(baseline.accuracy).endswith(" %")
    assert f"{baseline.accuracy}" == str(baseline.accuracy)
    assert f"{baseline.accuracy:.3f}" == "0.820"  # its mean, as any number
""",
    )
    quick.runpytest("--ablation-profile=full", "--ablation-seeds=1").assert_outcomes(passed=1)


def test_operations_are_exact_and_take_no_training(suite: pytest.Pytester) -> None:
    """A gate on operations is a number that anyone can work out, and costs no time."""
    write(
        suite,
        """
@pytest.mark.ablation(remove("drop*"))
def test_dropout(variant, baseline):
    assert baseline.flops == 1_932
    assert variant.flops == 1_932 - 2 * (16 + 8)
    assert variant.flops.change == -48
    assert 0.97 <= variant.flops.ratio < 1
    assert variant.flops.values == (1_884,)

@pytest.mark.ablation(configure("dense1", units=8))
def test_too_much(variant):
    assert variant.flops.ratio >= 0.9
""",
    )
    result = suite.runpytest("-W", "error::pytest_ablation.errors.AblationWarning")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*variant.flops.ratio: 0.5*", "*flops.ratio ≥ 0.90×: violated"])
    assert not runs(suite)


def test_a_suite_may_make_warnings_errors(suite: pytest.Pytester) -> None:
    """What Keras warns of where nobody can do anything about it ends no training in an error."""
    suite.makeini("[pytest]\nfilterwarnings = error")
    write(
        suite,
        """
from tiny import EXPERIMENT

@pytest.fixture(scope="session")
def experiment():
    added = layers.Dense(4, kernel_regularizer="l2", activity_regularizer="l2", name="added")
    return insert(added, after="flatten")(EXPERIMENT)

@pytest.mark.ablation(remove("drop1"))
def test_of_trainings(variant):
    assert variant.loss.change.mean <= 9
    assert variant.time.ratio <= 9

@pytest.mark.ablation(lesion("dense1", how="mean"))
def test_of_a_lesion(variant):
    assert variant.loss.change.mean <= 9
""",
    )
    result = suite.runpytest("--ablation-profile=full", "--ablation-seeds=1")
    result.assert_outcomes(passed=2)


def test_verdicts_warn_of_nothing(quick: pytest.Pytester) -> None:
    """Nor does the arithmetic of a comparison that was decided."""
    quick.makeini("[pytest]\nfilterwarnings = error")
    write(
        quick,
        """
@pytest.mark.ablation(remove("drop1"))
def test_it(variant):
    assert variant.loss.change <= 9
    assert variant.loss.ratio <= 9
""",
    )
    result = quick.runpytest("--ablation-profile=full", "--ablation-seeds=2")
    result.assert_outcomes(passed=1)


FOREIGN = """
from keras import layers
from keras.src import backend  # private: TensorFlow, or what else Keras runs on
from pytest_ablation import replace

class Foreign(layers.Layer):
    def call(self, x):
        return backend.nn.relu(x)

@pytest.mark.ablation(replace("drop*", lambda old: Foreign(name=old.name)))
class TestForeign:
    def test_alone(self, variant):
        assert variant.flops == 1_884

    def test_apart(self, variant):
        assert variant.flops.change <= 0
"""


def test_operations_that_are_not_known_are_said(suite: pytest.Pytester) -> None:
    """A count that leaves layers out says so, and is no evidence where the arms differ in them."""
    write(suite, FOREIGN)
    result = suite.runpytest()
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*AblationError: variant.flops.change: operations are not known of layers in which "
            "variant and baseline differ: drop1: Foreign is not made of*",
            "*AblationWarning: variant.flops leaves out what cannot be counted: drop1: Foreign*",
        ]
    )


UNDECIDED = """
@pytest.mark.ablation(remove("drop1"))
def test_doubtful(variant):
    assert variant.accuracy.change >= 0.001
    assert False, "an undecided test ends where it is undecided"

def test_exact(baseline):
    assert baseline.params == 938
"""


def test_two_ablations_interact(quick: pytest.Pytester) -> None:
    """Whether two are worse together than apart is one comparison, of four arms."""
    write(
        quick,
        """
@pytest.mark.parametrize(
    "variant",
    all_pairs(configure("dense1", units=8), configure("dense2", units=4)),
    indirect=True,
)
def test_pair(variant):
    assert -2 <= variant.accuracy.interaction <= 2
    both, first, second = 392 + 36 + 10, 392 + 72 + 18, 862
    assert variant.params.interaction == both + 938 - first - second

@pytest.mark.parametrize("variant", one_at_a_time(remove("drop1")), indirect=True)
def test_single(variant):
    with pytest.raises(Exception, match="only a sum of two ablations has one"):
        variant.accuracy.interaction
""",
    )
    result = quick.runpytest("--ablation-profile=full", "--ablation-seeds=2", "-v")
    result.stdout.fnmatch_lines(["*test_pair[[]set-units=8-*-set-units=4-in-dense2] PASSED*"])
    result.assert_outcomes(passed=2)
    assert len(runs(quick)) == 8
    assert "8 trainings done, 0 reused" in " ".join(result.stdout.str().split())


def test_times_of_four_arms_are_not_compared(suite: pytest.Pytester) -> None:
    """Steps are timed in turn of two networks: who asks for more is told what to compare."""
    write(
        suite,
        """
@pytest.mark.ablation(remove("drop1") + remove("drop2"))
def test_it(variant):
    with pytest.raises(Exception, match="timed in turn of two networks"):
        variant.time.interaction
""",
    )
    suite.runpytest().assert_outcomes(passed=1)
    assert not runs(suite)


def test_losses_that_are_not_of_a_kind_are_warned_of(quick: pytest.Pytester) -> None:
    """Less of a squared error than of a crossentropy is no finding: its numbers are smaller."""
    write(
        quick,
        """
import pytest
from pytest_ablation import remove, train_with

@pytest.mark.ablation(train_with(loss="mse"))
def test_other(variant):
    variant.loss.change <= 9

@pytest.mark.ablation(remove("drop1") + train_with(learning_rate=0.1))
def test_same(variant):
    variant.loss.change <= 9
""",
    )
    result = quick.runpytest("--ablation-profile=smoke", "--ablation-seeds=1")
    said = "variant.loss.change is of two losses: the variant's recipe has another loss. *"
    result.stdout.fnmatch_lines([f"*AblationWarning: {said}"])
    assert result.stdout.str().count("is of two losses") == 1


def test_undecided_is_a_status_of_its_own(quick: pytest.Pytester) -> None:
    """No evidence is neither pass nor fail: a U, a count, a reason, and exit with 0."""
    write(quick, UNDECIDED)
    arguments = ("--ablation-profile=full", "--ablation-seeds=2:3", "--junitxml=out.xml", "-v")
    result = quick.runpytest(*arguments)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*test_doubtful UNDECIDED*",
            "*AblationWarning: accuracy.change ≥ +0.1 points is a tighter bound than 3 seeds"
            " an arm can tell: they would probably detect a change of [0-9]*",
            "*The baseline's accuracy varies by * points from seed to seed (3 seeds; *",
            "undecided: test_study.py::test_doubtful",
            "  accuracy.change ≥ +0.1 points: * points, 90 % interval * points … *",
            "*1 passed, 1 warning, 1 undecided*",
        ]
    )
    assert "undecided: variant.accuracy.change ≥ +0.1 points: " in (
        quick.path / "out.xml"
    ).read_text(encoding="utf-8")
    assert len(runs(quick)) == 6


def test_strict_makes_undecided_fail(quick: pytest.Pytester) -> None:
    """A gate that may not let doubt through says so, with the same reason."""
    write(quick, UNDECIDED)
    arguments = ("--ablation-profile=full", "--ablation-seeds=2", "--ablation-strict")
    result = quick.runpytest(*arguments)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["undecided: variant.accuracy.change ≥ +0.1 points: *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    again = quick.runpytest(*arguments, "--lf", "-x")
    again.assert_outcomes(failed=1)
    assert len(runs(quick)) == 4


def test_a_comparison_in_a_fixture_is_undecided_too(quick: pytest.Pytester) -> None:
    """Where a suite compares does not matter: doubt is undecided, and fails where it must."""
    write(
        quick,
        """
@pytest.fixture
def better(baseline):
    assert baseline.accuracy >= baseline.accuracy.mean

def test_it(better):
    pass
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=2")
    result = quick.runpytest(*arguments)
    result.stdout.fnmatch_lines(["undecided: test_study.py::test_it", "*1 undecided*"])
    quick.runpytest(*arguments, "--ablation-strict").assert_outcomes(errors=1)


def test_a_rerun_is_no_second_chance(quick: pytest.Pytester) -> None:
    """A plugin that runs a test again gets the same seeds, counted once, and the same verdict."""
    write(quick, UNDECIDED)
    arguments = ("--ablation-profile=full", "--ablation-seeds=2", "--ablation-strict")
    result = quick.runpytest(*arguments, "--reruns=2")
    result.stdout.fnmatch_lines(["1 of 2 claims holds, 1 undecided*.", "*2 rerun*"])
    result.assert_outcomes(passed=1, failed=1)
    assert len(runs(quick)) == 4


def test_a_chain_fails_where_it_first_fails(quick: pytest.Pytester) -> None:
    """Of low <= x <= high a violated half is a failure, though the other half be undecided."""
    write(
        quick,
        """
@pytest.mark.ablation(configure("dense1", units=1_000))
def test_it(variant):
    found = variant.params.ratio
    assert 100 <= found <= 200
    assert variant.params.ratio <= 200

def test_other(baseline):
    assert 100 <= baseline.loss <= baseline.loss.mean
""",
    )
    result = quick.runpytest("--ablation-profile=full", "--ablation-seeds=2:5")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*assert 100 <= baseline.loss"])


def test_a_quantity_has_its_interval(quick: pytest.Pytester) -> None:
    """Numbers for a plot of one's own: the mean lies within its limits, also after a comparison."""
    write(
        quick,
        """
@pytest.mark.ablation(remove("drop1"))
def test_it(variant):
    low, high = variant.loss.ratio.interval
    assert 0 < low < variant.loss.ratio.mean < high
    assert len(variant.loss.values) == 2
    try:
        variant.loss.change >= 0
    except pytest.skip.Exception:
        pass
    assert len(variant.loss.values) in (2, 3)
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=2:3")
    quick.runpytest(*arguments).assert_outcomes(passed=1)


def test_smoke_ends_undecided_where_something_trained_is_compared(quick: pytest.Pytester) -> None:
    """A wiring check is never a pass: undecided is a status of its own, and exits with 0."""
    write(
        quick,
        """
@pytest.mark.ablation(remove("drop1"))
def test_trained(variant):
    assert variant.accuracy.change >= -1

@pytest.mark.ablation(remove("drop1"))
def test_exact(variant):
    assert variant.params.change <= 0
""",
    )
    result = quick.runpytest("--ablation-profile=smoke", "-rs", "--junitxml=out.xml")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["test_study.py U.*", "*1 passed, 1 undecided*"])
    assert "undecided: variant.accuracy.change" in (quick.path / "out.xml").read_text()


def test_a_session_ends_with_the_findings(quick: pytest.Pytester) -> None:
    """The terminal's last words are the table: baseline, variants, the finding of each."""
    write(
        quick,
        """
@pytest.mark.ablation(remove("drop*"))
def test_it(variant):
    assert variant.accuracy.change <= 1
""",
    )
    result = quick.runpytest("--ablation-profile=full", "--ablation-seeds=2")
    result.stdout.fnmatch_lines(["*ablation findings*", "*baseline*", "*remove drop*"])


def test_two_experiments_live_side_by_side(suite: pytest.Pytester) -> None:
    """A module may study an experiment of its own."""
    write(suite, "def test_one(baseline):\n    assert baseline.params == 938\n")
    suite.makepyfile(
        test_other=IMPORTS
        + """
from tiny import EXPERIMENT

def other():
    return remove("drop*", "dense2")(net())

@pytest.fixture(scope="session")
def experiment():
    return Experiment(other, EXPERIMENT.recipe, EXPERIMENT.data)

def test_two(baseline):
    assert baseline.params == 818
"""
    )
    suite.runpytest().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--ablation-seeds=5:2", "*--ablation-seeds=5:2: write MIN:MAX or N*"),
        ("--ablation-seeds=zero", "*--ablation-seeds=zero: write MIN:MAX or N*"),
        ("--ablation-alpha=5", "*--ablation-alpha=5: write how often a verdict may be wrong*"),
        ("--ablation-profile=fast", "*the profiles are auto, full, quick, smoke*"),
    ],
)
def test_a_wrong_option_is_refused_at_the_start(
    pytester: pytest.Pytester, option: str, message: str
) -> None:
    """A typo in an option ends the session before anything is collected."""
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_options_have_ini_twins(quick: pytest.Pytester) -> None:
    """What is always the same is written once, in the ini file; its paths start there."""
    write(quick, "def test_it(baseline):\n    assert len(baseline.runs) == 1\n")
    quick.makeini("""
[pytest]
ablation_profile = full
ablation_seeds = 1
ablation_store = kept/here
""")
    quick.runpytest().assert_outcomes(passed=1)
    assert len(list((quick.path / "kept/here/runs").glob("*.json"))) == 1


def test_what_is_only_collected_has_no_plan(quick: pytest.Pytester) -> None:
    """Nobody reads that no test needs a training where none was asked."""
    write(quick, "def test_it(baseline):\n    assert baseline.accuracy >= 0\n")
    result = quick.runpytest("--collect-only", "--ablation-plan")
    result.stdout.fnmatch_lines(["*1 test collected*"])
    result.stdout.no_fnmatch_line("*No test needs a training*")


def test_images_that_cannot_be_read_end_the_session_in_one_line(suite: pytest.Pytester) -> None:
    """A wrong path is known before anything runs."""
    write(suite, "def test_it(cifar10, baseline): pass\n")
    result = suite.runpytest("--ablation-data=nowhere.npz")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *nowhere.npz*"])
    suite.runpytest("--ablation-data=nowhere.npz", "--collect-only").assert_outcomes()


def test_the_stand_in_is_announced_loudly(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes a result on shapes10 for one on CIFAR-10."""
    monkeypatch.setenv("KERAS_HOME", str(suite.path / "keras"))
    few = shapes10.generate
    monkeypatch.setattr(shapes10, "generate", lambda count, seed: few(min(count, 100), seed))
    monkeypatch.setattr(
        "pytest_ablation.data.keras_cache.ORIGIN", "http://127.0.0.1:9/cifar-10-python.tar.gz"
    )
    write(suite, "def test_it(cifar10, baseline):\n    assert cifar10.name == 'shapes10'\n")
    result = suite.runpytest()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["!!! NOT CIFAR-10: *", "*AblationWarning: *--ablation-data*"])


def test_a_training_that_fails_is_an_error_and_no_finding(suite: pytest.Pytester) -> None:
    """What could not be trained says nothing of the claim: E, not F, with the training's words."""
    write(
        suite,
        """
from tests.faulty import Raises

@pytest.mark.ablation(insert(Raises(), after="flatten"))
def test_wrong(variant):
    assert variant.accuracy.change >= -1

def test_right(baseline):
    assert baseline.accuracy >= 0
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=1", "--junitxml=out.xml", "-v")
    result = suite.runpytest(*arguments)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*test_wrong ERROR*",
            "insert Raises after flatten, seed 0: the training failed: ValueError. Its last *",
            "*not on a Tuesday*",
            "1 of 1 claim holds, 1 test ended in an error*.",
        ]
    )
    result.stdout.no_fnmatch_line("*comparison.py*")
    assert 'errors="1" failures="0"' in (suite.path / "out.xml").read_text(encoding="utf-8")


def test_a_warning_of_ones_own_layer_is_shown(suite: pytest.Pytester) -> None:
    """What a training in pytest's own process warns of is pytest's to show, as ever."""
    write(
        suite,
        """
from tests.faulty import Warns

@pytest.mark.ablation(insert(Warns(), after="flatten"))
def test_it(variant):
    assert variant.accuracy >= 0
""",
    )
    result = suite.runpytest("--ablation-profile=full", "--ablation-seeds=1")
    result.stdout.fnmatch_lines(["*UserWarning: mind the gap*"])


PLAN = """
@pytest.mark.ablation(remove("drop*"))
def test_variant(variant):
    assert variant.accuracy.change >= -1

def test_of_something_else():
    raise AssertionError("a plan runs no test")
"""


def test_a_plan_lists_the_trials_and_trains_nothing(suite: pytest.Pytester) -> None:
    """What a study would cost is known before it is paid: each trial, what is there, the time."""
    write(suite, PLAN)
    arguments = ("--ablation-profile=full", "--ablation-seeds=2:3")
    plan = suite.runpytest(*arguments, "--ablation-plan")
    assert plan.ret == pytest.ExitCode.OK
    plan.stdout.fnmatch_lines(
        [
            "trial *parameters *a step *time",
            "baseline, seed 0 *938 *92.7 kFLOP * s",
            "remove drop[*] (drop1, drop2), seed 1 *938 *90.4 kFLOP * s",
            "4 trials: 0 cached, 4 to train, * s.",
            "*takes up to 1 more of each of its arms; with all of these it takes * s.",
            "Times are from a few steps taken now*",
            "*1 deselected*",
        ]
    )
    assert not runs(suite)
    suite.runpytest(*arguments, "--ablation-seeds=1", "-k", "variant")
    plan = suite.runpytest(*arguments, "--ablation-plan")
    plan.stdout.fnmatch_lines(
        [
            "baseline, seed 0 *cached",
            "4 trials: 2 cached, 2 to train, about *",
            "Times are those of earlier trainings on this machine.",
        ]
    )
    assert len(runs(suite)) == 2


def test_a_plan_with_a_wrong_ablation_fails(suite: pytest.Pytester) -> None:
    """A typo in a study costs seconds, and a CI job that plans it is red."""
    write(suite, PLAN.replace("drop*", "drop4"))
    plan = suite.runpytest("--ablation-plan")
    assert plan.ret == pytest.ExitCode.TESTS_FAILED
    plan.stdout.fnmatch_lines(['*remove("drop4"): no layer of that name*'])


LONG = """
from dataclasses import replace
from tiny import EXPERIMENT

@pytest.fixture(scope="session")
def experiment():
    return train_with(epochs=100_000)(EXPERIMENT)

def test_short(tmp_path):
    pass

def test_long(baseline):
    assert baseline.accuracy >= 0
"""


@pytest.mark.slow
@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="no Ctrl-C reaches what was started in the background",
)
def test_ctrl_c_keeps_what_is_done_and_ends_the_workers(suite: pytest.Pytester) -> None:
    """An interrupted study ends at once, with its report, and goes on where it was."""
    write(suite, LONG)
    command = [sys.executable, "-m", "pytest", "--ablation-profile=full", "--html=report.html"]
    session = subprocess.Popen(command, cwd=suite.path, stdout=subprocess.PIPE, text=True)
    try:
        checkpoints = suite.path / ".ablation" / "checkpoints"
        while not list(checkpoints.glob("*.npz")):
            assert session.poll() is None
            time.sleep(0.1)
        workers = psutil.Process(session.pid).children()
        session.send_signal(signal.SIGINT)
        interrupted = time.monotonic()
        output, _ = session.communicate(timeout=60)
    finally:
        session.kill()
    _, alive = psutil.wait_procs(workers, timeout=0)
    assert not alive
    assert time.monotonic() - interrupted < 30  # far more than it takes, on a machine that is busy
    assert session.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Generated html report" in output
    assert list(checkpoints.glob("*.npz"))


@pytest.mark.slow
def test_layers_of_a_conftest_reach_the_workers(suite: pytest.Pytester) -> None:
    """A layer, a loss and a metric of one's own train wherever pytest found their module."""
    conftest = suite.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
import keras
from pytest_ablation import train_with

class Half(keras.layers.Layer):
    def call(self, x):
        return x / 2

def distance(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

@pytest.fixture(scope="session")
def experiment():
    return train_with(loss=distance)(EXPERIMENT)
"""
    )
    write(
        suite,
        """
import sys
Half = next(m.Half for m in list(sys.modules.values()) if hasattr(m, "Half"))

@pytest.mark.ablation(insert(Half(), after="flatten"))
def test_it(variant):
    assert variant.accuracy.change >= -1
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-workers=2", "--import-mode=importlib")
    result = suite.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_sessions_share_their_trainings(suite: pytest.Pytester) -> None:
    """Four processes of pytest-xdist with workers of their own train each trial once."""
    write(
        suite,
        """
@pytest.mark.parametrize("variant", leave_one_out(net, layers.Dropout), indirect=True)
def test_each(variant):
    assert -1 <= variant.accuracy.change.mean
""",
    )
    arguments = ("--ablation-profile=full", "--ablation-seeds=2", "--ablation-workers=1")
    result = suite.runpytest_subprocess("-n4", *arguments)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*6 trainings done*"])
    assert len(runs(suite)) == 6


@pytest.mark.parametrize(
    "arguments", [["-x"], ["-k", "each"], ["--lf"], ["-p", "no:cacheprovider"], ["-m", "none"]]
)
def test_pytests_own_options_work(suite: pytest.Pytester, arguments: list[str]) -> None:
    """Selecting and stopping is pytest's, also when nothing of the study is left."""
    write(
        suite,
        """
@pytest.mark.parametrize("variant", leave_one_out(net, layers.Dropout), indirect=True)
def test_each(variant):
    assert variant.params > 0
""",
    )
    result = suite.runpytest(*arguments)
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_an_unrelated_suite_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    """A project that merely has the plugin installed starts no slower for it."""
    pytester.makepyfile("""
import sys

def test_it():
    heavy = {"keras", "tensorflow", "numpy", "scipy", "pandas", "PIL", "rich"}
    assert not heavy & set(sys.modules)
    assert "pytest_ablation.plugin" in sys.modules
""")
    result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:xdist")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*ablation findings*")
    assert not (pytester.path / ".ablation").exists()


def test_a_fixture_of_the_same_name_in_another_suite_is_left_alone(
    pytester: pytest.Pytester,
) -> None:
    """Someone else's `baseline` and `variant` keep working."""
    pytester.makepyfile("""
import pytest

@pytest.fixture(params=[1, 2])
def variant(request):
    return request.param

@pytest.fixture
def baseline():
    return 0

def test_it(variant, baseline):
    assert variant > baseline
""")
    pytester.runpytest().assert_outcomes(passed=2)


def test_two_experiments_of_one_name_are_refused(quick: pytest.Pytester) -> None:
    """Of the second, reports showed no number, or its variants' beside the first one's baseline."""
    write(
        quick,
        """
from dataclasses import replace

@pytest.fixture(params=["first", "alike", "other", "named"])
def experiment(request, experiment):
    other = train_with(optimizer="sgd")(experiment)
    return {
        "first": experiment,
        "alike": replace(experiment),
        "other": other,
        "named": replace(other, name="by sgd"),
    }[request.param]

@pytest.mark.ablation(remove("drop1"))
def test_it(variant):
    assert variant.accuracy.change >= -0.5
""",
    )
    result = quick.runpytest("--ablation-seeds=2")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_it[[]other[]]*",
            'two experiments are called "net", *: Experiment(…, name="…").',
            "net *",
            "by sgd *",
        ]
    )


def test_a_regression_is_studied_by_its_error(suite: pytest.Pytester) -> None:
    """A metric of one's own is compared and reported; accuracy, which it lacks, is said at once."""
    suite.makeconftest(
        """
        import keras
        import pytest
        from keras import layers
        from tiny import EXPERIMENT
        from dataclasses import replace
        from pytest_ablation import Experiment, Recipe

        def net():
            return keras.Sequential([
                keras.Input((4, 4, 3)),
                layers.Flatten(name="flatten"),
                layers.Dense(4, activation="relu", name="dense"),
                layers.Dense(1, name="number"),
            ])

        @pytest.fixture(scope="session")
        def experiment():
            data = EXPERIMENT.data
            data = replace(data, classes=(), y_train=data.y_train / 2, y_test=data.y_test / 2)
            recipe = Recipe("sgd", "mse", batch_size=16, steps_per_epoch=4, metrics="mae")
            return Experiment(net, recipe, data)
        """
    )
    suite.makepyfile(
        """
        import pytest
        from pytest_ablation import remove

        @pytest.mark.ablation(remove("dense"))
        def test_error(variant):
            assert variant.metric("mae").change <= 5
            assert -5 <= variant.gap.change <= 5

        def test_accuracy(baseline):
            assert baseline.accuracy >= 0.5
        """
    )
    result = suite.runpytest(
        "--ablation-profile=full", "--ablation-seeds=2", "--html=report.html", "-p", "no:xdist"
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            '*AblationError: the recipe compiles no metric "accuracy". Metrics: mae, loss.*',
            "*net * mae * change *",
        ]
    )
    assert "Test<br>mae" in (suite.path / "report.html").read_text()


def test_a_trial_that_cannot_be_described_costs_its_own_tests_only(
    suite: pytest.Pytester,
) -> None:
    """A recipe that no other process could read is an error of the tests that ask for it.

    An INTERNALERROR would end the session, and all other tests with it.
    """
    suite.makeconftest(
        """
import functools
import keras
import pytest
from pytest_ablation import Experiment
from tiny import RECIPE, data, net
from dataclasses import replace

@pytest.fixture(scope="session")
def experiment():
    loss = functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True)
    return Experiment(net, replace(RECIPE, loss=loss), data())
"""
    )
    write(
        suite,
        """
def test_value(baseline):
    assert baseline.loss >= 0

def test_history(baseline):
    assert len(baseline.history)

def test_plain():
    pass
""",
    )
    result = suite.runpytest("--ablation-profile=full")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*Recipe(loss=…): functools.partial(*cannot be found by another*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert "1 passed" in result.stdout.str()


def test_a_gpu_that_keras_cannot_use_counts_for_nothing(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver may list some where the backend is one for the CPU: trainings are shared out so.

    A worker of a GPU would be told of its own alone.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    suite.makepyfile(
        callback="""
import os, keras

class Tell(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        with open("told", "a") as file:
            print(os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], file=file)
"""
    )
    write(
        suite,
        """
from tiny import EXPERIMENT
from callback import Tell

@pytest.fixture(scope="session")
def experiment():
    return train_with(callbacks=Tell, epochs=1)(EXPERIMENT)

def test_learns(baseline):
    assert baseline.accuracy >= 0
""",
    )
    result = suite.runpytest("--ablation-workers=1", "--ablation-seeds=1")
    result.assert_outcomes(passed=1)
    pid, gpus = (suite.path / "told").read_text().split()
    assert (int(pid) != os.getpid(), gpus) == (True, "0,1,2")
