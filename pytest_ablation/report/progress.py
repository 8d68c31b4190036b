"""What a session shows while a test waits for trainings: a line each, and how far the study is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ablation.report.words import shortened, shown_in
from pytest_ablation.run import Progress

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter as Writer
    from _pytest.capture import CaptureManager
    from rich.console import RenderableType

    from pytest_ablation.execution.board import Board, Show

SECONDS_BETWEEN_LINES = 60.0
BAR = 30

_last_line = -math.inf  # when plain lines were last written, whoever waited


@contextmanager
def shown(
    reporter: pytest.TerminalReporter | None, capture: CaptureManager | None
) -> Iterator[Show]:
    """Show how trainings go while a result is waited for; gives the function that is told.

    On a terminal a line a worker and the study's bar are written anew at each look, and are gone at
    the end; elsewhere plain lines are written, once a minute. Of processes of pytest-xdist it is
    the controller that writes them, by a `Reporter`.

    Args:
        reporter: Pytest's terminal; None in a worker of pytest-xdist, which shows nothing.
        capture: Pytest's capturing, lifted while something is written.
    """
    if reporter is None:
        yield lambda board: None
    elif reporter.isatty:
        with _live(reporter, capture) as show:
            yield show
    else:
        yield lambda board: _write_plainly(board, reporter, capture)


class Reporter(threading.Thread):
    """Writes plain lines, once a minute, of what the processes of pytest-xdist train."""

    def __init__(self, folder: Path, reporter: pytest.TerminalReporter) -> None:
        super().__init__(daemon=True)
        self._folder, self._reporter, self._over = folder, reporter, threading.Event()

    def run(self) -> None:
        """Write until the session is over."""
        from pytest_ablation.store import Store

        while not self._over.wait(SECONDS_BETWEEN_LINES):
            lines = [said(name, progress) for name, progress in Store(self._folder).told().values()]
            if lines:
                self._reporter.ensure_newline()
            for line in lines:
                self._reporter.write_line(line)

    def stop(self) -> None:
        """End it."""
        self._over.set()


@contextmanager
def _live(reporter: pytest.TerminalReporter, capture: CaptureManager | None) -> Iterator[Show]:
    from rich.console import Console
    from rich.live import Live

    writer = reporter.config.get_terminal_writer()
    line = writer._current_line  # in whose midst pytest goes on; it has no other name
    column = writer.width_of_current_line % writer.fullwidth
    with uncaptured(capture):
        writer.write("\n" if line else "")
    console = Console(
        file=_Through(writer),  # type: ignore[arg-type] # of a file, it only needs to write
        width=writer.fullwidth,
        force_terminal=True,
        color_system="standard" if writer.hasmarkup else None,
        legacy_windows=False,
        highlight=False,
    )
    live = Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )

    def show(board: Board) -> None:
        with uncaptured(capture):
            live.update(_drawn(board, writer.fullwidth), refresh=True)

    with uncaptured(capture):
        live.start()
    try:
        yield show
    finally:
        with uncaptured(capture):
            live.stop()
            if column:
                writer.write(f"\x1b[A\x1b[{column}C", flush=True)  # up, and to the right
            writer._current_line = line


class _Through:
    """A file for rich that writes where pytest writes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, text: str) -> int:
        self._writer.write(shown_in(_encoding(self._writer), text))
        return len(text)

    def flush(self) -> None:
        self._writer.flush()


def _drawn(board: Board, width: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines = [f"  {said(name, progress)}" for name, progress in board.running]
    texts = [Text(shortened(line, width - 1), no_wrap=True) for line in lines]
    if board.known > 1:
        full = round(BAR * board.done / board.known)
        bar = Text("  ")
        bar.append("━" * full, style="green").append("━" * (BAR - full), style="bright_black")
        bar.append(f" {overall(board)}")
        texts.append(bar)
    return Group(*texts)


def _write_plainly(
    board: Board, reporter: pytest.TerminalReporter, capture: CaptureManager | None
) -> None:
    global _last_line
    now = time.monotonic()
    if _last_line == -math.inf:
        _last_line = now  # nothing is said of what takes less than a minute
    if now - _last_line < SECONDS_BETWEEN_LINES or not board.running:
        return
    _last_line = now
    with uncaptured(capture):
        reporter.ensure_newline()
        for name, progress in board.running:
            reporter.write_line(said(name, progress))
        if board.known > 1:
            reporter.write_line(overall(board))
        reporter.flush()


def said(name: str, progress: Progress | None) -> str:
    """Return where a training is: ``baseline, seed 0: epoch 7/20, accuracy 64.1 %, 52 s left``."""
    if progress is None:
        return f"{name} …"
    accuracy = ""
    if not math.isnan(progress.accuracy):
        accuracy = f", accuracy {100 * progress.accuracy:.1f} %"
    left = ""
    if not math.isnan(progress.seconds_left):
        left = f", {duration(progress.seconds_left)} left"
    return f"{name}: epoch {progress.epoch}/{progress.epochs}{accuracy}{left}"


def overall(board: Board) -> str:
    """Return how far the study is: ``7 of 12 done, about 14 min left``."""
    left = "" if board.seconds_left is None else f", {about(board.seconds_left)} left"
    return f"{board.done} of {board.known} done{left}"


def about(seconds: float) -> str:
    """Return an estimated time: ``about 52 s``, and ``under 1 s`` as it is."""
    said = duration(seconds)
    return said if said.startswith("under") else f"about {said}"


def duration(seconds: float) -> str:
    """Return a time as people say it: ``52 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 0.5:
        return "under 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def write_lines(reporter: pytest.TerminalReporter, text: str) -> None:
    """Write a text of ours, line by line."""
    encoding = _encoding(reporter.config.get_terminal_writer())
    for line in shown_in(encoding, text).splitlines():
        reporter.write_line(line)


def _encoding(writer: Writer) -> str:
    return getattr(writer._file, "encoding", None) or "utf-8"  # the file has no other name


@contextmanager
def uncaptured(capture: CaptureManager | None) -> Iterator[None]:
    """Have what is written reach the terminal in the midst of a test."""
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        yield
