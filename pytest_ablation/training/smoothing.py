"""Label smoothing: a crossentropy that gives a share of each label to all classes alike."""

from __future__ import annotations

from typing import Any

import keras
from keras import losses, ops

from pytest_ablation.errors import AblationError
from pytest_ablation.training.evaluation import overrides

KINDS = (
    losses.CategoricalCrossentropy,
    losses.BinaryCrossentropy,
    losses.SparseCategoricalCrossentropy,
)


def check(model: keras.Model) -> None:
    """See that a network leaves its loss to the recipe: one of its own is measured as it is.

    Raises:
        AblationError: It does not.
    """
    for method in ("compute_loss", "test_step"):
        if overrides(type(model), method):
            raise AblationError(
                f"Recipe(label_smoothing=…): not together with {type(model).__name__}.{method}, by "
                "which the network measures its loss itself. Smooth the labels there, or in the "
                "loss: keras.losses.CategoricalCrossentropy(label_smoothing=…)."
            )


def smoothed(loss: Any, share: float) -> keras.losses.Loss:
    """Return a loss with its labels smoothed.

    Args:
        loss: As a recipe has it.
        share: Share of a label that all classes get alike.

    Raises:
        AblationError: The loss knows no smoothing.
    """
    kind, config = _known(loss)
    if kind is not losses.SparseCategoricalCrossentropy:
        return kind.from_config({**config, "label_smoothing": share})
    if config.get("ignore_class") is not None:
        raise AblationError(
            f"Recipe(label_smoothing={share:g}): not together with the loss's ignore_class."
        )
    return _SmoothedSparse(share, from_logits=config["from_logits"])


def plain(loss: Any) -> keras.losses.Loss:
    """Return a loss of the labels as they are."""
    kind, config = _known(loss)
    return kind.from_config(config | dict.fromkeys({"label_smoothing"} & config.keys(), 0.0))


class _SmoothedSparse(losses.Loss):  # type: ignore[misc] # Keras is Any to mypy
    """Keras's sparse crossentropy knows no smoothing: numbered classes are made one-hot here."""

    def __init__(self, share: float, *, from_logits: bool) -> None:
        super().__init__(name="sparse_categorical_crossentropy")
        self._share, self._from_logits = share, from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example."""
        if len(y_true.shape) == len(y_pred.shape):
            y_true = ops.squeeze(y_true, axis=-1)
        labels = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        return losses.categorical_crossentropy(
            labels, y_pred, from_logits=self._from_logits, label_smoothing=self._share
        )


def _known(loss: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class and the settings of a crossentropy, however it is written."""
    found = loss if isinstance(loss, dict | list | tuple) else losses.get(loss)
    for kind in KINDS:
        if isinstance(found, kind):
            return kind, found.get_config()
        if found is losses.get(kind().name):
            return kind, kind().get_config()
    name = getattr(found, "name", None) or getattr(found, "__name__", type(found).__name__)
    raise AblationError(
        f"Recipe(label_smoothing=…): the loss {name} knows no label smoothing. Losses that do: "
        f"{', '.join(kind().name for kind in KINDS)}, of one output."
    )
