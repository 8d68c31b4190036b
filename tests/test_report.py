"""What the page and the terminal show of the findings."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from pytest_ablation.beside import Pair
from pytest_ablation.claim import Compared
from pytest_ablation.evidence import Entry
from pytest_ablation.experiment import Lesion
from pytest_ablation.per_class import ClassChange
from pytest_ablation.report import columns, html, terminal, words
from pytest_ablation.run import Run
from pytest_ablation.table import Findings
from pytest_ablation.verdict import Outcome

FACTS: dict[str, Any] = {
    "data": "CIFAR-10",
    "source": "as published",
    "stand_in": "",
    "profile": "quick",
    "seeds": (2, 5),
    "alpha": 0.05,
    "tested": 10_000,
    "backend": "tensorflow 2.21.0",
    "environment": {"keras": "3.15.0", "machine": "Linux x86_64, 2 CPUs"},
    "device": "CPU",
    "decides_nothing": False,
    "trained": ["0.587-0", "0.551-0"],
    "timed": {"a duet": 4.0},
    "cluster": None,
}
STAND_IN = "CIFAR-10 is not on this machine, and the network is down."
ATTACK = "<script>alert(1)</script>"
LAYERS = (
    Pair("same", "conv1 (Conv2D) 30×30×48, 1,344", "conv1 (Conv2D) 30×30×48, 1,344"),
    Pair("gone", "drop1 (Dropout) 30×30×48", ""),
    Pair("left out", "7 the same", "7 the same"),
)
PER_CLASS = (
    ClassChange("airplane", 0.60, 0.45, -0.17, -0.13),
    ClassChange("automobile", 0.57, 0.65, 0.06, 0.10),
)
MANY_ABLATIONS = tuple(f"remove layer{number}" for number in range(40))


def runs(
    accuracy: float, train_accuracy: float, *, seeds: int = 2, **changes: Any
) -> tuple[Run, ...]:
    """Return an arm's runs, 20 epochs each."""
    curves = {
        "accuracy": tuple(train_accuracy * (1 - 0.8**epoch) for epoch in range(1, 21)),
        "val_accuracy": tuple(accuracy * (1 - 0.7**epoch) for epoch in range(1, 21)),
    }
    run = Run(
        fingerprint="",
        seed=0,
        metrics={"accuracy": accuracy, "train_accuracy": train_accuracy},
        curves=curves,
        seconds_per_step=0.041,
        wall=83.0,
        params=736_618,
        steps=2000,
    )
    return tuple(
        replace(run, seed=seed, fingerprint=f"{accuracy}-{seed}", **changes)
        for seed in range(seeds)
    )


def claim(outcome: Outcome = "holds", **changes: Any) -> Compared:
    """Return a comparison of the change of accuracy."""
    compared = Compared(
        quantity="accuracy",
        unit="fraction",
        form="change",
        at_least=-0.12,
        at_most=None,
        outcome=outcome,
        value=-0.036,
        low=-0.049,
        high=-0.023,
        seeds=2,
    )
    return replace(compared, **changes)


def entry(test: str, ablation: str, variant: tuple[Run, ...], **changes: Any) -> Entry:
    """Return what a test of a variant found, or of the baseline where there is no ablation."""
    found = Entry(
        test=f"ablation_tests/test_cifar10.py::{test}",
        outcome="passed",
        experiment="cnn",
        ablation=ablation,
        changes=("− drop1 (Dropout)",) if ablation else (),
        layers=LAYERS if ablation else (),
        per_class=PER_CLASS if ablation else (),
        told="What is said of it.",
        summary="┏━━━┓\n┃ conv1 (Conv2D) ┃\n└───┘",
        params=736_618,
        baseline_params=736_618,
        baseline=runs(0.587, 0.86),
        variant=variant,
        compared=(claim(),),
        facts=FACTS,
        classes=("airplane", "automobile"),
    )
    return replace(found, **changes)


def study(**changes: Any) -> Findings:
    """Return the findings of a small study: it holds, is violated, is undecided and diverges."""
    short = {"accuracy": (0.104, math.nan), "val_accuracy": (math.nan,)}
    collapsed = runs(0.1, 0.1, curves=short, diverged=1, metrics={"accuracy": 0.1})
    fast = runs(0.481, 0.602, seconds_per_step=0.0145, wall=29.0)
    entries = [
        entry("test_baseline", "", ()),
        entry("test_dropout", "remove Dropout (5 layers)", runs(0.551, 0.98)),
        entry(
            "test_pool",
            "configure MaxPooling2D",
            fast,
            params=325_002,
            compared=(claim(), claim(quantity="time", unit="seconds", form="ratio", value=0.35)),
        ),
        entry(
            "test_dense",
            "remove dense2",
            runs(0.603, 0.909),
            outcome="failed",
            compared=(claim(), claim("violated")),
        ),
        entry(
            "test_exponential",
            "replace relu",
            collapsed,
            outcome="undecided",
            compared=(claim("undecided", low=-math.inf, high=math.inf),),
        ),
    ]
    findings = Findings()
    for each in entries:
        findings.add(replace(each, **changes))
    return findings


def text_of(markup: str) -> str:
    """Return what a reader sees of HTML, without its style."""
    shown = re.sub(r"<(style|script)>.*?</\1>", "", markup, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown))


@pytest.fixture(scope="module")
def page() -> str:
    """The page of the small study."""
    return html.page(study())


# ------------------------------------------------------------------------------------ the page


def test_the_page_shows_every_arm_and_its_numbers(page: str) -> None:
    """Each arm's accuracy, change, gap, times, parameters and sentence stand in the page."""
    shown = text_of(page)

    for row in study().rows():
        assert row.arm in shown
        assert row.sentence in shown
    for number in (
        *("58.7 %", "55.1 %", "−3.6 points", "98.0 %", "+42.9 points"),
        *("0.35×", "29.0 s", "83.0 s", "736,618", "325,002", "10.0 %", "−48.7 points"),
    ):
        assert number in shown


def test_the_page_opens_with_the_outcome_in_a_sentence(page: str) -> None:
    """The first line counts the claims and says the finding, so that nobody has to look for it."""
    said = "5 of 7 claims hold, 1 violated, 1 undecided; replacing relu costs 48.7 points."
    assert f"<h2>{said}</h2>" in page


def test_the_largest_change_of_many_is_no_finding_by_chance() -> None:
    """Of twenty ablations that change nothing one looks as if it did; the headline is not of it."""
    findings = Findings()
    baseline = tuple(
        replace(run, metrics={"accuracy": accuracy})
        for run, accuracy in zip(runs(0, 0, seeds=5), (0.59, 0.6, 0.58, 0.595, 0.585), strict=True)
    )
    for place in range(20):
        lower = 0.012 if place == 7 else 0.0
        variant = [{"accuracy": run.metrics["accuracy"] - lower} for run in baseline]
        variants = (replace(run, metrics=m) for run, m in zip(baseline, variant, strict=True))
        name = f"remove layer{place}"
        found = entry(name, name, tuple(variants), baseline=baseline)
        if place == 7:
            alone = Findings({found.test: found})
            assert "removing layer7 costs 1.2 points" in words.headline(alone.rows(), ())
        findings.add(found)
    assert findings.rows()[8].change_high < 0
    assert words.headline(findings.rows(), ()) == "All 20 claims hold."


def test_a_test_that_failed_by_itself_is_in_the_headline() -> None:
    """Where a value is no number, or an assertion is of something else, all is not well."""
    failed = entry("test", "remove drop1", runs(0.59, 0.9), outcome="failed")
    said = words.headline(Findings({failed.test: failed}).rows(), ())
    assert said == "1 of 1 claim holds, 1 test failed otherwise."
    undecided = replace(failed, compared=(claim("undecided"),))  # which --ablation-strict fails
    assert "otherwise" not in words.headline(Findings({failed.test: undecided}).rows(), ())


def test_what_a_unit_is_worth_is_of_the_same_networks() -> None:
    """A lesion's change is of each trained network with and without, whatever others there are."""
    accuracies = (0.60, 0.62, 0.50, 0.48)
    baseline = tuple(
        replace(run, metrics={"accuracy": accuracy})
        for run, accuracy in zip(runs(0, 0, seeds=4), accuracies, strict=True)
    )
    lesioned = tuple(
        replace(run, metrics={"accuracy": run.metrics["accuracy"] - 0.01}) for run in baseline[:2]
    )
    lesion = Lesion(of="", layers=("conv1",), units=(0,), how="zero")
    found = entry("test", "lesion", lesioned, baseline=baseline, lesion=lesion, is_paired=True)
    row = Findings({found.test: found}).rows()[1]
    assert row.change == pytest.approx(-0.01)
    assert row.change_low < row.change < row.change_high
    sampled = replace(found, lesion=replace(lesion, examples=100))
    wider = Findings({found.test: sampled}).rows()[1]
    assert wider.change_low < row.change_low - 0.001  # one example of 100, twice, is no certainty


def test_what_is_violated_is_said_first() -> None:
    """Who opens a red study's report reads which claims are violated, before what else it found."""
    shown = text_of(html.page(study()))
    found = "accuracy.change ≥ −12.0 points: −3.6 points, 90 % interval −4.9 points … −2.3 points"
    first = shown.index(f"violated remove dense2 : {found}, 2 seeds an arm")
    assert first < shown.index("replace relu : collapses to chance")

    many = html.page(study(compared=5 * (claim("violated"),)))
    assert "22 more violated, in the table of claims" in text_of(many)


def test_accuracies_are_of_examples_whatever_they_are(page: str) -> None:
    """A report on texts or tables speaks of no images."""
    assert re.search(r"reaches [\d.]+ % on test examples and [\d.]+ % on training", text_of(page))


def test_the_page_says_what_was_studied(page: str) -> None:
    """Data, profile, seeds, backend and trainings are named: no number is read without them."""
    shown = text_of(page)

    for fact in (
        "CIFAR-10 (as published)",
        "profile quick",
        "2 to 5 seeds an arm",
        "2.21.0 on CPU",
    ):
        assert fact in shown
    assert "2 trainings done, 8 reused" in shown


@pytest.mark.parametrize("reason", ["", STAND_IN])
def test_a_banner_appears_exactly_where_images_stand_in(reason: str) -> None:
    """A study of other images than CIFAR-10's can never be read as one of CIFAR-10."""
    findings = study(facts={**FACTS, "stand_in": reason, "data": "shapes10"})
    page, table = html.page(findings), terminal.table(findings, width=80, color=False)

    assert ('<div class="banner" role="alert">' in page) == bool(reason)
    assert ("NOT THE IMAGES OF CIFAR-10" in table) == bool(reason)
    assert reason in page


def test_what_users_name_is_never_markup() -> None:
    """A name with HTML in it shows as it is written, in the page and in an unfolded row."""
    hostile = entry(
        ATTACK,
        ATTACK,
        runs(0.5, 0.5),
        experiment=ATTACK,
        changes=(ATTACK,),
        summary=ATTACK,
        classes=(ATTACK,),
        sample="iVBO",
        facts={**FACTS, "source": ATTACK, "stand_in": ATTACK},
    )
    findings = Findings({hostile.test: hostile})

    page, row = html.page(findings), html.unfolded(hostile, findings.rows()[-1])

    assert ATTACK not in page + row
    assert page.count("&lt;script&gt;") >= 6
    assert row.count("&lt;script&gt;") >= 3


def test_the_page_fetches_nothing() -> None:
    """A report opens on a machine without a network, and tells nobody that it was opened."""
    page = html.page(study(sample="iVBO"))

    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)|url\(([^)]*)\)|@import""", page)
    assert all(address.startswith("data:") for address, _ in addresses)
    assert len(addresses) == 1


def test_the_images_stand_beside_their_classes() -> None:
    """A sample of the images is shown once, with the names of its rows."""
    findings = study(sample="iVBO")

    page = html.page(findings)

    assert page.count("data:image/png;base64,iVBO") == 1
    assert "<li><bdi>airplane</bdi></li><li><bdi>automobile</bdi></li>" in page


def test_each_experiment_has_its_own_table() -> None:
    """Arms of two experiments are never compared in one table."""
    first = study()
    other = entry("test_other", "remove b", runs(0.3, 0.4), experiment="mlp")
    first.add(other)

    page = html.page(first)

    assert page.count('<table class="findings" data-filter="arms">') == 2
    cnn, mlp = (page.index(f"<h3><bdi>{name}</bdi></h3>") for name in ("cnn", "mlp"))
    assert cnn < mlp < page.rindex("remove b")


def test_of_many_arms_the_telling_ones_are_drawn() -> None:
    """A study of hundreds of arms stays readable: all are in the table, two dozen are drawn."""
    findings = Findings()
    for place, ablation in enumerate(MANY_ABLATIONS):
        findings.add(entry(f"test[{place}]", ablation, runs(0.55 - place / 100, 0.9)))

    page = html.page(findings)

    assert all(f">{ablation}<" in page for ablation in MANY_ABLATIONS)
    assert page.count("Accuracy by epoch: remove") == 24
    assert "16 more are in the table" in re.sub(r"\s+", " ", page)


@pytest.mark.parametrize("count", [0, 1])
def test_arms_without_a_training_have_a_row(count: int) -> None:
    """A test that failed before it trained is in the table, with dashes for numbers."""
    findings = Findings()
    for number in range(count):
        findings.add(entry(f"t{number}", "remove a", (), outcome="error", compared=(), baseline=()))

    page, table = html.page(findings), terminal.table(findings, width=80, color=False)

    assert ("Not trained." in page) == ("Not trained." in table) == bool(count)
    assert bool(page) == bool(table) == bool(count)
    assert "nan" not in (text_of(page) + table).lower()


def test_a_training_that_tells_nothing_is_not_called_none() -> None:
    """A short profile's trainings were done, also where their main metric was not measured."""
    findings = Findings()
    facts = {**FACTS, "decides_nothing": True}
    findings.add(replace(entry("t", "remove a", runs(0.5, 0.5)), metric="f1", facts=facts))
    table = terminal.table(findings, width=80, color=False)
    assert table.count("Too short a training to tell.") == 2
    assert "Not trained." not in table


def test_variants_are_shown_without_a_trained_baseline() -> None:
    """Where only variants were trained, none of them is taken for the baseline."""
    findings = study(baseline=())

    page = html.page(findings)

    assert 'data-n="1">1.00×' not in page
    assert "55.1 %" in page
    table = terminal.table(findings, width=120, color=False)
    assert "  Its accuracy is 60.3 %, with no baseline's to compare it with." in table
    assert "NaN" not in text_of(page) + table


def test_a_sentence_says_no_more_than_is_known() -> None:
    """One seed tells of no cost, a baseline that was not trained of no change, 55 % of no guess."""

    def said(variant: tuple[Run, ...], baseline: tuple[Run, ...], **changes: Any) -> str:
        found = entry("test", "remove drop1", variant, baseline=baseline, **changes)
        return Findings({found.test: found}).rows()[1].sentence

    one = runs(0.55, 0.86, seeds=1)
    assert said(one, runs(0.587, 0.86)).startswith("Changes accuracy by −3.7 points with one seed")
    assert said(runs(0.55, 0.86), runs(0.587, 0.86)).startswith("Costs 3.7 points of accuracy")
    alone = said(runs(0.55, 0.86), ())
    assert alone == "Its accuracy is 55.0 %, with no baseline's to compare it with."
    assert said(runs(0.5497, 0.8), runs(0.55, 0.8)) == "Costs less than 0.1 points of accuracy."
    assert said(runs(0.505, 0.5), runs(0.8, 0.9)).startswith("Collapses to chance")
    assert said(runs(0.505, 0.5), runs(0.51, 0.5)).startswith("Costs 0.5 points")


def test_a_smoke_session_says_that_it_decides_nothing() -> None:
    """Numbers of a session that only tries the wiring are not taken for findings."""
    page = html.page(study(facts={**FACTS, "profile": "smoke", "decides_nothing": True}))

    assert "not a study" in text_of(page)


# ------------------------------------------------------------------------------- a test's row


def test_a_row_has_a_cell_for_each_column() -> None:
    """Tests of an ablation, of a baseline and of something else have as many cells as heads."""
    heads = columns.header_cells()
    rows = study().rows()

    for row in rows:
        assert len(columns.row_cells(row.tests[0], row)) == len(heads)
    blank = columns.row_cells(None, None)
    assert len(blank) == len(heads)
    assert all(text_of(cell).strip() == "" for cell in blank)
    assert all(" hidden>" in cell for cell in [*heads, *blank])


def test_cells_sort_as_numbers() -> None:
    """A column sorts by number, though pytest-html sorts as text: −48.7, −3.6, then +1.6."""

    def change_of(row: Any) -> str:
        cell = next(cell for cell in columns.row_cells(row.tests[0], row) if "col-change" in cell)
        return re.sub(r"<td[^>]*>(.*)</td>", r"\1", cell)

    rows = [row for row in study().rows() if row.arm != "baseline"]

    by_text = sorted(rows, key=change_of)

    assert by_text == sorted(rows, key=lambda row: row.change)


def test_a_row_unfolds_to_the_evidence() -> None:
    """Claims with bound, value, interval and verdict, values a seed, changes and network."""
    row = study().rows()[1]
    unfolded = html.unfolded(row.tests[0], row)
    shown = text_of(unfolded)

    for evidence in (
        *("accuracy.change ≥ −12.0 points", "−3.6 points", "−4.9 points … −2.3 points", "holds"),
        *(
            "variant 0 55.1 % 98.0 % 41.0 ms 83.0 s 2,000 0.551-0 trained",
            "baseline 1 58.7 % 86.0 %",
        ),
        *("− drop1 (Dropout)", "conv1 (Conv2D) 30×30×48, 1,344", row.sentence[1:]),
        *("What is said of it.", "airplane 60.0 % 45.0 % −15.0 points", "7 the same"),
        *(
            "The 90 % interval over 2 seeds an arm, ",
            "lies within the bound.",
            "0.551-0",
            "trained",
        ),
    ):
        assert evidence in shown


def test_a_row_says_of_which_seeds_it_speaks() -> None:
    """A test's numbers are those of its end; later tests may give the table of arms other ones."""
    row = study().rows()[1]
    shown = text_of(html.unfolded(row.tests[0], row))
    assert "remove Dropout (5 layers) , over the seeds below: costs 3.6 points" in shown


def test_a_diverged_training_says_when() -> None:
    """An arm that diverged shows its epoch, and dashes for what it has no number of."""
    row = study().rows()[-1]
    unfolded = html.unfolded(row.tests[0], row)

    assert "diverged in epoch 1" in unfolded
    assert "variant 0 10.0 % –" in text_of(unfolded)
    assert "nan" not in unfolded.lower()


def test_a_page_is_the_same_each_time(page: str) -> None:
    """Two reports of the same findings do not differ, so that they can be compared."""
    assert html.page(study()) == page


# ------------------------------------------------------------------------------- the terminal


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_table_fits_the_terminal(width: int) -> None:
    """At any width no line is cut by the terminal, and no number is broken in two."""
    text = terminal.table(study(), width=width, color=False)

    assert max(map(len, text.splitlines())) <= width
    for number in ("58.7 %", "−3.6 points", "−48.7 points"):
        assert number in text
    flowing = re.sub(r"\s+", " ", text)
    for row in study().rows():
        assert row.sentence in flowing
    said = "5 of 7 claims hold, 1 violated, 1 undecided; replacing relu costs 48.7 points."
    assert said in flowing


def test_a_wide_terminal_shows_every_quantity() -> None:
    """What a narrow terminal leaves out is what tells least: wall time before accuracy."""
    wide = terminal.table(study(), width=160, color=False)
    narrow = terminal.table(study(), width=60, color=False)

    for number in ("+42.9 points", "98.0 %", "0.35×", "325,002", "29.0 s"):
        assert number in wide
    assert "29.0 s" not in narrow
    assert "325,002" not in narrow


def test_the_terminal_says_what_is_violated() -> None:
    """A red study says at its end which claims do not hold, and what was found."""
    text = terminal.table(study(), width=160, color=False)

    violated = text.index("violated: ablation_tests/test_cifar10.py::test_dense\n  accuracy.change")
    assert violated < text.index("undecided: ablation_tests/test_cifar10.py::test_exponential\n")
    assert violated < text.index("−3.6 points, 90 % interval −4.9 points … −2.3 points, 2 seeds")


def test_colour_is_used_only_where_asked_for() -> None:
    """A log file gets no escape sequences."""
    assert "\x1b[" not in terminal.table(study(), width=80, color=False)
    assert "\x1b[31mviolated" in terminal.table(study(), width=80, color=True)


def test_names_are_not_taken_for_styles() -> None:
    """An ablation with square brackets in its name is shown with them."""
    odd = entry("t", "remove [red]a[/red]", runs(0.5, 0.5))

    table = terminal.table(Findings({"t": odd}), width=80, color=False)

    assert "remove [red]a[/red]" in table


# ------------------------------------------------------------------------ metrics of other kinds


def of_error(error: float, train_error: float) -> tuple[Run, ...]:
    """Return an arm's runs that measure an error."""
    return tuple(
        replace(
            run,
            fingerprint=f"{error}-{run.seed}",
            metrics={"mae": error + run.seed / 1000, "train_mae": train_error, "loss": 0.2},
            curves={"mae": (0.9, train_error), "val_mae": (1.0, error)},
        )
        for run in runs(0, 0)
    )


def study_of_error() -> Findings:
    """Return the findings of a regression: one variant is better, one worse."""
    findings = Findings()
    base = entry("test_baseline", "", (), baseline=of_error(0.31, 0.3), compared=())
    better = replace(base, test="b", ablation="insert Dense", variant=of_error(0.25, 0.2))
    worse = replace(base, test="w", ablation="remove dense", variant=of_error(0.5, 0.5))
    for each in (base, better, worse):
        findings.add(replace(each, metric="mae", less_is_better=True, classes=()))
    return findings


@pytest.mark.parametrize(("floor", "is_said"), [(0.003, True), (0.0, False)])
def test_what_a_test_set_adds_is_said_where_it_is_known(floor: float, is_said: bool) -> None:
    """A trainer of one's own may not tell it: then nothing is said of it, and not 0.0 points."""
    placebo = study().placebo("cnn")
    assert placebo is not None
    said = words.placebo(replace(placebo, floor=floor))
    assert ("a test set of this size alone has it vary by 0.3 points" in said) == is_said
    assert "from seed to seed (2 seeds" in said


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_baseline_whose_metric_is_no_number_tells_nothing_of_the_session(value: float) -> None:
    """One training that diverged costs a study a sentence, and not all of its findings."""
    good, bad = runs(0.587, 0.86)
    baseline = (good, replace(bad, metrics={"accuracy": value}, diverged=3))
    findings = study(baseline=baseline)
    assert findings.placebo("cnn") is None
    assert "What this session can tell" not in text_of(html.page(findings))


def test_another_metric_is_shown_by_its_name() -> None:
    """A regression's report says its error, which way it went, and nothing of accuracy."""
    findings = study_of_error()
    shown = text_of(html.page(findings))
    table = terminal.table(findings, width=140, color=False)
    for said in (
        "The network's mae is 0.3105 on test examples and 0.3 on training examples.",
        "Raises mae by 0.19 (worse)",
        "Lowers mae by 0.06 (better) and widens the gap by 0.04.",
        "baseline's mae varies by 0.0007071 from seed to seed (2 seeds). 5 seeds",
    ):
        assert said in " ".join(shown.replace("&#39;", "'").split())
        assert said in " ".join(table.split())
    assert "Test mae" in shown
    assert "Mae by epoch" in shown
    assert "ccuracy" not in shown
    assert "ccuracy" not in table


def test_another_metric_is_shown_in_a_tests_row() -> None:
    """The row's one head says accuracy, so the cell says what else it is."""
    row = study_of_error().rows()[2]
    cells = columns.row_cells(row.tests[0], row)
    assert "-->mae 0.5005</td>" in cells[0]
    unfolded = text_of(html.unfolded(row.tests[0], row))
    assert "Test mae Training mae" in unfolded
    assert "0.501 0.5" in unfolded
