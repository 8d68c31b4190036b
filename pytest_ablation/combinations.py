"""Ablations in numbers: one for each layer or block, and pairs of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pytest_ablation.ablation import Ablation, feed_with, lesion, remove, train_with
from pytest_ablation.data.edits import without_class
from pytest_ablation.dataset import Dataset
from pytest_ablation.edited import naming
from pytest_ablation.errors import AblationError, did_you_mean
from pytest_ablation.experiment import How
from pytest_ablation.recipe import Recipe
from pytest_ablation.selectors import Selector, word
from pytest_ablation.steps import ModelFunction

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

    from pytest_ablation.network.graph import Site


OPTIONAL = (
    *("learning_rate", "weight_decay", "label_smoothing", "augmentation", "callbacks"),
    *("loss_weights", "class_weight", "precision"),
)


def leave_one_out(
    of: ModelFunction | Recipe | Dataset,
    *selectors: Selector,
    by: str | Callable[[Any], Any] | None = None,
    repair: bool = False,
) -> list[ParameterSet]:
    """Return ``pytest.param(remove(name), id=name)`` for each selected layer, or group of layers.

    Of a recipe it gives one for each setting that could be left out, each layer of the augmentation
    and each callback by itself; of a dataset, one for each class.

    Without selectors it is one for all of them, also for those that no network can be built
    without, as a merge or an Embedding: their tests are skipped, and say why. What selectors name
    is an error there.

    Args:
        of: The network's function, which is built once, to know its layers; or a Recipe or Dataset.
        selectors: Which layers, as in `remove`; of a recipe the names of settings, of a dataset
            those of classes. All of them where none is given.
        by: What a group is: a function of a layer, as ``type``, whose equal answers make a group
            and whose None leaves a layer alone; or how the names of blocks begin, as "block" of
            "block1_conv", "block1_norm", "block2_conv": a group ends at the next "_".
        repair: As in `remove`.
    """
    import pytest

    said = ", ".join([*map(word, (of, *selectors)), *_written(by)])
    if isinstance(of, Recipe | Dataset):
        with naming(f"leave_one_out({said})"):
            names = _named(selectors, of)
            return _of_recipe(of, names) if isinstance(of, Recipe) else _of_classes(names)

    from pytest_ablation.network import graph, reading, weightless
    from pytest_ablation.network.selecting import select

    known = graph.sites(reading.read(weightless.looked_at(of)))
    with naming(f"leave_one_out({said})"):
        chosen = {site.key: site for each in selectors or ("*",) for site in select(known, each)}
        if by is None:
            groups = {site.path: [site.path] for site in chosen.values()}
        else:
            groups = _groups([*chosen.values()], by)
    return [
        pytest.param(
            replace(
                remove(*_selecting(group, paths, known), repair=repair), is_of_all=not selectors
            ),
            id=_id(group),
        )
        for group, paths in groups.items()
    ]


def lesion_each(
    model_function: ModelFunction,
    *selectors: Selector,
    how: How = "zero",
    examples: int | None = None,
) -> list[ParameterSet]:
    """Return a parameter for each unit of the selected layers: its lesion.

    Args:
        model_function: The network's function; it is built once, to know its layers.
        selectors: Which layers, as in `remove`.
        how: What takes a unit's place, as in `lesion`.
        examples: On how many test examples, as in `lesion`.
    """
    import pytest

    from pytest_ablation.network import graph, reading, weightless
    from pytest_ablation.network.lesion import units
    from pytest_ablation.network.selecting import select

    read = reading.read(weightless.looked_at(model_function))
    known = graph.sites(read)
    with naming(f"lesion_each({', '.join(map(word, (model_function, *selectors)))})"):
        chosen = {site.path: site for each in selectors for site in select(known, each)}
        if not chosen:
            raise AblationError('name layers, as lesion_each(cnn, "conv*").')
        counts = {path: units(read, site) for path, site in chosen.items()}
    return [
        pytest.param(lesion(path, units=[unit], how=how, examples=examples), id=f"{path}-{unit}")
        for path, count in counts.items()
        for unit in range(count)
    ]


def one_at_a_time(*ablations: Ablation) -> list[ParameterSet]:
    """Return a parameter for each ablation."""
    import pytest

    return [pytest.param(each) for each in _checked("one_at_a_time", ablations)]


def all_pairs(*ablations: Ablation) -> list[ParameterSet]:
    """Return a parameter for each two ablations, added up.

    Whether two are worse together than each of them alone says ``variant.accuracy.interaction``.
    """
    import pytest

    if len(ablations) < 2:
        raise AblationError("all_pairs(): name at least two ablations.")
    return [pytest.param(a + b) for a, b in combinations(_checked("all_pairs", ablations), 2)]


def _checked(asked: str, ablations: Sequence[Ablation]) -> Sequence[Ablation]:
    if not ablations:
        raise AblationError(f"{asked}(): name at least one ablation, as remove(…).")
    for each in ablations:
        if not isinstance(each, Ablation):
            raise AblationError(
                f"{asked}: {each!r} is no ablation. Write an edit, as remove(…) or configure(…)."
            )
    return ablations


def _named(selectors: Sequence[Selector], of: Recipe | Dataset) -> list[str]:
    """Return the settings or classes that are chosen."""
    if isinstance(of, Recipe):
        usual = {each.name: each.default for each in fields(Recipe)}
        known = [name for name in OPTIONAL if getattr(of, name) != usual[name]]
        what = "settings that could be left out"
    else:
        known, what = list(of.classes), "names of classes"
    if not known:
        raise AblationError(f"it has no {what}.")
    for each in selectors:
        if each not in known:
            raise AblationError(
                f"{each!r} is none of its {what}: {', '.join(known)}."
                + did_you_mean(str(each), known)
            )
    return [name for name in known if not selectors or name in selectors]


def _of_recipe(recipe: Recipe, names: Sequence[str]) -> list[ParameterSet]:
    import pytest

    usual = {each.name: each.default for each in fields(Recipe)}
    parameters = []
    for name in names:
        value = getattr(recipe, name)
        if isinstance(value, tuple) and len(value) > 1:
            parameters += [
                pytest.param(
                    train_with(**{name: value[:place] + value[place + 1 :]}),
                    id=f"{name}-{_said(each)}",
                )
                for place, each in enumerate(value)
            ]
        else:
            parameters.append(pytest.param(train_with(**{name: usual[name]}), id=name))
    return parameters


def _of_classes(names: Sequence[str]) -> list[ParameterSet]:
    import pytest

    return [pytest.param(feed_with(without_class(name)), id=name) for name in names]


def _said(part: Any) -> str:
    return word(part.func if isinstance(part, partial) else part)


def _written(by: str | Callable[[Any], Any] | None) -> list[str]:
    if by is None:
        return []
    return [f'by="{by}"' if isinstance(by, str) else f"by={word(by)}"]


def _id(group: Any) -> str:
    return str(getattr(group, "__name__", group))


def _groups(chosen: Sequence[Site], by: str | Callable[[Any], Any]) -> dict[Any, list[str]]:
    """Return the paths of the layers of each group, in order."""
    groups: dict[Any, list[str]] = {}
    for site in chosen:
        if isinstance(by, str):
            found = re.match(f"{re.escape(by)}[^_/]*", site.name)
            group = found[0] if found else None
        else:
            group = by(site.layer)
        if group is not None:
            groups.setdefault(group, []).append(site.path)
    if not groups:
        names = ", ".join(site.path for site in chosen[:20])
        raise AblationError(f"no layer is in any group. Layers: {names}.")
    return groups


def _selecting(group: Any, paths: Sequence[str], known: Sequence[Site]) -> tuple[Selector, ...]:
    """Return selectors of a group's layers and no others: the class or a glob where that does."""
    from pytest_ablation.network.selecting import select

    every = [site for site in known if not site.is_input]
    candidates: list[Selector] = [group] if isinstance(group, type) else []
    if len(paths) > 1 and isinstance(group, str):
        globs = (f"{group}_*", f"{group}*")
        candidates += [g for g in globs if any(fnmatch.fnmatchcase(s.name, g) for s in every)]
    for candidate in candidates:
        if sorted(site.path for site in select(every, candidate)) == sorted(paths):
            return (candidate,)
    return tuple(paths)
