"""Weights that a model function gives its network, as those of an earlier training.

Where nobody says otherwise the seed decides what a training starts from. A function that loads
weights, sets them, or returns a network that was there before it was called, means these: they are
noted while it is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import keras
from keras.src.backend.common.stateless_scope import (
    in_stateless_scope,
)  # private: nothing else asks
from numpy.typing import NDArray

from pytest_ablation.network import naming


@dataclass(frozen=True)
class Weights:
    """What one layer starts from.

    Attributes:
        values: Those of its weights that are given, by their places.
        built: For what the layer was built, where it is a network that is no graph of layers: a
            copy of it has no weights before it is.
    """

    values: Mapping[int, NDArray[Any]]
    built: Any = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the values."""
        result = hashlib.sha256()
        for place, array in self.values.items():
            result.update(f"{place} {array.dtype.name} {array.shape} ".encode())
            result.update(array.tobytes())
        return result.hexdigest()

    @property
    def count(self) -> int:
        """How many numbers are given."""
        return sum(array.size for array in self.values.values())


Given: TypeAlias = Mapping[str, Weights]  # by the layer's path: "encoder/conv1"

_GIVEN: WeakKeyDictionary[keras.Model, Given] = WeakKeyDictionary()


@dataclass
class Notes:
    """What happened to variables while a function was called.

    Attributes:
        made: Those that were made meanwhile, by their identity.
        assigned: Those that were given a value, with it.
    """

    made: dict[int, Any] = field(default_factory=dict)
    assigned: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def value(self, variable: Any, *, is_trained: bool) -> Any:
        """Return the value that a variable was given; None where an initializer decides it.

        Training changes variables in ways that assign nothing.
        """
        if id(variable) in self.made and id(variable) not in self.assigned and not is_trained:
            return None
        value = variable
        if in_stateless_scope() and id(variable) in self.assigned:
            value = self.assigned[id(variable)][1]
        return keras.ops.convert_to_numpy(value)


@contextmanager
def noted() -> Iterator[Notes]:
    """Note what happens to variables. Keras has no hook for it: their class is asked to tell."""
    notes, kind = Notes(), keras.Variable
    make, assign = kind.__init__, kind.assign

    def made(variable: Any, *args: Any, **kwargs: Any) -> None:
        make(variable, *args, **kwargs)
        notes.made[id(variable)] = variable

    def assigned(variable: Any, value: Any) -> Any:
        result = assign(variable, value)
        notes.assigned[id(variable)] = variable, result
        return result

    own = {name: vars(kind)[name] for name in ("__init__", "assign") if name in vars(kind)}
    kind.__init__, kind.assign = made, assigned
    try:
        yield notes
    finally:
        del kind.__init__, kind.assign
        for name, function in own.items():
            setattr(kind, name, function)


def of(model: keras.Model) -> Given:
    """Return the weights that a network's function gave it; of most networks none."""
    return _GIVEN.get(model, {})


def is_known(model: keras.Model) -> bool:
    """Tell whether it is known what a network starts from: of an edited one it is."""
    return model in _GIVEN


def remember(model: keras.Model, notes: Notes) -> None:
    """Keep what a function gave its network."""
    optimizer, found = getattr(model, "optimizer", None), {}
    is_trained = optimizer is not None and int(optimizer.iterations) > 0
    for path, layer in naming.units(model):
        told = [notes.value(each, is_trained=is_trained) for each in layer.weights]
        values = {place: value for place, value in enumerate(told) if value is not None}
        # What adapt() has learned is among the layer's settings.
        if values and not isinstance(layer, keras.layers.Normalization):
            built = None if path else layer.get_build_config()
            found[path] = Weights(values, built)
    _GIVEN[model] = found


def leave_out(model: keras.Model, copy: keras.Model, notes: Notes) -> None:
    """Leave out what a copy of a network, built of its configuration, has been given likewise.

    A layer that sets its weights when it is built does so in each copy, by the training's seed.
    """
    copies, left = dict(naming.units(copy)), {}
    for path, weights in of(model).items():
        own = {
            place for place, each in enumerate(copies[path].weights) if id(each) in notes.assigned
        }
        values = {place: each for place, each in weights.values.items() if place not in own}
        if values:
            left[path] = replace(weights, values=values)
    _GIVEN[model] = left


def carry(model: keras.Model, source: keras.Model) -> None:
    """Have a network start from weights that the one of which it was made was given.

    A layer does where its path, class, shapes and initializers are those of the layer that had
    them: who gives it another initializer means that.
    """
    given = of(source)
    if not given:
        _GIVEN[model] = {}
        return
    had, layers = dict(naming.units(source)), dict(naming.units(model))
    _GIVEN[model] = {
        path: weights
        for path, weights in given.items()
        if path in layers and _beginning(layers[path]) == _beginning(had[path])
    }


def carry_renamed(model: keras.Model, before: keras.Model) -> None:
    """Have a network start from the weights of one that differs from it in names alone."""
    given = of(before)
    paths = zip(naming.units(before), naming.units(model), strict=True)
    _GIVEN[model] = {new: given[old] for (old, _), (new, _) in paths if old in given}


def start(model: keras.Model, given: Given) -> None:
    """Put a network where its training starts."""
    layers = dict(naming.units(model))
    for path, weights in given.items():
        if weights.built and not layers[path].built:
            layers[path].build_from_config(weights.built)
        variables = layers[path].weights
        for place, value in weights.values.items():
            variables[place].assign(value)


def fingerprint(given: Given) -> str:
    """Return the SHA-256 of weights and where they belong; empty of none."""
    if not given:
        return ""
    told = "".join(f"{path} {given[path].digest} " for path in sorted(given))
    return hashlib.sha256(told.encode()).hexdigest()


def said(given: Given) -> list[str]:
    """Return a line that says what is given, of most networks none."""
    if not given:
        return []
    count = sum(each.count for each in given.values())
    names = [path for path in given if path]
    layers = f" of {len(names)} layer{'s' if len(names) > 1 else ''}" if names else ""
    return [f" Starts from given weights{layers}: {count:,} numbers"]


def unlike(model: keras.Model, other: keras.Model) -> str | None:
    """Return the path of a layer from which two networks of one function start otherwise."""
    mine, others = of(model), of(other)
    digests = [[each.digest for each in given.values()] for given in (mine, others)]
    if digests[0] == digests[1]:
        return None
    pairs = zip(mine, *digests, strict=False)
    return next(
        (path for path, one, another in pairs if one != another), next(iter(mine or others))
    )


def _beginning(layer: Any) -> tuple[Any, ...]:
    """Return what two layers have in common that may start from the same weights."""
    initializers = [
        setting for setting in layer.get_config().items() if setting[0].endswith("_initializer")
    ]
    return type(layer), [tuple(variable.shape) for variable in layer.weights], initializers
