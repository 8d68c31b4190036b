"""What Keras trains on."""

from __future__ import annotations

import keras


def sees_gpu() -> bool:
    """Tell whether Keras's backend has a GPU to train on."""
    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # JAX's answer where it has no platform of that name
        return False
