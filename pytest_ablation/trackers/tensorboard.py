"""A study in TensorBoard: a folder of the session, in it one an arm, in it one a seed.

Event files are written without TensorFlow's own writers, which would take the GPU for it.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from pytest_ablation.report import words
from pytest_ablation.report.export.markdown import escaped
from pytest_ablation.trackers import record

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings, Row

LONGEST_NAME = 80  # of a folder
COLUMNS = ("arm", "claim", "found", "interval", "seeds", "p", "verdict")


class Tracker:
    """Writes event files."""

    def __init__(self, where: str, started: float) -> None:
        named = time.strftime("%Y%m%d-%H%M%S", time.localtime(started))
        self.where = Path(where)
        self.folder = _free(self.where / named)
        self.arms: dict[tuple[str, str], Path] = {}
        self.seeds: set[tuple[str, str, int]] = set()

    def seed(self, run: Run, experiment: str, arm: str, *, is_new: bool) -> None:
        """Write a training's curves and numbers, once."""
        if (experiment, arm, run.seed) in self.seeds:
            return
        self.seeds.add((experiment, arm, run.seed))
        curves = [
            (scalar_pb(f"curves/{name}", value), epoch)
            for name, values in run.curves.items()
            for epoch, value in enumerate(values, 1)
        ]
        final = [(scalar_pb(f"final/{n}", value), 0) for n, value in record.of_run(run).items()]
        _write(self._arm(experiment, arm) / f"seed-{run.seed}", [*curves, *final])

    def finish(self, findings: Findings, files: Sequence[Path], *, is_whole: bool) -> str:
        """Write effects and findings; say how to look at them. Files have no place there."""
        for row in findings.rows():
            if not row.lesion:
                self._row(row)
        headline = escaped(words.headline(findings.rows(), findings.errors))
        lines = [f"- {escaped(a)}: {escaped(said)}" for a, said in record.sentences(findings)]
        said, numbers = record.of_session(findings)
        facts = ", ".join(f"{name} {escaped(value)}" for name, value in said.items())
        text = "\n".join([f"**{headline}**", "", *lines, "", facts])
        summaries = [(text_pb("findings", text), 0), (text_pb("claims", _table(findings)), 0)]
        counted = [(scalar_pb(f"study/{name}", value), 0) for name, value in numbers.items()]
        _write(self.folder, [*summaries, *counted])
        return f"TensorBoard's files: tensorboard --logdir {self.where}"

    def _row(self, row: Row) -> None:
        folder = self._arm(row.experiment, row.arm)
        effects = record.of_row(row)
        _write(folder, [(scalar_pb(f"arm/{name}", value), 0) for name, value in effects.items()])
        for run in row.runs:
            told = {"experiment": row.experiment, "ablation": row.arm, "seed": run.seed}
            told |= {name: _number(value) for name, value in record.settings(row.recipe).items()}
            _write(folder / f"seed-{run.seed}", [(hparams_pb(told, trial_id=run.fingerprint), 0)])

    def _arm(self, experiment: str, arm: str) -> Path:
        if (experiment, arm) not in self.arms:
            folder = self.folder / _slug(experiment) / _slug(arm)
            taken = set(self.arms.values())
            self.arms[experiment, arm] = _free(folder, taken)
        return self.arms[experiment, arm]


def _free(folder: Path, taken: Iterable[Path] = ()) -> Path:
    """Return a folder that is not there, of that name or with a number after it."""
    named = [folder, *(folder.with_name(f"{folder.name}-{number}") for number in range(2, 1000))]
    taken = set(taken)
    return next(each for each in named if each not in taken and not each.exists())


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=]+", "-", name)[:LONGEST_NAME].strip("-.") or "unnamed"


def _number(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _table(findings: Findings) -> str:
    claims = record.of_claims(findings)
    rows = [[escaped(str(each[name])) for name in COLUMNS] for each in claims]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _write(folder: Path, summaries: Sequence[tuple[Any, int]]) -> None:
    writer = EventFileWriter(str(folder))
    for summary, step in summaries:
        # A summary made by another copy of the protocol's classes is read anew by this one.
        same = Summary.FromString(summary.SerializeToString())
        writer.add_event(Event(wall_time=time.time(), step=step, summary=same))
    writer.close()
