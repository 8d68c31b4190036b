"""Where the time went."""

from __future__ import annotations

import math
from dataclasses import replace

from pytest_ablation.evidence import Entry
from pytest_ablation.report import html, spent, terminal, words
from pytest_ablation.report.export import plain
from pytest_ablation.table import Findings
from tests.test_report import FACTS, entry, runs, study


def by_arm(findings: Findings) -> tuple[spent.Spent, ...]:
    """Return what each arm took."""
    return spent.of(findings, findings.rows())


def by_node(findings: Findings) -> tuple[spent.Spent, ...]:
    """Return what each node took."""
    return spent.by_node(findings, findings.rows())


def test_each_arm_says_what_was_trained_and_what_was_there() -> None:
    """Seconds of this session and of earlier ones are apart, each training counted once."""
    told = by_arm(study())
    arms = {each.name: each for each in told}

    # Of each arm's two runs this session trained the first of the baseline and of remove Dropout.
    assert (arms["baseline"].trained, arms["baseline"].reused) == (1, 1)
    assert arms["baseline"].seconds == arms["baseline"].saved == 83.0
    assert (arms["remove dense2"].trained, arms["remove dense2"].reused) == (0, 2)
    assert told[-1].name == ""
    assert (told[-1].trained, told[-1].reused) == (2, 8)
    assert math.isclose(told[-1].total, sum(each.total for each in told[:-1]))
    totals = [each.total for each in told[:-1]]
    assert totals == sorted(totals, reverse=True)


def test_what_an_interaction_takes_is_told_of_its_parts() -> None:
    """Each of the two ablations alone is trained for it, with a test of its own or without."""
    one, other = runs(0.55, 0.9, wall=7.0), runs(0.56, 0.91, wall=5.0)
    trained = [run.fingerprint for run in (*one, *other)]
    both = entry(
        "test_both",
        "remove a and b",
        runs(0.5, 0.9),
        alone={"remove a": one, "remove b": other},
        facts={**FACTS, "trained": trained},
    )
    findings = Findings()
    findings.add(Entry.from_plain(both.as_plain()))
    arms = {each.name: each for each in by_arm(findings)}
    assert (arms["remove a"].trained, arms["remove a"].seconds) == (2, 14.0)
    assert (arms["remove b"].trained, arms["remove b"].seconds) == (2, 10.0)
    assert findings.facts["trained"] == arms[""].trained == 4
    assert findings.facts["reused"] == arms[""].reused == 4


def test_many_arms_are_told_together() -> None:
    """A study of hundreds has two dozen lines, of which the last is all the others."""
    findings = Findings()
    for number in range(40):
        arm = runs(0.4 + number / 1000, 0.9, wall=float(number))
        findings.add(entry(f"t{number}", f"remove {number}", arm, facts=FACTS))

    told = by_arm(findings)

    assert len(told) == spent.MOST + 1
    assert told[-2].reused == 2 * (41 - (spent.MOST - 1))
    assert told[-1].total == 2 * 83.0 + 2 * sum(range(40))


def test_nothing_trained_is_nothing_spent() -> None:
    """A session that trained nothing has no table of it."""
    assert by_arm(study(baseline=(), variant=())) == ()
    assert by_arm(Findings()) == ()


def test_which_node_trained_what_is_told_where_there_are_several() -> None:
    """On one machine nobody is told its name; of a cluster each node has its share."""
    assert by_node(study()) == ()
    findings = study()
    for number, (name, found) in enumerate(list(findings.entries.items())):
        host = f"node{number % 2} (10.0.0.{number % 2}), a processor, 2 cores, CPU"
        variant = tuple(replace(run, host=host) for run in found.variant)
        findings.entries[name] = replace(found, variant=variant)

    told = by_node(findings)

    nodes = {each.name for each in told[:-1]}
    assert nodes >= {"node0 (10.0.0.0)", "node1 (10.0.0.1)"}
    assert told[-1].total == by_arm(findings)[-1].total
    page = html.alone(findings)
    assert "<th>Node</th>" in page
    assert "node1 (10.0.0.1)" in page


def test_a_cluster_is_told_of_once_for_all_processes() -> None:
    """Under pytest-xdist each process sends trainings; what is said is of all of them."""
    findings = study()
    for number, (name, found) in enumerate(list(findings.entries.items())):
        used = {
            "session": str(number % 2),
            "tasks": {"a": number, "b": 1},
            "places": 8,
            "busy": 0.25,
        }
        findings.entries[name] = replace(found, facts={**FACTS, "cluster": used})
    last = len(findings.entries) - 1

    said = words.cluster(findings.facts)

    counts = f"a {2 * last - 1}, b 2"
    assert said == f"Tasks done on a Ray cluster: {counts}; 8 places, 50 % busy."
    assert said in html.page(findings)
    assert said in " ".join(terminal.table(findings, width=200, color=False).split())
    assert plain.as_plain(findings)["session"]["cluster"]["busy"] == 0.5
