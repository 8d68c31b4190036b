"""The edits of an experiment as data: what they select, what they change, how they add up.

Each step knows how to say itself and what it does to a list of layers, a recipe or a dataset.
How a Keras layer is copied, set anew and assembled into a network is left to `network.surgery`,
which is imported only when an edit is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from dataclasses import replace as with_fields
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.experiment import Dataset, Experiment, Recipe
from pytest_ablation.selectors import (
    Having,
    Layers,
    Selector,
    checked,
    code,
    select,
    settings,
    word,
    words,
)

if TYPE_CHECKING:
    import keras
    from _pytest.mark import ParameterSet

ModelFunction: TypeAlias = "Callable[[], keras.Model]"
LayerOrFunction: TypeAlias = (
    "keras.layers.Layer | Callable[[keras.layers.Layer], keras.layers.Layer]"
)


# ------------------------------------------------------------------------------------- steps


@dataclass(frozen=True)
class Remove:
    """Take the selected layers out."""

    selectors: tuple[Selector, ...]

    def __str__(self) -> str:
        return f"remove {words(self.selectors)}"

    def __repr__(self) -> str:
        return f"remove({', '.join(map(code, self.selectors))})"

    def edit(self, layers: Layers) -> tuple[Layers, list[str]]:
        """Return the layers after the edit, and the names of those it touched."""
        gone = sorted({i for selector in self.selectors for i in select(layers, selector)})
        return [layer for i, layer in enumerate(layers) if i not in gone], _names(layers, gone)


@dataclass(frozen=True)
class Replace:
    """Put another layer in the place of each selected one."""

    selector: Selector
    by: LayerOrFunction

    def __str__(self) -> str:
        return f"replace {words([self.selector])} by {word(self.by)}"

    def __repr__(self) -> str:
        return f"replace({code(self.selector)}, {code(self.by)})"

    def edit(self, layers: Layers) -> tuple[Layers, list[str]]:
        """Return the layers after the edit, and the names of those it touched."""
        from pytest_ablation.network import surgery

        chosen = select(layers, self.selector)
        put = {i: surgery.in_place_of(layers[i], self.by) for i in chosen}
        return [put.get(i, layer) for i, layer in enumerate(layers)], _names(layers, chosen)


@dataclass(frozen=True)
class Configure:
    """Change settings of the selected layers."""

    selector: Selector
    config: Mapping[str, Any]

    def __str__(self) -> str:
        if isinstance(self.selector, Having) and [*self.selector.config] == [*self.config]:
            return ", ".join(
                f"{name} {self.selector.config[name]} → {value}"
                for name, value in self.config.items()
            )
        return f"set {settings(self.config)} in {words([self.selector])}"

    def __repr__(self) -> str:
        return f"configure({code(self.selector)}, {settings(self.config)})"

    def edit(self, layers: Layers) -> tuple[Layers, list[str]]:
        """Return the layers after the edit, and the names of those it touched."""
        from pytest_ablation.network import surgery

        chosen = select(layers, self.selector)
        new = {i: surgery.configured(layers[i], self.config) for i in chosen}
        return [new.get(i, layer) for i, layer in enumerate(layers)], _names(layers, chosen)


@dataclass(frozen=True)
class Insert:
    """Put a copy of a layer after each selected one."""

    layer: LayerOrFunction
    after: Selector

    def __str__(self) -> str:
        return f"insert {word(self.layer)} after {words([self.after])}"

    def __repr__(self) -> str:
        return f"insert({code(self.layer)}, after={code(self.after)})"

    def edit(self, layers: Layers) -> tuple[Layers, list[str]]:
        """Return the layers after the edit, and the names of those it touched."""
        from pytest_ablation.network import surgery

        chosen = select(layers, self.after)
        taken = {layer.name for layer in layers}
        result: Layers = []
        for i, layer in enumerate(layers):
            result.append(layer)
            if i in chosen:
                result.append(surgery.behind(layer, self.layer, taken))
                taken.add(result[-1].name)
        return result, _names(layers, chosen)


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


def _names(layers: Layers, chosen: Sequence[int]) -> list[str]:
    return [layers[i].name for i in chosen]


ModelStep: TypeAlias = Remove | Replace | Configure | Insert | Use
Step: TypeAlias = ModelStep | TrainWith | FeedWith


# ---------------------------------------------------------------------------------- ablation


@dataclass(frozen=True)
class Ablation:
    """An edit of an experiment; ``a + b`` applies ``a``, then ``b``.

    Called with a Keras model it returns the edited model, freshly initialised; called with an
    Experiment, the edited Experiment. It prints as a person would say it.
    """

    steps: tuple[Step, ...]

    def __add__(self, other: Ablation) -> Ablation:
        if not isinstance(other, Ablation):
            return NotImplemented
        return Ablation(self.steps + other.steps)

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
        if isinstance(target, Experiment):
            return _edited_experiment(target, self)
        for step in self.steps:
            if not isinstance(step, ModelStep):
                raise AblationError(
                    f"{step!r} changes the experiment, not the network: apply it to an Experiment."
                )
        return _edited_model(target, self.model_steps)

    @property
    def model_steps(self) -> tuple[ModelStep, ...]:
        """The steps that change the network."""
        return tuple(step for step in self.steps if isinstance(step, ModelStep))

    def describe(self, model: keras.Model) -> str:
        """Return what the ablation does to this network, as ``remove Dropout (5 layers)``."""
        touched = iter(_applied(model, self.model_steps)[2])
        said = [
            f"{step}{_touched(next(touched), str(step))}"
            if isinstance(step, ModelStep)
            else str(step)
            for step in self.steps
        ]
        return ", ".join(said)


def _touched(names: Sequence[str], step: str, most: int = 3) -> str:
    """Return which layers a step touched, where its words do not say so."""
    if len(names) < 2 and not set(step) & set("*?["):
        return ""
    is_glob = bool(set(step) & set("*?["))
    return f" ({', '.join(names) if is_glob and len(names) <= most else f'{len(names)} layers'})"


@dataclass(frozen=True, eq=False)
class EditedModel:
    """A model function: another one's network, edited by these steps."""

    base: ModelFunction
    steps: tuple[ModelStep, ...]

    def __call__(self) -> keras.Model:
        """Return the edited network."""
        from pytest_ablation.network import blueprint

        return _edited_model(blueprint.looked_at(self.base), self.steps)


def _edited_experiment(experiment: Experiment, ablation: Ablation) -> Experiment:
    from pytest_ablation.network import blueprint

    for step in ablation.steps:
        if isinstance(step, TrainWith):
            with _naming(step):
                recipe = experiment.recipe.with_changes(step.changes)
            if recipe == experiment.recipe:
                raise AblationError(f"{step!r}: the recipe is so already; nothing would change.")
            experiment = with_fields(experiment, recipe=recipe)
        elif isinstance(step, FeedWith):
            experiment = with_fields(experiment, data=_fed(experiment.data, step))
    if model_steps := ablation.model_steps:
        experiment = with_fields(experiment, model=EditedModel(experiment.model, model_steps))
        blueprint.looked_at(experiment.model)
    return experiment


def _fed(data: Dataset, step: FeedWith) -> Dataset:
    result = step.function(data)
    if not isinstance(result, Dataset):
        raise AblationError(
            f"{step!r}: {word(step.function)} returned {type(result).__name__}; return a Dataset, "
            "as dataclasses.replace(data, x_train=…) gives."
        )
    if result.fingerprint == data.fingerprint:
        raise AblationError(f"{step!r}: the data is as before; nothing would change.")
    return result


def _edited_model(model: keras.Model, steps: Sequence[ModelStep]) -> keras.Model:
    from pytest_ablation.network import surgery

    model, layers, _ = _applied(model, steps)
    if layers is None:
        return model
    with _naming(Ablation(tuple(steps))):
        return surgery.assembled(layers, like=model)


def _applied(
    model: keras.Model, steps: Sequence[ModelStep]
) -> tuple[keras.Model, Layers | None, list[list[str]]]:
    """Apply all steps without assembling the network, which half the steps may not allow.

    Returns:
        The network that the layers are to be like; the layers after all steps, or None where the
        network is to stay as it is; and the names of the layers that each step touched.
    """
    from pytest_ablation.network import blueprint, surgery

    layers: Layers | None = None
    hits: list[list[str]] = []
    for step in steps:
        touched: list[str] = []
        with _naming(step):
            if isinstance(step, Use):
                new = blueprint.fresh(step.model)
                changed = blueprint.of(new) != blueprint.of(model)
                model, layers = new, None
            else:
                before = surgery.layers_of(model) if layers is None else layers
                layers, touched = step.edit(before)
                changed = not surgery.same(before, layers)
            if not changed:
                raise AblationError("the network is so already; nothing would change.")
        hits.append(touched)
    return model, layers, hits


@contextmanager
def _naming(edit: object) -> Iterator[None]:
    """Put the edit's own code before the message of an AblationError raised inside."""
    try:
        yield
    except AblationError as error:
        said = edit if isinstance(edit, str) else repr(edit)
        raise type(error)(f"{said}: {error}") from error.__cause__


# ---------------------------------------------------------------------- what a user writes


def remove(*selectors: Selector) -> Ablation:
    """Take the selected layers out.

    Args:
        selectors: Layer classes, globs on layer names, functions layer → bool, or `having`.
    """
    if not selectors:
        raise AblationError('remove(): name what to remove, as remove("dense*").')
    return Ablation((Remove(tuple(checked(each, "remove") for each in selectors)),))


def replace(selector: Selector, layer_or_function: LayerOrFunction) -> Ablation:
    """Put another layer in the place of each selected one, under its name.

    Args:
        selector: Which layers, as in `remove`.
        layer_or_function: A layer, of which each place gets a copy, or a function old → new layer.
    """
    return Ablation((Replace(checked(selector, "replace"), layer_or_function),))


def configure(selector: Selector, **config: Any) -> Ablation:
    """Change settings of the selected layers, as in ``configure("pool*", pool_size=4)``.

    Settings that a layer derives from others, as a pooling's strides from its size where they are
    not given, follow.
    """
    if not config:
        raise AblationError('configure(): name a setting, as configure("pool*", pool_size=4).')
    return Ablation((Configure(checked(selector, "configure"), config),))


def insert(layer: LayerOrFunction, *, after: Selector) -> Ablation:
    """Put a copy of a layer, or what a function makes of the selected one, after each selected."""
    return Ablation((Insert(layer, checked(after, "insert")),))


def use(model_function: ModelFunction) -> Ablation:
    """Study another network in the place of the experiment's: what `model_function` returns."""
    if not callable(model_function):
        raise AblationError(f"use({model_function!r}): pass a function that returns a Keras model.")
    return Ablation((Use(model_function),))


def train_with(**recipe: Any) -> Ablation:
    """Change settings of the recipe, as in ``train_with(batch_size=128)``."""
    if not recipe:
        raise AblationError("train_with(): name a setting, as train_with(batch_size=128).")
    known = [field.name for field in fields(Recipe)]
    for name in recipe:
        if name not in known:
            raise AblationError(
                f"train_with({settings(recipe)}): a recipe has no setting {name!r}. "
                f"Settings: {', '.join(known)}." + did_you_mean(name, known)
            )
    return Ablation((TrainWith(recipe),))


def feed_with(function: Callable[[Dataset], Dataset]) -> Ablation:
    """Change the data: `function` is given the Dataset and returns another."""
    if not callable(function):
        raise AblationError(f"feed_with({function!r}): pass a function Dataset → Dataset.")
    return Ablation((FeedWith(function),))


def leave_one_out(model_function: ModelFunction, *selectors: Selector) -> list[ParameterSet]:
    """Return ``pytest.param(remove(name), id=name)`` for each selected layer.

    Args:
        model_function: The network's function; it is built once, to know its layers.
        selectors: Which layers, as in `remove`; all of them where none is given.
    """
    import pytest

    from pytest_ablation.network import blueprint, surgery

    layers = surgery.layers_of(blueprint.looked_at(model_function))
    with _naming(f"leave_one_out({', '.join(map(word, (model_function, *selectors)))})"):
        chosen = {i for each in selectors or ("*",) for i in select(layers, each)}
    return [pytest.param(remove(layers[i].name), id=layers[i].name) for i in sorted(chosen)]
