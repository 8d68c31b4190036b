"""Two networks, or two lists of settings, side by side: what is gone, added, changed and the same.

Plain data, and how it is lined up; what is said of a layer is for `network` to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

AROUND = 1  # what stays the same beside a change; more of it in a row is only counted
Kind = Literal["same", "gone", "added", "changed", "left out"]


@dataclass(frozen=True)
class Pair:
    """A line of two lists that are side by side.

    Attributes:
        kind: "same", "gone", "added" or "changed"; "left out" where lines that are the same are
            only counted.
        before: The baseline's; empty where it is added.
        after: The variant's; empty where it is gone.
        note: What of it has changed.
    """

    kind: Kind
    before: str
    after: str
    note: str = ""


def of(
    before: Mapping[str, str], after: Mapping[str, str], changed: Mapping[str, str]
) -> tuple[Pair, ...]:
    """Return two lists side by side, without long runs of what is the same in both.

    Args:
        before: What is said of each layer or setting, by its name, in order.
        after: The same of the variant.
        changed: What has changed of those that both have, though it may be said alike.
    """
    return tuple(_shortened(list(_pairs(before, after, changed))))


def _pairs(
    before: Mapping[str, str], after: Mapping[str, str], changed: Mapping[str, str]
) -> Iterator[Pair]:
    names = list(before), list(after)
    matcher = SequenceMatcher(None, *names, autojunk=False)
    for what, start, end, new_start, new_end in matcher.get_opcodes():
        if what == "equal":
            for name in names[0][start:end]:
                is_same = before[name] == after[name] and name not in changed
                note = changed.get(name, "")
                yield Pair("same" if is_same else "changed", before[name], after[name], note)
            continue
        yield from (Pair("gone", before[name], "") for name in names[0][start:end])
        yield from (Pair("added", "", after[name]) for name in names[1][new_start:new_end])


def _shortened(pairs: list[Pair]) -> Iterator[Pair]:
    others = [place for place, pair in enumerate(pairs) if pair.kind != "same"]
    shown = {near for at in others for near in range(at - AROUND, at + AROUND + 1)}
    run: list[Pair] = []
    for place, pair in enumerate(pairs):
        if place not in shown:
            run.append(pair)
            continue
        yield from _counted(run)
        run = []
        yield pair
    yield from _counted(run)


def _counted(run: list[Pair]) -> list[Pair]:
    if len(run) < 2:
        return run
    told = f"{len(run)} the same"
    return [Pair("left out", told, told)]
