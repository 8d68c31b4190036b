"""What collected tests ask of a study, as their markers, fixtures and code show it."""

from __future__ import annotations

import dis
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from types import CodeType
from typing import TYPE_CHECKING

import pytest

from pytest_ablation.errors import AblationError, UnbuildableError

if TYPE_CHECKING:
    from pytest_ablation.ablation import Ablation

# A test whose code names one of these will need trainings; what it calls may need more.
TRAINED = {"accuracy", "loss", "gap", "wall", "metric", "history", "runs"}
RELATIVE = {"change", "ratio", "interaction", "interval"}
JUMPS = {*dis.hasjrel, *dis.hasjabs}


def is_of_an_arm(item: pytest.Item) -> bool:
    """Tell whether a test asks for the baseline or a variant."""
    return not {"variant", "baseline"}.isdisjoint(_fixtures(item))


def may_compare(item: pytest.Item) -> bool:
    """Tell whether a test asks for the baseline or a variant, be it only as it runs."""
    return is_of_an_arm(item) or _asks_by_name(item, "variant", "baseline")


def asks_for_a_variant(item: pytest.Item) -> bool:
    """Tell whether a test asks for a variant."""
    return "variant" in _fixtures(item)


def trains_variant(item: pytest.Item) -> bool:
    """Tell whether a test will surely need its variant trained, as far as its code shows."""
    return "variant" in _fixtures(item) and _surely_trains(item)


def trains_baseline(item: pytest.Item) -> bool:
    """Tell whether a test will surely need the baseline trained, as far as its code shows."""
    asked = "baseline" in _fixtures(item) or not RELATIVE.isdisjoint(_names(item))
    return asked and _surely_trains(item)


def times_steps(item: pytest.Item) -> bool:
    """Tell whether a test will ask for its variant's time a step over the baseline's."""
    asked = "variant" in _fixtures(item) and {"time", "ratio"} <= _names(item)
    return asked and not may_be_skipped(item)


def comparisons(item: pytest.Item) -> int:
    """Return how many comparisons a test's own code shows, at least one."""
    code = _code(item)
    return max(1, _compared(code) if code else 0)


def comparisons_made_once(item: pytest.Item) -> int:
    """Return how many of these are surely made once: of a loop, or of what it calls, one is not."""
    code = _code(item)
    compared = _compared(code) if code else 0
    return compared - 1 if compared and code and _loops(code) else compared


def ablation(item: pytest.Item) -> Ablation:
    """Return the test's ablation.

    Raises:
        AblationError: There is none, more than one, or something else in its place.
    """
    from pytest_ablation.ablation import Ablation

    given = _marked(item)
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        given += [item.callspec.params["variant"]] if "variant" in item.callspec.params else []
    if not given:
        raise AblationError(
            "which ablation? Mark the test with @pytest.mark.ablation(remove(…)), or parametrize "
            '"variant" with indirect=True.'
        )
    if len(given) > 1:
        raise AblationError(f"{len(given)} ablations where one is meant: add them up with +.")
    if not isinstance(given[0], Ablation):
        raise AblationError(
            f"{given[0]!r} is no ablation. Write an edit, as remove(…), configure(…) or use(…)."
        )
    return given[0]


def check_marker(item: pytest.Item) -> None:
    """Refuse an ablation on a test that does not ask for its variant: nobody would look at it.

    Raises:
        AblationError: The test itself is marked. A class or a module may be for some of its tests.
    """
    own = [each for mark in item.own_markers if mark.name == "ablation" for each in _given(mark)]
    if not own or asks_for_a_variant(item) or "getfixturevalue" in _names(item):
        return
    if _asks_by_name(item, "variant"):
        return
    from pytest_ablation.ablation import Ablation

    if isinstance(own[0], Ablation):  # a suite that has nothing to do with this may have a marker
        raise AblationError(
            f'the test is marked with {own[0]!r} but does not take "variant": take it as an '
            "argument, or leave the marker out."
        )


def check_parameters(
    argnames: str | Sequence[str] = (),
    argvalues: object = (),
    indirect: bool | Sequence[str] = False,
    *others: object,
    **other: object,
) -> None:
    """Refuse ablations that pytest's parametrize gives a test as its variant, past the fixture.

    Raises:
        AblationError: They are not given indirectly.
    """
    from pytest_ablation.ablation import Ablation

    names = argnames.replace(",", " ").split() if isinstance(argnames, str) else [*argnames]
    by_fixture = names if indirect is True else [*(indirect or ())]
    if "variant" not in names or "variant" in by_fixture or not isinstance(argvalues, Collection):
        return  # what is no collection can be read only once, and pytest will
    place, is_single = names.index("variant"), len(names) == 1
    if any(isinstance(_value(given, place, is_single), Ablation) for given in argvalues):
        wanted = ", ".join(f'"{each}"' for each in (*by_fixture, "variant"))
        raise AblationError(
            f'parametrize("{", ".join(names)}", …): add '
            f"indirect={True if is_single else f'[{wanted}]'}, so that the fixture is given the "
            "ablations."
        )


def check_is_test(name: str, collected: object) -> None:
    """Refuse an ablation that has a test's name.

    Raises:
        AblationError: It has: `@pytest.mark.ablation(remove)` marks `remove`, and then calls it.
    """
    from pytest_ablation.ablation import Ablation

    if isinstance(collected, Ablation):
        raise AblationError(
            f"{name} is an ablation and no test: call the edit in its marker, as in "
            '`@pytest.mark.ablation(remove("conv1"))`.'
        )


def check_given(item: pytest.Item) -> None:
    """Refuse an ablation that a test was given as its variant, past the fixture, by a hook.

    Raises:
        AblationError: It was; `check_parameters` sees what markers give, where tests are collected.
    """
    from pytest_ablation.ablation import Ablation

    if isinstance(getattr(item, "funcargs", {}).get("variant"), Ablation):
        raise AblationError(
            'the test was given an ablation as its "variant", untrained: where it is parametrized '
            'add indirect=["variant"], so that the fixture is given it.'
        )


def is_of_a_study(item: pytest.Item) -> bool:
    """Tell whether a test asks for the baseline or a variant, or is marked as if it did."""
    return is_of_an_arm(item) or any(mark.name == "ablation" for mark in item.own_markers)


def may_be_skipped(item: pytest.Item) -> bool:
    """Tell whether a test is marked not to run, as pytest marks one without parameters."""
    marked = any(item.get_closest_marker(name) for name in ("skip", "skipif"))
    return marked or any(not mark.kwargs.get("run", True) for mark in item.iter_markers("xfail"))


def is_to_be_skipped(item: pytest.Item, error: AblationError) -> bool:
    """Tell whether a test is of a layer that nobody named, and that cannot be left out."""
    return isinstance(error, UnbuildableError) and ablation(item).is_of_all


def of_one_experiment(item: pytest.Item) -> list[pytest.Item]:
    """Return the session's tests whose experiment is a test's: of its fixture and parameters."""
    same, given = _experiment_fixture(item), _experiment_parameters(item)
    items = filter(is_of_an_arm, item.session.items)
    return [
        each
        for each in items
        if _experiment_fixture(each) is same and _are_same(_experiment_parameters(each), given)
    ]


def _marked(item: pytest.Item) -> list[object]:
    """Return what the closest markers name: the test's own, else its class's or its module's."""
    found = [*item.iter_markers_with_node("ablation")]
    return [each for node, marker in found if node is found[0][0] for each in _given(marker)]


def _given(marker: pytest.Mark) -> list[object]:
    """Return what a marker names, be it as its argument `edit`, as pytest --markers has it."""
    return [*marker.args, *marker.kwargs.values()]


def _asks_by_name(item: pytest.Item, *names: str) -> bool:
    """Tell whether a test, or a fixture of it, gets one of some fixtures as it runs."""
    info = getattr(item, "_fixtureinfo", None)  # of functions only; pytest names it privately
    fixtures = [each.func for one in info.name2fixturedefs.values() for each in one] if info else []
    codes = [_code(item), *(getattr(each, "__code__", None) for each in fixtures)]
    return any(
        "getfixturevalue" in code.co_names and not set(names).isdisjoint(code.co_consts)
        for code in codes
        if code
    )


def _value(given: object, place: int, is_single: bool) -> object:
    """Return one parameter's value of a set of them, as pytest takes it; None where it lacks."""
    if isinstance(given, type(pytest.param())):
        given = given.values
    elif is_single:
        return given
    return given[place] if isinstance(given, Sequence) and place < len(given) else None


def _surely_trains(item: pytest.Item) -> bool:
    return not may_be_skipped(item) and not TRAINED.isdisjoint(_names(item))


def _experiment_fixture(item: pytest.Item) -> object:
    """Return the fixture definition that gives a test its experiment; pytest names it privately."""
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    return definitions["experiment"][-1] if "experiment" in definitions else None


def _experiment_parameters(item: pytest.Item) -> dict[str, object]:
    """Return the parameters that a test's experiment is made with, of all fixtures it takes."""
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined] # as above
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    taken, left = set(), ["experiment"] if parameters else []
    while left:
        name = left.pop()
        if name not in taken:
            taken.add(name)
            left += [each for one in definitions.get(name, ()) for each in one.argnames]
    return {name: value for name, value in parameters.items() if name in taken}


def _are_same(some: dict[str, object], others: dict[str, object]) -> bool:
    """Tell whether parameters are the same objects, as pytest does before it makes one anew."""
    return some.keys() == others.keys() and all(some[name] is others[name] for name in some)


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def _code(item: pytest.Item) -> CodeType | None:
    return getattr(getattr(item, "function", None), "__code__", None)


@cache
def _compared(code: CodeType) -> int:  # which the tests of a thousand parameters share
    return sum(each.opname == "COMPARE_OP" for each in dis.get_instructions(code))


@cache
def _loops(code: CodeType) -> bool:
    jumps = (each for each in dis.get_instructions(code) if each.opcode in JUMPS)
    return any(each.argval <= each.offset for each in jumps)


def _names(item: pytest.Item) -> set[str]:
    code = _code(item)
    return set(_named(code)) if code else set()


def _named(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _named(constant)
