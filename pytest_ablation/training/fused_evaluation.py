"""Networks of several seeds evaluated at once on JAX, to what `evaluation` gives of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import keras
import numpy as np

from pytest_ablation import arrays
from pytest_ablation.arrays import Arrays
from pytest_ablation.network import masks
from pytest_ablation.network.source import is_users
from pytest_ablation.recipe import Recipe
from pytest_ablation.training import smoothing, xla
from pytest_ablation.training.evaluation import Measured, fit_together, joined, packed, right
from pytest_ablation.training.examples import as_label, scaled

OPTIONS: xla.Options = {
    # Kernels for products that it would write itself, and try for a second or two while it compiles
    # the steps: a network's examples were not evaluated faster by them.
    "xla_gpu_enable_triton_gemm": False,
}

Kind: TypeAlias = tuple[tuple[tuple[int, ...], str], ...]


@dataclass(eq=False)
class Evaluation:
    """How networks that differ in their variables alone are evaluated.

    The network is one program and what measures its answers another, so that other numbers of
    examples are no reason to compile the network again.

    Attributes:
        model: One of them, compiled, with all the variables of its metrics.
        recipe: How they are trained.
        layers: A context in which layers are traced.
        at_a_time: How many examples are answered together.
    """

    model: Any
    recipe: Recipe
    layers: Callable[[], AbstractContextManager[None]]
    at_a_time: int
    _answering: dict[Kind, Callable[..., Any]] = field(default_factory=dict, init=False)
    _scoring: dict[Kind, Callable[..., Any]] = field(default_factory=dict, init=False)

    def prepared(
        self, variables: Any, *examples: tuple[Arrays, Arrays]
    ) -> list[Callable[[], None]]:
        """Return what compiles all that some examples need, each in whatever thread it is called.

        Args:
            variables: As `begun` will be given.
            examples: What will be measured together, and its labels.
        """
        state = self._metrics_of(_count(variables))
        answers, scores = {}, {}
        for x, y in examples:
            n, part = arrays.count(x), arrays.taken(x, slice(self.at_a_time))
            kind = _kind(part)
            if kind not in answers:
                answers[kind] = self._answers.lower(variables, part)
            answered, _ = answers[kind].out_info
            if fit_together(jax.tree.leaves(answered), math.ceil(n / self.at_a_time)):
                answered = jax.tree.map(partial(_specified, n), answered)
                given = self._shown(x), as_label(y)
                scores[_kind(given)] = self._scores.lower(variables, state, answered, given)
        return [
            partial(_compile, *each, into)
            for lowered, into in ((answers, self._answering), (scores, self._scoring))
            for each in lowered.items()
        ]

    def begun(self, variables: Any, x: Arrays, y: Arrays) -> Callable[[], list[Measured]]:
        """Have the device evaluate networks in inference mode.

        Args:
            variables: The trainable ones and the others, with a first axis over the networks. They
                need not last until all is read.
            x: The examples.
            y: Their labels.

        Returns:
            What waits for it, and gives what is measured of each network.
        """
        n, networks = arrays.count(x), _count(variables)
        state, logs = self._metrics_of(networks), {}
        loss: Any = np.zeros(networks)
        added: list[tuple[Any, float]] = []
        correct: list[list[Any]] = [[] for _ in range(networks)]
        last: list[tuple[Any, ...]] = []

        def predict(some: slice) -> Any:
            part = arrays.mapped(np.ascontiguousarray, arrays.taken(x, some))
            answers, losses = self._answering.get(_kind(part), self._answers)(variables, part)
            added.append((losses, arrays.count(part) / n))
            return answers

        def note_last() -> None:
            nonlocal loss
            for part, share, answers, labels in last:
                loss = loss + np.asarray(part) * share
                answers = jax.device_get(answers)
                for i, truths in enumerate(correct):
                    truths.append(right(arrays.mapped(lambda a, i=i: a[i], answers), labels))

        for start, stop, answered in joined(predict, n, self.at_a_time, axis=1):
            note_last()
            labels = arrays.taken(y, slice(start, stop))
            given = self._shown(arrays.taken(x, slice(start, stop))), as_label(labels)
            scores = self._scoring.get(_kind(given), self._scores)
            part, logs, state = scores(variables, state, answered, given)
            last = [(part, (stop - start) / n, answered[0], labels)]

        def read() -> list[Measured]:
            note_last()
            of_all = loss + sum(np.asarray(losses) * share for losses, share in added)
            values = jax.device_get(logs) | {"loss": of_all}
            return [
                ({name: float(each[i]) for name, each in values.items()}, packed(truths))
                for i, truths in enumerate(correct)
            ]

        return read

    def _metrics_of(self, networks: int) -> list[Any]:
        """Return the metrics' state before any examples, of so many networks."""
        values = [variable.value for variable in self.model.metrics_variables]
        return [np.broadcast_to(value, (networks, *value.shape)) for value in values]

    @cached_property
    def _answers(self) -> Any:
        """Answers and their masks, and what layers add to the loss, as a function of examples."""

        def answers(variables: Any, x: Any) -> Any:
            with self.layers(), self._with(variables, adds=True) as scope:
                given = self.model(arrays.mapped(scaled, x), training=False)
            losses = sum(map(jnp.sum, scope.losses))
            return (given, masks.of_all(given)), jnp.asarray(losses, "float32")

        return jax.jit(jax.vmap(answers, in_axes=(0, None)))

    def _shown(self, x: Arrays) -> Any:
        """Return the examples that answers are measured by: of a network of the user's own."""
        return arrays.mapped(np.ascontiguousarray, x) if is_users(type(self.model)) else None

    @cached_property
    def _scores(self) -> Any:
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


def _count(variables: Any) -> int:
    """Return how many networks have variables, of whose optimizers each has some."""
    return len(jax.tree.leaves(variables)[0])


def _specified(n: int, array: Any) -> Any:
    """Return what is known of an array of each network's `n` examples before it is computed."""
    shape = (array.shape[0], n, *array.shape[2:])
    return jax.ShapeDtypeStruct(shape, array.dtype)  # type: ignore[no-untyped-call]


def _kind(given: Any) -> Kind:
    """Return what a program is compiled for: arrays' shapes and types."""
    return tuple((array.shape, array.dtype.name) for array in jax.tree.leaves(given))


def _compile(kind: Kind, lowered: Any, into: dict[Kind, Callable[..., Any]]) -> None:
    into[kind] = xla.compiled(lowered, OPTIONS)
