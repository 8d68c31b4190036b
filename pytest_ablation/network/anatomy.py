"""What there is to say of a network, layer by layer, as plain data that outlives the network.

A thousand variants take half a gigabyte as Keras models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras

from pytest_ablation.network import blueprint, given
from pytest_ablation.network import cost as costs
from pytest_ablation.network.cost import Cost
from pytest_ablation.network.naming import WHOLE
from pytest_ablation.quantity import said


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """A network, layer by layer; the layers of networks within it by path: "encoder/dense1".

    Attributes:
        config: Its configuration as canonical JSON.
        count: Its parameters.
        params: The parameters of each layer; those of shared ones stand wherever the layer does.
        lines: What to say of each layer: name, class, shape and parameters.
        cost: What each layer costs to compute.
        given: Which weights a layer starts from, where the network's function gives it some.
    """

    config: str
    count: int
    params: Mapping[str, int]
    lines: Mapping[str, str]
    cost: Cost
    given: Mapping[str, str]


def of(
    model: keras.Model, shape: tuple[int, ...] | None = None, config: str | None = None
) -> Anatomy:
    """Return what there is to say of a network.

    Args:
        model: The network.
        shape: Of an example, where the network does not say it.
        config: The network's configuration, where it is at hand.
    """
    leaves = dict(_leaves(model))
    return Anatomy(
        config=config or blueprint.of(model),
        count=model.count_params(),
        params={name: layer.count_params() if layer.built else 0 for name, layer in leaves.items()},
        lines={name: _line(name, layer) for name, layer in leaves.items()},
        cost=costs.of(model, shape),
        given={name or WHOLE: weights.digest for name, weights in given.of(model).items()},
    )


def _leaves(model: keras.Model, path: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield the layers by path, those of a network within the network in its place."""
    for layer in model.layers:
        if isinstance(layer, keras.Model) and layer.layers:
            yield from _leaves(layer, f"{path}{layer.name}/")
        else:
            yield path + layer.name, layer


def _line(name: str, layer: keras.layers.Layer) -> str:
    """Return what to say of a layer: name, class, shape and parameters."""
    params = f", {said(layer.count_params(), 'count')}" if layer.built and layer.weights else ""
    return f"{name} ({type(layer).__name__}) {_shape(layer)}{params}".rstrip()


def _shape(layer: keras.layers.Layer) -> str:
    """Return the shape of what a layer gives, as ``30×30×48``; empty where it gives several."""
    try:
        shape = layer.output.shape[1:]
    except (AttributeError, ValueError, RuntimeError):  # called never, or at several places
        return ""
    return "×".join("?" if size is None else str(size) for size in shape) or "1"
