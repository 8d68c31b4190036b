"""What can be wrong in a study, said in the terms of the person who wrote it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

LAST_LINES = 12
ANSI = r"\x1b\[[0-9;]*m"
# A call in a trace that is this package's or its workers', before one that is somebody else's.
OWN_CALL = re.compile(
    rf'^  File "(?:{re.escape(str(Path(__file__).parent))}|[^"]*\bpebble\b)[^"]*", line .*\n'
    r"(?:    .*\n)*(?=  File )",
    re.MULTILINE,
)


class AblationError(Exception):
    """A mistake in a study: what was asked, what there is, what to do, in one message."""


class UnbuildableError(AblationError):
    """An edit that leaves a network that cannot be built."""


class DataError(AblationError):
    """Images or labels that cannot be read, or are not what they are said to be."""


class TrainingError(AblationError):
    """A training that could not be done: its process died, or it raised, or took too long."""


class UnknownNameError(AblationError, AttributeError):
    """A name that a baseline, a variant or a quantity of theirs does not have."""


class AblationWarning(UserWarning):
    """The study is not all that was asked for, or cannot tell what is asked of it."""


def one_line(error: BaseException, longest: int = 300) -> str:
    """Return what another library's error says on one line, cut where that is long."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= longest else f"{said[:longest]}…"


def with_last_lines(what: str, written: str) -> str:
    """Return what happened as a sentence, and the last lines of what was written then.

    Of a trace that is the user's calls; ours, which come first, would leave no room for them.
    """
    lines = OWN_CALL.sub("", re.sub(ANSI, "", written)).strip().splitlines()[-LAST_LINES:]
    return "\n".join([f"{what}. Its last lines:", *lines] if lines else [f"{what}."])


def unknown(asked: str, of: object, *others: str) -> UnknownNameError:
    """Return the error of a name that an object lacks: which properties it has, and what is meant.

    Args:
        asked: What was written, as ``variant.acuracy``.
        of: The object.
        others: What it has beside its properties.
    """
    properties = [name for name, each in vars(type(of)).items() if isinstance(each, property)]
    has = [name for name in properties if not name.startswith("_")]
    return UnknownNameError(
        f"{asked}: nothing of that name. There are {', '.join((*has, *others))}."
        + did_you_mean(asked.rpartition(".")[2], (*has, *others))
    )


def of_one_name(name: str) -> str:
    """Return what is wrong with two experiments of one name."""
    return (
        f'two experiments are called "{name}", and reports would take them for one. Give each a '
        'name of its own: Experiment(…, name="…").'
    )


def did_you_mean(asked: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "x"?`` for the known word closest to the one asked, else nothing."""
    close = difflib.get_close_matches(asked, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""
