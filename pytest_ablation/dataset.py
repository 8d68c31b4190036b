"""Labelled examples, split into training and test: plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pytest_ablation import arrays, batches
from pytest_ablation.arrays import Arrays
from pytest_ablation.errors import DataError

PARTS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Labelled examples, split into training and test.

    Examples and labels are one array each or, for a network of several inputs or outputs, a dict
    of arrays by name or a tuple of arrays in order.

    Attributes:
        name: What to call the data, as in "CIFAR-10".
        x_train: Training examples, shape (n, ...). uint8 reaches the model as float32 in 0…1.
        y_train: Training labels, shape (n,) for classes, (n, ...) for any other task.
        x_test: Test examples, shape (m, ...).
        y_test: Test labels, shape (m,) for classes, (m, ...) for any other task.
        classes: Names of the classes, in the order of their labels.
        source: Where the data came from, for the report.
        stand_in: Why these are not the images asked for; empty where they are.

    Raises:
        DataError: Examples and labels differ in number, a split is empty, or something is no array.
    """

    name: str
    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    classes: tuple[str, ...] = ()
    source: str = ""
    stand_in: str = ""

    def __post_init__(self) -> None:
        for name in PARTS:
            given = arrays.checked(getattr(self, name), f"{self.name}: {name}")
            object.__setattr__(self, name, given)
        for split, x, y in (
            ("training", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            self._check(split, x, y)

    @classmethod
    def read(
        cls,
        *,
        name: str,
        train: Iterable[Any],
        test: Iterable[Any],
        classes: tuple[str, ...] = (),
        source: str = "",
    ) -> Self:
        """Return the data of batches, read once into arrays, in the order of their content.

        Args:
            name: What to call the data.
            train: Batches of training examples and labels, a pair each: a finite `tf.data.Dataset`,
                a `keras.utils.PyDataset`, or a list or other collection of known length.
            test: Batches of test examples.
            classes: Names of the classes.
            source: Where the data came from.

        Raises:
            DataError: Batches without end, with weights, or of unequal shapes.
        """
        x_train, y_train = batches.read(train, f"{name}: train")
        x_test, y_test = batches.read(test, f"{name}: test")
        return cls(
            name=name,
            x_train=x_train,
            y_train=y_train,
            x_test=x_test,
            y_test=y_test,
            classes=classes,
            source=source,
        )

    def _check(self, split: str, x: Arrays, y: Arrays) -> None:
        for things, tree in (("examples", x), ("labels", y)):
            counts = [len(array) for array in arrays.each(tree)]
            if len(set(counts)) > 1:
                raise DataError(
                    f"{self.name}: the arrays of {split} {things} differ in length: "
                    f"{', '.join(f'{count:,}' for count in counts)}."
                )
            if not counts or not counts[0]:
                raise DataError(f"{self.name}: no {split} {things}.")
        if arrays.count(x) != arrays.count(y):
            raise DataError(
                f"{self.name}: {arrays.count(x):,} {split} examples, but {arrays.count(y):,} "
                "labels."
            )

        for array in arrays.each(y):
            if array.dtype.kind in "ui" and array.dtype.itemsize >= 4 and _is_large(array):
                raise DataError(
                    f"{self.name}: {split} labels beyond 32 bits, as which whole numbers are read. "
                    'Give y_train and y_test .astype("float64").'
                )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content: shapes, dtypes and values of the arrays, and their names."""
        return arrays.digest(self.x_train, self.y_train, self.x_test, self.y_test)

    def known_as(self, fingerprint: str) -> Self:
        """Return this data with a fingerprint that was computed before; a changed copy has none."""
        self.__dict__["fingerprint"] = fingerprint
        return self


def _is_large(array: Any) -> bool:
    """Tell whether numbers are beyond what 32 bits hold."""
    return int(array.max()) >= 1 << 31 or int(array.min()) < -(1 << 31)
