"""What an earlier version of this plugin computed wrongly: its runs of such trials are not used."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.layers.preprocessing.image_preprocessing.base_image_preprocessing_layer import (
    BaseImagePreprocessingLayer,  # private: what layers that augment share
)

from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import CORRECTED
from pytest_ablation.network import masks
from pytest_ablation.network.precision import USUAL
from pytest_ablation.network.source import is_keras
from pytest_ablation.recipe import REGRESSIONS, Recipe
from pytest_ablation.training.evaluation import own_state
from pytest_ablation.training.recipe import averages


def corrected(recipe: Recipe, model: Any, data: Dataset) -> dict[str, str]:
    """Return what was corrected of such a training, to be among its trial's versions; else none."""
    optimizer, labels = recipe.optimizer, data.y_train
    is_number = isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "ui"
    layers = model._flatten_layers()
    has_own = not all(is_keras(type(layer)) for layer in layers)
    found = {
        "average of weights": not isinstance(optimizer, str | dict) and averages(optimizer),
        "masked answers": any(map(masks.makes_one, model._flatten_layers(include_self=False))),
        "sample of numbers": is_number and recipe.loss in REGRESSIONS,
        "state after evaluation": any(map(_moves_when_evaluated, layers)),
        "precision": recipe.precision == "mixed_float16" or (recipe.precision != USUAL and has_own),
    }
    said = ", ".join(name for name, is_so in found.items() if is_so)
    return {CORRECTED: said} if said else {}


def _moves_when_evaluated(layer: Any) -> bool:
    """Tell whether a layer may count, or draw random numbers, when it is called in inference.

    Of Keras's own recurrent cells with dropout do, and some that augment.
    """
    if not is_keras(type(layer)):
        return bool(own_state(layer))
    drops = any(getattr(layer, name, 0) for name in ("dropout", "recurrent_dropout"))
    return isinstance(layer, BaseImagePreprocessingLayer) or (
        drops and hasattr(layer, "get_dropout_mask")
    )
