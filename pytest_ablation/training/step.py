"""A training step of Keras's trainer, as a training and a duet take it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import keras

from pytest_ablation.network.precision import built_in
from pytest_ablation.network.source import is_users
from pytest_ablation.training.examples import as_step


def take(model: keras.Model, precision: str, *batch: Any) -> dict[str, Any]:
    """Take one training step on a batch, and return its logs.

    Step by step and not by `fit`, whose pipeline on TensorFlow sits idle for 5 to 60 seconds before
    it lets `fit` return.
    """
    batch = as_step(*batch)
    with built_in(precision):  # layers of the user's own may make theirs when they are called
        if model.train_function is None:
            _make_variables(model, batch)
        logs: dict[str, Any] = model.train_on_batch(*batch, return_dict=True)
    return logs


def _make_variables(model: keras.Model, batch: tuple[Any, ...]) -> None:
    """Make the variables of the optimizer and the metrics, as Keras does itself but on TensorFlow.

    TensorFlow traces a step once more whose first trace made variables, and the trace is most of
    what a short training takes. What fails here is left to the step. Networks of the user's own are
    too, since their code may count how often it is called.
    """
    if keras.backend.backend() == "tensorflow" and not is_users(type(model)):
        with suppress(Exception):
            model._symbolic_build(data_batch=batch)
