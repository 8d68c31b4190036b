"""The line that a training shows: arm, seed, epoch, accuracy and seconds left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_ablation.experiment import Progress

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager

SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def shown(
    name: str, reporter: pytest.TerminalReporter | None, capture: CaptureManager | None
) -> Iterator[Callable[[Progress], None]]:
    """Show how a training goes; gives the function that is told of it.

    On a terminal one line is written anew at each epoch, and is gone at the end; elsewhere a line
    is written every half minute.

    Args:
        name: The arm and the seed.
        reporter: Pytest's terminal; None in a worker process, which shows nothing.
        capture: Pytest's capturing, lifted while the line is written.
    """
    if reporter is None:
        yield lambda progress: None
        return
    is_terminal = bool(reporter.isatty)
    last = time.monotonic() if not is_terminal else -math.inf

    def write(text: str) -> None:
        if capture is not None:
            with capture.global_and_fixture_disabled():
                _write(reporter, text, is_terminal)
        else:
            _write(reporter, text, is_terminal)

    def show(progress: Progress) -> None:
        nonlocal last
        if is_terminal or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            write(f"{name}: {said(progress)}")

    if is_terminal:
        write(f"{name}: building")
    try:
        yield show
    finally:
        if is_terminal:
            write("")


def said(progress: Progress) -> str:
    """Return where a training is: ``epoch 7/20, accuracy 64.1 %, 52 s left``."""
    accuracy = ""
    if not math.isnan(progress.accuracy):
        accuracy = f", accuracy {100 * progress.accuracy:.1f} %"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    left = f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
    return f"epoch {progress.epoch}/{progress.epochs}{accuracy}, {left} left"


def _write(reporter: pytest.TerminalReporter, text: str, is_terminal: bool) -> None:
    reporter.ensure_newline()
    if is_terminal:
        width = reporter.config.get_terminal_writer().fullwidth - 1
        reporter.rewrite(text[:width], erase=True)
    else:
        reporter.write_line(text)
    reporter.flush()
