"""Lesions: a trained network evaluated with part of a layer's output taken away."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any

import keras
import numpy as np

from pytest_ablation import arrays
from pytest_ablation.data.sample import stratified
from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import Lesion, Trial
from pytest_ablation.network import assembly, graph, masks, reading
from pytest_ablation.network.lesion import Lesioned, inserted, mask_of
from pytest_ablation.network.precision import built_in
from pytest_ablation.network.source import is_keras
from pytest_ablation.run import Run
from pytest_ablation.training import recipe as recipes
from pytest_ablation.training import smoothing
from pytest_ablation.training.device import host, without_gradients
from pytest_ablation.training.evaluation import (
    EVALUATION_BATCH,
    added,
    called,
    evaluated,
    predicted,
)
from pytest_ablation.training.fit import compile_as, compiled

MEAN_EXAMPLES = 1_000
MOST_KEPT = 1 << 30  # bytes of a layer's output on the test set; beyond it is computed each time


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        trial: Its trial.
        run: What that gave.
        weights: The trained weights, in the network's order.
    """

    trial: Trial
    run: Run
    weights: Sequence[Any]


def evaluate(trained: Trained, trials: Sequence[Trial], data: Dataset) -> list[Run]:
    """Return the runs of lesions of one trained network, in the order of their trials.

    Where a lesion is to be estimated on some test examples, its metrics are those of the trained
    network on the whole test set plus the change that the lesion makes on these.

    Args:
        trained: The network.
        trials: One a lesion.
        data: The network's data, at the profile's size.
    """
    model = compiled(trained.trial)
    model.set_weights(trained.weights)
    groups: dict[tuple[tuple[str, ...], bool, int], list[Trial]] = {}
    for trial in trials:
        lesion = Lesion.from_json(trial.lesion)
        key = lesion.layers, lesion.how == "shuffle", lesion.examples
        groups.setdefault(key, []).append(trial)
    runs = {
        run.fingerprint: run
        for (layers, shuffled, examples), group in groups.items()
        for run in _runs(model, trained, layers, shuffled, group, _tested(data, examples))
    }
    return [runs[trial.fingerprint] for trial in trials]


def _tested(data: Dataset, examples: int) -> Dataset:
    """Return the data with as many test examples, each class with its share; 0 for all."""
    if not 0 < examples < arrays.count(data.y_test):
        return data
    chosen = stratified(data.y_test, examples)
    x, y = arrays.taken(data.x_test, chosen), arrays.taken(data.y_test, chosen)
    return with_fields(data, x_test=x, y_test=y)


def _runs(
    model: keras.Model,
    trained: Trained,
    layers: tuple[str, ...],
    shuffled: bool,
    trials: Sequence[Trial],
    data: Dataset,
) -> Iterator[Run]:
    """Yield the runs of the lesions of the same layers, whose network is compiled once."""
    recipe = recipes.deserialized(trained.trial.recipe)
    plain = smoothing.plain(recipe.loss) if recipe.label_smoothing else None
    with built_in(recipe.precision):
        network, taken = _lesioned(model, layers, shuffled, trained.trial.seed)
    lesions = [Lesion.from_json(trial.lesion) for trial in trials]
    means = _means(network, taken, data) if any(each.how == "mean" for each in lesions) else None
    before, after = _halves(network, taken)
    x = _outputs(before, data.x_test) if before is not None else None
    rest = 0.0
    if before is None or x is None:
        after, x = network, data.x_test
    else:
        rest = _regularised(network) - _regularised(after) + added(before, data.x_test)
    after.output_names = getattr(model, "output_names", None)  # a head is called as it was
    compile_as(after, recipe)
    is_estimate = bool(lesions[0].examples)
    whole, _ = evaluated(after, x, data.y_test, plain) if is_estimate else ({}, "")
    for trial, lesion in zip(trials, lesions, strict=True):
        started = time.perf_counter()
        for place, layer in enumerate(taken):
            layer.mask.assign(mask_of(lesion.units, layer))
            if means is not None:
                to_mean = lesion.how == "mean"
                layer.constants.assign(means[place] if to_mean else np.zeros_like(means[place]))
        metrics, correct = evaluated(after, x, data.y_test, plain)
        metrics["loss"] += rest if not is_estimate else 0.0
        if is_estimate:
            metrics = {
                name: trained.run.metrics[name] + value - whole[name]
                for name, value in metrics.items()
            }
        yield Run(
            fingerprint=trial.fingerprint,
            seed=trial.seed,
            metrics=metrics,
            curves={},
            seconds_per_step=float("nan"),
            wall=time.perf_counter() - started,
            params=model.count_params(),
            steps=0,
            correct="" if is_estimate else correct,
            host=host(),
        )


def _lesioned(
    model: keras.Model, names: tuple[str, ...], shuffled: bool, seed: int
) -> tuple[keras.Model, list[Any]]:
    """Return the trained network with a layer after each of some, and those layers."""

    edited = reading.read(model)
    for name in names:
        edited = inserted(edited, name, shuffled, seed)
    if is_keras(type(model)):
        # Each layer is called once in it, so that it has one output.
        edited = with_fields(edited, is_chain=False)
    network = assembly.assembled(edited)
    trained = {site.path: site.layer for site in graph.sites(reading.read(model))}
    taken = []
    for site in graph.sites(reading.read(network)):
        if isinstance(site.layer, Lesioned):
            taken.append(site.layer)
        elif site.key == id(site.layer) and getattr(site.layer, "weights", []):
            site.layer.set_weights(trained[site.path].get_weights())
    return network, taken


@without_gradients()
def _regularised(model: keras.Model) -> float:
    """Return what is added to the loss for a network's weights."""
    model._clear_losses()
    return float(sum(model.losses))


def _means(network: keras.Model, taken: Sequence[Any], data: Dataset) -> list[Any]:
    """Return each channel's mean over training examples, of each lesioned layer.

    Of a layer that is called several times it is that over all its calls.
    """
    chosen = stratified(data.y_train, MEAN_EXAMPLES)
    means = [_Mean(layer) for layer in taken]
    for layer, mean in zip(taken, means, strict=True):
        layer.watch = mean
    for i in range(0, len(chosen), EVALUATION_BATCH):
        called(network, arrays.taken(data.x_train, chosen[i : i + EVALUATION_BATCH]))
    for layer in taken:
        layer.watch = None
    return [mean.value for mean in means]


class _Mean:
    """The mean of what a lesioned layer is given, a number a channel."""

    def __init__(self, layer: Lesioned) -> None:
        self._axis, self._shape = layer.axis, layer.constants.shape
        self._sum, self._count = np.zeros(self._shape), 0

    def __call__(self, x: Any) -> None:
        """Take in what the layer is given in one call."""
        given = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
        others = tuple(axis for axis in range(given.ndim) if self._shape[axis] == 1)
        self._sum += given.sum(axis=others, keepdims=True, dtype=np.float64)
        self._count += given.size // self._sum.size

    @property
    def value(self) -> Any:
        """The mean so far."""
        return (self._sum / self._count).astype(np.float32)


def _halves(network: keras.Model, taken: Sequence[Any]) -> tuple[keras.Model | None, keras.Model]:
    """Return a network up to a lesioned layer and from there, so that the first is computed once.

    None and the whole, where there is no such place: in a network within the network, of several
    layers or calls at a time, or where a mask or what another output needs passes it by. So it is
    of a user's own class, of which halves are none.
    """
    if not is_keras(type(network)):
        return None, network
    read = reading.read(network)
    numbers = [n for n, node in read.nodes.items() if node.layer in taken]
    if len(taken) > 1 or len(numbers) != 1 or not network.inputs:
        return None, network
    behind = graph.descendants(read, numbers[0])
    crossing = {ref: None for n in behind for ref in read.nodes[n].refs if ref.node not in behind}
    layers = [read.nodes[ref.node].layer for ref in crossing]
    calls = [node.layer for node in read.nodes.values()]
    if any(calls.count(each) > 1 or not isinstance(each, keras.layers.Layer) for each in layers):
        return None, network
    tensors = [layer.output for layer in layers]
    if not all(isinstance(each, keras.KerasTensor) and masks.of(each) is None for each in tensors):
        return None, network
    between = tensors if len(tensors) > 1 else tensors[0]
    try:
        return keras.Model(network.input, between), keras.Model(between, network.output)
    except ValueError:  # of a mask, or an output, that comes from before
        return None, network


def _outputs(model: keras.Model, x: arrays.Arrays) -> Any:
    """Return what a network gives of all examples; None where that is too much to keep."""
    parts: list[Any] = []
    size = 0
    for _, _, (part, _) in predicted(model, x):
        parts.append(part)
        size += sum(each.nbytes for each in arrays.each(part))
        if size > MOST_KEPT:
            return None
    return arrays.mapped(lambda *each: np.concatenate(each), *parts)
