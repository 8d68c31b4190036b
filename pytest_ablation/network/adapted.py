"""What layers have learned of data by `adapt`, as settings, so that copies of them have it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
