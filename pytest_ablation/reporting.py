"""What a session reports: findings collected where pytest reports, handed to what renders them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_ablation import options
from pytest_ablation.errors import of_one_name

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_ablation.evidence import Entry
    from pytest_ablation.reference import Reference
    from pytest_ablation.report.progress import Reporter
    from pytest_ablation.table import Findings


class Reporting:
    """Collects the findings where pytest reports, and hands them to what renders them."""

    def __init__(self, config: pytest.Config, reference: Reference | None) -> None:
        self.config = config
        self.reference = reference
        self.findings: Findings | None = None
        self.errors: set[str] = set()
        self.plan: list[dict[str, Any]] = []
        self.progress: Reporter | None = None
        self.told: set[str] = set()
        self.written: list[str] = []
        self.faults: list[str] = []  # of the session, which is no success then
        self.baselines: dict[tuple[str, int], str] = {}

    def pytest_sessionstart(self) -> None:
        """Where pytest-xdist has the tests run elsewhere, say how their trainings go."""
        has_processes = self.config.getoption("dist", "no") != "no"
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if has_processes and reporter is not None:
            from pytest_ablation.report.progress import Reporter

            self.progress = Reporter(options.store(self.config), reporter)
            self.progress.start()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Say no more of trainings, and write the findings, however the session ends."""
        if self.progress is not None:
            self.progress.stop()
        if self._is_worker:
            return
        for path in options.exports(self.config):
            self._export(path)
        self._summarize_step()
        self._save()
        if self.faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.findings is not None:  # last, so that a fault in another plugin costs no file
            self.config.hook.pytest_ablation_findings(findings=self.findings)

    def _export(self, path: Path) -> None:
        from pytest_ablation.report import export

        if self.findings is None:
            self.written.append(f"no findings, so nothing is written to {path}")
            return
        try:
            export.write(self.findings, path)
        except OSError as error:
            self.faults.append(f"findings could not be written to {path}: {error.strerror}")
        else:
            self.written.append(f"findings written to {path}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a test found; unfold it in the page, where there is one."""
        if hasattr(report, "ablation_plan"):
            self.plan.append(report.ablation_plan)
        if hasattr(report, "ablation_error"):
            self.errors.add(report.nodeid)
        entry = _entry_of(report)
        if entry is None:
            return
        from pytest_ablation.table import Findings

        self.findings = self.findings or Findings(reference=self.reference, errors=self.errors)
        self.findings.add(entry)
        if not self._is_worker:
            self._check_name(entry)
            self._tell_of_runs(entry)
        if self._writes_page:
            from pytest_html import extras

            from pytest_ablation.report import columns, html

            content = html.content(entry, self.findings)
            if columns.is_taken(report.nodeid):
                unfolded = extras.html(content)
                report.extras = [*getattr(report, "extras", []), unfolded]  # type: ignore[attr-defined] # read by pytest-html
            else:
                report.ablation_content = content  # type: ignore[attr-defined] # read below

    def _check_name(self, entry: Entry) -> None:
        """Tell of two experiments of one name: a process of pytest-xdist knows its own alone."""
        for run in entry.baseline:
            first = self.baselines.setdefault((entry.experiment, run.seed), run.fingerprint)
            fault = of_one_name(entry.experiment)
            if first != run.fingerprint and fault not in self.faults:
                self.faults.append(fault)

    def _tell_of_runs(self, entry: Entry) -> None:
        """Tell other plugins of the runs that are of this session, once each."""
        arms = [
            ("baseline", entry.baseline),
            *([] if entry.lesion else [(entry.ablation, entry.variant)]),
        ]
        fresh = set(entry.facts["trained"]) - self.told
        for arm, runs in arms:
            for run in runs:
                if run.fingerprint in fresh:
                    self.told.add(run.fingerprint)
                    self.config.hook.pytest_ablation_run_finished(
                        run=run, experiment=entry.experiment, arm=arm
                    )

    def _save(self) -> None:
        """Keep the findings as a reference, where that is asked for."""
        path = options.save(self.config)
        if path is None:
            return
        from pytest_ablation import reference

        if self.findings is None:
            self.written.append(f"no findings, so no reference is written to {path}")
            return
        try:
            reference.save(self.findings.kept, path)
        except OSError as error:
            self.faults.append(f"no reference could be written to {path}: {error.strerror}")
        else:
            self.written.append(f"reference written to {path}")

    def _summarize_step(self) -> None:
        """Append the findings to the summary of a job's step, where GitHub Actions runs it."""
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if not summary or self.findings is None:
            return
        from pytest_ablation.report import export

        try:
            with open(summary, "a", encoding="utf-8", errors="replace") as file:
                file.write(export.rendered(self.findings, ".md"))
        except OSError as error:
            self.faults.append(f"GITHUB_STEP_SUMMARY={summary}: {error.strerror}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """End with the table of findings, or with the plan."""
        writer = self.config.get_terminal_writer()
        if options.plan(self.config) and not self.config.option.collectonly:
            from pytest_ablation.report import plan, progress

            terminalreporter.write_sep("=", "ablation plan")
            progress.write_lines(terminalreporter, plan.table(self.plan, width=writer.fullwidth))
        if self.findings is not None:
            from pytest_ablation.report import progress, terminal

            terminalreporter.write_sep("=", "ablation findings")
            table = terminal.table(self.findings, width=writer.fullwidth, color=writer.hasmarkup)
            progress.write_lines(terminalreporter, table)
        for line in self.written:
            terminalreporter.write_line(line)
        for line in self.faults:
            terminalreporter.write_line(line, red=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Add our columns; they are shown where there are findings."""
        from pytest_ablation.report import columns

        cells[2:2] = columns.header_cells()

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """Fill our columns."""
        from pytest_ablation.report import columns, html

        if not cells:
            return  # a hook of the user's leaves the row out
        entry = _entry_of(report)
        cells[:] = columns.as_text(cells, report.nodeid)
        if getattr(report, "undecided", False):
            cells[0] = columns.UNDECIDED_CELL
        cells[2:2] = columns.row_cells(entry, html.row_of(entry) if entry else None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_html(self, report: pytest.TestReport, data: list[str]) -> None:
        """Say why a test is undecided; unfold in the log what pytest-html takes nowhere else."""
        if getattr(report, "undecided", False):
            from pytest_ablation.report import columns

            data[:] = columns.with_reason(data, cast(tuple[str, int, str], report.longrepr))
        if hasattr(report, "ablation_content"):
            data.insert(0, report.ablation_content)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Open the page with the findings."""
        if self.findings is not None:
            from pytest_ablation.report import html

            prefix.append(html.page(self.findings))

    @property
    def _is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    @property
    def _writes_page(self) -> bool:
        return bool(self.config.getoption("htmlpath", None)) and not self._is_worker


def _entry_of(report: pytest.TestReport) -> Entry | None:
    plain = getattr(report, "ablation", None)
    if plain is None:
        return None
    from pytest_ablation.evidence import Entry

    return Entry.from_plain(plain)
