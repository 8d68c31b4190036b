"""A study in MLflow: a run of the session, in it one an arm, in it one a seed.

Nothing of MLflow's is global here: a suite may use MLflow itself.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.tracking.context import registry

from pytest_ablation.report import words
from pytest_ablation.report.export import rendered
from pytest_ablation.report.export.markdown import escaped
from pytest_ablation.trackers import record

if TYPE_CHECKING:
    from pytest_ablation.run import Run
    from pytest_ablation.table import Findings, Row

EXPERIMENT = "pytest-ablation"
# Of trainings, which MLflow's pages show as such, and not of prompts.
KIND = {"mlflow.experimentKind": "custom_model_development"}
# What MLflow takes at a time, in any of its versions.
MOST_NUMBERS, MOST_WORDS, LONGEST, LONGEST_NAME = 800, 90, 500, 250
LONGEST_NOTE = 5_000
# A server that is not there is asked twice for some seconds, and not eight times for minutes.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class Tracker:
    """Keeps a study with a tracking server, or in a database."""

    def __init__(self, where: str, started: float) -> None:
        for name in ("alembic", "mlflow.store.db.utils"):  # of a new database, a line a table
            logging.getLogger(name).setLevel(logging.WARNING)
        self.client = MlflowClient(tracking_uri=where or None)
        self.started = started
        with _environment(IMPATIENT):
            self.name, self.experiment = _experiment(self.client)
        self.study = ""
        self.arms: dict[tuple[str, str], str] = {}
        self.seeds: dict[tuple[str, str, int], str] = {}

    def seed(self, run: Run, experiment: str, arm: str, *, is_new: bool) -> None:
        """Keep a training, once."""
        if (experiment, arm, run.seed) in self.seeds:
            return
        now = time.time()
        key = self._create(
            f"seed {run.seed}",
            self._arm(experiment, arm),
            started=now - run.wall,
            trained="in this session" if is_new else "before",
            fingerprint=run.fingerprint,
            host=run.host,
            **({"diverged in epoch": str(run.diverged)} if run.diverged else {}),
        )
        self.seeds[experiment, arm, run.seed] = key
        curves = [
            (name, value, epoch)
            for name, values in run.curves.items()
            for epoch, value in enumerate(values, 1)
        ]
        self._numbers(key, [*curves, *((n, v, 0) for n, v in record.of_run(run).items())])
        self._words(key, {"experiment": experiment, "ablation": arm, "seed": str(run.seed)})
        self.client.set_terminated(key, "FINISHED", int(1000 * now))

    def finish(self, findings: Findings, files: Sequence[Path], *, is_whole: bool) -> str:
        """Keep arms, findings and files; say which experiment and run they are in."""
        said, numbers = record.of_session(findings)
        rows = [row for row in findings.rows() if not row.lesion]
        for row in rows:
            self._row(row, said)
        study = self._study(rows[0].experiment)
        names = dict.fromkeys(row.experiment for row in rows)
        named = f"study of {' and '.join(names)}"[:LONGEST_NAME]
        self.client.set_tag(study, "mlflow.runName", named)
        self.client.set_tag(study, "mlflow.note.content", _note(findings)[:LONGEST_NOTE])
        self._words(study, said)
        self._numbers(study, [(name, value, 0) for name, value in numbers.items()])
        if claims := record.of_claims(findings):
            columns = {name: [each[name] for each in claims] for name in claims[0]}
            self.client.log_table(study, columns, "claims.json")
        for suffix in (".json", ".md"):
            self.client.log_text(study, rendered(findings, suffix), f"findings{suffix}")
        for path in files:
            if path.name not in ("findings.json", "findings.md"):
                self.client.log_artifact(study, str(path))
        status = "FINISHED" if is_whole else "KILLED"
        for key in (*self.arms.values(), study):
            self.client.set_terminated(key, status)
        return f'MLflow, experiment "{self.name}", run {study}'

    def _row(self, row: Row, said: Mapping[str, str]) -> None:
        key = self._arm(row.experiment, row.arm)
        self._numbers(key, [(name, value, 0) for name, value in record.of_row(row).items()])
        self.client.set_tag(key, "verdict", words.verdict(row) or words.UNKNOWN)
        self.client.set_tag(key, "mlflow.note.content", escaped(row.sentence)[:LONGEST_NOTE])
        shared = {
            "data": said["data"],
            "profile": said["profile"],
            **record.settings(row.recipe),
        }
        self._words(key, {"experiment": row.experiment, "ablation": row.arm, **shared})
        for run in row.runs:
            self._words(self.seeds[row.experiment, row.arm, run.seed], shared)

    def _study(self, experiment: str) -> str:
        if not self.study:
            self.study = self._create(f"study of {experiment}", "", started=self.started)
        return self.study

    def _arm(self, experiment: str, arm: str) -> str:
        if (experiment, arm) not in self.arms:
            study = self._study(experiment)
            self.arms[experiment, arm] = self._create(arm, study, started=time.time())
        return self.arms[experiment, arm]

    def _create(self, name: str, parent: str, *, started: float, **tags: str) -> str:
        tags |= {"mlflow.parentRunId": parent} if parent else {}
        # Who ran it and at which commit, as MLflow notes of any run.
        known = registry.resolve_tags({name: value for name, value in tags.items() if value})
        made = self.client.create_run(
            self.experiment,
            start_time=int(1000 * started),
            tags=known,
            run_name=name[:LONGEST_NAME],
        )
        return str(made.info.run_id)

    def _numbers(self, key: str, numbers: Sequence[tuple[str, float, int]]) -> None:
        now = int(1000 * time.time())
        metrics = [Metric(_named(name), float(value), now, step) for name, value, step in numbers]
        for start in range(0, len(metrics), MOST_NUMBERS):
            self.client.log_batch(key, metrics=metrics[start : start + MOST_NUMBERS])

    def _words(self, key: str, told: Mapping[str, str]) -> None:
        params = [Param(_named(name), value[:LONGEST]) for name, value in told.items()]
        self.client.log_batch(key, params=params[:MOST_WORDS])


def _experiment(client: Any) -> tuple[str, str]:
    """Return the name and the id of the experiment that the environment names, else of ours."""
    if key := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return client.get_experiment(key).name, key
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    known = client.get_experiment_by_name(name)
    made = known.experiment_id if known else client.create_experiment(name, tags=KIND)
    return name, str(made)


def _note(findings: Findings) -> str:
    lines = [f"- {escaped(arm)}: {escaped(said)}" for arm, said in record.sentences(findings)]
    return "\n".join([f"**{words.headline(findings.rows(), findings.errors)}**", "", *lines])


def _named(name: str) -> str:
    """Return a name that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name).strip("/. ")[:LONGEST_NAME] or "_"


@contextmanager
def _environment(unless_set: Mapping[str, str]) -> Iterator[None]:
    added = {name: value for name, value in unless_set.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
