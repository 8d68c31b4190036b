"""Keras layers that change the training examples of a step, with random numbers of that step.

The network's own step stays what it is without them: they are applied before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError
from pytest_ablation.network import configuration, faithful, naming
from pytest_ablation.network.blueprint import derived

MIXING = (layers.MixUp, layers.CutMix)  # which change the labels along with the images

Augment = Callable[[int, Any, Any], tuple[Any, Any]]


def serialized(augmentation: Sequence[keras.layers.Layer]) -> list[dict[str, Any]]:
    """Return the layers' configurations, named by their places and without seeds."""
    configs = []
    for layer, name in zip(augmentation, _names(augmentation), strict=True):
        faithful.check_told(layer, "Recipe(augmentation=…)")
        config = keras.saving.serialize_keras_object(layer)
        config["config"]["name"] = name
        config.pop("build_config", None)
        configs.append(_without_seeds(config))
    return configs


def deserialized(configs: Sequence[dict[str, Any]]) -> tuple[keras.layers.Layer, ...]:
    """Return the layers of configurations."""
    return tuple(configuration.deserialized(config) for config in configs)


def check(augmentation: Sequence[keras.layers.Layer], data: Dataset) -> None:
    """See that the layers suit the data.

    Raises:
        AblationError: They do not.
    """
    x, y = data.x_train, data.y_train
    if augmentation and not isinstance(x, np.ndarray):
        raise AblationError("Recipe(augmentation=…): the data has several inputs; one is changed.")
    for layer in augmentation:
        name, config = type(layer).__name__, layer.get_config()
        most = max(config.get("value_range") or [0])
        if x.dtype == np.uint8 and most > 1:
            raise AblationError(
                f"Recipe(augmentation={name} …): its value_range ends at {most:g}, and images of "
                f"bytes come in 0…1. Write {name}(…, value_range=(0, 1))."
            )
        if isinstance(layer, MIXING) and not (isinstance(y, np.ndarray) and y.ndim == 2):
            raise AblationError(
                f"Recipe(augmentation={name} …): it mixes labels, which takes them one-hot, "
                "as keras.utils.to_categorical gives them, and a categorical_crossentropy."
            )


def of(augmentation: Sequence[keras.layers.Layer], seed: int) -> Augment:
    """Return what changes the examples of a step: given its number, examples and labels."""
    if not augmentation:
        return lambda step, x, y: (x, y)
    model = Augmenting(augmentation)
    model.compile()

    def augment(step: int, x: Any, y: Any) -> tuple[Any, Any]:
        for variable, state in zip(model.states, model.drawn(seed, step), strict=True):
            variable.assign(state)
        return model.changed(x, y, model.predict_on_batch)

    return augment


class Augmenting(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """Applies layers as in training; a model, so that the backend compiles them.

    A layer's random numbers come from the seed, its kind and place among its kind, and the step:
    another layer more or less does not change them, and nothing has to be kept from step to step.
    Of labels that are images like the examples, as those of each pixel, the places move along.

    Attributes:
        states: The variables that random numbers come from.
    """

    def __init__(self, augmentation: Sequence[keras.layers.Layer]) -> None:
        super().__init__(name="augmentation")
        self.augmentation = list(augmentation)
        self._mixes = any(isinstance(layer, MIXING) for layer in augmentation)
        named = {
            f"{name}/{i}": variable
            for layer, name in zip(augmentation, _names(augmentation), strict=True)
            for i, variable in enumerate(layer.variables)
            if variable.name == "seed_generator_state"
        }
        self._paths, self.states = tuple(named), tuple(named.values())

    def drawn(self, seed: int, step: int) -> list[NDArray[Any]]:
        """Return what `states` are to be for a step."""
        firsts = [derived(seed, "augmentation", path, str(step)) for path in self._paths]
        return [
            np.array([first, 0], dtype=variable.dtype)
            for first, variable in zip(firsts, self.states, strict=True)
        ]

    def changed(self, x: Any, y: Any, compute: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Return examples and labels changed by random numbers from `states` as they are.

        Args:
            x: Examples, as the network takes them.
            y: Their labels.
            compute: Calls this model.
        """
        batch = {"images": x}
        is_masks = x.ndim == 4 and y.ndim in (3, 4) and y.shape[1:3] == x.shape[1:3]
        if is_masks:
            batch["segmentation_masks"] = y if y.ndim == 4 else y[..., None]
        elif self._mixes:
            batch["labels"] = y.astype(np.float32)
        changed = compute(batch)
        _check_shape(self.augmentation, x, changed["images"])
        if is_masks:
            y = changed["segmentation_masks"].reshape(y.shape).astype(y.dtype)
        elif self._mixes:
            y = changed["labels"]
        return changed["images"], y

    def call(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return images, and masks or labels, changed alike."""
        for layer in self.augmentation:
            if len(batch) > 1 and hasattr(layer, "transform_images"):
                batch = layer(batch, training=True)
            else:
                batch = {**batch, "images": layer(batch["images"], training=True)}
        return batch


def _check_shape(augmentation: Sequence[keras.layers.Layer], x: Any, changed: Any) -> None:
    if changed.shape != x.shape:
        names = ", ".join(type(layer).__name__ for layer in augmentation)
        raise AblationError(
            f"Recipe(augmentation={names}): examples of shape {x.shape[1:]} become "
            f"{changed.shape[1:]}, and those of the test set stay. Keep the shape."
        )


def _names(augmentation: Sequence[keras.layers.Layer]) -> list[str]:
    """Return a name for each layer: its kind, and which of that kind it is."""
    kinds = [naming.keras_name(type(layer).__name__) for layer in augmentation]
    return [f"{kind}_{kinds[: i + 1].count(kind)}" for i, kind in enumerate(kinds)]


def _without_seeds(config: Any) -> Any:
    if isinstance(config, list):
        return [_without_seeds(each) for each in config]
    if not isinstance(config, dict):
        return config
    return {name: None if name == "seed" else _without_seeds(each) for name, each in config.items()}
