"""A quantity of arms, by itself or of one against the other, and the verdicts on it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median, stdev

from pytest_ablation import hosts
from pytest_ablation import quantity as measures
from pytest_ablation.arm import Arm
from pytest_ablation.errors import AblationError
from pytest_ablation.pairs import Settled
from pytest_ablation.quantity import Form, Measure, said
from pytest_ablation.since import Since
from pytest_ablation.verdict import Bound, Outcome, Verdict, decide, estimate


@dataclass(frozen=True, eq=False)
class Effect:
    """What is decided on when a quantity is compared with a bound.

    Ratios are decided on as logarithms: so are bounds and verdicts here.

    Attributes:
        name: The quantity, as a test writes it.
        measure: What is measured.
        arm: Of which arm.
        baseline: What a change or a ratio is relative to; None of the baseline itself.
        parts: Gives the two arms that the variant's ablation is the sum of.
        form: As a value, a change, a ratio, an interaction, or since a reference.
    """

    name: str
    measure: Measure
    arm: Arm
    baseline: Arm | None
    parts: Callable[[], tuple[Arm, ...]]
    form: Form

    @property
    def is_exact(self) -> bool:
        """Whether it is known without training."""
        return self.measure.exact and self.arm.has_network

    @property
    def sides(self) -> tuple[tuple[Arm, ...], ...]:
        """The arms whose values count, and those from which they are counted."""
        if self.baseline is None or self.form in ("value", "since"):
            return ((self.arm,),)
        if self.form == "interaction":
            return (self.arm, self.baseline), self.parts()
        return (self.arm,), (self.baseline,)

    @property
    def since(self) -> Since:
        """The value beside that of the reference that the session has."""
        reference = self.arm.study.reference
        assert reference is not None
        return Since(self.name, self.measure, self.arm, reference)

    def decided(self, bound: Bound, seeds: tuple[int, int], comparisons: int) -> Verdict:
        """Decide on a bound; trains the seeds that this takes.

        Args:
            bound: On what is decided on.
            seeds: Least and most seeds an arm.
            comparisons: Among how many the session's error is shared.
        """
        study = self.arm.study
        sides = self.sides
        # Where more may follow one seed decides nothing, and tells nothing of how values vary.
        seeds = max(seeds[0], min(2, seeds[1])), seeds[1]
        if self.is_exact:
            change = self._sum(sides[0], 0) - (self._sum(sides[1], 0) if len(sides) > 1 else 0.0)
            change = self.since.exact_change() if self.form == "since" else change
            outcome: Outcome = "holds" if bound.allows(change) else "violated"
            return Verdict(outcome=outcome, change=change, low=change, high=change, seeds=0)
        if self.baseline and self._is_timed_in_turn:
            return self._timed(self.baseline, bound, comparisons)

        arms = [arm for side in sides for arm in side]
        if self.form != "since":  # of which no more seeds are needed than the reference has
            study.queue(*arms, seeds=seeds[0], following=arms[::-1])

        if self._is_paired:
            # Of one trained network with and without: what seeds differ in goes out of the change.
            def without(seed: int) -> float:
                return self._sum(sides[0], seed) - self._sum(sides[1], seed)

            counted = self.measure is measures.ACCURACY and self.form == "change"
            changes = [without(seed) for seed in range(seeds[0] if counted else 0)]
            return decide(
                without,
                None,
                bound,
                seeds=seeds,
                alpha=study.alpha,
                comparisons=comparisons,
                noise=measures.counting_noise(changes, self.arm.evaluated),
            )

        def value(side: tuple[Arm, ...], seed: int) -> float:
            others = [arm for arm in arms if arm not in side]
            # A cluster does nothing on a guess, and has room for all. Else one more seed mostly
            # tells, and other tests will ask for the baseline too; what is open yet takes more.
            asked = arms if seed < seeds[0] or study.executor.where else side
            following = [*side, *others] if seed > seeds[0] else arms[::-1]
            study.queue(*asked, seeds=seed + 1, following=following)
            return self._sum(side, seed)

        ours = partial(value, sides[0])
        if self.form == "since":
            return self.since.decided(
                ours, bound, seeds=seeds, comparisons=comparisons, noise=self.noise
            )
        if self._apart(seeds[0], seeds[0]):
            seeds = seeds[0], seeds[0]  # no more of them would tell
        verdict = decide(
            ours,
            partial(value, sides[1]) if len(sides) > 1 else None,
            bound,
            seeds=seeds,
            alpha=study.alpha,
            comparisons=comparisons,
            noise=self.noise(seeds[0]),
        )
        return self._unless_apart(verdict)

    def estimated(self, counts: Sequence[int]) -> Verdict:
        """Return what as many seeds of each side say, without deciding on anything."""
        least = min(counts)
        verdict = self.decided(Bound(), (least, least), 1)
        if not verdict.baseline_seeds or max(counts) == least or math.isnan(verdict.change):
            return verdict
        values = [
            [self._sum(side, seed) for seed in range(count)]
            for side, count in zip(self.sides, counts, strict=True)
        ]
        study = self.arm.study
        noise = self.noise(study.seeds[0])
        change, low, high = estimate(*values, alpha=study.alpha, noise=noise)
        return replace(verdict, change=change, low=low, high=high)

    def noise(self, seeds: int) -> float:
        """Return the floor that the test set's own noise puts under the deviation of a value."""
        if self.measure not in (measures.ACCURACY, measures.GAP):
            return 0.0
        squares = []
        sides = self.sides
        for arm in (arm for side in sides for arm in side):
            runs = [arm.run(seed) for seed in range(seeds)]
            noise = measures.least_noise(runs, arm.tested)
            scale = abs(self.of(arm, 0)) if self.form == "ratio" else 1.0
            squares.append((noise / scale) ** 2 if scale else 0.0)
        return math.sqrt(sum(squares) / len(sides))

    def deviation(self, seeds: int) -> float:
        """Return how much the baseline's values vary over so many seeds."""
        assert self.baseline is not None
        values = [self.scaled(self.baseline, seed) for seed in range(seeds)]
        return max(stdev(values), self.noise(self.arm.study.seeds[0]))

    def of(self, arm: Arm, seed: int) -> float:
        """Return an arm's value with a seed.

        Raises:
            AblationError: It is no finite number.
        """
        if self.is_exact:
            return self.measure.of(arm)
        run = arm.run(seed)
        value = self.measure.of(run)
        if not math.isfinite(value):
            why = f": its training diverged in epoch {run.diverged}" if run.diverged else ""
            has = [name for name, number in run.metrics.items() if math.isfinite(number)]
            instead = f" a quantity that it still has, as {has[0]}" if has else " something else"
            raise AblationError(
                f"{self.name}: {self.measure.name} of {arm.description} is "
                f"{said(value, self.measure.unit)} with seed {seed}{why}. Compare{instead}."
            )
        return value

    def scaled(self, arm: Arm, seed: int) -> float:
        """Return an arm's value with a seed as it is decided on: of a ratio its logarithm."""
        value = self.of(arm, seed)
        if self.form != "ratio":
            return value
        if value <= 0:
            raise AblationError(
                f"{self.name}: {self.measure.name} of {arm.description} is {value:.4g} with seed "
                f"{seed}, and a ratio needs values above zero. Compare the change."
            )
        return math.log(value)

    def point(self, scaled: float) -> float:
        """Return as it is said what was decided on."""
        if self.form != "ratio":
            return scaled
        return math.inf if scaled > math.log(sys.float_info.max) else math.exp(scaled)

    # ------------------------------------------------------------------------------------------

    @property
    def _is_timed_in_turn(self) -> bool:
        return self.form == "ratio" and self.measure is measures.TIME

    @property
    def _is_paired(self) -> bool:
        """Whether the arms are one trained network with and without a lesion."""
        return self.arm.source is not None and self.sides[1:] == ((self.arm.source,),)

    def _timed(self, baseline: Arm, bound: Bound, comparisons: int) -> Verdict:
        """Decide on the ratio of seconds a step, from steps in turn on this host."""
        study = self.arm.study
        settled = Settled(bound=bound, alpha=study.alpha, comparisons=comparisons)
        duet = study.duets.of(self.arm, baseline, settled)
        decided = settled.verdict(duet)
        own = math.exp(median(duet.own_log_ratios))
        noisy = "" if decided.outcome != "undecided" else "noisy host, which does not settle: "
        return replace(
            decided,
            seeds=0,
            reason=f"{noisy}{len(duet.log_ratios)} pairs of steps by {duet.clock} time; by wall "
            f"time {duet.wall_ratio:.2f}×, a step against the next of its network {own:.2f}×",
        )

    def _apart(self, *seeds: int) -> str:
        """Say where the arms were trained, of what is not compared from one host to another.

        Args:
            seeds: How many of each side.
        """
        sides = self.sides
        if len(sides) < 2 or self.measure.name not in hosts.OF_A_HOST:
            return ""
        counted = reversed([*zip(sides, seeds, strict=True)])
        arms = [(arm, count) for side, count in counted for arm in side]
        return hosts.apart({a.description: [a.run(n) for n in range(count)] for a, count in arms})

    def _unless_apart(self, verdict: Verdict) -> Verdict:
        """Return a verdict on the runs of one host; of several hosts' nothing is decided."""
        apart = self._apart(verdict.seeds, verdict.baseline_seeds)
        if not apart:
            return verdict
        do = "compare time.ratio, whose steps are taken in turn on one node"
        if self.arm.made is not None:
            do = "train all on one node, as with --ablation-resources that only it has"
        return Verdict(
            outcome="undecided",
            change=math.nan,
            low=math.nan,
            high=math.nan,
            seeds=verdict.seeds,
            baseline_seeds=verdict.baseline_seeds,
            reason=f"trained on different nodes ({apart}), of which {self.measure.name} tells "
            f"nothing together: {do}",
        )

    def _sum(self, arms: tuple[Arm, ...], seed: int) -> float:
        return sum(self.scaled(arm, seed) for arm in arms)
