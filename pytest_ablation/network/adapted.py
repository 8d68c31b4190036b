"""What layers have learned of data by `adapt`, as settings, so that copies of them have it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.layers.preprocessing.index_lookup import IndexLookup  # private: what lookups share

from pytest_ablation.errors import AblationError


@contextmanager
def told_what_was_adapted(layer: Any) -> Iterator[None]:
    """Have a layer, and those in it, say as settings what ``adapt`` has learned from data.

    Keras says those of its settings that were given: a copy would have none of the statistics.

    Raises:
        AblationError: Frequencies of words, which cannot be told.
    """
    adapted = [
        (each, names, learned(each))
        for each in (layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else ())
        for kind, names, learned in _ADAPTED
        if isinstance(each, kind) and getattr(each, names[0]) is None
    ]
    try:
        for each, names, values in adapted:
            for name, value in zip(names, values, strict=True):
                setattr(each, name, value)
        yield
    finally:
        for each, names, _ in adapted:
            for name in names:
                setattr(each, name, None)


def check(layer: Any, own: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """See that no setting is changed by which ``adapt`` has learned what stays as it is.

    Args:
        layer: The layer whose settings are changed.
        own: Its settings, with what it has learned.
        changed: Those that are to be others.

    Raises:
        AblationError: One is, and what was learned is not given anew.
    """
    for kind, learned, by in _LEARNED_BY:
        name = next((name for name in changed if name in by and changed[name] != own[name]), "")
        if name and isinstance(layer, kind) and own.get(learned) and learned not in changed:
            raise AblationError(
                f'{type(layer).__name__} "{layer.name}" has its {learned} from adapt(), or was '
                f"given it, and would keep it whatever its {name}: it is learned of data with that "
                f"{name}. Write the network that adapts so as a function: use(that_function). Or "
                f"give {learned}= too."
            )


def _moments(layer: Any) -> tuple[Any, Any]:
    if not layer.built:
        return None, None
    shape = layer.adapt_mean.shape
    mean, variance = (
        np.reshape(keras.ops.convert_to_numpy(each), shape) for each in (layer.mean, layer.variance)
    )
    is_adapted = mean.any() or (variance != 1).any()
    return (mean, variance) if is_adapted else (None, None)


def _words(layer: Any) -> tuple[Any]:
    words = layer.get_vocabulary(include_special_tokens=False)
    if words and layer.output_mode == "tf_idf":
        raise AblationError(
            "how often words are, which adapt() has learned, would be lost in a copy of the "
            "network: give the layer of output_mode tf_idf its vocabulary= and idf_weights=."
        )
    return (words or None,)


# Layers that learn of data before training: what they are told instead, and what they have learned.
_ADAPTED: tuple[tuple[Any, tuple[str, ...], Callable[[Any], tuple[Any, ...]]], ...] = (
    (keras.layers.Normalization, ("input_mean", "input_variance"), _moments),
    (IndexLookup, ("input_vocabulary",), _words),
)

# What layers have learned of data, and by which of their settings.
_LEARNED_BY: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (keras.layers.Discretization, "bin_boundaries", ("num_bins", "epsilon")),
    (
        keras.layers.TextVectorization,
        "vocabulary",
        ("max_tokens", "standardize", "split", "ngrams"),
    ),
    (IndexLookup, "vocabulary", ("max_tokens",)),
)
