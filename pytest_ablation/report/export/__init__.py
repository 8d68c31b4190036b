"""The findings as files, a module a format, chosen by the file's suffix.

Importing this imports no format.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ablation.table import Findings

# Each module has `rendered(findings) -> str`.
MODULES = {
    ".json": "plain",
    ".csv": "sheet",
    ".md": "markdown",
    ".tex": "latex",
    ".html": "page",
}


def write(findings: Findings, path: Path) -> None:
    """Write the findings in the format of the path's suffix.

    Raises:
        OSError: The file cannot be written.
    """
    from pytest_ablation import document

    document.save(path, rendered(findings, path.suffix.lower()))


def rendered(findings: Findings, suffix: str) -> str:
    """Return the findings in the format of a suffix, as ".json"."""
    module = import_module(f"{__name__}.{MODULES[suffix]}")
    text: str = module.rendered(findings)
    return text
