"""The Keras dtype policy that a recipe says its networks are built and compiled under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from pytest_ablation.errors import AblationError

USUAL = "float32"


@contextmanager
def built_in(precision: str) -> Iterator[None]:
    """Have networks built and compiled under a dtype policy, layers within layers included."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check(precision: str) -> None:
    """See that no other policy is set than a recipe says, where that says none.

    Raises:
        AblationError: There is one: trainings would not have it.
    """
    policy = keras.config.dtype_policy().name
    if precision == USUAL != policy:
        raise AblationError(
            f'Keras\'s dtype policy is "{policy}", as keras.config.set_dtype_policy sets it, and '
            "trainings go by the recipe, which says none: write "
            f'Recipe(precision="{policy}").'
        )
