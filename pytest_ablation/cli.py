"""The command ``pytest-ablation``: looks after a store outside of a session."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_ablation.entry import KINDS, DamagedEntryError, Kept, Kind, NewerEntryError
from pytest_ablation.store import Store, copied, sweep

SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SHORT = 12  # characters of a fingerprint that are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code: 0, or 1 where `verify` found damage."""
    parser = argparse.ArgumentParser(prog="pytest-ablation", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="store")
    actions = commands.add_parser("store", help="the runs and duets on disk").add_subparsers(
        required=True, dest="action", metavar="list|show|verify|prune|import"
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--store",
        type=Path,
        default=Path(".ablation"),
        metavar="DIR",
        help="the store (default: .ablation in this folder)",
    )
    actions.add_parser("list", parents=[shared], help="list what is kept")
    show = actions.add_parser("show", parents=[shared], help="show a run or a duet")
    show.add_argument("fingerprint", help="the first characters of its name will do")
    actions.add_parser("verify", parents=[shared], help="read all that is kept, and name damage")
    prune = actions.add_parser("prune", parents=[shared], help="remove what is not needed")
    prune.add_argument("--older-than", type=_age, metavar="AGE", help="such as 30d, 12h or 4w")
    prune.add_argument("--to-size", type=_size, metavar="SIZE", help="such as 500MB; oldest first")
    prune.add_argument("--unused", action="store_true", help="what the last session did not use")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    bring = actions.add_parser("import", parents=[shared], help="take in another store's runs")
    bring.add_argument("other", type=Path, help="the other store's folder")
    given = parser.parse_args(arguments)
    if given.action != "import" and not given.store.is_dir():
        parser.error(f"there is no store in {given.store}. Name it with --store=DIR.")
    return int(_ACTIONS[given.action](Store(given.store), given, parser))


def _list(store: Store, given: Any, parser: argparse.ArgumentParser) -> int:
    entries = [entry for entry in _entries(store) if isinstance(entry, Kept)]
    for entry in sorted(entries, key=lambda each: each.made):
        print(f"{entry.key[:SHORT]}  {_date(entry.made)}  {_bytes(entry.bytes):>8}  {_said(entry)}")
    print(f"{_count(entries)}, {_bytes(sum(entry.bytes for entry in entries))}.")
    return 0


def _show(store: Store, given: Any, parser: argparse.ArgumentParser) -> int:
    named = [
        (kind, key)
        for kind in KINDS
        for key in store.keys(kind)
        if key.startswith(given.fingerprint)
    ]
    if len(named) != 1:
        found = ", ".join(key[: SHORT + 4] for _, key in named[:5]) or "nothing"
        parser.error(f"{given.fingerprint}: {found} in {store.folder} begins so; one is meant.")
    try:
        entry = store.read(*named[0])
    except (DamagedEntryError, NewerEntryError, OSError) as error:
        parser.error(f"{named[0][1]}: {error}.")
    print(f"{entry.key}\n{_said(entry)}\nkept {_date(entry.made)}, {_bytes(entry.bytes)}")
    facts: dict[str, Any] = {}
    if entry.run is not None and entry.trial is not None:
        facts |= {f"trial {n}": getattr(entry.trial, n) for n in ("profile", "seed", "dataset")}
        facts |= {f"trial {n}": v for n, v in entry.trial.versions.items()}
        facts |= {"trial recipe": entry.trial.recipe}
        facts |= dict(entry.run.metrics)
        facts |= {
            name: getattr(entry.run, name)
            for name in ("params", "steps", "wall", "seconds_per_step", "diverged", "host")
        }
    elif entry.duet is not None:
        facts |= {n: getattr(entry.duet, n) for n in ("wall_ratio", "clock", "seconds", "host")}
        facts["pairs"] = len(entry.duet.log_ratios)
    for name, value in facts.items():
        print(f"  {name}: {value}")
    return 0


def _verify(store: Store, given: Any, parser: argparse.ArgumentParser) -> int:
    entries = list(_entries(store))
    bad = [each for each in entries if not isinstance(each, Kept)]
    for kind, key, error in bad:
        print(f"{kind[:-1]} {key}: {error}")
    damaged = [each for each in bad if not isinstance(each[2], NewerEntryError)]
    newer = len(bad) - len(damaged)
    whole = [each for each in entries if isinstance(each, Kept)]
    print(f"{_count(whole)} as they were written; {len(damaged)} damaged", end="")
    print(f"; {newer} of a newer version.\n" if newer else ".\n", end="")
    return 1 if damaged else 0


def _prune(store: Store, given: Any, parser: argparse.ArgumentParser) -> int:
    if given.older_than is None and given.to_size is None and not given.unused:
        parser.error("prune: say what: --older-than=AGE, --to-size=SIZE or --unused.")
    entries = [entry for entry in _entries(store) if isinstance(entry, Kept)]
    used = store.used_last()
    gone = [
        entry
        for entry in entries
        if (given.older_than is not None and entry.made < time.time() - given.older_than)
        or (given.unused and entry.key not in used)
    ]
    if given.to_size is not None:
        left = sorted((e for e in entries if e not in gone), key=lambda e: e.made, reverse=True)
        total = 0
        for entry in left:
            total += entry.bytes
            gone += [entry] if total > given.to_size else []
    freed = sum(entry.bytes for entry in gone)
    for entry in gone:
        print(f"{entry.key[:SHORT]}  {_said(entry)}")
        if not given.dry_run:
            store.remove(entry)
    if not given.dry_run:
        freed += sweep(store, given_up=given.older_than or math.inf)
    print(f"{_count(gone)}, {_bytes(freed)}{' would be' if given.dry_run else ''} removed.")
    return 0


def _import(store: Store, given: Any, parser: argparse.ArgumentParser) -> int:
    if not given.other.is_dir():
        parser.error(f"import: there is no store in {given.other}.")
    here = {(entry.kind, entry.key) for entry in _entries(store) if isinstance(entry, Kept)}
    source = Store(given.other)
    taken, known = [], 0
    for entry in _entries(source):
        if not isinstance(entry, Kept):
            print(f"left out, {entry[0][:-1]} {entry[1]}: {entry[2]}")
        elif (entry.kind, entry.key) in here:
            known += 1
        else:
            copied(source, entry, store)
            taken.append(entry)
    print(f"{_count(taken)} imported; {known} were here.")
    return 0


_ACTIONS = {"list": _list, "show": _show, "verify": _verify, "prune": _prune, "import": _import}


def _entries(store: Store) -> Iterator[Kept | tuple[Kind, str, Exception]]:
    """Yield what is kept; of what cannot be read, its name and why."""
    for kind in KINDS:
        for key in store.keys(kind):
            try:
                yield store.read(kind, key)
            except FileNotFoundError:
                continue  # another process took it away
            except (DamagedEntryError, NewerEntryError, OSError) as error:
                yield kind, key, error


def _said(entry: Kept) -> str:
    if entry.run is None or entry.trial is None:
        return entry.name or "time a step"
    accuracy = entry.run.metrics.get("accuracy")
    found = "" if accuracy is None else f", accuracy {100 * accuracy:.1f} %"
    return f"{entry.name or f'seed {entry.trial.seed}'} ({entry.trial.profile}{found})"


def _count(entries: Sequence[Kept]) -> str:
    counts = {kind: sum(entry.kind == kind for entry in entries) for kind in KINDS}
    return " and ".join(
        f"{number} {kind[:-1] if number == 1 else kind}" for kind, number in counts.items()
    )


def _bytes(number: int) -> str:
    for unit, size in reversed(SIZES.items()):
        if number >= size:
            return f"{number} B" if unit == "B" else f"{number / size:.1f} {unit.replace('K', 'k')}"
    return "0 B"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _age(text: str) -> float:
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({'|'.join(SECONDS)})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: write an age, as 30d, 12h or 4w")
    return float(match[1]) * SECONDS[match[2]]


def _size(text: str) -> float:
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({'|'.join(SIZES)})", text.upper())
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: write a size, as 500MB or 2GB")
    return float(match[1]) * SIZES[match[2]]


if __name__ == "__main__":
    sys.exit(main())
