"""Training steps of variants timed beside their baselines' in a session, each pair once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeGuard

from pytest_ablation.arm import Arm
from pytest_ablation.execution.timed import Timing
from pytest_ablation.pairs import Settled
from pytest_ablation.run import Duet
from pytest_ablation.verdict import Bound

if TYPE_CHECKING:
    from pytest_ablation.study import Study

DUET_SECONDS = 10.0


@dataclass(eq=False)
class Duets:
    """The duets of a session.

    Attributes:
        study: The session's study.
        known: Those that were asked for, by their names in the store.
        timed: Seconds that each took which was measured in this session.
    """

    study: Study
    known: dict[str, Duet] = field(default_factory=dict)
    timed: dict[str, float] = field(default_factory=dict)
    _foreseen: dict[str, Timing] = field(default_factory=dict)

    @property
    def foreseen(self) -> Iterable[Timing]:
        """What will be asked for, in order, to be done when there is nothing else to do."""
        return self._foreseen.values()

    def foresee(self, variant: Arm, baseline: Arm) -> None:
        """Have steps timed that a test will ask for, where that disturbs nobody.

        On a GPU, which all workers share, only beside trainings that let it be meanwhile. Nor under
        pytest-xdist, where the test may be another process's, which would time them again.
        """
        study = self.study
        takes_steps = variant.source is None and variant.made is None
        are_let = not variant.on_gpu or (variant.is_at_once and baseline.is_at_once)
        if not (takes_steps and are_let) or "PYTEST_XDIST_WORKER" in os.environ:
            return
        name = self._name(variant, baseline)
        if name not in self.known and study.store.load_duet(name, study.newer_than) is None:
            known_well = Settled(bound=Bound(), alpha=study.alpha, comparisons=study.comparisons)
            self._foreseen[name] = self._timing(variant, baseline, known_well)

    def of(self, variant: Arm, baseline: Arm, settled: Settled) -> Duet:
        """Return the variant's time a step over the baseline's, measured side by side.

        A ratio measured on this host before stands where it settles the question, or was measured
        at full length. Of processes that share the store, one measures at a time.
        """
        study, name = self.study, self._name(variant, baseline)
        self._foreseen.pop(name, None)

        def is_enough(duet: Duet | None) -> TypeGuard[Duet]:
            return duet is not None and (settled(duet) or duet.seconds >= DUET_SECONDS)

        kept = self.known.get(name) or study.store.load_duet(name, study.newer_than)
        if not is_enough(kept):
            timing = self._timing(variant, baseline, settled)
            with study.store.lock("duets"):
                kept = study.store.load_duet(name, study.newer_than)
                while not is_enough(kept):  # one that was foreseen may leave this bound undecided
                    kept = study.executor.result(timing).value
                    study.store.save_duet(name, kept, timing.name)
                    self.timed[name] = kept.seconds
        self.known[name] = kept
        return kept

    def _name(self, variant: Arm, baseline: Arm) -> str:
        from pytest_ablation.training.device import host

        fingerprints = [arm.trial(0).fingerprint for arm in (variant, baseline)]
        names = "/".join([self.study.executor.where or host(), *fingerprints])
        return hashlib.sha256(names.encode()).hexdigest()

    def _timing(self, variant: Arm, baseline: Arm, settled: Settled) -> Timing:
        study = self.study
        first, second = (
            (arm.trial(0), study.supplies.data(arm.experiment)) for arm in (variant, baseline)
        )
        return Timing(
            variant=first,
            baseline=second,
            store=study.store,
            seeds=study.seeds[0] if variant.is_at_once and baseline.is_at_once else 0,
            on_gpu=variant.on_gpu,
            settled=settled,
            seconds=DUET_SECONDS,
            name=f"time a step, {variant.description} against baseline",
            needs=study.supplies.needs(variant, baseline),
        )
