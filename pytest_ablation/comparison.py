"""What a test compares: the baseline, the variant, and their quantities.

A quantity becomes true or false when it is compared with a number; that is when its arm trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING

import pytest

from pytest_ablation import quantity as measures
from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import Duet, Run
from pytest_ablation.quantity import Form, Measure, said
from pytest_ablation.study import Arm
from pytest_ablation.verdict import Bound, Outcome, Verdict, decide

if TYPE_CHECKING:
    import pandas as pd


class Undecided(pytest.skip.Exception):  # type: ignore[name-defined,misc] # set at run time
    """The evidence for a verdict is not in: the test ends as undecided."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One bound that a test asserted, and what became of it: a row of the findings.

    Attributes:
        quantity: What was compared.
        unit: Its unit.
        form: As a value, a change or a ratio.
        at_least: The lower bound, where there is one.
        at_most: The upper bound.
        outcome: "holds", "violated" or "undecided".
        value: The mean, change or ratio found.
        low: Lower end of its interval.
        high: Upper end.
        seeds: Seeds looked at, in each arm.
    """

    quantity: str
    unit: measures.Unit
    form: Form
    at_least: float | None
    at_most: float | None
    outcome: str
    value: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True, eq=False)
class Quantity:
    """A quantity of an arm; compare it with a number, as it is or by `.change` or `.ratio`.

    Attributes:
        measure: What is measured.
        arm: Of which arm.
        baseline: What a change or a ratio is relative to; None in the baseline itself.
        record: Called with each comparison made.
        form: How it is compared.
    """

    measure: Measure
    arm: Arm
    baseline: Arm | None
    record: Callable[[Compared], None]
    form: Form = "value"

    @property
    def name(self) -> str:
        """As a test writes it: ``variant.accuracy.change``."""
        owner = "baseline" if self.baseline is None else "variant"
        return f"{owner}.{self.measure.name}" + ("" if self.form == "value" else f".{self.form}")

    @property
    def values(self) -> tuple[float, ...]:
        """One value a seed; trains what is not trained yet."""
        if self._is_exact:
            return (float(self.arm.params),)
        return tuple(self._of(self.arm, seed) for seed in range(self._seeds[0]))

    @property
    def mean(self) -> float:
        """The mean over the seeds; of a ratio, the ratio of geometric means."""
        return self._point(self._decided(Bound()).change)

    @property
    def change(self) -> Quantity:
        """The variant's value less the baseline's."""
        return self._as("change")

    @property
    def ratio(self) -> Quantity:
        """The variant's value over the baseline's, of quantities above zero."""
        return self._as("ratio")

    def __ge__(self, number: float) -> bool:
        return self._within(at_least=number)

    def __gt__(self, number: float) -> bool:
        return self._within(at_least=_next(number, math.inf))

    def __le__(self, number: float) -> bool:
        return self._within(at_most=number)

    def __lt__(self, number: float) -> bool:
        return self._within(at_most=_next(number, -math.inf))

    def __eq__(self, other: object) -> bool:
        if self._is_exact and isinstance(other, Real):
            return self._within(at_least=float(other), at_most=float(other))
        raise AblationError(
            f"{self.name} == {other!r}: trained values are never equal for sure. Write a bound, "
            f"as {self.name} >= {other!r}, or both, as low <= {self.name} <= high."
        )

    __hash__ = object.__hash__

    def __float__(self) -> float:
        return self.mean

    def __repr__(self) -> str:
        # A traceback or a debugger asks for this: it must never start a training.
        return f"<{self.name}>"

    def __str__(self) -> str:
        return said(self.mean, self.measure.unit, self.form)

    def explained(self) -> list[str]:
        """Return what the comparison rests on, a line an arm, for a failed assertion."""
        verdict = self._decided(Bound())
        arms = [self.arm, *([self.baseline] if self.baseline and self.form != "value" else [])]
        lines = [line for arm in arms for line in _values_of(arm, self.measure)]
        number = [
            said(self._point(each), self.measure.unit, self.form)
            for each in (verdict.change, verdict.low, verdict.high)
        ]
        interval = "" if math.isinf(verdict.low) else f", 95 % interval {number[1]} … {number[2]}"
        seeds = f"{verdict.seeds} seed{'s' if verdict.seeds > 1 else ''}"
        return [*lines, f"{self.name}: {number[0]}{interval}; {seeds}"]

    # ------------------------------------------------------------------------------------------

    @property
    def _is_exact(self) -> bool:
        return self.measure is measures.PARAMS

    @property
    def _seeds(self) -> tuple[int, int]:
        return self.arm.study.seeds

    def _as(self, form: Form) -> Quantity:
        if self.baseline is None or self.form != "value":
            raise AblationError(
                f"{self.name}.{form}: only a variant's quantities have a change and a ratio, "
                f"as variant.{self.measure.name}.{form}."
            )
        return replace(self, form=form)

    def _of(self, arm: Arm, seed: int) -> float:
        if self._is_exact:
            return float(arm.params)
        run = arm.run(seed)
        value = self.measure.of(run)
        if math.isnan(value):
            why = f": its training diverged in epoch {run.diverged}" if run.diverged else ""
            raise AblationError(
                f"{self.name}: {self.measure.name} of {arm.description} is NaN with seed {seed}"
                f"{why}. Compare a quantity that it still has, as accuracy."
            )
        return value

    def _scaled(self, arm: Arm, seed: int) -> float:
        value = self._of(arm, seed)
        if self.form != "ratio":
            return value
        if value <= 0:
            raise AblationError(
                f"{self.name}: {self.measure.name} of {arm.description} is {value:.4g} with seed "
                f"{seed}, and a ratio needs values above zero. Compare the change."
            )
        return math.log(value)

    def _point(self, scaled: float) -> float:
        return math.exp(scaled) if self.form == "ratio" else scaled

    def _decided(self, bound: Bound) -> Verdict:
        reference = self.baseline if self.form != "value" else None
        if self._is_exact:
            change = self._scaled(self.arm, 0) - (self._scaled(reference, 0) if reference else 0.0)
            outcome: Outcome = "holds" if bound.allows(change) else "violated"
            return Verdict(outcome=outcome, change=change, low=change, high=change, seeds=1)
        if reference and self.form == "ratio" and self.measure is measures.TIME:
            return self._timed(reference, bound)
        return decide(
            lambda seed: self._scaled(self.arm, seed),
            lambda seed: self._scaled(reference, seed) if reference else 0.0,
            bound,
            seeds=self._seeds,
        )

    def _timed(self, reference: Arm, bound: Bound) -> Verdict:
        """Decide on the ratio of seconds a step, from steps in turn on this host."""

        def outcome(duet: Duet) -> Outcome:
            low, high = (math.log(end) if end > 0 else -math.inf for end in (duet.low, duet.high))
            if bound.allows(low) and bound.allows(high):
                return "holds"
            beyond = (bound.at_most is not None and low > bound.at_most) or (
                bound.at_least is not None and high < bound.at_least
            )
            return "violated" if beyond else "undecided"

        study = self.arm.study
        duet = study.duet(self.arm, reference, settled=lambda duet: outcome(duet) != "undecided")
        return Verdict(
            outcome=outcome(duet),
            change=math.log(duet.ratio),
            low=math.log(duet.low) if duet.low > 0 else -math.inf,
            high=math.log(duet.high),
            seeds=1,
        )

    def _within(self, at_least: float | None = None, at_most: float | None = None) -> bool:
        verdict = self._decided(Bound(at_least=self._bound(at_least), at_most=self._bound(at_most)))
        outcome = verdict.outcome
        if self.arm.study.profile.decides_nothing and not self._is_exact:
            outcome = "undecided"
        compared = Compared(
            quantity=self.measure.name,
            unit=self.measure.unit,
            form=self.form,
            at_least=at_least,
            at_most=at_most,
            outcome=outcome,
            value=self._point(verdict.change),
            low=self._point(verdict.low),
            high=self._point(verdict.high),
            seeds=verdict.seeds,
        )
        self.record(compared)
        if outcome == "undecided":
            raise Undecided(f"{self.name}: {self._why(verdict)}")
        return outcome == "holds"

    def _why(self, verdict: Verdict) -> str:
        """Return why a comparison is undecided."""
        profile = self.arm.study.profile
        if profile.decides_nothing:
            return f"the {profile.name} profile is too short to tell"
        low, high = (
            said(self._point(end), "seconds", "ratio") for end in (verdict.low, verdict.high)
        )
        return f"noisy host: between {low} and {high}, and the machine does not settle"

    def _bound(self, number: float | None) -> float | None:
        if number is None:
            return None
        if not isinstance(number, Real) or math.isnan(number):
            raise AblationError(f"{self.name}: compare it with a number, not {number!r}.")
        if self.form != "ratio":
            return float(number)
        return math.log(number) if number > 0 else -math.inf


@dataclass(frozen=True, eq=False)
class Trained:
    """The baseline or the variant of a test: an arm's quantities, trained when they are compared.

    Attributes:
        arm: What is trained.
        reference: The baseline's arm, where this is a variant.
        compared: The comparisons made so far.
    """

    arm: Arm
    reference: Arm | None = None
    compared: list[Compared] = field(default_factory=list)

    @property
    def accuracy(self) -> Quantity:
        """Share of the test set that the finished model classifies right."""
        return self._quantity(measures.ACCURACY)

    @property
    def loss(self) -> Quantity:
        """Loss on the test set, regularization included."""
        return self._quantity(measures.LOSS)

    @property
    def gap(self) -> Quantity:
        """Training accuracy less test accuracy, both of the finished model in inference mode."""
        return self._quantity(measures.GAP)

    @property
    def time(self) -> Quantity:
        """Seconds a training step, the median after warm-up; its ratio is measured side by side."""
        return self._quantity(measures.TIME)

    @property
    def wall(self) -> Quantity:
        """Seconds that the training took."""
        return self._quantity(measures.WALL)

    @property
    def params(self) -> Quantity:
        """Parameters of the network; known without training."""
        return self._quantity(measures.PARAMS)

    def metric(self, name: str) -> Quantity:
        """Any metric that the recipe compiles, on the test set."""
        return self._quantity(measures.metric(name))

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, one a seed."""
        return tuple(self.arm.run(seed) for seed in range(self.arm.study.seeds[0]))

    @property
    def history(self) -> pd.DataFrame:
        """The curves: columns seed, epoch, accuracy, val_accuracy, loss, val_loss."""
        import pandas as pd

        table = pd.concat(
            [
                pd.DataFrame({"seed": run.seed, **run.curves}).rename_axis("epoch").reset_index()
                for run in self.runs
            ],
            ignore_index=True,
        )
        table["epoch"] += 1
        measured = [name for name in table if f"val_{name}" in table]
        return table[["seed", "epoch", *(n for name in measured for n in (name, f"val_{name}"))]]

    def __repr__(self) -> str:
        return f"<{self.arm.description}>"

    def _quantity(self, measure: Measure) -> Quantity:
        return Quantity(measure, self.arm, self.reference, self.compared.append)


def _next(number: float, towards: float) -> float:
    """Return the number next to a bound that is not itself allowed."""
    return math.nextafter(number, towards) if isinstance(number, Real) else number


def _values_of(arm: Arm, measure: Measure) -> list[str]:
    """Return a line with an arm's values, of what is trained; none where nothing is."""
    exact = [float(arm.params)] if measure is measures.PARAMS else []
    values = exact or [measure.of(run) for run in arm.known]
    said_values = ", ".join(said(value, measure.unit) for value in values)
    return [f"{arm.description}: {said_values}"] if values else []
