"""Which node trained what, and what is not compared from one to another."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_ablation import hosts
from tests.test_report import runs

ON_A, ON_B = (f"{node}, a processor, 2 cores, CPU" for node in ("a (10.0.0.1)", "b (10.0.0.2)"))
# A trainer that says itself where it trained: each seed in turn on one of some nodes.
STUDY = """
import pytest
from pytest_ablation import Experiment, Run, override

def fit(trial, data, progress):
    nodes = trial.config["nodes"]
    return Run(
        fingerprint=trial.fingerprint, seed=trial.seed, metrics={"accuracy": 0.5}, curves={},
        seconds_per_step=0.1, wall=10.0 + trial.seed, params=1, steps=1,
        host=f"{nodes[trial.seed % len(nodes)]}, a processor, 2 cores, CPU",
    )

@pytest.fixture(scope="session")
def experiment():
    return Experiment({"nodes": ["a"], "depth": 1}, train=fit)
"""
TESTS = """
@pytest.mark.ablation(override(nodes=NODES, depth=2))
def test_wall(variant):
    assert variant.wall.ratio <= 1.5

@pytest.mark.ablation(override(nodes=NODES, depth=3))
def test_mean(variant):
    assert variant.wall.change.mean < 100

@pytest.mark.ablation(override(nodes=NODES, depth=4))
def test_other(variant):
    assert variant.wall <= 100
    assert variant.accuracy.change >= -1
"""


def test_it_says_which_arm_was_trained_where() -> None:
    """Who is told that times cannot be compared is told whose."""
    one, other = (
        replace(run, host=host) for run, host in zip(runs(0, 0), (ON_A, ON_B), strict=True)
    )
    assert hosts.apart({"baseline": [one], "remove drop1": [one]}) == ""
    said = hosts.apart({"baseline": [one], "remove drop1": [one, other]})
    assert said == "baseline on a (10.0.0.1); remove drop1 on a (10.0.0.1) and b (10.0.0.2)"
    on_gpu = replace(one, host=ON_A.replace("CPU", "GPU"))
    assert "cores, GPU" in hosts.apart({"baseline": [one], "remove drop1": [on_gpu]})
    assert "a node not known" in hosts.apart({"baseline": [one], "old": [replace(one, host="")]})


@pytest.mark.parametrize("nodes", [["b"], ["a", "b"]])
def test_times_of_several_nodes_decide_nothing(own: pytest.Pytester, nodes: list[str]) -> None:
    """A ratio of what two machines took is none of the network's, however clear it looks."""
    own.makepyfile(test_study=STUDY + TESTS.replace("NODES", repr(nodes)))
    result = own.runpytest("--ablation-export=findings.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*wall.ratio*: not comparable, 2 seeds *", "*2 undecided*"])
    claims = json.loads((own.path / "findings.json").read_text())["claims"]
    of_wall = next(claim for claim in claims if claim["claim"] == "wall.ratio ≤ 1.50×")
    assert (of_wall["verdict"], of_wall["value"]) == ("undecided", None)
    where = f"baseline on a; set nodes={nodes!r}, depth=2 on {' and '.join(nodes)}"
    assert of_wall["reason"].startswith(f"trained on different nodes ({where}), of which wall ")


def test_a_seed_that_one_arm_alone_has_is_of_a_node_too(own: pytest.Pytester) -> None:
    """Three seeds of the variant against two of the baseline: where the third was counts."""
    varying = STUDY.replace("10.0 + trial.seed", "10.0 + trial.seed * trial.config['depth']")
    own.makepyfile(
        test_study=varying
        + """
@pytest.mark.ablation(override(nodes=["a", "a", "b"], depth=2))
def test_wall(variant):
    assert variant.wall.ratio <= 150
"""
    )
    result = own.runpytest("--ablation-workers=0")
    result.stdout.fnmatch_lines(["*not comparable, 3 seeds and 2 of the baseline*"])


def test_times_of_one_node_are_compared(own: pytest.Pytester) -> None:
    """What all was trained on one node is decided as everything else."""
    own.makepyfile(test_study=STUDY + TESTS.replace("NODES", "['a', 'a']"))
    own.runpytest("--ablation-workers=0").assert_outcomes(passed=3)


@pytest.fixture
def own(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder without a study."""
    return pytester
