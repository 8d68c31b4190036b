"""The edits of an experiment: what a user writes, and how edits add up.

What they do to an experiment is in `edited`, to a network in `network.surgery`; both are imported
only when an edit is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args, overload

from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.experiment import Experiment, How
from pytest_ablation.recipe import check_names, plainly
from pytest_ablation.selectors import Selector, Shortcut, checked, settings
from pytest_ablation.settings import plain
from pytest_ablation.steps import (
    Configure,
    Cut,
    FeedWith,
    Insert,
    LayerOrFunction,
    LesionStep,
    ModelFunction,
    ModelStep,
    Override,
    Remove,
    Replace,
    Step,
    TrainWith,
    Use,
)

if TYPE_CHECKING:
    import keras

NAMED = 3  # layers that a glob touched


@dataclass(frozen=True)
class Ablation:
    """An edit of an experiment; ``a + b`` applies ``a``, then ``b``.

    Called with a Keras model it returns the edited model, freshly initialised; called with an
    Experiment, the edited Experiment. It prints as a person would say it.

    Attributes:
        steps: What it does, in order.
        parts: The two ablations that it is the sum of; none where it is a single one.
        is_of_all: Whether it is one of all that could be asked for, and none that was: its test is
            skipped where the network cannot be built.
    """

    steps: tuple[Step, ...]
    parts: tuple[Ablation, ...] = field(default=(), compare=False)
    is_of_all: bool = field(default=False, compare=False)

    def __add__(self, other: Ablation) -> Ablation:
        if not isinstance(other, Ablation):
            return NotImplemented
        return Ablation(self.steps + other.steps, (self, other))

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.steps))

    @overload
    def __call__(self, target: Experiment) -> Experiment: ...
    @overload
    def __call__(self, target: keras.Model) -> keras.Model: ...

    def __call__(self, target: Experiment | keras.Model) -> Experiment | keras.Model:
        """Return the target edited.

        Raises:
            AblationError: A step that matches nothing, changes nothing, or leaves a network that
                cannot be built.
        """
        from pytest_ablation import edited

        if isinstance(target, Experiment):
            return edited.experiment(target, self)
        return edited.network(target, self)

    @property
    def lesion(self) -> LesionStep | None:
        """What it takes away of the trained network, if it does.

        Raises:
            AblationError: More than one such step, or one that is not the last.
        """
        steps = [step for step in self.steps if isinstance(step, LesionStep)]
        if len(steps) > 1:
            raise AblationError(
                f"{self!r}: one lesion at a time; name all its layers in it, as "
                'lesion("conv1", "conv2").'
            )
        if steps and self.steps[-1] is not steps[0]:
            raise AblationError(
                f"{self!r}: a lesion is done to the trained network, after all other edits: add "
                "it last."
            )
        return steps[0] if steps else None

    @property
    def trained(self) -> Ablation:
        """What of it is there when training begins: all but a lesion."""
        return Ablation(tuple(step for step in self.steps if not isinstance(step, LesionStep)))

    @property
    def model_steps(self) -> tuple[ModelStep, ...]:
        """The steps that change the network."""
        return tuple(step for step in self.steps if isinstance(step, ModelStep))

    def describe(self, model: keras.Model) -> str:
        """Return what the ablation does to this network, as ``remove Dropout (5 layers)``."""
        from pytest_ablation import edited

        touched = iter(edited.touched(model, self.model_steps))
        said = [
            f"{step}{_touched(next(touched), str(step))}"
            if isinstance(step, ModelStep)
            else str(step)
            for step in self.steps
        ]
        return ", ".join(said)


def _touched(names: Sequence[str], step: str) -> str:
    """Return which layers a step touched, where its words do not say so."""
    is_glob = bool(set(step) & set("*?["))
    if len(names) < 2 and not is_glob:
        return ""
    return f" ({', '.join(names) if is_glob and len(names) <= NAMED else f'{len(names)} layers'})"


# ---------------------------------------------------------------------- what a user writes


def remove(*selectors: Selector, repair: bool = False) -> Ablation:
    """Take the selected layers out.

    Layers that are connected go as one region: the one tensor that enters it takes the place of
    what leaves it. So ``remove("block3_*")`` takes out a residual block, and
    ``remove(layers.BatchNormalization)`` each of its layers by itself.

    Args:
        selectors: Layer classes, globs on layer names, functions layer → bool, or `having`. A layer
            of a network within the network is named as "encoder/dense1".
        repair: Whether a shape that no longer fits is made to, by a pooling or a 1×1 projection in
            the place of what was removed. Else it is an error.
    """
    if not selectors:
        raise AblationError('remove(): name what to remove, as remove("dense*").')
    return Ablation((Remove(tuple(checked(each, "remove") for each in selectors), repair),))


def replace(
    selector: Selector, layer_or_function: LayerOrFunction, *, repair: bool = False
) -> Ablation:
    """Put another layer in the place of each selected one, under its name.

    Args:
        selector: Which layers, as in `remove`.
        layer_or_function: A layer, of which each place gets a copy, or a function old → new layer.
        repair: As in `remove`.
    """
    return Ablation((Replace(checked(selector, "replace"), layer_or_function, repair),))


def configure(selector: Selector, *, repair: bool = False, **config: Any) -> Ablation:
    """Change settings of the selected layers, as in ``configure("pool*", pool_size=4)``.

    Settings that a layer derives from others, as a pooling's strides from its size where they are
    not given, follow. What a layer is called with, as ``use_causal_mask``, is set likewise.

    Args:
        selector: Which layers, as in `remove`.
        repair: As in `remove`.
        config: The settings.
    """
    if not config:
        raise AblationError('configure(): name a setting, as configure("pool*", pool_size=4).')
    return Ablation((Configure(checked(selector, "configure"), config, repair),))


def insert(layer: LayerOrFunction, *, after: Selector, repair: bool = False) -> Ablation:
    """Put a copy of a layer, or what a function makes of the selected one, after each selected."""
    return Ablation((Insert(layer, checked(after, "insert"), repair),))


def cut(branch: Selector | Shortcut, *, into: Selector, repair: bool = False) -> Ablation:
    """Take an input away from each selected merge; with one left, the merge passes it on.

    Args:
        branch: The layers that give the input, or that stand on its branch alone; or `shortcut`.
        into: The merges: layers that several tensors enter, as Add, Concatenate, Multiply, Average.
            Of attention it takes the mask away.
        repair: As in `remove`.
    """
    if not isinstance(branch, Shortcut):
        checked(branch, "cut")
    return Ablation((Cut(branch, checked(into, "cut"), repair),))


def use(model_function: ModelFunction) -> Ablation:
    """Study another network in the place of the experiment's: what `model_function` returns."""
    is_network = hasattr(model_function, "layers") and not isinstance(model_function, type)
    if is_network or not callable(model_function):
        raise AblationError(f"use({model_function!r}): pass a function that returns a Keras model.")
    return Ablation((Use(model_function),))


def train_with(**recipe: Any) -> Ablation:
    """Change settings of the recipe, as in ``train_with(batch_size=128)``."""
    if not recipe:
        raise AblationError("train_with(): name a setting, as train_with(batch_size=128).")
    check_names(recipe, f"train_with({settings(recipe)}): ")
    return Ablation((TrainWith(plainly(recipe)),))


def override(**settings: Any) -> Ablation:
    """Change settings of an experiment that has them, as in ``override(max_depth=3)``.

    Where a setting is a mapping, so is its change: ``override(pca={"components": 16})`` leaves
    what else is in it. ``override(pca=None)`` puts None in its place.
    """
    if not settings:
        raise AblationError("override(): name a setting, as override(max_depth=3).")
    return Ablation((Override(plain(settings, "override")),))


def feed_with(function: Callable[[Dataset], Dataset]) -> Ablation:
    """Change the data: `function` is given the Dataset and returns another."""
    if not callable(function):
        raise AblationError(f"feed_with({function!r}): pass a function Dataset → Dataset.")
    return Ablation((FeedWith(function),))


def lesion(
    *selectors: Selector,
    units: Sequence[int] | None = None,
    how: How = "zero",
    examples: int | None = None,
) -> Ablation:
    """Take the output of layers away in the trained network, which is then evaluated as it is.

    Nothing is trained for it: it is done to the trained baseline of each seed, or, added last to
    other edits, to their trained variant. So it has no time, and its change is of each seed by
    itself. A layer that is called several times loses it at all calls, one that gives several
    tensors in all of them.

    Args:
        selectors: Whose output, as in `remove`.
        units: Which channels of it, from 0; all of it where none is named.
        how: What takes their place: "zero"; "mean", the channel's mean over training examples, and
            over all calls; "shuffle", the same channel of another test example.
        examples: Estimate the change on this many test examples, a fixed sample with each class's
            share, and not on the whole test set: for sweeps over many units.
    """
    if not selectors:
        raise AblationError('lesion(): name a layer, as lesion("conv1", units=[3]).')
    chosen = tuple(checked(each, "lesion") for each in selectors)
    if how not in get_args(How):
        raise AblationError(
            f"lesion(how={how!r}): one of {', '.join(get_args(How))}."
            + did_you_mean(str(how), get_args(How))
        )
    if units is not None and (
        isinstance(units, str) or not units or not all(_is_whole(each, 0) for each in units)
    ):
        raise AblationError(f"lesion(units={units!r}): name channels by number, as units=[0, 3].")
    if examples is not None and not _is_whole(examples, 1):
        raise AblationError(f"lesion(examples={examples!r}): a whole number of at least 1.")
    return Ablation((LesionStep(chosen, tuple(units or ()), how, examples or 0),))


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
