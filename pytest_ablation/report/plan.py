"""The plan in the terminal: each trial, what it costs, and how long all of them would take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from pytest_ablation.plan import Planned
from pytest_ablation.quantity import said
from pytest_ablation.report.progress import about, duration
from pytest_ablation.report.words import UNKNOWN, count

LISTED = 6  # changes of an ablation


def table(plans: Sequence[Mapping[str, Any]], *, width: int) -> str:
    """Return the trials of all tests' plans as text, each once.

    Args:
        plans: A test each: its experiment and trials, and the session's workers and seeds.
        width: Longest line, in columns of the terminal.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    if len({plan["experiment"] for plan in plans}) > 1:
        plans = [_named(plan) for plan in plans]
    trials = {
        trial.fingerprint: trial
        for plan in plans
        for trial in map(Planned.from_plain, plan["trials"])
    }
    if not trials:
        return "No test needs a training, as far as their code shows."
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    grid.add_column("trial", overflow="fold")
    for head in ("parameters", "a step", "time"):
        grid.add_column(head, justify="right", no_wrap=True)
    for trial in trials.values():
        flops = said(trial.flops, "operations") if trial.flops else UNKNOWN
        grid.add_row(trial.name, count(trial.params), flops, _time(trial))
    text = StringIO()
    Console(file=text, width=width, highlight=False, legacy_windows=False).print(grid)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join([*lines, *_changes(plans), "", *_sums(list(trials.values()), plans[0])])


def _named(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan whose trials and ablation have their experiment's name before theirs."""
    before = f"{plan['experiment']}: "
    trials = [{**trial, "name": before + trial["name"]} for trial in plan["trials"]]
    return {**plan, "trials": trials, "ablation": plan["ablation"] and before + plan["ablation"]}


def _changes(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what each ablation changes, a line a layer or setting."""
    lines = []
    for ablation, changes in {p["ablation"]: p["changes"] for p in plans if p["ablation"]}.items():
        lines += ["", ablation, *(f"  {change}" for change in changes[:LISTED])]
        if len(changes) > LISTED:
            lines.append(f"  … and {len(changes) - LISTED} more")
    return lines


def _sums(trials: Sequence[Planned], facts: Mapping[str, Any]) -> list[str]:
    """Return what all of it comes to, in sentences."""
    new = [trial for trial in trials if not trial.cached]
    cached = len(trials) - len(new)
    workers = facts["workers"]
    timed = [trial for trial in new if not math.isnan(trial.seconds)]
    seconds = sum(trial.seconds for trial in timed) / workers
    at_a_time = f" with {workers} at a time" if workers > 1 else ""
    lines = [f"{len(trials)} trials: {cached} cached, {len(new)} to train"]
    lines[0] += f", {about(seconds)}{at_a_time}." if timed else "."
    if len(timed) < len(new):
        lines.append(
            f"How long {len(new) - len(timed)} of them take is not known: their trainer is not "
            "Keras's, and has not trained them here before."
        )
    least, most = facts["seeds"]
    if most > least:
        all_seeds = about(seconds * most / least)
        at_most = f"; with all of these it takes {all_seeds}" if timed == trials else ""
        lines.append(
            f"A comparison that {least} seeds do not decide takes up to {most - least} more of "
            f"each of its arms{at_most}."
        )
    if any(trial.source == "probe" for trial in new):
        lines.append("Times are from a few steps taken now, on this machine as it is.")
    elif timed:
        lines.append("Times are those of earlier trainings on this machine.")
    if uncounted := sorted({name for trial in trials for name in trial.uncounted}):
        lines.append(f"Operations of these layers are not counted: {', '.join(uncounted)}.")
    return lines


def _time(trial: Planned) -> str:
    if trial.cached:
        return "cached"
    if trial.source == "lesion":
        return "evaluated"
    return "unknown" if math.isnan(trial.seconds) else duration(trial.seconds)
