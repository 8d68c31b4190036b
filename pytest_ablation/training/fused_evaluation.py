"""Networks of several seeds evaluated at once on JAX, to what `evaluation` gives of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from pytest_ablation import arrays
from pytest_ablation.arrays import Arrays
from pytest_ablation.network import masks
from pytest_ablation.network.source import is_users
from pytest_ablation.recipe import Recipe
from pytest_ablation.training import smoothing
from pytest_ablation.training.evaluation import Measured, joined, packed, right
from pytest_ablation.training.examples import CURVE_EXAMPLES, as_label, scaled

AT_A_TIME = CURVE_EXAMPLES  # so that an epoch ends with one call


@dataclass(eq=False)
class Evaluation:
    """How networks that differ in their variables alone are evaluated.

    The network is one program and what measures its answers another, so that other numbers of
    examples are no reason to compile the network again.

    Attributes:
        model: One of them, compiled, with all the variables of its metrics.
        recipe: How they are trained.
        layers: A context in which layers are traced.
    """

    model: Any
    recipe: Recipe
    layers: Callable[[], AbstractContextManager[None]]
    _compiled: dict[int, Callable[..., Any]] = field(default_factory=dict, init=False)

    def prepared(self, variables: Any, x: Arrays) -> Callable[[], None]:
        """Return what compiles the network, in whatever thread it is called.

        Args:
            variables: As `measured` will be given.
            x: The examples that it will be given first.
        """
        part = arrays.taken(x, slice(AT_A_TIME))
        lowered = self._answers.lower(variables, part)

        def compile_it() -> None:
            self._compiled[arrays.count(part)] = lowered.compile()

        return compile_it

    def measured(self, variables: Any, x: Arrays, y: Arrays) -> list[Measured]:
        """Return what each network gives of examples in inference mode.

        Args:
            variables: The trainable ones and the others, with a first axis over the networks.
            x: The examples.
            y: Their labels.
        """
        n, networks = arrays.count(x), len(variables[0][0])
        values = [variable.value for variable in self.model.metrics_variables]
        state = [np.broadcast_to(value, (networks, *value.shape)) for value in values]
        loss: Any = np.zeros(networks)
        added: list[tuple[Any, float]] = []
        correct: list[list[Any]] = [[] for _ in range(networks)]

        def predict(some: slice) -> Any:
            part = arrays.mapped(np.ascontiguousarray, arrays.taken(x, some))
            count = arrays.count(part)
            answers, losses = self._compiled.get(count, self._answers)(variables, part)
            added.append((losses, count / n))
            return answers

        for start, stop, (answers, masked) in joined(predict, n, AT_A_TIME, axis=1):
            labels = arrays.taken(y, slice(start, stop))
            given = self._shown(arrays.taken(x, slice(start, stop))), as_label(labels)
            part, logs, state = self._scores(variables, state, (answers, masked), given)
            loss = loss + np.asarray(part) * ((stop - start) / n)
            for i, truths in enumerate(correct):
                truths.append(right(arrays.mapped(lambda a, i=i: a[i], answers), labels))
        loss = loss + sum(np.asarray(losses) * share for losses, share in added)
        logs = jax.device_get(logs) | {"loss": loss}
        return [
            ({name: float(each[i]) for name, each in logs.items()}, packed(truths))
            for i, truths in enumerate(correct)
        ]

    @cached_property
    def _answers(self) -> Any:
        """Answers and their masks, and what layers add to the loss, as a function of examples."""

        def answers(variables: Any, x: Any) -> Any:
            with self.layers(), self._with(variables, adds=True) as scope:
                given = self.model(arrays.mapped(scaled, x), training=False)
            return (given, masks.of_all(given)), jnp.asarray(sum(scope.losses), "float32")

        return jax.jit(jax.vmap(answers, in_axes=(0, None)))

    def _shown(self, x: Arrays) -> Any:
        """Return the examples that answers are measured by: of a network of the user's own."""
        return arrays.mapped(np.ascontiguousarray, x) if is_users(type(self.model)) else None

    @cached_property
    def _scores(self) -> Callable[..., Any]:
        """Loss, metrics and their state as a function of these, of answers, and what was given."""
        model, metrics = self.model, self.model.metrics_variables
        plain = smoothing.plain(self.recipe.loss) if self.recipe.label_smoothing else None

        def scores(variables: Any, state: Any, answered: Any, given: Any) -> Any:
            answers = masks.carried(*answered)
            x, y = given
            x = arrays.mapped(scaled, x) if x is not None else None
            with self._with(variables, zip(metrics, state, strict=True)) as scope:
                if plain is None:
                    loss = model._compute_loss(x, y, answers, None, training=False)
                else:
                    loss = plain(y, answers) + sum(model.losses)
                logs = model.compute_metrics(x, y, answers)
            return loss, logs, [scope.get_current_value(each) for each in metrics]

        return jax.jit(jax.vmap(scores, in_axes=(0, 0, 0, None)))

    def _with(self, variables: Any, more: Any = (), *, adds: bool = False) -> keras.StatelessScope:
        """Return a scope in which variables have one network's values."""
        trainable, others = variables[:2]
        mapping = [
            *zip(self.model.trainable_variables, trainable, strict=True),
            *zip(self.model.non_trainable_variables, others, strict=True),
            *more,
        ]
        return keras.StatelessScope(mapping, collect_losses=adds)
