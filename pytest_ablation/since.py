"""A quantity of an arm now, beside what the reference of --ablation-against has of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_ablation import hosts, reference
from pytest_ablation.arm import Arm
from pytest_ablation.errors import AblationError, AblationWarning
from pytest_ablation.quantity import Measure, said
from pytest_ablation.reference import Reference, Saved
from pytest_ablation.verdict import Bound, Verdict, decide


@dataclass(frozen=True)
class Since:
    """What is compared with a reference.

    Attributes:
        name: The quantity, as a test writes it.
        measure: What is measured.
        arm: Of which arm.
        reference: What an earlier session saved.
    """

    name: str
    measure: Measure
    arm: Arm
    reference: Reference

    @property
    def then(self) -> Saved:
        """What was saved of the arm.

        Raises:
            AblationError: Nothing was.
        """
        try:
            return self.reference.of(self.arm.experiment.name, self.arm.description)
        except AblationError as error:
            raise AblationError(f"{self.name}: {error}") from None

    def exact_change(self) -> float:
        """Return the change of what is known without training."""
        self._mind_what_it_is_of()
        return self.measure.of(self.arm) - self.then.exact[self.measure.name]

    def decided(
        self,
        value: Callable[[int], float],
        bound: Bound,
        *,
        seeds: tuple[int, int],
        comparisons: int,
        noise: Callable[[int], float],
    ) -> Verdict:
        """Decide on the change since the reference.

        Args:
            value: Seed → the arm's value now; trains it.
            bound: What is asserted of the change.
            seeds: Least and most seeds to look at.
            comparisons: Comparisons in the session.
            noise: Seeds → a floor on the standard error of one value.

        Raises:
            AblationError: The reference cannot speak for this quantity.
        """
        self._mind_what_it_is_of()
        self._warn_of_other_versions()
        study, values = self.arm.study, self.then.values[self.measure.name]
        least = min(seeds[0], len(values))
        study.queue(self.arm, seeds=least)
        for seed in range(least):
            value(seed)
        self._mind_what_it_is_of()  # now it is known on what machine these were trained
        return decide_since(
            value,
            values,
            bound,
            seeds=seeds,
            alpha=study.alpha,
            comparisons=comparisons,
            noise=noise(least),
        )

    def said(self, seeds: int, exact: bool) -> str:
        """Return a line with the values then."""
        then, name = self.then, self.measure.name
        values = [then.exact[name]] if exact else then.values[name][:seeds]
        told = (said(each, self.measure.unit) for each in values if each is not None)
        return f"{then.arm}, in the reference: {', '.join(told)}"

    def _mind_what_it_is_of(self) -> None:
        """Refuse a reference of something else."""
        subject, then = self.arm.experiment, self.then
        now = reference.of(self.arm, subject.main_metric, subject.less_is_better)
        if self.measure.name in hosts.OF_A_HOST and not now.hosts:
            now = replace(now, hosts=then.hosts)  # not trained yet
        if why := then.cannot_speak_for(self.measure.name, now):
            raise AblationError(f"{self.name}: {self.reference.path} cannot tell: {why}.")

    def _warn_of_other_versions(self) -> None:
        then, now = self.then.versions, self.arm.trial(0).versions
        others = [
            f"{name} {then.get(name, 'none')}, now {now.get(name, 'none')}"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        if others:
            said = f"{self.name}: the reference is of {'; '.join(others)}."
            warnings.warn(AblationWarning(said), stacklevel=6)


def decide_since(
    value: Callable[[int], float],
    saved: Sequence[float | None],
    bound: Bound,
    *,
    seeds: tuple[int, int],
    alpha: float,
    comparisons: int = 1,
    noise: float = 0.0,
) -> Verdict:
    """Decide whether the change since a reference is within its bound.

    The reference's seeds are what they are: no more can be looked at than it has.

    Args:
        value: Seed → the arm's value now.
        saved: Its values then, one a seed.
        bound: What is asserted of the change.
        seeds: Least and most seeds of the session.
        alpha: As in `verdict.decide`.
        comparisons: Likewise.
        noise: Likewise.
    """
    then = [math.nan if each is None else each for each in saved]
    least, most = (min(each, len(then)) for each in seeds)
    decided = decide(
        value,
        then.__getitem__,
        bound,
        seeds=(least, most),
        alpha=alpha,
        comparisons=comparisons,
        noise=noise,
    )
    if decided.outcome != "undecided" or decided.reason:
        return decided
    more = f"{decided.needed}" if decided.needed else "more than 200"
    if most < seeds[1] or not decided.needed:
        reason = f"the reference has {most} seeds an arm, and {more} would probably be needed"
        return replace(decided, reason=reason)
    advice = f"{more} seeds an arm would probably decide, in a reference of as many"
    return replace(decided, reason=advice)
