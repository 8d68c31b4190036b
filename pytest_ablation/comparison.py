"""A quantity of the baseline or the variant, and what comparing it takes.

A quantity becomes true or false when it is compared with a number; that is when its arm trains.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_ablation import cautions
from pytest_ablation import quantity as measures
from pytest_ablation.arm import Arm
from pytest_ablation.claim import Asserted, Compared
from pytest_ablation.effect import Effect
from pytest_ablation.errors import AblationError, AblationWarning, unknown
from pytest_ablation.quantity import Form, Measure, said
from pytest_ablation.verdict import Bound, Verdict

NEARLY = 1 - 1e-9  # x > 1 is a bound at the number next to 1


class Undecided(pytest.skip.Exception):  # type: ignore[name-defined,misc] # set at run time
    """The evidence for a verdict is not in: the test ends as undecided."""


@dataclass(frozen=True, eq=False)
class Quantity:
    """A quantity of an arm; compare it with a number, as it is or by `.change` or `.ratio`.

    Attributes:
        measure: What is measured.
        arm: Of which arm.
        baseline: What a change or a ratio is relative to; None in the baseline itself.
        asserted: The comparisons of the test it is compared in.
        parts: Gives the two arms that the variant's ablation is the sum of; none of a single one.
        form: How it is compared.
        made: The comparisons of this very object.
    """

    measure: Measure
    arm: Arm
    baseline: Arm | None
    asserted: Asserted
    parts: Callable[[], tuple[Arm, ...]] = tuple
    form: Form = "value"
    made: list[Compared] = field(default_factory=list, init=False)

    @property
    def name(self) -> str:
        """As a test writes it: ``variant.accuracy.change``."""
        owner = "baseline" if self.baseline is None else "variant"
        return f"{owner}.{self.measure.name}" + ("" if self.form == "value" else f".{self.form}")

    @property
    def values(self) -> tuple[float, ...]:
        """One value a seed, of the seeds that the test has looked at; trains the least number."""
        effect = self._effect
        is_variant = self.baseline is not None
        count = 1 if effect.is_exact else looked_at(self.arm, self.asserted, is_variant=is_variant)
        return tuple(effect.of(self.arm, seed) for seed in range(count))

    @property
    def mean(self) -> float:
        """The mean over the seeds; of a ratio, the ratio of geometric means."""
        return self._effect.point(self._estimate.change)

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper limit of the mean, change or ratio, each at the error rate alpha."""
        estimate = self._estimate
        return self._effect.point(estimate.low), self._effect.point(estimate.high)

    @property
    def change(self) -> Quantity:
        """The variant's value less the baseline's."""
        return self._as("change")

    @property
    def ratio(self) -> Quantity:
        """The variant's value over the baseline's, of quantities above zero."""
        return self._as("ratio")

    @property
    def interaction(self) -> Quantity:
        """What two ablations added up do beyond what each does alone: zero where they add up.

        Of a + b it is the change under a + b, less that under a, less that under b; so of an
        accuracy it is below zero where the two are worse together than apart.
        """
        if self.measure is measures.TIME:
            raise AblationError(
                f"{self.name}.interaction: steps are timed in turn of two networks, not of four. "
                "Compare flops.interaction, or time.ratio of each."
            )
        if len(self.parts()) < 2:
            raise AblationError(
                f"{self.name}.interaction: only a sum of two ablations has one, as remove(a) + "
                "remove(b), or what all_pairs(a, b) gives."
            )
        return self._as("interaction")

    @property
    def since(self) -> Quantity:
        """The value now, less that of the same arm in the reference of --ablation-against.

        Raises:
            AblationError: There is no reference, or this is no value.
        """
        if self.form != "value":
            raise AblationError(
                f"{self.name}.since: only values are compared with a reference, as "
                f"{self.name.removesuffix(self.form)}since."
            )
        if self.arm.study.reference is None:
            raise AblationError(
                f"{self.name}.since: nothing to compare with. --ablation-against=FILE names what "
                "an earlier session saved with --ablation-save=FILE."
            )
        return replace(self, form="since")

    def __ge__(self, number: float) -> bool:
        return self._within(at_least=self._number(number))

    def __gt__(self, number: float) -> bool:
        return self._within(at_least=math.nextafter(self._number(number), math.inf))

    def __le__(self, number: float) -> bool:
        return self._within(at_most=self._number(number))

    def __lt__(self, number: float) -> bool:
        return self._within(at_most=math.nextafter(self._number(number), -math.inf))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Quantity):
            raise self._no_number(f"{self.name} == {other.name}", "change")
        if self._effect.is_exact and isinstance(other, Real):
            number = self._number(other)
            return self._within(at_least=number, at_most=number)
        raise AblationError(
            f"{self.name} == {other!r}: trained values are never equal for sure. Write a bound, "
            f"as {self.name} >= {other!r}, or both, as low <= {self.name} <= high."
        )

    __hash__ = object.__hash__

    def __sub__(self, other: object) -> NoReturn:
        raise self._no_number(f"{self.name} - {_written(other)}", "change")

    def __rsub__(self, other: object) -> NoReturn:
        raise self._no_number(f"{_written(other)} - {self.name}", "change")

    def __add__(self, other: object) -> NoReturn:
        raise self._no_number(f"{self.name} + {_written(other)}", "change")

    def __radd__(self, other: object) -> NoReturn:
        raise self._no_number(f"{_written(other)} + {self.name}", "change")

    def __mul__(self, other: object) -> NoReturn:
        raise self._no_number(f"{self.name} * {_written(other)}", "ratio")

    def __rmul__(self, other: object) -> NoReturn:
        raise self._no_number(f"{_written(other)} * {self.name}", "ratio")

    def __truediv__(self, other: object) -> NoReturn:
        raise self._no_number(f"{self.name} / {_written(other)}", "ratio")

    def __rtruediv__(self, other: object) -> NoReturn:
        raise self._no_number(f"{_written(other)} / {self.name}", "ratio")

    def __abs__(self) -> NoReturn:
        raise AblationError(
            f"abs({self.name}): write both bounds, as -0.01 <= {self.name} <= 0.01."
        )

    def __bool__(self) -> bool:
        raise AblationError(
            f"{self.name} is neither true nor false: compare it with a bound, as {self.name} >= 0."
        )

    def __float__(self) -> float:
        return self.mean

    def __repr__(self) -> str:
        # A traceback or a debugger asks for this: it must never start a training.
        return f"<{self.name}>"

    def __str__(self) -> str:
        return said(self.mean, self.measure.unit, self.form)

    def __format__(self, form: str) -> str:
        return format(self.mean, form) if form else str(self)

    if not TYPE_CHECKING:  # where there is one, no name is unknown to mypy

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name in vars(Quantity):  # what is wrong is within it
                return object.__getattribute__(self, name)
            raise unknown(f"{self.name}.{name}", self)

    def explained(self) -> list[str]:
        """Return what the comparison that failed rests on, for its assertion."""
        compared, effect = self.made[-1], self._effect
        counted = zip(effect.sides, compared.seeds_a_side, strict=False)
        arms = [(arm, seeds) for side, seeds in counted for arm in side]
        lines = [_values_of(arm, self.measure, seeds) for arm, seeds in arms]
        if self.form == "since":
            lines.append(effect.since.said(compared.seeds_a_side[1], effect.is_exact))
        study = self.arm.study
        among = f"{study.comparisons} comparison{'' if study.comparisons == 1 else 's'}"
        over = f" with an error of {100 * study.alpha:g} % over the session's {among}"
        shared = "" if effect.is_exact else over
        return [
            *filter(None, lines),
            f"{self.name}: {compared.evidence}",
            *filter(None, [compared.reason]),
            f"{compared.claim}: {compared.outcome}{shared}",
        ]

    # ------------------------------------------------------------------------------------------

    @property
    def _effect(self) -> Effect:
        return Effect(self.name, self.measure, self.arm, self.baseline, self.parts, self.form)

    @property
    def _estimate(self) -> Verdict:
        """What the seeds say that the test has looked at, which may be one more of one arm."""
        effect = self._effect
        counts = [
            min(looked_at(arm, self.asserted, is_variant=is_variant) for arm in side)
            for is_variant, side in zip(
                (self.baseline is not None, False), effect.sides, strict=False
            )
        ]
        verdict = effect.estimated(counts)
        if math.isnan(verdict.change):
            raise Undecided(f"{self.name}: {verdict.reason}")
        return verdict

    def _as(self, form: Form) -> Quantity:
        if self.baseline is None or self.form != "value":
            raise AblationError(
                f"{self.name}.{form}: only a variant's quantities have a change and a ratio, "
                f"as variant.{self.measure.name}.{form}."
            )
        return replace(self, form=form)

    def _within(self, at_least: float | None = None, at_most: float | None = None) -> bool:
        study, effect = self.arm.study, self._effect
        if self.measure is measures.FLOPS:
            arms = [arm for side in effect.sides for arm in side]
            _warn(cautions.of_uncounted(self.name, arms))
        if self.measure is measures.LOSS and self.form != "value" and self.baseline:
            _warn(cautions.of_another_loss(self.name, self.arm, self.baseline))
        bound = Bound(at_least=self._bound(at_least), at_most=self._bound(at_most))
        if self.made and self.made[-1].outcome == "violated":
            # In an assertion pytest evaluates all of low <= x <= high. Its first part has failed:
            # the second neither trains anything nor ends the test as undecided.
            return Bound(at_least=at_least, at_most=at_most).allows(
                self.made[-1].low, self.made[-1].high
            )
        verdict = effect.decided(bound, study.seeds, self.asserted.among(study.comparisons))
        wiring_only = study.profile.decides_nothing and not effect.is_exact
        reason = f"the {study.profile.name} profile is too short to tell" if wiring_only else ""
        compared = Compared(
            quantity=self.measure.name,
            unit=self.measure.unit,
            form=self.form,
            at_least=at_least,
            at_most=at_most,
            outcome="undecided" if wiring_only else verdict.outcome,
            value=effect.point(verdict.change),
            low=effect.point(verdict.low),
            high=effect.point(verdict.high),
            seeds=verdict.seeds,
            baseline_seeds=verdict.baseline_seeds,
            confidence=1 - 2 * study.alpha,
            p=math.nan if wiring_only else verdict.p,
            needed=verdict.needed,
            reason=reason or verdict.reason,
        )
        self.made.append(compared)
        self.asserted.made.append(compared)
        if not wiring_only:
            if deviation := self._deviation(compared, bound):
                margin = min(map(abs, bound.edges))
                _warn(cautions.of_a_tight_bound(compared, margin, deviation, self.arm))
            _warn(cautions.of_equal_seeds(self.arm, compared.seeds))
        if compared.outcome == "undecided":
            # Of the wiring only: its numbers are none.
            found = "" if wiring_only else f" {compared.evidence};"
            owner = self.name.partition(".")[0]
            raise Undecided(f"{owner}.{compared.claim}:{found} {compared.advice}")
        return compared.outcome == "holds"

    def _deviation(self, compared: Compared, bound: Bound) -> float:
        """Return how much the baseline's values vary; 0 where a bound's tightness is no matter."""
        is_relative = self.form in ("change", "ratio") and compared.seeds >= 2
        if not is_relative or not self.baseline:
            return 0.0
        if compared.outcome != "undecided" and not bound.allows(0.0):
            return 0.0
        return self._effect.deviation(compared.seeds_a_side[1])

    def _no_number(self, asked: str, form: Form) -> AblationError:
        """Return the error of what takes a quantity for a number."""
        instead = f"variant.{self.measure.name}.{form}" if self.form == "value" else self.name
        return AblationError(
            f"{asked}: write {instead}, and compare it with a bound; {self.name}.mean is a plain "
            "number."
        )

    def _number(self, given: object) -> float:
        """Return as Python's own what it is compared with, which may be another library's."""
        if isinstance(given, Quantity):
            raise self._no_number(f"{self.name}, compared with {given.name}", "change")
        number = math.nan
        if isinstance(given, Real | Decimal):
            with suppress(OverflowError):  # of a whole number beyond the largest float
                number = float(given)
        if math.isnan(number):
            raise AblationError(f"{self.name}: compare it with a number, not {given!r}.")
        return number

    def _bound(self, number: float | None) -> float | None:
        if number is None:
            return None
        low, high = self.measure.range_of(self.form)
        if math.isfinite(number) and not low <= number * NEARLY <= high:
            raise AblationError(
                f"{self.name}: a bound of {number:g} lies outside {low:g} … {high:g}: accuracies "
                f"are fractions: write {number / 100:g}."
            )
        if self.form != "ratio":
            return number
        return math.log(number) if number > 0 else -math.inf


def looked_at(arm: Arm, asserted: Asserted, *, is_variant: bool) -> int:
    """Return how many seeds a test has looked at: the least number, or what a comparison took."""
    counts = (
        each.seeds if is_variant or each.form == "since" else each.seeds_a_side[1]
        for each in asserted.made
    )
    return max(arm.study.seeds[0], min(max(counts, default=0), len(arm.known)))


def _written(other: object) -> str:
    return other.name if isinstance(other, Quantity) else repr(other)


def _warn(text: str) -> None:
    if text:
        warnings.warn(AblationWarning(text), stacklevel=4)


def _values_of(arm: Arm, measure: Measure, seeds: int) -> str:
    """Return a line with an arm's values, of the seeds looked at; none where nothing is."""
    is_exact = measure.exact and arm.has_network
    values = [measure.of(each) for each in ([arm] if is_exact else arm.known[:seeds])]
    return (
        f"{arm.description}: {', '.join(said(v, measure.unit) for v in values)}" if values else ""
    )
