"""Ready edits of a data set, for `feed_with`: functions of a Dataset that say what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_ablation import arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.errors import AblationError, did_you_mean


@dataclass(frozen=True)
class Edit:
    """An edit of a data set; called with one, it returns another.

    Attributes:
        said: What it gives, in words.
        code: How it is written.
        of: The function.
    """

    said: str
    code: str
    of: Callable[[Dataset], Dataset] = field(compare=False)

    @property
    def __name__(self) -> str:
        """What to call it, as of any function."""
        return self.said

    def __call__(self, data: Dataset) -> Dataset:
        """Return the data edited.

        Raises:
            AblationError: It has nothing to edit so.
        """
        try:
            return self.of(data)
        except AblationError as error:
            raise AblationError(f"{self.code}: {error}") from None

    def __repr__(self) -> str:
        return self.code


def without_class(name_or_index: str | int) -> Edit:
    """Leave the examples of a class out of the training; the test set stays whole.

    So all arms are measured on the same examples, those of that class among them.

    Args:
        name_or_index: Of the data's `classes`, or its label.
    """

    def edit(data: Dataset) -> Dataset:
        labels = _labels(data)
        label = _label(name_or_index, data, labels)
        kept = labels != label
        if not kept.any():
            raise AblationError("no training example is left.")
        return _trained_on(data, kept.nonzero()[0])

    said = f'"{name_or_index}"' if isinstance(name_or_index, str) else str(name_or_index)
    return Edit(f"no {said} to train on", f"without_class({name_or_index!r})", edit)


def without_channel(index: int, *, of: str = "") -> Edit:
    """Set a channel to zero, in training and test examples alike.

    Args:
        index: On the last axis: a colour of images, a column of a table.
        of: Which input's, where there are several by name.
    """
    code = f"without_channel({index}{f', of={of!r}' if of else ''})"

    def edit(data: Dataset) -> Dataset:
        changed = {name: zeroed(getattr(data, name)) for name in ("x_train", "x_test")}
        return replace(data, **changed)

    def zeroed(x: Any) -> Any:
        if isinstance(x, dict):
            if of not in x:
                raise AblationError(
                    f"which input? Write of=…, one of {', '.join(x)}." + did_you_mean(of, x)
                )
            return {**x, of: zeroed(x[of])}
        if isinstance(x, tuple):
            raise AblationError("the inputs have no names; write a function of the Dataset.")
        channels = x.shape[-1] if x.ndim > 1 else 0
        if not -channels <= index < channels:
            there = f"channels are 0…{channels - 1}" if channels else "there are no channels"
            raise AblationError(f"no such channel; {there}.")
        result = x.copy()
        result[..., index] = 0
        return result

    return Edit(f"channel {index}{f' of {of}' if of else ''} zeroed", code, edit)


def share(fraction: float) -> Edit:
    """Train on a part of the training examples, each class's share kept; the test set stays whole.

    Args:
        fraction: Above 0 and below 1.
    """
    if not 0 < fraction < 1:
        raise AblationError(f"share({fraction!r}): a fraction is above 0 and below 1.")

    def edit(data: Dataset) -> Dataset:
        from pytest_ablation.data.sample import stratified

        n = arrays.count(data.y_train)
        return _trained_on(data, stratified(data.y_train, max(1, round(n * fraction))))

    return Edit(f"{_percent(fraction)} of the training examples", f"share({fraction!r})", edit)


def shuffled_labels(fraction: float = 1.0, seed: int = 0) -> Edit:
    """Give training examples the labels of others; the test set stays as it is.

    Args:
        fraction: Share of the training examples whose labels change places among each other.
        seed: Which, and how.
    """
    if not 0 < fraction <= 1:
        raise AblationError(f"shuffled_labels({fraction!r}): a fraction is above 0, at most 1.")

    def edit(data: Dataset) -> Dataset:
        import numpy as np

        n = arrays.count(data.y_train)
        random = np.random.default_rng(seed)
        chosen = random.permutation(n)[: round(n * fraction)]
        places = np.arange(n)
        places[chosen] = random.permutation(chosen)
        return replace(data, y_train=arrays.taken(data.y_train, places))

    some = "" if fraction == 1 else f"{_percent(fraction)} of the "
    code = f"{fraction!r}" + (f", seed={seed}" if seed else "")
    return Edit(f"{some}training labels shuffled", f"shuffled_labels({code})", edit)


def _trained_on(data: Dataset, chosen: Any) -> Dataset:
    return replace(
        data,
        x_train=arrays.taken(data.x_train, chosen),
        y_train=arrays.taken(data.y_train, chosen),
    )


def _labels(data: Dataset) -> Any:
    """Return the class of each training example, shape (n,)."""
    y = data.y_train
    if not isinstance(y, dict | tuple):
        if y.ndim == 2 and y.shape[1] > 1 and (y.sum(axis=1) == 1).all() and y.max() == 1:
            return y.argmax(axis=1)
        if y.ndim == 1 or y.shape[1:] == (1,):
            return y.reshape(-1)
    raise AblationError("the labels are no classes, one an example.")


def _label(name_or_index: str | int, data: Dataset, labels: Any) -> int:
    if isinstance(name_or_index, str):
        if name_or_index not in data.classes:
            there = f" Classes: {', '.join(data.classes)}." if data.classes else ""
            unnamed = "" if data.classes else " The data names no classes; give the label."
            raise AblationError(
                f"no such class.{there}{unnamed}" + did_you_mean(name_or_index, data.classes)
            )
        name_or_index = data.classes.index(name_or_index)
    if not (labels == name_or_index).any():
        known = sorted(set(labels.tolist()))
        some = ", ".join(map(str, known[:20])) + (", …" if len(known) > 20 else "")
        raise AblationError(f"no training example of that class. Labels: {some}.")
    return name_or_index


def _percent(fraction: float) -> str:
    return "half" if fraction == 0.5 else f"{100 * fraction:g} %"
