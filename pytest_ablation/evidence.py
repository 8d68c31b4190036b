"""What a test found, made of what it compared: a line of the one table.

Plain data, so that a worker process of pytest-xdist can send it with its test's report.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ablation import beside, per_class, settings
from pytest_ablation import reference as references
from pytest_ablation.beside import Pair
from pytest_ablation.claim import Compared
from pytest_ablation.experiment import CORRECTED, Lesion
from pytest_ablation.per_class import ClassChange
from pytest_ablation.reference import Saved
from pytest_ablation.run import Run
from pytest_ablation.trainer import version

if TYPE_CHECKING:
    from pytest_ablation.arm import Arm
    from pytest_ablation.difference import Difference
    from pytest_ablation.trained import Trained

WORST_FIRST = ("error", "failed", "undecided", "xfailed", "skipped", "passed")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one test found.

    Attributes:
        test: The test's node id.
        outcome: How it ended, a word of `WORST_FIRST`: with its worst phase or subtest.
        experiment: The experiment's name.
        ablation: What was edited, as a person would say it; empty where a test is of the baseline.
        changes: What the edit changed, a line a layer or setting.
        layers: The baseline's network and the variant's, or their settings, side by side.
        per_class: What the ablation did to each class of the test set, where there are classes.
        told: What the test's docstring says.
        summary: The baseline's layers, shapes and parameters, as Keras has them; or its settings.
        params: Parameters of the network; 0 where not known.
        baseline_params: Of the baseline's.
        baseline: The baseline's runs so far.
        variant: The variant's runs so far; empty where a test is of the baseline.
        alone: Of an interaction the runs of each of its two ablations alone, by what it edits.
        compared: The comparisons made.
        facts: Of the session: data, source, stand_in, profile, decides_nothing, seeds, alpha,
            tested (examples), device, backend, environment, trained (fingerprints), timed (seconds
            by duet), cluster (its usage).
        sample: A PNG with a row of images a class, in base64; empty but in one entry a process.
        classes: The names of the classes.
        metric: The experiment's main metric.
        less_is_better: Whether less of it is better.
        has_settings: Whether settings are studied, and not a Keras network.
        lesion: The lesion, where it is of one.
        is_paired: Whether that is of the baseline's own trained networks, so that each seed's
            change stands by itself.
        kept: The arm and its baseline as a reference has them; none where none is asked for.
        recipe: How the arm is trained, as its trial has it; empty where nothing was trained.
        baseline_recipe: Likewise the baseline.
    """

    test: str
    outcome: str
    experiment: str
    ablation: str
    changes: tuple[str, ...]
    summary: str
    params: int
    baseline_params: int
    baseline: tuple[Run, ...]
    variant: tuple[Run, ...]
    compared: tuple[Compared, ...]
    facts: Mapping[str, Any]
    alone: Mapping[str, tuple[Run, ...]] = field(default_factory=dict)
    layers: tuple[Pair, ...] = ()
    per_class: tuple[ClassChange, ...] = ()
    told: str = ""
    sample: str = ""
    classes: tuple[str, ...] = ()
    metric: str = "accuracy"
    less_is_better: bool = False
    has_settings: bool = False
    lesion: Lesion | None = None
    is_paired: bool = False
    kept: tuple[Saved, ...] = ()
    recipe: str = ""
    baseline_recipe: str = ""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of what the test is about."""
        return self.variant if self.ablation else self.baseline

    def as_plain(self) -> dict[str, Any]:
        """Return the entry as dicts, tuples, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Entry:
        """Return the entry that `as_plain` gave."""
        return cls(
            **{
                **plain,
                "baseline": tuple(Run(**run) for run in plain["baseline"]),
                "variant": tuple(Run(**run) for run in plain["variant"]),
                "alone": {
                    name: tuple(Run(**run) for run in runs) for name, runs in plain["alone"].items()
                },
                "compared": tuple(Compared(**each) for each in plain["compared"]),
                "layers": tuple(Pair(**each) for each in plain["layers"]),
                "per_class": tuple(ClassChange(**each) for each in plain["per_class"]),
                "kept": tuple(Saved.from_plain(each) for each in plain["kept"]),
                "lesion": Lesion(**plain["lesion"]) if plain["lesion"] else None,
            }
        )


def entry_of(
    test: str,
    outcome: str,
    subject: Trained,
    *,
    told: str = "",
    sample: str = "",
    keeps: bool = False,
) -> Entry:
    """Return what a test found, from the baseline or variant that it compared.

    Args:
        test: The test's node id.
        outcome: How it ended.
        subject: The baseline or variant.
        told: What the test's docstring says.
        sample: Images, for one entry of a process.
        keeps: Whether the arms are wanted as a reference has them.
    """
    arm, baseline = subject.arm, subject.baseline or subject.arm
    data = arm.experiment.dataset
    main = baseline.experiment
    arms = dict.fromkeys((baseline, arm)) if keeps else ()
    difference = subject.difference if subject.baseline else None
    compared = tuple(subject.asserted.made)
    parts = subject.parts() if any(each.form == "interaction" for each in compared) else ()
    return Entry(
        test=test,
        outcome=outcome,
        experiment=arm.experiment.name,
        ablation=arm.description if subject.baseline else "",
        changes=difference.lines if difference else (),
        layers=_side_by_side(arm, baseline, difference) if difference else (),
        per_class=_per_class(arm, baseline) if difference else (),
        told=told,
        summary=baseline.summary,
        params=arm.params,
        baseline_params=baseline.params,
        baseline=baseline.known,
        variant=arm.known if subject.baseline else (),
        alone={part.description: part.known for part in parts},
        compared=compared,
        facts=_facts(arm),
        sample=sample,
        classes=data.classes if data else (),
        metric=main.main_metric,
        less_is_better=main.less_is_better,
        has_settings=not arm.has_network,
        lesion=arm.lesion,
        is_paired=arm.source is not None and arm.source is baseline,
        kept=tuple(references.of(each, main.main_metric, main.less_is_better) for each in arms),
        recipe=_recipe(arm),
        baseline_recipe=_recipe(baseline),
    )


def _facts(arm: Arm) -> dict[str, Any]:
    """Return what numbers of this arm are to be read with."""
    study, data = arm.study, arm.experiment.dataset
    usage = study.executor.usage
    versions = {
        name: number
        for name, number in arm.trial(0).versions.items()
        if name not in ("backend", CORRECTED)
    }
    return {
        "data": arm.experiment.data_name,
        "source": data.source if data else "",
        "stand_in": data.stand_in if data else "",
        "profile": study.profile.name,
        "decides_nothing": study.profile.decides_nothing,
        "seeds": study.seeds,
        "alpha": study.alpha,
        "tested": arm.tested,
        "device": "GPU" if arm.on_gpu else "CPU",
        "backend": arm.backend,
        "environment": {
            "pytest-ablation": version("pytest-ablation"),
            **dict(sorted(versions.items())),
            "Python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        },
        "trained": study.trained,
        "timed": study.duets.timed,
        "cluster": asdict(usage) if usage else None,
    }


def _recipe(arm: Arm) -> str:
    return arm.trial(0).recipe if arm.known else ""


def _side_by_side(arm: Arm, baseline: Arm, difference: Difference) -> tuple[Pair, ...]:
    if not difference.layers and not difference.settings:
        return ()
    if not arm.has_network:
        before, after = (
            {
                name: f"{name}: {value}"
                for name, value in settings.flat(each.trial(0).config).items()
            }
            for each in (baseline, arm)
        )
        return beside.of(before, after, {})
    changed = {each.name: ", ".join(each.settings) for each in difference.layers}
    return beside.of(baseline.anatomy.lines, arm.anatomy.lines, changed)


def _per_class(arm: Arm, baseline: Arm) -> tuple[ClassChange, ...]:
    data, theirs = arm.experiment.dataset, baseline.experiment.dataset
    if data is None or theirs is None or data.y_test is not theirs.y_test:
        return ()  # of another test set, a class's change is not the ablation's alone
    labels = arm.study.supplies.reduced(data).y_test
    return per_class.of(arm.known, baseline.known, labels, data.classes)
