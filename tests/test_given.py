"""Weights that a model function gives its network: what a training starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pytest_ablation import configure, remove, train_with, use
from pytest_ablation import replace as put
from pytest_ablation.ablation import Ablation
from pytest_ablation.difference import of as difference
from pytest_ablation.errors import AblationError
from pytest_ablation.execution.executor import Executor
from pytest_ablation.execution.here import Here
from pytest_ablation.experiment import Experiment
from pytest_ablation.profile import PROFILES
from pytest_ablation.store import Store
from pytest_ablation.study import Study
from pytest_ablation.training import examples
from tests.test_execution import workers_of
from tests.tiny import EXPERIMENT, data, net, with_weights

# Where nothing is learned a run tells what its training started from.
STILL = train_with(optimizer=keras.optimizers.SGD(0.0), epochs=1)(EXPERIMENT)


@pytest.fixture(scope="session")
def pretrained() -> keras.Model:
    """A trained network, nearly always right."""
    keras.utils.set_random_seed(1)
    model = net()
    model.compile(keras.optimizers.Adam(0.02), EXPERIMENT.recipe.loss)
    model.optimizer.build(model.trainable_variables)
    for _ in range(100):
        model.train_on_batch(*examples.as_step(*examples_of("train")))
    return model


@pytest.fixture(scope="session")
def expected(pretrained: keras.Model) -> dict[str, float]:
    """What that network gives of the test set."""
    measured = evaluated(pretrained)
    assert measured["accuracy"] > 0.9
    return measured


@pytest.fixture(scope="session")
def saved(pretrained: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which that network is saved, and its weights."""
    folder = tmp_path_factory.mktemp("saved")
    pretrained.save(folder / "net.keras")
    pretrained.save_weights(folder / "net.weights.h5")
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study in this process."""
    return a_study(tmp_path / "store")


def a_study(folder: Path, executor: Executor | None = None) -> Study:
    """Return a study in this process, or one that others train for."""
    return Study(
        store=Store(folder),
        profile=PROFILES["full"],
        asked_seeds=(1, 1),
        refresh=False,
        executor=executor or Here(waiting=lambda: nullcontext(lambda board: None)),
    )


def examples_of(split: str) -> tuple[Any, Any]:
    """Return examples and labels as a network takes them."""
    x, y = (getattr(data(), f"{part}_{split}") for part in "xy")
    return examples.as_input(x), examples.as_label(y)


def evaluated(model: keras.Model) -> dict[str, float]:
    """Return what a network gives of the test set."""
    model.compile("sgd", EXPERIMENT.recipe.loss, metrics=["accuracy"])
    return dict(model.evaluate(*examples_of("test"), verbose=0, return_dict=True))


def within_another(body: keras.Model) -> keras.Model:
    """Return a network that a network is part of."""
    return keras.Sequential([keras.Input((4, 4, 3)), body])


def unnamed(model: keras.Model) -> keras.Model:
    """Return a copy whose layers have Keras's names."""
    copy = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Flatten(),
            *(layers.Dense(units, activation="relu") for units in (16, 8)),
            layers.Dense(2, activation="softmax"),
        ]
    )
    copy.set_weights(model.get_weights())
    return copy


def loaded(file: Path) -> keras.Model:
    """Return a network with weights from a file."""
    model = net()
    model.load_weights(file)
    return model


class Whole(keras.Model):  # type: ignore[misc] # Keras is Any to mypy
    """A network whose call is code of its own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.flatten = layers.Flatten()
        self.parts = [layers.Dense(n, activation=a) for n, a in ((16, "relu"), (8, "relu"))]
        self.classes = layers.Dense(2, activation="softmax")

    def call(self, x: Any) -> Any:
        """Return what its layers make of it."""
        x = self.flatten(x)
        for part in self.parts:
            x = part(x)
        return self.classes(x)

    def get_config(self) -> dict[str, Any]:
        """Return the settings, of which there are none."""
        return {"name": self.name}


def whole(model: keras.Model) -> keras.Model:
    """Return such a network with another's weights."""
    result = Whole()
    result(np.zeros((1, 4, 4, 3), "f"))
    result.set_weights(model.get_weights())
    return result


WAYS: dict[str, Callable[[keras.Model, Path], Callable[[], keras.Model]]] = {
    "there before": lambda model, folder: lambda: model,
    "a file of weights": lambda model, folder: lambda: loaded(folder / "net.weights.h5"),
    "a file": lambda model, folder: lambda: keras.models.load_model(folder / "net.keras"),
    "within another": lambda model, folder: (
        lambda: within_another(keras.models.load_model(folder / "net.keras"))
    ),
    "names by Keras": lambda model, folder: lambda: unnamed(model),
    "a class of one's own": lambda model, folder: lambda: whole(model),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_training_starts_from_the_weights_that_the_function_gives(
    way: str, pretrained: keras.Model, expected: dict[str, float], saved: Path, study: Study
) -> None:
    """Else a study of a pretrained network would be one of another, and nobody would notice."""
    function = WAYS[way](pretrained, saved)
    arm = study.baseline(replace(STILL, model=function))
    found = {name: arm.run(0).metrics[name] for name in expected}
    assert found == pytest.approx(expected, rel=1e-4)
    assert "Starts from given weights" in arm.summary
    again = a_study(study.store.folder)
    assert again.baseline(replace(STILL, model=function)).trial(0) == arm.trial(0)


def test_where_no_weights_are_given_the_seed_decides(study: Study) -> None:
    """And such trials have the names that they had before any could be given."""
    arm = study.baseline(STILL)
    assert arm.trial(0).initial_weights == ""
    assert "given" not in arm.summary
    assert arm.run(0).metrics["loss"] != arm.run(1).metrics["loss"]


def test_other_weights_are_another_training(study: Study) -> None:
    """A run of the weights of last week is none of today's."""
    arms = [study.baseline(replace(STILL, model=with_weights(net, value))) for value in (0.1, 0.2)]
    assert len({arm.trial(0).fingerprint for arm in arms}) == 2


def test_weights_that_change_from_call_to_call_are_refused(study: Study) -> None:
    """No two trainings would start alike, and each session would train anew."""

    def function() -> keras.Model:
        model = net()
        layer = model.get_layer("dense2")
        layer.set_weights([2 * weight for weight in layer.get_weights()])
        return model

    with pytest.raises(AblationError, match=r'function\(\) gives "dense2" other weights each time'):
        study.baseline(replace(STILL, model=function)).trial(0)


class Settling(layers.Dense):  # type: ignore[misc] # Keras is Any to mypy
    """A layer that sets its weights when it is built."""

    def build(self, shape: Any) -> None:
        """Make the weights, and scale them."""
        super().build(shape)
        self.kernel.assign(2 * keras.ops.convert_to_tensor(self.kernel))


def settling() -> keras.Model:
    """Return a network with such a layer."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Flatten(),
            Settling(4, name="settling"),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )


def test_a_layer_that_sets_its_own_weights_gives_none(study: Study) -> None:
    """Each copy of it does so anew, by the seed of its training."""
    arm = study.baseline(replace(STILL, model=settling))
    assert arm.trial(0).initial_weights == ""
    assert arm.run(0).metrics["loss"] != arm.run(1).metrics["loss"]


@pytest.fixture
def half_given(pretrained: keras.Model) -> Experiment:
    """An experiment whose first layer has given weights."""
    weights = pretrained.get_layer("dense1").get_weights()

    def function() -> keras.Model:
        model = net()
        model.get_layer("dense1").set_weights(weights)
        return model

    return replace(STILL, model=function)


@pytest.mark.parametrize(
    ("ablation", "keeps", "line"),
    [
        (remove("drop1"), True, None),
        (configure("dense1", activation="tanh"), True, None),
        (configure("dense1", units=12), False, "~ dense1: units 16 → 12, given weights → initial"),
        (
            configure("dense1", kernel_initializer="he_normal"),
            False,
            "~ dense1: kernel_initializer GlorotUniform → HeNormal, given weights → initial",
        ),
        (put("dense1", layers.EinsumDense("ab,bc->ac", 16, name="dense1")), False, None),
        (use(net), False, "~ dense1: given weights → initial weights"),
        (remove("drop1") + remove("drop2"), True, None),
    ],
    ids=lambda each: repr(each) if isinstance(each, Ablation) else "",
)
def test_a_variant_starts_from_those_that_fit_it(
    ablation: Ablation, keeps: bool, line: str | None, half_given: Experiment, study: Study
) -> None:
    """So it differs in what was edited; where it cannot have them too, that is said."""
    baseline = study.baseline(half_given)
    variant = study.variant(half_given, ablation)
    names = [arm.trial(0).initial_weights for arm in (baseline, variant)]
    assert names[0]
    assert (names[0] == names[1]) == keeps
    assert keeps or not names[1]
    said = str(difference(variant, baseline))
    assert ("given weights" in said) == (not keeps)
    assert line is None or line in said


def test_to_take_the_weights_away_is_an_ablation(half_given: Experiment, study: Study) -> None:
    """What pretraining is worth is the question asked most often of such a network."""
    variant = study.variant(half_given, use(net))
    assert str(difference(variant, study.baseline(half_given))) == (
        "~ dense1: given weights → initial weights"
    )
    unedited = study.baseline(replace(half_given, model=net))
    assert variant.run(0).metrics == unedited.run(0).metrics
    with pytest.raises(AblationError, match="nothing would change"):
        study.variant(half_given, use(half_given.model))


def deep() -> keras.Model:
    """Return a network of many layers."""
    hidden = [layers.Dense(2, name=f"dense{i}") for i in range(6)]
    return keras.Sequential(
        [keras.Input((4, 4, 3)), layers.Flatten(), *hidden, layers.Softmax(name="classes")]
    )


def test_of_many_layers_that_only_start_otherwise_there_is_one_line(study: Study) -> None:
    """A pretrained body has a hundred, and what else an edit changed would be lost among them."""
    experiment = replace(STILL, model=with_weights(deep, 0.1))
    variant = study.variant(experiment, use(deep) + remove("dense5"))
    assert str(difference(variant, study.baseline(experiment))).splitlines() == [
        "− dense5 (Dense): −6 parameters, −10 FLOP",
        "~ 5 layers: given weights → initial weights",
    ]


def test_networks_with_a_call_of_their_own_are_told_apart(
    pretrained: keras.Model, study: Study
) -> None:
    """What their layers are they do not say: the whole is what came, went or starts otherwise."""
    experiment = replace(STILL, model=lambda: whole(pretrained))
    baseline, fresh, other = (
        study.baseline(experiment),
        study.variant(experiment, use(Whole)),
        study.variant(experiment, use(net)),
    )
    assert str(difference(fresh, baseline)) == "~ network: given weights → initial weights"
    assert str(difference(other, baseline)).startswith("− network (Whole)")


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Study]:
    """A study that trains in another process."""
    executor = workers_of(Store(tmp_path / "theirs"), workers=1)
    yield a_study(tmp_path / "theirs", executor)
    executor.close()


def test_workers_are_given_the_weights(
    half_given: Experiment, workers: Study, study: Study
) -> None:
    """A worker has no function to ask; a file that was damaged is written again."""
    arm = workers.baseline(half_given)
    file = workers.store.folder / "initial" / f"{arm.trial(0).initial_weights}.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a file")
    assert arm.run(0).metrics == study.baseline(half_given).run(0).metrics
    np.testing.assert_array_less(100, file.stat().st_size)


def test_what_was_learned_of_data_is_no_weight(study: Study) -> None:
    """It is among the settings of its layer, and belongs to the trial as such."""
    learned = layers.Normalization(name="scale")
    learned.adapt(examples_of("train")[0])

    def function() -> keras.Model:
        scale = layers.Normalization(name="scale")
        scale.adapt(examples_of("train")[0])
        rest = net().layers
        return keras.Sequential([keras.Input((4, 4, 3)), scale, *rest])

    arm = study.baseline(replace(STILL, model=function))
    assert arm.trial(0).initial_weights == ""
    assert arm.run(0).steps == 8
