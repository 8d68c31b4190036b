"""What a test is given: the baseline or the variant, with its quantities, runs and curves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ablation import difference as differences
from pytest_ablation import quantity as measures
from pytest_ablation.arm import Arm
from pytest_ablation.claim import Asserted
from pytest_ablation.comparison import Quantity, looked_at
from pytest_ablation.difference import Difference
from pytest_ablation.errors import AblationError, unknown
from pytest_ablation.quantity import Measure
from pytest_ablation.run import Run

if TYPE_CHECKING:
    import pandas as pd

# Of a training step: known where Keras takes it.
OF_STEPS = {"time", "flops"}
OF_A_TRAINING = {"time", "wall", "gap"}


@dataclass(frozen=True, eq=False)
class Trained:
    """The baseline or the variant of a test: an arm's quantities, trained when they are compared.

    Attributes:
        arm: What is trained.
        baseline: The baseline's arm, where this is a variant.
        asserted: The comparisons of the test.
        parts: Gives the two arms that the variant's ablation is the sum of; none of a single one.
    """

    arm: Arm
    baseline: Arm | None = None
    asserted: Asserted = field(default_factory=Asserted)
    parts: Callable[[], tuple[Arm, ...]] = tuple

    @property
    def accuracy(self) -> Quantity:
        """Share of the test set that the finished model classifies right."""
        return self.metric("accuracy")

    @property
    def loss(self) -> Quantity:
        """Loss on the test set, regularization included."""
        return self._quantity(measures.LOSS)

    @property
    def gap(self) -> Quantity:
        """Training accuracy less test accuracy, both of the finished model in inference mode.

        Of another main metric than accuracy: how much better it is on the training examples.
        """
        experiment = (self.baseline or self.arm).experiment
        name = experiment.main_metric
        self.arm.check_metric(name)
        return self._quantity(measures.gap(name, experiment.less_is_better))

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
        """Parameters of the network, known without training; with settings what a run told of."""
        return self._quantity(measures.PARAMS)

    @property
    def flops(self) -> Quantity:
        """Floating point operations of one example's forward pass; known without training."""
        return self._quantity(measures.FLOPS)

    @property
    def difference(self) -> Difference:
        """What the ablation changed; known without training.

        Raises:
            AblationError: Of a baseline.
        """
        if self.baseline is None:
            raise AblationError("baseline.difference: only a variant differs from the baseline.")
        return differences.of(self.arm, self.baseline)

    def metric(self, name: str) -> Quantity:
        """Any metric that the recipe compiles, on the test set, or that a trainer returns."""
        self.arm.check_metric(name)
        return self._quantity(measures.metric(name))

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, one a seed, of the seeds that the test has looked at."""
        count = looked_at(self.arm, self.asserted, is_variant=self.baseline is not None)
        return tuple(self.arm.run(seed) for seed in range(count))

    @property
    def history(self) -> pd.DataFrame:
        """The curves: columns seed, epoch, accuracy, val_accuracy, loss, val_loss, and others."""
        import pandas as pd

        if self.arm.source is not None:
            raise AblationError("variant.history: a lesion has no training of its own.")
        if not any(run.curves for run in self.runs):
            raise AblationError(
                f"{self.arm.experiment.trainer} returned no curves: have it return them as "
                '"curves", a list with one value an epoch by name.'
            )
        table = pd.concat(
            [
                pd.DataFrame({"seed": run.seed, **run.curves}).rename_axis("epoch").reset_index()
                for run in self.runs
            ],
            ignore_index=True,
        )
        table["epoch"] += 1
        paired = [name for name in table if f"val_{name}" in table]
        names = ["seed", "epoch", *(n for name in paired for n in (name, f"val_{name}"))]
        return table[[*names, *(name for name in table if name not in names)]]

    def __repr__(self) -> str:
        return f"<{self.arm.description}>"

    if not TYPE_CHECKING:  # where there is one, no name is unknown to mypy

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name in vars(Trained):  # what is wrong is within it
                return object.__getattribute__(self, name)
            owner = "baseline" if self.baseline is None else "variant"
            raise unknown(f"{owner}.{name}", self, "metric")

    def _quantity(self, measure: Measure) -> Quantity:
        if self.arm.source is not None and measure.name in OF_A_TRAINING:
            raise AblationError(
                f"variant.{measure.name}: a lesion is done to a trained network and has no "
                "training of its own. Compare what it does: variant.accuracy.change."
            )
        if measure.name in OF_STEPS and self.arm.made is not None:
            owner = "baseline" if self.baseline is None else "variant"
            raise AblationError(
                f"{owner}.{measure.name}: {self.arm.experiment.trainer} is a trainer of your own, "
                "whose steps are not known. Compare wall, the seconds a training takes"
                + (", as variant.wall.ratio." if self.baseline else ".")
            )
        return Quantity(measure, self.arm, self.baseline, self.asserted, self.parts)
