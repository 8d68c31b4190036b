"""A network as canonical JSON, and built from it with weights that a seed and names decide."""

from __future__ import annotations

import codecs
import hashlib
import json
import marshal
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from pytest_ablation.errors import AblationError
from pytest_ablation.experiment import canonical_json
from pytest_ablation.network import faithful, given, lambdas, naming
from pytest_ablation.network.adapted import told_what_was_adapted
from pytest_ablation.network.configuration import (
    deserialized,
    first_line,
    modules,
    own_functions,
    with_modules,
)
from pytest_ablation.network.source import is_keras, source_hash


def fresh(model_function: Callable[[], keras.Model]) -> keras.Model:
    """Return a newly built network whose names do not depend on what was built before it.

    Keras numbers the names it gives over the whole process: the second network built has a
    "dense_2" where the first has "dense". Here they are numbered within the network; names that
    the user gave stay. Building twice tells the two apart, and is done only where a name looks
    given by Keras and is not what a first build would give, or where the function gives weights.

    Raises:
        AblationError: The function returns no Keras model, or one without a configuration, or one
            that its configuration does not tell, or gives it other weights each time; or as of
            `lambdas.check`.
    """
    model = _called(model_function)
    names = naming.names(model)
    is_first = naming.numbered(names, given=[True] * len(names)) == [name for name, _ in names]
    if is_first and not given.of(model):
        return model
    again = _called(model_function)
    if (other := given.unlike(model, again)) is not None:
        raise AblationError(
            f'{_said_of(model_function)} gives "{other}" other weights each time it is called: no '
            "two trainings would start alike. Load them from a file, or leave them to the layer's "
            "initializer."
        )
    if is_first:
        return model
    by_keras = [old != new for old, new in zip(names, naming.names(again), strict=True)]
    renamed = dict(zip([name for name, _ in names], naming.numbered(names, by_keras), strict=True))
    result = _copied(model, renamed)
    given.carry_renamed(result, model)
    return result


def _said(shapes: Any) -> str:
    """Return shapes without the number of examples: ``(32, 32, 3)``."""
    return re.sub(r"\(None,? ?", "(", str(shapes))


def shaped(model: keras.Model, shapes: Any) -> keras.Model:
    """Return a network, built for examples where it does not say itself of which shape they are.

    Raises:
        AblationError: It cannot take examples of these shapes.
    """
    if not model.built and shapes is not None:
        try:
            model.build(shapes)
        except Exception as error:  # whatever a layer raises of what it cannot take
            raise AblationError(
                f"the network cannot take the data's examples, of shape {_said(shapes)}: "
                f"{first_line(error)}."
            ) from error
    return model


def of(model: keras.Model) -> str:
    """Return the network's configuration as canonical JSON, without weights or compilation.

    Raises:
        AblationError: A network whose configuration Keras cannot give.
    """
    check_sharing(model)
    lambdas.check(model)
    try:
        with told_what_was_adapted(model):
            config = keras.saving.serialize_keras_object(model)
    except NotImplementedError as error:
        raise without_config(model) from error
    except TypeError as error:  # of what a layer was given, as an activation that is an object
        raise AblationError(f"the network cannot be copied: {first_line(error)}.") from error
    config = with_modules(_plain(config), modules(model._flatten_layers(include_self=False)))
    config["config"]["name"] = naming.WHOLE
    return canonical_json(config)


def build(network: str, seed: int) -> keras.Model:
    """Return the network with initial weights and random masks from (seed, layer name) alone.

    Every initializer and every random layer gets a seed of its own, derived from the seed, the
    layer's name and the place in its configuration. So taking a layer out leaves the weights and
    the masks of all others as they were. A layer made of layers, as attention or one of the user's
    own, is built by itself with one seed: its configuration may not name them, and gives all of
    them the same initializers.

    Args:
        network: What `of` returned.
        seed: Any whole number from 0.
    """
    config = json.loads(network)
    keras.utils.set_random_seed(derived(seed))
    model = _deserialized(_seeded(config, seed, path=""))
    for path, layer in _composed(model):
        if layer.weights:
            _initialise(layer, derived(seed, path))
    return model


def check_sharing(model: keras.Model) -> None:
    """Refuse a layer that stands in two networks within the network, or in it and in one of them.

    Keras's configuration has it once for each, and a network built of it would not share it.

    Raises:
        AblationError: There is such a layer.
    """
    paths: dict[int, str] = {}
    for path, layer in naming.layers(model):
        other = paths.setdefault(id(layer), path)
        if other != path and not isinstance(layer, keras.layers.InputLayer):
            raise AblationError(
                f'the layer "{layer.name}" is in two networks, as "{other}" and as "{path}": a '
                "copy of the network would have it twice, and not share it. Put the calls of it "
                "into one network."
            )


def without_config(model: keras.Model) -> AblationError:
    """Return what to say of a network whose configuration Keras cannot give."""
    for path, layer in naming.layers(model):
        try:
            if not naming.is_graph(layer):
                layer.get_config()
        except NotImplementedError:
            return AblationError(
                f'{type(layer).__name__} "{path}" gives no configuration, so the network cannot be '
                "copied or edited. Give the class a get_config that returns what __init__ takes."
            )
    return AblationError(
        f"{type(model).__name__} gives no configuration (get_config), so it cannot be copied "
        "or edited. Write the network as a Sequential or Functional model."
    )


def summary(model: keras.Model) -> str:
    """Return the network's layers, output shapes and parameters, as Keras prints them."""
    lines: list[str] = []
    model.summary(line_length=80, print_fn=lines.append)
    return "\n".join(lines)


def sources(network: keras.Model) -> dict[str, str]:
    """Return the hash of the source of each class and function that is not Keras's own."""
    layers = network._flatten_layers()
    classes = {type(layer) for layer in layers} | {
        type(value)  # as an initializer, a regularizer or a constraint
        for layer in layers
        for value in vars(layer).values()
        if hasattr(type(value), "get_config")
    }
    own: list[Any] = [*own_functions(layers), *(each for each in classes if not is_keras(each))]
    return {f"{each.__module__}:{each.__qualname__}": source_hash(each) for each in own}


def derived(seed: int, *path: str) -> int:
    """Return a seed in 0…2³¹−1 that differs, and looks random, for each seed and path."""
    digest = hashlib.sha256("/".join([str(seed), *path]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


# -------------------------------------------------------------------------------------- layers


def _called(model_function: Callable[[], keras.Model]) -> keras.Model:
    with given.noted() as notes:
        model = model_function()
    if not isinstance(model, keras.Model):
        raise AblationError(
            f"{_said_of(model_function)} returned {type(model).__name__}; return a Keras model."
        )
    check_sharing(model)
    if not given.is_known(model):
        given.remember(model, notes)
        with given.noted() as notes:
            copy = _copied(model)
        faithful.check(model, copy)
        given.leave_out(model, copy, notes)
    return model


def _copied(model: keras.Model, renamed: Mapping[str, str] | None = None) -> keras.Model:
    """Return a copy built of a network's configuration, with other names where some are given."""
    # Of a script's own classes Keras does not write where they are.
    own = {type(each).__name__: type(each) for each in model._flatten_layers()}
    with keras.saving.custom_object_scope({n: k for n, k in own.items() if not is_keras(k)}):
        return _deserialized(naming.with_names(json.loads(of(model)), renamed or {}))


def _said_of(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', repr(function))}()"


def _composed(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield the layers that are the user's own or have layers of their own, each once."""
    known: set[int] = set()
    for path, layer in naming.layers(model):
        is_one = not naming.is_graph(layer) and (layer._layers or not is_keras(type(layer)))
        if is_one and id(layer) not in known:
            known.add(id(layer))
            yield path, layer


# --------------------------------------------------------------------------------------- seeds


def _seeded(config: Any, seed: int, path: str) -> Any:
    """Return the configuration with every "seed" in it derived from the seed and its place."""
    if isinstance(config, list):
        return [_seeded(value, seed, f"{path}/{i}") for i, value in enumerate(config)]
    if not isinstance(config, dict):
        return config
    if "class_name" in config and isinstance(inner := config.get("config"), dict):
        # A layer's name takes the place of its position, so that taking one out moves no other.
        path = path.rpartition("/")[0] + "/" + str(inner.get("name", config["class_name"]))
    return {
        key: derived(seed, path, str(value))
        if key == "seed" and (value is None or isinstance(value, int))
        else _seeded(value, seed, f"{path}/{key}")
        for key, value in config.items()
    }


def _initialise(layer: keras.layers.Layer, seed: int) -> None:
    """Give a layer the weights and random state that a copy of it, built after seeding, has."""
    config = keras.saving.serialize_keras_object(layer)
    config.pop("build_config", None)
    keras.utils.set_random_seed(seed)
    copy = deserialized(_unseeded(config))
    arguments = layer._inbound_nodes[0].arguments
    args, kwargs = keras.tree.map_structure(_given_as, (arguments.args, arguments.kwargs))
    copy(*args, **kwargs)  # some build the layers in them only when they are called
    for variable, value in zip(layer.variables, copy.variables, strict=True):
        variable.assign(value)


def _given_as(value: Any) -> Any:
    """Return an input like a tensor without a value."""
    if not isinstance(value, keras.KerasTensor):
        return value
    return keras.Input(batch_shape=value.shape, dtype=value.dtype)


def _unseeded(config: Any) -> Any:
    """Return the configuration with every "seed" in it left to chance."""
    if isinstance(config, list):
        return [_unseeded(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {
        key: None if key == "seed" and isinstance(value, int) else _unseeded(value)
        for key, value in config.items()
    }


def _deserialized(config: dict[str, Any]) -> keras.Model:
    try:
        return deserialized(config)
    except (TypeError, ValueError, ImportError) as error:
        raise AblationError(
            f"the network cannot be rebuilt from its configuration: {first_line(error)}. Layers "
            "and functions of your own must stand at the top level of a module, and give their "
            "settings by get_config."
        ) from error


def _plain(config: Any) -> Any:
    """Return the configuration without what only tells of this one build of the network."""
    if isinstance(config, list | tuple):
        return [_plain(value) for value in config]
    if not isinstance(config, dict):
        return config
    result = {
        key: _plain(value)
        for key, value in config.items()
        if key not in ("build_config", "compile_config")
    }
    if result.get("class_name") == "__lambda__" and "code" in result["config"]:
        result["config"]["code"] = _plain_code(result["config"]["code"])
    if naming.is_chain(result):
        for layer in result["config"]["layers"]:
            if layer["class_name"] == "InputLayer":
                layer["config"]["name"] = "input"
    return result


def _plain_code(code: str) -> str:
    """Return a function's code as Keras writes it, without what tells how often parts are held."""
    held = marshal.loads(codecs.decode(code.encode(), "base64"))  # noqa: S302 # the user's own
    return codecs.encode(marshal.dumps(held, 2), "base64").decode()
