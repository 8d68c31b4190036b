"""One training of several seeds of an arm on JAX, fifty steps at a time, ten a program."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pytest_ablation import arrays
from pytest_ablation.dataset import Dataset
from pytest_ablation.experiment import Trial
from pytest_ablation.run import Run, Watcher
from pytest_ablation.training import batched, callbacks, checkpoint, fit
from pytest_ablation.training import recipe as recipes
from pytest_ablation.training.augmentation import Augmenting
from pytest_ablation.training.evaluation import EVALUATION_BATCH, Measured
from pytest_ablation.training.examples import (
    CURVE_EXAMPLES,
    as_label,
    final_examples,
    order,
    split,
)
from pytest_ablation.training.fit import CHECKPOINT_SECONDS, State
from pytest_ablation.training.fused_evaluation import Evaluation
from pytest_ablation.training.fused_networks import (
    Networks,
    complete_augmenting,
    give_back,
    stacked,
)
from pytest_ablation.training.fused_steps import Steps, Way

STEPS_OF_A_PROGRAM = 10  # about
PROGRAMS_AT_A_TIME = 5  # of steps, by the device, before it is asked what they gave
AT_A_TIME = CURVE_EXAMPLES  # answered together, so that an epoch ends with one call


@dataclass(frozen=True)
class Begun:
    """Steps that the device has been told to take.

    Attributes:
        at: When it was told.
        count: How many.
        logs: What they will have given, by program.
    """

    at: float
    count: int
    logs: list[dict[str, Any]]


@dataclass(eq=False)
class FusedTraining:
    """One training of several seeds.

    Attributes:
        trials: One a seed, and alike but for it.
        data: Examples, at the profile's size.
        watchers: Of each trial, in their order: who is told, and where it is kept.
        way: How the seeds share the device.
        gpu: Gives a context in which no other process times steps on the device.
    """

    trials: Sequence[Trial]
    data: Dataset
    watchers: Sequence[Watcher]
    way: Way
    gpu: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __post_init__(self) -> None:
        self.started = self.noted = self.last_kept = time.perf_counter()
        self.recipe = recipes.deserialized(self.trials[0].recipe)
        self.seen, self.curve = split(self.data, self.recipe)
        self.augmenting = Augmenting(self.recipe.augmentation) if self.recipe.augmentation else None
        if self.augmenting is not None:
            complete_augmenting(self.augmenting, self.data)
        self.networks = Networks(self.trials, self.recipe, self.data)
        self.variables: Any = None
        self.states = [State() for _ in self.trials]
        self.before = 0.0
        self._resume()
        self.begun = max(state.steps for state in self.states)
        self._going: Any = None
        self._ahead: Begun | None = None

    def compile(self, *, evaluates: bool = True) -> None:
        """Compile what takes steps and what measures at an epoch's end, and make what is trained.

        All at once, the steps first, since they take longest.

        Args:
            evaluates: Whether anything will be measured.
        """
        with ThreadPoolExecutor() as threads:
            jobs = [threads.submit(job) for job in self._programs(evaluates=evaluates)]
            if self.variables is None:
                self.variables = self.networks.initial()
            for each in jobs:
                each.result()

    def _programs(self, *, evaluates: bool) -> Iterator[Callable[[], None]]:
        """Yield what compiles each program, in whatever thread it is called."""
        variables = self.networks.shapes()
        shape = len(self.trials), self.at_a_time, self.recipe.batch_size
        drawn = np.zeros(shape, np.int32), self._augmenting_states(0, self.at_a_time)
        yield self._steps.prepared(variables, drawn)
        if evaluates:
            examples = self.curve, (self.seen.x_test, self.seen.y_test)
            yield from self._evaluation.prepared(variables, *examples)

    def tell(self) -> None:
        """Tell where the training is, before its first step too."""
        furthest = max(self.states, key=lambda state: state.epoch)
        self.watchers[0](fit.progress_of(furthest, self.recipe.epochs, {}))

    def runs(self) -> Iterator[Run]:
        """Train to the end and yield the runs."""
        while self.steps_left:
            with self.gpu():
                pass  # once it is ours
            self.block()
        self._finalize()
        if self.recipe.callbacks:
            for tell in self._tells:
                tell("on_train_end")
            self.variables = stacked(self.networks.models)
        if any(watcher.weights for watcher in self.watchers):
            give_back(self.networks.models, self.variables)
        for trial, model, watcher in zip(
            self.trials, self.networks.models, self.watchers, strict=True
        ):
            if watcher.weights:
                fit.keep_weights(watcher.weights, trial, model)
        of_all = [
            self._evaluation.begun(self.variables, *examples)()
            for examples in final_examples(self.seen)
        ]
        wall = self._wall
        for trial, state, *measured in zip(self.trials, self.states, *of_all, strict=True):
            state.wall = wall
            yield fit.finished(trial, self.networks.model, state, measured)

    def _finalize(self) -> None:
        """Give networks the average of their weights, where the optimizer keeps one."""
        if recipes.averages(self.networks.model.optimizer):
            give_back(self.networks.models, self.variables)
            for model in self.networks.models:
                model.optimizer.finalize_variable_values(model.trainable_variables)
            self.variables = stacked(self.networks.models)

    @cached_property
    def at_a_time(self) -> int:
        """How many steps a program takes: if it can be an epoch has no others at its end.

        These would be a program of their own, which takes seconds to compile.
        """
        about, of_epoch = STEPS_OF_A_PROGRAM, self._steps_of_epoch
        divisors = [each for each in range(about // 2, 2 * about) if of_epoch % each == 0]
        nearest = min(divisors, key=lambda each: abs(each - about), default=about)
        return min(nearest, of_epoch)

    @property
    def steps_left(self) -> int:
        """How many steps are left, of a seed."""
        done = [state.steps for state in self.states if self._is_unfinished(state)]
        whole = self.recipe.epochs * self._steps_of_epoch
        return whole - max(done, default=whole)

    def block(self) -> float:
        """Take the next steps, and end the epoch if they are its last.

        The device is told of those after them before it is asked what they gave, so that it has
        something to do meanwhile; not where callbacks are to act first, or the state is to be kept.

        Returns:
            Seconds a step, of all seeds.
        """
        if self.recipe.callbacks and not self.begun:
            self._call_back({})
        started = time.perf_counter()
        steps, self._ahead = self._ahead or self._begin(self._of_next_block), None
        ends = self.begun % self._steps_of_epoch == 0
        measured = self._evaluation.begun(self.variables, *self.curve) if ends else None
        keeps = self._is_to_be_kept()
        is_last = self.begun == self.recipe.epochs * self._steps_of_epoch
        if not (is_last or keeps or (ends and self.recipe.callbacks)):
            self._ahead = self._begin(self._of_next_block)
        self._note(steps)
        took = (time.perf_counter() - started) / steps.count
        if measured is None and not any(map(self._is_unfinished, self.states)):
            measured = self._evaluation.begun(self.variables, *self.curve)
        if measured is not None:
            self._end_epoch(measured)
        if keeps:
            self._keep()
        return took

    @property
    def _of_next_block(self) -> int:
        """How many steps to take next, which are of one epoch."""
        left = self._steps_of_epoch - self.begun % self._steps_of_epoch
        return min(PROGRAMS_AT_A_TIME * self.at_a_time, left)

    @property
    def _steps_of_epoch(self) -> int:
        assert self.recipe.steps_per_epoch is not None
        return self.recipe.steps_per_epoch

    # ---------------------------------------------------------------------------- on the device

    def steps(self, count: int) -> None:
        """Take some steps of all seeds, and note what they gave."""
        self._note(self._begin(count))

    def _begin(self, count: int) -> Begun:
        """Tell the device to take the next steps."""
        started, first = time.perf_counter(), self.begun
        if self._going is None:
            self._going = np.array([self._is_unfinished(state) for state in self.states])
        self.begun += count
        logs = []
        for begun in range(first, self.begun, self.at_a_time):
            some = min(self.at_a_time, self.begun - begun)
            chosen = [list(itertools.islice(each, some)) for each in self._orders]
            drawn = np.array(chosen, np.int32), self._augmenting_states(begun, some)
            state = self.variables, self._going
            (self.variables, self._going), told = self._steps.taken(*state, drawn)
            logs.append(told)
        return Begun(started, count, logs)

    def _note(self, steps: Begun) -> None:
        """Wait until the device has taken some steps, and note what they gave."""
        parts = jax.device_get(steps.logs)
        logs = {name: np.hstack([part[name] for part in parts]) for name in parts[0]}
        now = time.perf_counter()
        seconds = (now - max(steps.at, self.noted)) / (steps.count * len(self.trials))
        self.noted = now
        for i, state in enumerate(self.states):
            if not self._is_unfinished(state):
                continue
            for step in range(steps.count):
                state.durations.append(seconds)
                state.steps_of_epoch += 1
                for name, values in logs.items():
                    state.sums[name] = state.sums.get(name, 0.0) + float(values[i, step])
                if not math.isfinite(state.sums["loss"]):
                    state.diverged = state.epoch + 1
                    break

    def _augmenting_states(self, first: int, count: int) -> list[Any]:
        """Return, of each state that augmentation draws from, what it is in some steps.

        Args:
            first: The first of them.
            count: How many.
        """
        if self.augmenting is None:
            return []
        drawn = [
            [self.augmenting.drawn(trial.seed, first + step) for step in range(count)]
            for trial in self.trials
        ]
        return [np.array(each) for each in np.moveaxis(np.array(drawn), 2, 0)]

    def _layers(self) -> AbstractContextManager[None]:
        """Return a context in which layers are traced as this way of sharing wants them."""
        return batched.used_by(self.networks.model) if self.way == "vmap" else nullcontext()

    @cached_property
    def _steps(self) -> Steps:
        images = arrays.mapped(np.ascontiguousarray, self.seen.x_train)  # bytes stay bytes
        examples = jax.device_put((images, as_label(self.seen.y_train)))
        model, recipe = self.networks.model, self.recipe
        return Steps(model, recipe, self.augmenting, self.way, self._layers, examples)

    @cached_property
    def _orders(self) -> list[Iterator[Any]]:
        n, size = arrays.count(self.seen.x_train), self.recipe.batch_size
        begun = max(state.steps for state in self.states)
        return [order(n, size, trial.seed, skip=begun) for trial in self.trials]

    @cached_property
    def _evaluation(self) -> Evaluation:
        # Code of the user's own may look at all that is answered together.
        at_a_time = EVALUATION_BATCH if self.trials[0].sources else AT_A_TIME
        return Evaluation(self.networks.model, self.recipe, self._layers, at_a_time)

    # ---------------------------------------------------------------------------- between steps

    def _is_unfinished(self, state: State) -> bool:
        return state.diverged is None and not state.stopped and state.epoch < self.recipe.epochs

    def _end_epoch(self, measured: Callable[[], list[Measured]]) -> None:
        of_all, wall = measured(), self._wall
        self.noted = time.perf_counter()
        ended: dict[int, dict[str, float]] = {}
        for i, (state, (values, _)) in enumerate(zip(self.states, of_all, strict=True)):
            if not state.steps_of_epoch:
                continue  # it ended in an epoch before
            ended[i] = state.logs | {f"val_{name}": value for name, value in values.items()}
            state.end_epoch(ended[i])
            state.wall = wall
        if self.recipe.callbacks:
            self._call_back(ended)
        for i, logs in ended.items():
            self.watchers[i](fit.progress_of(self.states[i], self.recipe.epochs, logs))

    @property
    def _wall(self) -> float:
        """Seconds so far, of each seed its share."""
        return self.before + (time.perf_counter() - self.started) / len(self.trials)

    # -------------------------------------------------------------------------------- callbacks

    @cached_property
    def _tells(self) -> list[Callable[..., None]]:
        """What tells each network's callbacks of a moment; made when it begins to train."""
        tells = []
        for model in self.networks.models:
            model.stop_training = False
            tell = callbacks.made(
                self.recipe.callbacks, model, epochs=self.recipe.epochs, steps=self._steps_of_epoch
            )
            tell("on_train_begin")
            tells.append(tell)
        return tells

    def _call_back(self, ended: Mapping[int, dict[str, float]]) -> None:
        """Have callbacks act between epochs, on networks that have the variables of now.

        Args:
            ended: The logs of those that have ended an epoch.
        """
        give_back(self.networks.models, self.variables)
        for i, (tell, state, model) in enumerate(
            zip(self._tells, self.states, self.networks.models, strict=True)
        ):
            if i in ended:
                tell("on_epoch_end", state.epoch - 1, dict(ended[i]))
                state.stopped = bool(model.stop_training)
            if self._is_unfinished(state):
                tell("on_epoch_begin", state.epoch)
        self.variables, self._going = stacked(self.networks.models), None

    # ------------------------------------------------------------------------- unfinished state

    @property
    def _name(self) -> str:
        """Tells these trials together from each by itself."""
        names = "/".join(trial.fingerprint for trial in self.trials)
        return hashlib.sha256(f"together: {names}".encode()).hexdigest()

    @property
    def _checkpoint(self) -> Path | None:
        """The file of the unfinished state; none where callbacks have a state of their own."""
        return None if self.recipe.callbacks else self.watchers[0].checkpoint

    def _is_to_be_kept(self) -> bool:
        is_due = time.perf_counter() - self.last_kept >= CHECKPOINT_SECONDS
        return is_due and self._checkpoint is not None

    def _keep(self) -> None:
        path = self._checkpoint
        assert path is not None
        for state in self.states:
            state.wall = self._wall
        values = [np.asarray(values) for part in self.variables for values in part]
        states = [asdict(state) for state in self.states]
        checkpoint.keep(path, self._name, {"states": states}, values)
        self.last_kept = time.perf_counter()

    def _resume(self) -> None:
        path = self._checkpoint
        kept = checkpoint.load(path, self._name) if path else None
        if kept is None:
            return
        told, values = kept
        self.states = [State(**each) for each in told["states"]]
        self.before = max(state.wall for state in self.states)
        left = iter(values)
        self.variables = tuple(
            [jnp.asarray(next(left)) for _ in part] for part in self.networks.shapes()
        )
