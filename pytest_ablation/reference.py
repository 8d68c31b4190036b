"""What a session keeps for later ones to compare with.

What it cannot speak for is said here too: another profile, other data, times of another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ablation import document
from pytest_ablation.document import number
from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.hosts import OF_A_HOST, kind

if TYPE_CHECKING:
    from pytest_ablation.arm import Arm
    from pytest_ablation.run import Run

KIND, SCHEMA = "pytest-ablation reference", 1
MAKER = "--ablation-save=FILE"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One arm's values, and what they are of.

    Attributes:
        experiment: The experiment's name.
        arm: "baseline", or the ablation.
        profile: How large was trained.
        data: What the data is called.
        dataset: Its fingerprint.
        versions: The packages that the numbers depend on.
        hosts: The kinds of machine: processor, cores, and what was trained on.
        values: One a seed, by quantity; None where a training gave no number.
        exact: What is known of the network without training, by quantity.
    """

    experiment: str
    arm: str
    profile: str
    data: str
    dataset: str
    versions: Mapping[str, str]
    hosts: tuple[str, ...]
    values: Mapping[str, tuple[float | None, ...]]
    exact: Mapping[str, float]

    @property
    def seeds(self) -> int:
        """How many were trained."""
        return max(map(len, self.values.values()), default=0)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Saved:
        """Return what `asdict` gave.

        Raises:
            TypeError, ValueError, AttributeError: It is something else.
        """
        values = {
            str(name): tuple(None if each is None else float(each) for each in row)
            for name, row in plain["values"].items()
        }
        exact = {str(name): float(value) for name, value in plain["exact"].items()}
        told = {**plain, "hosts": tuple(plain["hosts"]), "versions": dict(plain["versions"])}
        return cls(**{**told, "values": values, "exact": exact})

    def cannot_speak_for(self, quantity: str, now: Saved) -> str:
        """Return why this tells nothing of a quantity of the same arm now; empty if it does.

        What is known without training depends on the network alone.
        """
        if quantity in self.exact and quantity in now.exact:
            return ""
        if quantity in self.exact:
            return f"its {quantity} of {self.arm} is exact, and now not all layers can be counted"
        if quantity in now.exact or quantity not in self.values:
            has = ", ".join((*self.values, *self.exact))
            return f"it has no {quantity} of {self.arm} to compare with. It has {has}"
        if self.profile != now.profile:
            return f"it is of the {self.profile} profile, and this session trains {now.profile}"
        if self.dataset != now.dataset:
            return f"it is of other data: {self.data}, and this is {_other(now.data, self.data)}"
        if quantity in OF_A_HOST and self.hosts != now.hosts:
            return f"its times are of another kind of machine: {_either(self)}, not {_either(now)}"
        if None in self.values[quantity]:
            return f"its {quantity} of {self.arm} is no number with every seed"
        return ""


def _other(name: str, than: str) -> str:
    return f"another {name}" if name == than else name


def _either(of: Saved) -> str:
    return " or ".join(of.hosts) or "one not known"


@dataclass(frozen=True)
class Reference:
    """The arms that an earlier session saved.

    Attributes:
        path: The file.
        arms: By experiment and arm.
    """

    path: Path
    arms: Mapping[tuple[str, str], Saved]

    def of(self, experiment: str, arm: str) -> Saved:
        """Return an arm.

        Raises:
            AblationError: It was not saved.
        """
        if (experiment, arm) not in self.arms:
            known = [name for of, name in self.arms if of == experiment]
            has = f"It has {', '.join(known)}." if known else f"It has nothing of {experiment}."
            raise AblationError(
                f'{self.path} has no "{arm}" of {experiment}. {has}{did_you_mean(arm, known)}'
            )
        return self.arms[experiment, arm]


# ----------------------------------------------------------------------------- kept on disk


def load(path: Path) -> Reference:
    """Return the reference in a file.

    Raises:
        AblationError: It is missing, damaged, something else, or newer.
    """
    told = document.read(path, KIND, SCHEMA, MAKER)
    try:
        arms = [Saved.from_plain(each) for each in told["arms"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise AblationError(
            f"{path}: damaged, its arms cannot be read. {MAKER} writes it anew."
        ) from None
    return Reference(path, {(each.experiment, each.arm): each for each in arms})


def save(arms: Iterable[Saved], path: Path) -> None:
    """Write a reference.

    Raises:
        OSError: It cannot be written.
    """
    document.save(path, document.written(KIND, SCHEMA, {"arms": [asdict(each) for each in arms]}))


# ------------------------------------------------------------------------------- of an arm


def of(arm: Arm, metric: str, less_is_better: bool) -> Saved:
    """Return what there is to save of an arm: of the seeds that were asked for so far.

    Args:
        arm: The baseline or a variant.
        metric: The experiment's main metric, which its gap is of.
        less_is_better: Whether less of it is better.
    """
    from pytest_ablation import quantity as measures

    runs = tuple(run for seed, run in enumerate(arm.known) if run.seed == seed)
    names = [name for name in (runs[0].metrics if runs else ()) if not name.startswith("train_")]
    asked = [measures.metric(name) for name in names]
    if arm.source is None:
        asked += [measures.gap(metric, less_is_better), measures.WALL]
        asked += [measures.TIME] if arm.made is None else []
    if not arm.has_network:
        asked.append(measures.PARAMS)
    trial = arm.trial(0)
    return Saved(
        experiment=arm.experiment.name,
        arm=arm.description,
        profile=trial.profile,
        data=arm.experiment.data_name,
        dataset=trial.dataset,
        versions=dict(trial.versions),
        # Not the node: on a runner in the cloud it is another one each time.
        hosts=tuple(sorted({kind(run.host) for run in runs} - {""})),
        values={measure.name: values for measure in asked if (values := _values(measure.of, runs))},
        exact=_exact(arm) if arm.has_network else {},
    )


def _values(of: Callable[[Any], float], runs: Sequence[Run]) -> tuple[float | None, ...]:
    try:
        return tuple(number(of(run)) for run in runs)
    except AblationError:
        return ()


def _exact(arm: Arm) -> dict[str, float]:
    exact = {"params": float(arm.params)}
    try:
        if not arm.cost.uncounted:
            exact["flops"] = float(arm.flops)
    except AblationError:
        pass  # where operations cannot be counted, none are saved
    return exact
