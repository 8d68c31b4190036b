"""The Keras dtype policy that a recipe says its networks are built and compiled under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from pytest_ablation.errors import AblationError, one_line

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
    """See that Keras knows a policy, and that no other is set than a recipe says that says none.

    Raises:
        AblationError: It does not; or there is one, which trainings would not have.
    """
    try:
        keras.DTypePolicy(precision)
    except (TypeError, ValueError) as error:
        raise AblationError(f"Recipe(precision={precision!r}): {one_line(error)}") from error
    policy = keras.config.dtype_policy().name
    if precision == USUAL != policy:
        raise AblationError(
            f'Keras\'s dtype policy is "{policy}", as keras.config.set_dtype_policy sets it, and '
            "trainings go by the recipe, which says none: write "
            f'Recipe(precision="{policy}").'
        )
