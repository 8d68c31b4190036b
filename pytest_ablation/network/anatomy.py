"""What there is to say of a network, layer by layer, as plain data that outlives the network.

A thousand variants take half a gigabyte as Keras models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras

from pytest_ablation.network import blueprint
from pytest_ablation.network import cost as costs
from pytest_ablation.network.cost import Cost
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
    """

    config: str
    count: int
    params: Mapping[str, int]
    lines: Mapping[str, str]
    cost: Cost


def of(
    model: keras.Model, shape: tuple[int, ...] | None = None, config: str | None = None
) -> Anatomy:
    """Return what there is to say of a network.

    Args:
        model: The network.
        shape: Of an example, where the network does not say it.
        config: The network's configuration, where it is at hand.
    """
    return Anatomy(
        config=config or blueprint.of(model),
        count=model.count_params(),
        params=_params(model),
        lines=dict(_listed(model)),
        cost=costs.of(model, shape),
    )


def _params(model: keras.Model, path: str = "") -> dict[str, int]:
    result: dict[str, int] = {}
    for layer in model.layers:
        name = path + layer.name
        if isinstance(layer, keras.Model) and hasattr(layer, "layers") and layer.layers:
            result |= _params(layer, f"{name}/")
        else:
            result[name] = layer.count_params() if layer.built else 0
    return result


def _listed(model: keras.Model, path: str = "") -> Iterator[tuple[str, str]]:
    for layer in model.layers:
        name = path + layer.name
        if isinstance(layer, keras.Model) and hasattr(layer, "layers") and layer.layers:
            yield from _listed(layer, f"{name}/")
            continue
        params = f", {said(layer.count_params(), 'count')}" if layer.built and layer.weights else ""
        yield name, f"{name} ({type(layer).__name__}) {_shape(layer)}{params}".rstrip()


def _shape(layer: keras.layers.Layer) -> str:
    """Return the shape of what a layer gives, as ``30×30×48``; empty where it gives several."""
    try:
        shape = layer.output.shape[1:]
    except (AttributeError, ValueError, RuntimeError):  # called never, or at several places
        return ""
    return "×".join("?" if size is None else str(size) for size in shape) or "1"
