"""The single edits as data: what each selects and what it changes. Each says itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import How
from pytest_ablation.selectors import Having, Selector, Shortcut, code, settings, word, words
from pytest_ablation.settings import flat

if TYPE_CHECKING:
    import keras

ModelFunction: TypeAlias = "Callable[[], keras.Model]"
LayerOrFunction: TypeAlias = (
    "keras.layers.Layer | Callable[[keras.layers.Layer], keras.layers.Layer]"
)


TO = {"zero": "", "mean": " to the mean", "shuffle": " by shuffling"}


@dataclass(frozen=True)
class Remove:
    """Take the selected layers out."""

    selectors: tuple[Selector, ...]
    repair: bool = False

    def __str__(self) -> str:
        return f"remove {words(self.selectors)}{_repaired(self.repair)}"

    def __repr__(self) -> str:
        return f"remove({', '.join(map(code, self.selectors))}{_repairs(self.repair)})"


@dataclass(frozen=True)
class Replace:
    """Put another layer in the place of each selected one."""

    selector: Selector
    by: LayerOrFunction
    repair: bool = False

    def __str__(self) -> str:
        return f"replace {words([self.selector])} by {word(self.by)}{_repaired(self.repair)}"

    def __repr__(self) -> str:
        return f"replace({code(self.selector)}, {code(self.by)}{_repairs(self.repair)})"


@dataclass(frozen=True)
class Configure:
    """Change settings of the selected layers."""

    selector: Selector
    config: Mapping[str, Any]
    repair: bool = False

    def __str__(self) -> str:
        repaired = _repaired(self.repair)
        if isinstance(self.selector, Having) and [*self.selector.config] == [*self.config]:
            changes = (
                f"{name} {self.selector.config[name]} → {value}"
                for name, value in self.config.items()
            )
            return f"{', '.join(changes)}{repaired}"
        return f"set {settings(self.config)} in {words([self.selector])}{repaired}"

    def __repr__(self) -> str:
        config = settings(self.config)
        return f"configure({code(self.selector)}, {config}{_repairs(self.repair)})"


@dataclass(frozen=True)
class Insert:
    """Put a copy of a layer after each selected one."""

    layer: LayerOrFunction
    after: Selector
    repair: bool = False

    def __str__(self) -> str:
        return f"insert {word(self.layer)} after {words([self.after])}{_repaired(self.repair)}"

    def __repr__(self) -> str:
        return f"insert({code(self.layer)}, after={code(self.after)}{_repairs(self.repair)})"


@dataclass(frozen=True)
class Cut:
    """Take an input away from each selected merge."""

    branch: Selector | Shortcut
    into: Selector
    repair: bool = False

    def __str__(self) -> str:
        return f"cut {word(self.branch)} from {words([self.into])}{_repaired(self.repair)}"

    def __repr__(self) -> str:
        return f"cut({code(self.branch)}, into={code(self.into)}{_repairs(self.repair)})"


@dataclass(frozen=True)
class Use:
    """Put another network in the place of the experiment's."""

    model: ModelFunction

    def __str__(self) -> str:
        return f"use {word(self.model)}"

    def __repr__(self) -> str:
        return f"use({code(self.model)})"


@dataclass(frozen=True)
class TrainWith:
    """Change the recipe."""

    changes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"train with {settings(self.changes)}"

    def __repr__(self) -> str:
        return f"train_with({settings(self.changes)})"


@dataclass(frozen=True)
class FeedWith:
    """Change the data."""

    function: Callable[[Dataset], Dataset]

    def __str__(self) -> str:
        return f"feed with {word(self.function)}"

    def __repr__(self) -> str:
        return f"feed_with({code(self.function)})"


@dataclass(frozen=True)
class Override:
    """Change settings of an experiment that has settings in the place of a network."""

    changes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"set {settings(flat(self.changes))}"

    def __repr__(self) -> str:
        return f"override({settings(self.changes)})"


@dataclass(frozen=True)
class LesionStep:
    """Take part of the output of layers away in the trained network."""

    selectors: tuple[Selector, ...]
    units: tuple[int, ...]
    how: How
    examples: int

    def __str__(self) -> str:
        units = ", ".join(map(str, self.units))
        of = f"unit{'s' if len(self.units) > 1 else ''} {units} of " if units else ""
        return f"lesion {of}{words(self.selectors)}{TO[self.how]}"

    def __repr__(self) -> str:
        told = {
            **({"units": list(self.units)} if self.units else {}),
            **({"how": self.how} if self.how != "zero" else {}),
            **({"examples": self.examples} if self.examples else {}),
        }
        return f"lesion({', '.join([*map(code, self.selectors), *filter(None, [settings(told)])])})"


GraphStep: TypeAlias = Remove | Replace | Configure | Insert | Cut
ModelStep: TypeAlias = GraphStep | Use
Step: TypeAlias = ModelStep | TrainWith | FeedWith | Override | LesionStep


def _repaired(repair: bool) -> str:
    return ", shapes repaired" if repair else ""


def _repairs(repair: bool) -> str:
    return ", repair=True" if repair else ""
