"""Programs that XLA compiles with options of its own, some of which not every version has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

Options: TypeAlias = Mapping[str, bool | str]


def compiled(lowered: Any, options: Options) -> Any:
    """Compile a program with those of some options that are known here.

    Args:
        lowered: The program, as `jax.jit(…).lower` gives it.
        options: XLA's names of them, and their values.
    """
    # To ask before whether all are known would be a program more: 0.2 s of a GPU.
    try:
        return lowered.compile(dict(options))
    except jax.errors.JaxRuntimeError as error:
        if "compile option" not in str(error):
            raise
    known = {name: value for name, value in options.items() if _is_known(name, value)}
    return lowered.compile(known)


@cache
def _is_known(name: str, value: bool | str) -> bool:
    try:
        jax.jit(jnp.negative).lower(0).compile({name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
