"""Whether a copy of a network, built of its configuration, is that network.

Each training builds one. What a function does to its network after that is made, Keras's
configuration may not say: a copy would be another network, and nobody would notice.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from pytest_ablation.errors import AblationError
from pytest_ablation.network import naming
from pytest_ablation.network.source import is_users

PARTS = (keras.Initializer, keras.Regularizer, keras.constraints.Constraint)
_NONE = inspect.Parameter.empty
_UNTOLD = object()
_OF_EACH = ("name", "seed")  # which no two layers share


def check(model: keras.Model, copy: keras.Model) -> None:
    """See that a copy has the weights of a network, and trains the same of them.

    Raises:
        AblationError: It does not; names the layer, and says what to write instead.
    """
    _check_compile(model)
    pairs = list(_pairs(model, copy))
    trained = [{id(each) for each in network.trainable_variables} for network in (model, copy)]
    owners: list[dict[int, str]] = [{}, {}]
    for path, layer, other in pairs:
        where = f'"{path}"' if path else type(layer).__name__
        check_told(layer, where)
        _check_attributes(where, layer, other)
        # What adapt() has learned is among its layer's settings, and no weight of a copy.
        if not other.weights or isinstance(layer, keras.layers.Normalization):
            continue
        _check_shapes(where, layer.weights, other.weights)
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
            _check_trained(where, weight, id(weight) in trained[0], id(copied) in trained[1])
            _check_settings(where, weight, copied)


def check_told(thing: Any, where: str) -> None:
    """See that a layer tells in its configuration what it was made with, and so does what it has.

    Args:
        thing: The layer; or an initializer, a regularizer or a constraint.
        where: What to call it in a message.

    Raises:
        AblationError: It leaves something out.
    """
    for each in (thing, *_parts(thing)):
        with suppress(NotImplementedError):  # said where the configuration is needed
            if name := next(left_out(each, each.get_config(), untold=False), ""):
                raise AblationError(
                    f"{where}: {type(each).__name__}.get_config() leaves out {name}, and a copy "
                    "would have its default."
                )


def _parts(thing: Any) -> Iterator[Any]:
    """Yield what a layer was given that its configuration has configurations of.

    What a layer of the user's own makes by itself, a copy makes likewise.
    """
    if not isinstance(thing, keras.layers.Layer):
        return
    has = vars(thing)
    if is_users(type(thing)):
        has = {name: has.get(name) for name in inspect.signature(type(thing)).parameters}
    for value in has.values():
        if isinstance(value, PARTS):
            yield value
    for layer in () if is_users(type(thing)) or isinstance(thing, keras.Model) else thing._layers:
        yield layer
        yield from _parts(layer)


def _check_compile(model: keras.Model) -> None:
    """Refuse what a training cannot give: it compiles the network as the recipe says."""
    given, usual = (
        inspect.signature(kind.compile).parameters for kind in (type(model), keras.Model)
    )
    for name, parameter in given.items():
        is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if is_named and name not in usual and (parameter.default is _NONE or model.compiled):
            raise AblationError(
                f"{type(model).__name__}.compile() takes {name}, and a training gives it what the "
                "recipe says alone: optimizer, loss, metrics and loss_weights. Have the network "
                f"take {name} in its __init__, and give it in get_config()."
            )


def _pairs(model: keras.Model, copy: keras.Model) -> Iterator[tuple[str, Any, Any]]:
    """Yield each layer with its path, and the copy's; one that only a call can build is built."""
    for (path, layer), (_, other) in zip(naming.units(model), naming.units(copy), strict=True):
        if layer.weights and not other.weights:
            with suppress(Exception):  # whatever a class of the user's own raises
                other.build_from_config(layer.get_build_config())
        yield path, layer, other


def _check_attributes(where: str, layer: Any, other: Any) -> None:
    """See that what was set on a layer of the user's own is set on a copy.

    Where both are built, since building sets some; Keras's own layers tell theirs.
    """
    if not is_users(type(layer)) or layer.built != other.built:
        return
    theirs = vars(other)
    for name, value in vars(layer).items():
        if name.startswith("_") or name in _OF_EACH or not _is_plain(value):
            continue
        copied = theirs.get(name, "not set")
        if name not in theirs or (_is_plain(copied) and repr(value) != repr(copied)):
            raise AblationError(
                f"{where}: its {name} is {value!r}, and in a copy, built of its configuration, it "
                f"is {copied}. Take it in __init__, and give it in get_config()."
            )


def _is_plain(value: Any) -> bool:
    """Tell whether a value is a number, a text, or a sequence of them."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str | np.number)


def _check_shapes(where: str, weights: Sequence[Any], copies: Sequence[Any]) -> None:
    shapes, others = ([tuple(each.shape) for each in of] for of in (weights, copies))
    if shapes != others:
        raise AblationError(
            f"{where} has weights of the shapes {_said(shapes)}, and a copy of it, built of its "
            f"configuration, {_said(others)}: what was done to it after it was made is not told "
            "there."
        )


def _check_trained(where: str, weight: Any, is_trained: bool, in_a_copy: bool) -> None:
    if is_trained != in_a_copy:
        here, there = ("", " not") if is_trained else ("not ", "")
        raise AblationError(
            f"{where}: its {weight.name} is {here}trained, and in a copy, built of its "
            f"configuration, it is{there}. Freeze whole layers of the network (layer.trainable = "
            "False); what is within a layer of your own, in its __init__."
        )


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


def left_out(thing: Any, config: Any, *, untold: bool) -> Iterator[str]:
    """Yield what a thing of the user's own was made with, and its configuration does not have.

    Args:
        thing: A layer, loss, metric or optimizer.
        config: What its get_config gives.
        untold: Whether what the thing itself does not tell, as an attribute of the name, counts.
    """
    # Of Keras's own, Identity does not tell its gain.
    is_complete = not is_users(type(thing)) and not isinstance(thing, keras.Initializer)
    if is_complete or not isinstance(config, dict):
        return
    noted = getattr(thing, "_auto_config", None)  # private: Keras notes what a layer is made with
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if not is_named or name in config or name == "dtype":  # which Keras's losses leave out too
            continue
        otherwise = _UNTOLD if untold else parameter.default
        if noted is not None:
            value = noted.config.get(name, otherwise)
        else:
            value = getattr(thing, name, getattr(thing, f"_{name}", otherwise))
        if not (value is parameter.default or np.array_equal(value, parameter.default)):
            yield name


def _said(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("×".join(map(str, shape)) or "1" for shape in shapes) or "none"
