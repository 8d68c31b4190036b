"""Whether a copy of a network, built of its configuration, is that network.

Each training builds one. What a function does to its network after that is made, Keras's
configuration may not say: a copy would be another network, and nobody would notice.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from pytest_ablation.errors import AblationError
from pytest_ablation.network import naming


def check(model: keras.Model, copy: keras.Model) -> None:
    """See that a copy has the weights of a network, and trains the same of them.

    Raises:
        AblationError: It does not; names the layer, and says what to write instead.
    """
    pairs = list(_pairs(model, copy))
    trained = [{id(each) for each in network.trainable_variables} for network in (model, copy)]
    owners: list[dict[int, str]] = [{}, {}]
    for path, layer, other in pairs:
        where = f'"{path}"' if path else type(layer).__name__
        if name := next(_left_out(layer), ""):
            raise AblationError(
                f"{where}: {type(layer).__name__}.get_config() leaves out {name}, and a copy would "
                "have its default."
            )
        if not _has_weights_to_compare(layer, other):
            continue
        shapes = [[tuple(each.shape) for each in of.weights] for of in (layer, other)]
        if shapes[0] != shapes[1]:
            raise AblationError(
                f"{where} has weights of the shapes {_said(shapes[0])}, and a copy of it, built of "
                f"its configuration, {_said(shapes[1])}: what was done to it after it was made is "
                "not told there."
            )
        for weight, copied in zip(layer.weights, other.weights, strict=True):
            mine, its = (
                of.setdefault(id(each), where)
                for of, each in zip(owners, (weight, copied), strict=True)
            )
            if mine != its:
                raise AblationError(
                    f"{where} shares its {weight.name} with {mine}, and a copy of the network, "
                    "built of its configuration, would have it twice."
                )
            is_trained = id(weight) in trained[0]
            if is_trained != (id(copied) in trained[1]):
                here, there = ("", " not") if is_trained else ("not ", "")
                raise AblationError(
                    f"{where}: its {weight.name} is {here}trained, and in a copy, built of its "
                    f"configuration, it is{there}. Freeze whole layers of the network "
                    "(layer.trainable = False); what is within a layer of your own, in its "
                    "__init__."
                )
            _check_settings(where, weight, copied)


def _pairs(model: keras.Model, copy: keras.Model) -> Iterator[tuple[str, Any, Any]]:
    """Yield each layer with its path, and the copy's; one that only a call can build is built."""
    for (path, layer), (_, other) in zip(naming.units(model), naming.units(copy), strict=True):
        if layer.weights and not other.weights:
            with suppress(Exception):  # whatever a class of the user's own raises
                other.build_from_config(layer.get_build_config())
        yield path, layer, other


def _has_weights_to_compare(layer: Any, other: Any) -> bool:
    # What adapt() has learned is among its layer's settings, and no weight of a copy.
    return bool(other.weights) and not isinstance(layer, keras.layers.Normalization)


def _check_settings(where: str, weight: Any, copied: Any) -> None:
    for what in ("regularizer", "constraint"):
        if _config(weight, what) != _config(copied, what):
            raise AblationError(
                f"{where}: the {what} of its {weight.name} is not in its configuration, of which "
                f"copies are built. Give it to the layer: {weight.name}_{what}=…."
            )


def _config(weight: Any, what: str) -> Any:
    found = getattr(weight, what, None)
    return found and (type(found), str(found.get_config()))


def _left_out(layer: Any) -> Iterator[str]:
    """Yield what a layer of the user's own was made with, and its configuration does not have."""
    if type(layer).__module__.partition(".")[0] in ("keras", "pytest_ablation"):
        return
    config = layer.get_config()
    noted = getattr(layer, "_auto_config", None)  # private: Keras notes what a layer is made with
    for name, parameter in inspect.signature(type(layer).__init__).parameters.items():
        if name in config or name in ("self", "name", "dtype", "trainable"):
            continue
        known = noted.config if noted is not None else vars(layer)
        if name in known and not _is(known[name], parameter.default):
            yield name


def _is(value: Any, default: Any) -> bool:
    return value is default or bool(np.array_equal(value, default))


def _said(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("×".join(map(str, shape)) or "1" for shape in shapes) or "none"
