"""The one table of a session: arms, comparisons and outcomes, that every output renders."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import fmean, stdev
from typing import Any

from pytest_ablation import sentence
from pytest_ablation.claim import Compared
from pytest_ablation.errors import AblationError
from pytest_ablation.evidence import WORST_FIRST, Entry
from pytest_ablation.experiment import Lesion
from pytest_ablation.quantity import (
    ACCURACY,
    TIME,
    WALL,
    Measure,
    counting_noise,
    gap,
    least_noise,
    metric,
    sampling_noise,
    training,
)
from pytest_ablation.reference import Reference, Saved
from pytest_ablation.run import Run
from pytest_ablation.verdict import adjusted, estimate, smallest_detectable


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm of the findings table: means over its seeds, NaN where nothing was trained.

    Attributes:
        experiment: The experiment's name.
        arm: "baseline", or the ablation.
        tests: The entries of the tests about this arm.
        runs: The arm's runs, one a seed.
        measure: The experiment's main metric: accuracy, unless it has another.
        value: The metric on the test set.
        value_low: Lower limit of its mean over seeds, at the session's error rate.
        value_high: Upper limit.
        change: Of the value against the baseline's.
        change_low: Lower limit of the change, at the session's error rate.
        change_high: Upper limit.
        is_clear: Whether there is a change beside those of all other arms, since of twenty that
            change nothing two have limits that say they do: the error is shared among them.
        train_value: The metric on training examples, in inference mode.
        since: Of the value against the reference's; NaN where that cannot tell, or there is none.
        since_low: Lower limit of it.
        since_high: Upper limit.
        gap: How much better it is on training examples than on the test set.
        gap_change: Against the baseline's gap.
        wall: Seconds a training took.
        time_ratio: Seconds a step over the baseline's, where a test compared it: it is measured
            side by side, and times of trainings apart are not.
        params: Parameters of the network.
        params_ratio: Over the baseline's.
        diverged: Trainings that ended because the loss was no number.
        sentence: The finding in a sentence.
        recipe: How it is trained, as its trial has it; empty where nothing was trained.
    """

    experiment: str
    arm: str
    tests: tuple[Entry, ...]
    runs: tuple[Run, ...]
    measure: Measure
    value: float
    value_low: float
    value_high: float
    change: float
    change_low: float
    change_high: float
    is_clear: bool
    since: float
    since_low: float
    since_high: float
    train_value: float
    gap: float
    gap_change: float
    wall: float
    time_ratio: float
    params: int
    params_ratio: float
    diverged: int
    sentence: str
    recipe: str

    @property
    def seeds(self) -> int:
        """Seeds trained."""
        return len(self.runs)

    @property
    def compared(self) -> tuple[Compared, ...]:
        """The claims of the tests about this arm."""
        return tuple(each for entry in self.tests for each in entry.compared)

    @property
    def lesion(self) -> Lesion | None:
        """The lesion that the arm is of, if it is."""
        return self.tests[0].lesion if self.tests else None

    @property
    def has_limits(self) -> bool:
        """Whether the change has limits that tell something."""
        widest = 1.0 if self.measure.unit == "fraction" else math.inf
        return self.change_low != self.change_high and self.change_low > -widest

    @property
    def outcome(self) -> str:
        """The worst outcome among the tests about this arm."""
        return min((entry.outcome for entry in self.tests), key=WORST_FIRST.index, default="")


@dataclass(frozen=True, kw_only=True)
class Placebo:
    """What a baseline's own seeds say of what a session can tell of the main metric.

    Attributes:
        measure: The metric.
        seeds: The baseline's seeds.
        deviation: Standard deviation between them.
        floor: What that is at least, since the test set is a sample; 0 where it is not known.
        detectable: The smallest change that the most seeds would probably (80 %) detect.
        most_seeds: How many those are.
    """

    measure: Measure
    seeds: int
    deviation: float
    floor: float
    detectable: float
    most_seeds: int


@dataclass(eq=False)
class Findings:
    """The findings of a session, test by test as they end.

    Attributes:
        entries: By node id; of a test that ran twice, the last.
        reference: What an earlier session saved; None where none is named.
        errors: Tests that ended in an error before there was anything to find, by node id.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    reference: Reference | None = None
    errors: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Take in what a test found."""
        self.entries[entry.test] = entry
        self.errors.discard(entry.test)

    @property
    def facts(self) -> dict[str, Any]:
        """What the session studied; trainings counted over all worker processes."""
        entries = list(self.entries.values())
        if not entries:
            return {}
        runs = {
            run.fingerprint: run
            for e in entries
            for run in (*e.baseline, *(() if e.lesion else e.variant), *chain(*e.alone.values()))
        }
        fresh = {name for e in entries for name in e.facts["trained"]}
        timed = {name: took for e in entries for name, took in e.facts["timed"].items()}
        return {
            **entries[-1].facts,
            "timed": sum(timed.values()),
            "cluster": _cluster([entry.facts["cluster"] for entry in entries]),
            "trained": len(fresh & set(runs)),
            "reused": len(set(runs) - fresh),
        }

    @property
    def kept(self) -> list[Saved]:
        """The arms as a reference has them, each with all its seeds."""
        kept: dict[tuple[str, str], Saved] = {}
        for each in (each for entry in self.entries.values() for each in entry.kept):
            key = each.experiment, each.arm
            if key not in kept or each.seeds > kept[key].seeds:
                kept[key] = each
        return list(kept.values())

    def claims(self) -> list[tuple[Entry, Compared, float]]:
        """Return every claim with its test, and its p-value adjusted for the number of claims.

        The adjusted value is NaN where there is none to adjust, as of what is exact.
        """
        claims = [(entry, each) for entry in self.entries.values() for each in entry.compared]
        tested = [place for place, (_, each) in enumerate(claims) if not math.isnan(each.p)]
        values = dict(zip(tested, adjusted([claims[place][1].p for place in tested]), strict=True))
        return [(*claim, values.get(place, math.nan)) for place, claim in enumerate(claims)]

    def placebo(self, experiment: str) -> Placebo | None:
        """Return what an experiment's baseline says of the session; None with under two seeds."""
        own = [entry for entry in self.entries.values() if entry.experiment == experiment]
        runs = max((entry.baseline for entry in own), key=len, default=())
        if len(runs) < 2 or own[0].facts["decides_nothing"]:
            return None
        facts = own[0].facts
        measure = metric(own[0].metric)
        tested = facts["tested"] if measure is ACCURACY else 0
        try:
            values = [measure.of(run) for run in runs]
        except AblationError:
            return None
        if not all(map(math.isfinite, values)):
            return None  # a training diverged
        deviation = stdev(values)
        seeds = facts["seeds"][0], facts["seeds"][1]
        return Placebo(
            measure=measure,
            seeds=len(runs),
            deviation=deviation,
            floor=sampling_noise(runs, tested),
            detectable=smallest_detectable(
                max(deviation, least_noise(runs, tested)), seeds=seeds, alpha=facts["alpha"]
            ),
            most_seeds=seeds[1],
        )

    def rows(self) -> list[Row]:
        """Return the table: for each experiment its baseline, then its variants as they came."""
        arms: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries.values():
            arms.setdefault((entry.experiment, ""), [])
            arms.setdefault((entry.experiment, entry.ablation), []).append(entry)
        order = list(dict.fromkeys(name for name, _ in arms))
        baselines = {
            name: max(
                (e for e in self.entries.values() if e.experiment == name),
                key=lambda e: len(e.baseline),
            )
            for name in order
        }
        kept = {(each.experiment, each.arm): each for each in self.kept}
        then = self.reference.arms if self.reference else {}
        variants = len(arms) - len(order)
        return [
            _row(
                name,
                arm,
                tuple(entries),
                baselines[name],
                then.get((name, arm or "baseline")),
                kept.get((name, arm or "baseline")),
                among=variants,
            )
            for name, arm in sorted(arms, key=lambda key: order.index(key[0]))
            for entries in [arms[name, arm]]
        ]


def _cluster(told: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return how a cluster was used, from what each process told of itself last."""
    last = {each["session"]: each for each in told if each}.values()
    if not last:
        return None
    tasks = sum((Counter(each["tasks"]) for each in last), Counter[str]())
    return {
        "tasks": dict(sorted(tasks.items())),
        "places": max(each["places"] for each in last),
        "busy": sum(each["busy"] for each in last),
    }


def mean(runs: tuple[Run, ...], of: Callable[[Run], float]) -> float:
    """Return the mean of a measure over runs; NaN where there are none or it is not measured."""
    try:
        return fmean(of(run) for run in runs) if runs else math.nan
    except (KeyError, AblationError):
        return math.nan


def _row(
    experiment: str,
    arm: str,
    entries: tuple[Entry, ...],
    baseline: Entry,
    then: Saved | None,
    now: Saved | None,
    *,
    among: int,
) -> Row:
    longest = max(entries, key=lambda entry: len(entry.runs), default=None)
    runs = longest.runs if longest and arm else baseline.baseline
    params = longest.params if longest and arm else baseline.baseline_params
    paired = entries[0].lesion if entries and entries[0].is_paired else None
    # Of a trained network with and without: a seed that has no lesion would shift the change.
    base = baseline.baseline[: len(runs)] if paired else baseline.baseline
    timed = [
        each.value
        for entry in entries
        for each in entry.compared
        if (each.quantity, each.form) == (TIME.name, "ratio")
    ]
    measure = metric(baseline.metric)
    more_trained = gap(baseline.metric, baseline.less_is_better)
    (low, high), (lowest, highest) = (
        _limits(measure, runs, base, baseline.facts, paired=paired, shares=shares)
        if arm
        else (math.nan, math.nan)
        for shares in (1, 2 * among)
    )
    value_low, value_high = _limits(measure, runs, None, baseline.facts)
    since = _since(measure, runs, then, now, baseline.facts)
    is_timed = bool(base) and not baseline.has_settings
    numbers: dict[str, Any] = {
        "measure": measure,
        "value": mean(runs, measure.of),
        "value_low": value_low,
        "value_high": value_high,
        "change": mean(runs, measure.of) - mean(base, measure.of),
        "change_low": low,
        "change_high": high,
        "is_clear": lowest > 0 or highest < 0,
        "since": since[0],
        "since_low": since[1],
        "since_high": since[2],
        "train_value": mean(runs, training(baseline.metric).of),
        "gap": mean(runs, more_trained.of),
        "gap_change": mean(runs, more_trained.of) - mean(base, more_trained.of),
        "wall": mean(runs, WALL.of),
        "time_ratio": timed[-1] if timed else 1.0 if is_timed and not arm else math.nan,
        "params": params,
        "params_ratio": params / (baseline.baseline_params or math.nan),
        "diverged": sum(run.diverged is not None for run in runs),
    }
    return Row(
        experiment=experiment,
        arm=arm or "baseline",
        tests=entries,
        runs=runs,
        recipe=longest.recipe if longest and arm else baseline.baseline_recipe,
        sentence=sentence.of(arm, numbers, runs, baseline),
        **numbers,
    )


def _limits(
    measure: Measure,
    runs: tuple[Run, ...],
    base: tuple[Run, ...] | None,
    facts: Mapping[str, Any],
    *,
    paired: Lesion | None = None,
    shares: int = 1,
) -> tuple[float, float]:
    """Return the limits of a metric's mean, or of its change, over the seeds that there are.

    Each errs as often as the session's error rate, in as many shares, says.
    """
    arms = [runs] if base is None else [runs, base]
    if min(map(len, arms)) < 2:
        return math.nan, math.nan
    try:
        values = [[measure.of(run) for run in arm] for arm in arms]
    except AblationError:
        return math.nan, math.nan
    tested = facts["tested"] if measure is ACCURACY else 0
    if paired:
        values = [[a - b for a, b in zip(*values, strict=False)]]
        noise = counting_noise(values[0], min(paired.examples or tested, tested))
    else:
        noise = math.sqrt(fmean(least_noise(arm, tested) ** 2 for arm in arms))
    _, low, high = estimate(*values, alpha=facts["alpha"] / shares, noise=noise)
    return low, high


def _since(
    measure: Measure,
    runs: tuple[Run, ...],
    then: Saved | None,
    now: Saved | None,
    facts: Mapping[str, Any],
) -> tuple[float, float, float]:
    """Return the change of a metric since a reference, and its limits."""
    if then is None or now is None or not runs or then.cannot_speak_for(measure.name, now):
        return math.nan, math.nan, math.nan
    seeds = min(len(runs), len(then.values[measure.name]))
    change, low, high = estimate(
        [measure.of(run) for run in runs[:seeds]],
        [math.nan if each is None else each for each in then.values[measure.name][:seeds]],
        alpha=facts["alpha"],
        noise=least_noise(runs[:seeds], facts["tested"]) if measure is ACCURACY else 0.0,
    )
    return change, *((low, high) if seeds > 1 else (math.nan, math.nan))
