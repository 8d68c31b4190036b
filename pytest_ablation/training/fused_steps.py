"""Steps of several seeds of an arm on JAX, some of them one program for the device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import keras
import numpy as np

from pytest_ablation import arrays
from pytest_ablation.recipe import Recipe
from pytest_ablation.training import weighting, xla
from pytest_ablation.training.augmentation import Augmenting
from pytest_ablation.training.examples import scaled

OPTIONS: xla.Options = {
    # What does not wait for each other runs at once: a step of five seeds of the CIFAR-10 network
    # took 114 µs each so, in the place of 123.
    "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
    # It tries kernels for a second, and found none that made the step faster.
    "xla_gpu_experimental_enable_fusion_autotuner": False,
}

Way: TypeAlias = Literal["vmap", "map"]
Drawn: TypeAlias = tuple[Any, list[Any]]  # see `Steps.taken`


@dataclass(eq=False)
class Steps:
    """How networks that differ in their variables alone take steps.

    Attributes:
        model: One of them, compiled, with all the variables of its metrics.
        recipe: How they are trained.
        augmenting: What augments their examples, if anything does.
        way: How they share the device.
        layers: A context in which layers are traced.
        examples: All examples and labels, on the device.
    """

    model: Any
    recipe: Recipe
    augmenting: Augmenting | None
    way: Way
    layers: Callable[[], AbstractContextManager[None]]
    examples: Any
    _compiled: dict[int, Callable[..., Any]] = field(default_factory=dict, init=False)

    def prepared(self, variables: Any, drawn: Drawn) -> Callable[[], None]:
        """Return what compiles the program of so many steps, in whatever thread it is called.

        Args:
            variables: As `taken` will be given.
            drawn: Likewise; its shapes count.
        """
        networks, count, _ = drawn[0].shape
        alive = np.ones(networks, bool)
        lowered = self._many.lower(variables, alive, drawn, self._metrics, self.examples)

        def compile_it() -> None:
            self._compiled[count] = xla.compiled(lowered, OPTIONS)

        return compile_it

    def taken(self, variables: Any, alive: Any, drawn: Drawn) -> Any:
        """Have the device take steps, and do not wait for it.

        Args:
            variables: The networks', which are no more to be used.
            alive: Whether each network's loss has been finite.
            drawn: Positions of the examples, shape (networks, steps, batch), and of each random
                state that augmentation draws from what it is in each step.

        Returns:
            The variables and `alive` after them, and what each step tells.
        """
        count = drawn[0].shape[1]
        if count not in self._compiled:
            self.prepared(variables, drawn)()
        return self._compiled[count](variables, alive, drawn, self._metrics, self.examples)

    @cached_property
    def _metrics(self) -> list[Any]:
        return [np.asarray(variable.value) for variable in self.model.metrics_variables]

    @cached_property
    def _many(self) -> Any:
        """Steps as a function of variables, whether losses are finite, what is drawn, and data."""
        model, weights = self.model, self.recipe.class_weight

        def step(carry: Any, drawn: Any, metrics: Any, examples: Any) -> Any:
            variables, alive = carry
            chosen, states = drawn
            x, y = jax.tree.map(lambda array: array[chosen], examples)
            with self.layers():
                x, y = self._augmented(states, arrays.mapped(scaled, x), y)
                batch = (x, y, *weighting.of(weights, y))
                logs, (*new, _) = model.train_step((*variables, metrics), batch)
            # After a step whose loss is not finite a training ends as it stands.
            kept = jax.tree.map(partial(jnp.where, alive), tuple(new), variables)
            return (kept, alive & jnp.isfinite(logs["loss"])), logs

        def of_all(variables: Any, alive: Any, drawn: Any, metrics: Any, examples: Any) -> Any:
            def of_one(network: tuple[Any, Any, Any]) -> Any:
                *carry, drawn = network
                one = partial(step, metrics=metrics, examples=examples)
                return jax.lax.scan(one, tuple(carry), drawn)

            over_networks = jax.vmap(of_one) if self.way == "vmap" else partial(jax.lax.map, of_one)
            return over_networks((variables, alive, drawn))

        return jax.jit(of_all, donate_argnums=0)

    def _augmented(self, states: Any, x: Any, y: Any) -> tuple[Any, Any]:
        """Return a step's examples and labels, changed by random numbers from some states."""
        if self.augmenting is None:
            return x, y
        with keras.StatelessScope(zip(self.augmenting.states, states, strict=True)):
            return self.augmenting.changed(x, y, self.augmenting)
