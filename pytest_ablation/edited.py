"""What an ablation makes of an experiment, or of a Keras model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pytest_ablation import arrays, settings
from pytest_ablation.ablation import Ablation
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import Experiment, Lesion
from pytest_ablation.selectors import word
from pytest_ablation.steps import (
    Configure,
    Cut,
    FeedWith,
    GraphStep,
    Insert,
    LesionStep,
    ModelFunction,
    ModelStep,
    Override,
    Remove,
    Replace,
    TrainWith,
    Use,
)

if TYPE_CHECKING:
    import keras

    from pytest_ablation.network.graph import Graph


@dataclass(frozen=True, eq=False)
class EditedModel:
    """A model function: another one's network, edited by these steps.

    Attributes:
        base: The other one.
        steps: The edits.
        shapes: Of the examples, for a network that does not say them.
    """

    base: ModelFunction
    steps: tuple[ModelStep, ...]
    shapes: Any

    def __call__(self) -> keras.Model:
        """Return the edited network."""

        from pytest_ablation.network import given, weightless

        base = weightless.looked_at(self.base, self.shapes)
        edited = _applied_to_known(base, self.steps, self.shapes)
        model = _assembled(edited.network, self.steps)
        given.carry(model, edited.source)
        return model


def experiment(target: Experiment, ablation: Ablation) -> Experiment:
    """Return an experiment under an ablation.

    Raises:
        AblationError: A step that matches nothing, changes nothing, or leaves a network that cannot
            be built.
    """
    for step in ablation.steps:
        if isinstance(step, Override):
            target = _overridden(target, step)
        elif isinstance(step, TrainWith):
            target = _trained_with(target, step)
        elif isinstance(step, FeedWith):
            target = with_fields(target, data=_fed(target, step))
    if steps := ablation.model_steps:
        if target.has_settings:
            raise AblationError(
                f"{steps[0]!r}: the experiment has settings and no Keras network to edit. "
                f"{_what_to_override(target)}"
            )
        shapes = arrays.shapes(target.data.x_train)
        target = with_fields(target, model=EditedModel(target.model, steps, shapes))
        from pytest_ablation.network import weightless

        weightless.looked_at(target.model, shapes)
    return target


def network(model: keras.Model, ablation: Ablation) -> keras.Model:
    """Return a Keras model under an ablation, freshly initialised.

    Raises:
        AblationError: As of `experiment`, and a step that does not concern the network.
    """
    for step in ablation.steps:
        if isinstance(step, LesionStep):
            raise AblationError(
                f"{step!r} is done to a trained network, in a study: it leaves no network of its "
                "own."
            )
        if not isinstance(step, ModelStep):
            raise AblationError(
                f"{step!r} changes the experiment, not the network: apply it to an Experiment."
            )
    return _assembled(_applied(model, ablation.model_steps).network, ablation.model_steps)


def lesion(model: keras.Model, step: LesionStep) -> Lesion:
    """Return what a step takes away of a network, of which trial it is left open.

    Raises:
        AblationError: Nothing is selected, or a layer has no channel of that number.
    """
    from pytest_ablation.network import graph, reading
    from pytest_ablation.network.lesion import counts, units
    from pytest_ablation.network.selecting import select

    with naming(step):
        read = reading.read(model)
        known = graph.sites(read)
        found = {site.path: site for each in step.selectors for site in select(known, each)}
        for path, site in found.items():
            if step.how == "mean":
                counts(read, site)
            if step.units and max(step.units) >= (count := units(read, site)):
                raise AblationError(f'"{path}" has {count} units, 0 to {count - 1}.')
    return Lesion(
        of="", layers=tuple(found), units=step.units, how=step.how, examples=step.examples
    )


def touched(model: keras.Model, steps: Sequence[ModelStep]) -> list[list[str]]:
    """Return the names of the layers that each step touches, of a network that was looked at."""
    return _applied_to_known(model, steps).touched if steps else []


@contextmanager
def naming(edit: object) -> Iterator[None]:
    """Put the edit's own code before the message of an AblationError raised inside."""
    try:
        yield
    except AblationError as error:
        said = edit if isinstance(edit, str) else repr(edit)
        raise type(error)(f"{said}: {error}") from error.__cause__


def _overridden(target: Experiment, step: Override) -> Experiment:
    if not target.has_settings:
        raise AblationError(
            f"{step!r}: the experiment is a Keras network and has no settings of its own. Change "
            "its recipe with train_with(…), or a layer with configure(…)."
        )
    with naming(step):
        result = with_fields(target, model=settings.merged(target.config, step.changes))
        if result.model == target.model:
            raise AblationError("the settings are so already; nothing would change.")
    return result


def _trained_with(target: Experiment, step: TrainWith) -> Experiment:
    if target.recipe is None:
        raise AblationError(
            f"{step!r}: the experiment has settings and no recipe. {_what_to_override(target)}"
        )
    with naming(step):
        recipe = target.recipe.with_changes(step.changes)
    if recipe == target.recipe:
        raise AblationError(f"{step!r}: the recipe is so already; nothing would change.")
    return with_fields(target, recipe=recipe)


def _what_to_override(target: Experiment) -> str:
    return (
        f"Change a setting with override(…). Settings: {', '.join(settings.flat(target.config))}."
    )


def _fed(target: Experiment, step: FeedWith) -> Any:
    data, result = target.data, step.function(target.data)
    if target.dataset is None:  # plain data, which the experiment checks
        if result == data:
            raise AblationError(f"{step!r}: the data is as before; nothing would change.")
        return result
    if not isinstance(result, Dataset):
        raise AblationError(
            f"{step!r}: {word(step.function)} returned {type(result).__name__}; return a Dataset, "
            "as dataclasses.replace(data, x_train=…) gives."
        )
    if result.fingerprint == data.fingerprint:
        raise AblationError(f"{step!r}: the data is as before; nothing would change.")
    return result


def _assembled(result: keras.Model | Graph, steps: Sequence[ModelStep]) -> keras.Model:
    from pytest_ablation.network import assembly, graph

    if not isinstance(result, graph.Graph):
        return result
    with naming(Ablation(tuple(steps))):
        return assembly.assembled(result)


@dataclass(frozen=True)
class _Applied:
    """A network after edits, before it is built.

    Attributes:
        network: The network.
        touched: Names of the layers that each edit touched.
        source: The network whose layers it has: the one that was edited, or that of the last `use`.
    """

    network: keras.Model | Graph
    touched: list[list[str]]
    source: keras.Model


@dataclass
class _LookedAt:
    """What is known of a network that is edited again and again, and that nobody changes.

    Attributes:
        graph: The network, once it was read.
        steps: The edits that were applied last: who builds the network says next what was done.
        result: What `_applied` gave of them.
    """

    graph: Graph | None = None
    steps: tuple[ModelStep, ...] = ()
    result: _Applied | None = None


_LOOKED_AT: WeakKeyDictionary[keras.Model, _LookedAt] = WeakKeyDictionary()


def _applied_to_known(
    model: keras.Model, steps: Sequence[ModelStep], shapes: Any = None
) -> _Applied:
    """Apply all steps as `_applied` does, to a network that was looked at and is read once."""
    from pytest_ablation.network import reading

    known = _LOOKED_AT.setdefault(model, _LookedAt())
    if known.result is None or [*map(id, known.steps)] != [*map(id, steps)]:
        start: keras.Model | Graph = model
        if not isinstance(steps[0], Use):
            with naming(steps[0]):
                start = known.graph = known.graph or reading.read(model)
        known.result, known.steps = _applied(start, steps, shapes), tuple(steps)
    return known.result


def _applied(
    start: keras.Model | Graph, steps: Sequence[ModelStep], shapes: Any = None
) -> _Applied:
    """Apply all steps without building the network, which half the steps may not allow."""
    from pytest_ablation.network import blueprint, given, graph, reading

    result, source = start, start.model if isinstance(start, graph.Graph) else start
    hits: list[list[str]] = []
    for step in steps:
        names: list[str] = []
        with naming(step):
            if isinstance(step, Use):
                new = blueprint.shaped(blueprint.fresh(step.model), shapes)
                before = result.model if isinstance(result, graph.Graph) else result
                begins = [given.fingerprint(given.of(each)) for each in (source, new)]
                changed = blueprint.of(new) != blueprint.of(before) or begins[0] != begins[1]
                result = source = new
            else:
                old = result if isinstance(result, graph.Graph) else reading.read(result)
                result, names = _step(old, step)
                changed = not graph.same(old, result)
            if not changed:
                raise AblationError("the network is so already; nothing would change.")
        hits.append(names)
    return _Applied(result, hits, source)


def _step(graph: Graph, step: GraphStep) -> tuple[Graph, list[str]]:
    from pytest_ablation.network import bridging, cutting, surgery

    asked = bridging.Asked(repr(step), step.repair)
    match step:
        case Remove():
            return surgery.remove(graph, step.selectors, asked)
        case Replace():
            return surgery.replace(graph, step.selector, step.by, asked)
        case Configure():
            return surgery.configure(graph, step.selector, step.config, asked)
        case Insert():
            return surgery.insert(graph, step.layer, step.after, asked)
        case Cut():
            return cutting.cut(graph, step.branch, step.into, asked)
