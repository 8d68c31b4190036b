"""What is measured of a run, and how its values, changes and ratios are said."""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.run import Run

Unit = Literal["fraction", "seconds", "count", "operations", "number"]
Form = Literal["value", "change", "ratio", "interaction", "since"]

MINUS = "\N{MINUS SIGN}"
ANY = (-math.inf, math.inf)
RANGES: dict[Unit, tuple[float, float]] = {"fraction": (0.0, 1.0)}
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))


@dataclass(frozen=True)
class Measure:
    """One number of a run, or of a network.

    Attributes:
        name: As a test writes it.
        unit: What it counts; fractions are said in percent, their changes in points.
        of: The run's value; the arm's, where it is exact and a network is studied.
        exact: Whether it is known of a network without training.
        range: Its least and its largest value, where they are known.
    """

    name: str
    unit: Unit
    of: Callable[[Any], float]
    exact: bool = False
    range: tuple[float, float] = ANY

    def range_of(self, form: Form) -> tuple[float, float]:
        """Return the least and the largest that it can be as it is, as a change, …."""
        if form in ("value", "ratio"):
            return self.range if form == "value" else ANY
        widest = (self.range[1] - self.range[0]) * (2 if form == "interaction" else 1)
        return -widest, widest


@cache
def metric(name: str) -> Measure:
    """Return the measure of a metric that the recipe compiles, on the test set."""
    unit = _unit(name)
    return Measure(name, unit, lambda run: _of(run, name, name), range=RANGES.get(unit, ANY))


@cache
def training(name: str) -> Measure:
    """Return the measure of a metric on the training examples, in inference mode."""
    return Measure(f"training {name}", _unit(name), lambda run: _of(run, f"train_{name}", name))


@cache
def gap(name: str, less_is_better: bool) -> Measure:
    """Return how much better a metric is on the training examples than on the test set."""
    sign = -1 if less_is_better else 1

    def of(run: Run) -> float:
        return sign * (training(name).of(run) - metric(name).of(run))

    low, high = metric(name).range
    return Measure("gap", _unit(name), of, range=(low - high, high - low))


def _of(run: Run, key: str, name: str) -> float:
    if key not in run.metrics:
        if key != name and name in run.metrics:
            raise AblationError(
                f'the training gave no metric "{key}", which the gap to the test {name} is made '
                f"of. Metrics: {', '.join(run.metrics)}."
            )
        known = [each for each in run.metrics if not each.startswith("train_")]
        raise AblationError(
            f'the training gave no metric "{name}". Metrics: {", ".join(known)}.'
            + did_you_mean(name, known)
        )
    return run.metrics[key]


def _unit(name: str) -> Unit:
    return "fraction" if "accuracy" in name else "number"


def _params(of: Any) -> float:
    if isinstance(of, Run) and not of.params:
        raise AblationError(
            'the trainer told of no parameters: have it return them as "params", a number.'
        )
    return float(of.params)


ACCURACY = metric("accuracy")
LOSS = metric("loss")
GAP = gap("accuracy", False)
TIME = Measure("time", "seconds", lambda run: run.seconds_per_step)
WALL = Measure("wall", "seconds", lambda run: run.wall)
PARAMS = Measure("params", "count", _params, exact=True)
FLOPS = Measure("flops", "operations", lambda arm: float(arm.flops), exact=True)


def sampling_noise(runs: Sequence[Run], examples: int) -> float:
    """Return the least standard deviation that an arm's test accuracy has, as a fraction.

    Two trainings that differ in the seed classify a share d of the test examples differently.
    Were each example's difference a chance of its own, one accuracy would vary by √(d / 2n); that
    trainings also differ as a whole only adds to it. Of a single run it is the binomial √(pq / n).

    Args:
        runs: The arm's runs, one a seed.
        examples: Test examples.

    Returns:
        The deviation; 0 where the runs do not say which examples they got right.
    """
    if not examples:
        return 0.0
    correct = [int.from_bytes(base64.b64decode(run.correct)) for run in runs if run.correct]
    if len(correct) > 1:
        differing = fmean((a ^ b).bit_count() for a, b in combinations(correct, 2)) / examples
        return math.sqrt(differing / 2 / examples)
    share = correct[0].bit_count() / examples if correct else 0.0
    return math.sqrt(share * (1 - share) / examples)


def least_noise(runs: Sequence[Run], examples: int) -> float:
    """Return the floor that verdicts put under the deviation of an arm's test accuracy.

    Args:
        runs: The arm's runs, one a seed.
        examples: Test examples.
    """
    accuracies = [run.metrics.get(ACCURACY.name, math.nan) for run in runs]
    return max(sampling_noise(runs, examples), counting_noise(accuracies, examples))


def counting_noise(values: Sequence[float], examples: int) -> float:
    """Return the deviation that is hidden in values which are whole numbers of examples.

    It is 1 / √12 of an example; 0 of other values, and of a single one. Of few examples equally
    many are often right by chance, and trainings that seem not to vary would decide anything: with
    ten of them, accuracies of 90 % and twenty true claims, up to half of all studies were red.

    Args:
        values: Accuracies or changes of them, one a seed.
        examples: Of how many examples.

    Source: Sheppard, "On the calculation of the most probable values of frequency-constants",
    Proceedings of the London Mathematical Society 29 (1897).
    """
    if not examples or len(values) < 2 or not all(_is_whole(each * examples) for each in values):
        return 0.0
    return 1 / (math.sqrt(12) * examples)


def _is_whole(count: float) -> bool:
    return math.isfinite(count) and abs(count - round(count)) < 1e-2  # it may come from float32s


def said(
    value: float, unit: Unit, form: Form = "value", *, in_full: bool = False, decimals: int = 0
) -> str:
    """Return a number as people read it: ``58.4 %``, ``−3.7 points``, ``0.35×``, ``41 ms``.

    Args:
        value: The number.
        unit: What it counts.
        form: As a value, a change, ….
        in_full: Whether with all its digits, as what a test wrote: ``+0.04 points``.
        decimals: The least number of them, of what has a fixed one.
    """
    is_change = form in ("change", "interaction", "since")
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    digits_of = _all_digits if in_full else format
    if form == "ratio":
        return f"{digits_of(value, f'.{max(2, decimals)}f')}×"
    if unit == "fraction":
        text = f"{digits_of(100 * value, f'.{max(1, decimals)}f')} {'points' if is_change else '%'}"
    elif unit == "seconds":
        scale, name = (1000, "ms") if abs(value) < 1 else (1, "s")
        text = f"{digits_of(scale * value, f'.{max(1, decimals)}f')} {name}"
    elif unit == "count":
        text = digits_of(value, ",.0f")
    elif unit == "operations":
        # What would round to a thousand of one prefix is one of the next.
        size, prefix = next(p for p in PREFIXES if abs(value) >= 0.9995 * p[0] or p[0] == 1)
        text = f"{digits_of(value / size, '.3g')} {prefix}FLOP"
    else:
        text = digits_of(value, ".4g")
    digits = text.removeprefix("-")
    if not digits.strip("0., %pointsmFLOP"):
        return digits  # rounds to nothing, so it has no sign
    sign = MINUS if digits != text else "+" if is_change else ""
    return sign + digits


def _all_digits(number: float, rounded: str) -> str:
    """Return a number in a format where that tells all of it, else as it was written."""
    text = format(number, rounded)
    told = float(text.replace(",", ""))
    is_all = math.isclose(told, number, rel_tol=1e-9, abs_tol=sys.float_info.min)
    return text if is_all else f"{number:.10g}"
