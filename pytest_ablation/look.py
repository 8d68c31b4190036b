"""What some seeds tell of a change: the change, its error, and its limits at a level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from scipy.special import ndtri, stdtrit


@dataclass(frozen=True)
class Look:
    """What there is to see with some seeds.

    Attributes:
        change: Difference of the means; without a baseline, the mean.
        counts: Seeds in the arms.
        shares: Each arm's share in the square of the change's standard error.
    """

    change: float
    counts: tuple[int, ...]
    shares: tuple[float, ...]

    @cached_property
    def count(self) -> float:
        """Seeds an arm, the mean of both."""
        return fmean(self.counts)

    @cached_property
    def error(self) -> float:
        """The change's standard error."""
        return math.sqrt(sum(self.shares))

    @cached_property
    def balance(self) -> float:
        """How alike the arms' shares are: 0 where one has it all, 1 where they are equal."""
        parts = self._parts
        return 2 * math.prod(parts) / sum(each**2 for each in parts) if len(parts) > 1 else 0.0

    @cached_property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom, as if the shares were known."""
        each = zip(self._parts, self.counts, strict=True)
        return sum(self._parts) ** 2 / sum(part**2 / (count - 1) for part, count in each)

    @cached_property
    def _parts(self) -> list[float]:
        """The shares over the largest, whose squares are numbers; none where that is no number."""
        largest = max(self.shares)
        return [each / largest for each in self.shares] if 0 < largest < math.inf else []

    @property
    def next_counts(self) -> tuple[int, int]:
        """The seeds of the next look: one more of the arm that tells most, or of the other."""
        least, most = min(self.counts), max(self.counts)
        if least < most:
            return most, most
        if len(self.counts) == 1 or least == 1:
            return least + 1, least + 1
        ours, theirs = self.shares
        return (least + 1, least) if ours > theirs else (least, least + 1)

    def limits(self, level: float) -> tuple[float, float]:
        """Return the lower and the upper limit of the change, each at a one-sided level.

        From a level of a half they are the change itself, and never cross.
        """
        half = self.error
        if half and min(self.counts) == 1:
            half *= max(0.0, float(ndtri(1 - level))) if level else math.inf
        elif 0 < half < math.inf:
            fewest = min(self.counts)
            half *= max(0.0, quantile(fewest, self.freedom, self.balance, level))
        return self.change - half, self.change + half


def look_at(ours: Sequence[float], theirs: Sequence[float] | None, noise: float) -> Look:
    """Return what there is to see with some seeds.

    Args:
        ours: The variant's values.
        theirs: The baseline's; None for the mean of the variant's.
        noise: A floor on the standard error of one value.
    """
    arms = [ours] if theirs is None else [ours, theirs]
    means = [fmean(values) for values in arms]
    return Look(
        change=means[0] - sum(means[1:]),
        counts=tuple(map(len, arms)),
        shares=tuple(
            _square_of_mean(values, mean, noise) for values, mean in zip(arms, means, strict=True)
        ),
    )


def _square_of_mean(values: Sequence[float], mean: float, noise: float) -> float:
    """Return the square of a mean's standard error; of one value it is known by its noise only."""
    if len(values) == 1:
        return noise**2 or math.inf
    # A product, since a power of what is beyond a float raises.
    variance = sum((value - mean) * (value - mean) for value in values) / (len(values) - 1)
    return max(variance, noise**2) / len(values)


def quantile(fewest: int, freedom: float, balance: float, level: float) -> float:
    """Return how many standard errors a limit is away: Student's t, its freedom near Welch's.

    Satterthwaite's degrees of freedom take the arms' shares in the error as if they were known.
    With few seeds and at small levels they are a matter of luck, and one arm's values that happen
    to lie close together make Welch's test err up to 3.5 times too often where the other arm hardly
    varies (three seeds, level 0.0005). A power of the balance draws the freedom towards that of the
    arm with the fewest seeds, which is safe at any variances, the more so the fewer the seeds and
    the smaller the level.

    Sources: Welch, "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34 (1947); Hsu, "Contribution to the theory of 'Student's'
    t-test as applied to the problem of two samples", Statistical Research Memoirs 2 (1938).
    """
    if level <= 0:
        return math.inf
    least = fewest - 1
    power = max(2.0, 1 / (least * math.sqrt(level)))
    return float(stdtrit(least + (freedom - least) * balance ** (power - 1), 1 - level))
