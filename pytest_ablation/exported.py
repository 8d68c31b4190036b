"""An export read again: the findings of a session as a DataFrame."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_ablation import document
from pytest_ablation.errors import AblationError

if TYPE_CHECKING:
    import pandas as pd

KIND, SCHEMA = "pytest-ablation findings", 1
MAKER = "--ablation-export=findings.json"


def findings(path: str | PathLike[str], rows: Literal["claims", "arms"] = "claims") -> pd.DataFrame:
    """Return the findings that a session exported as JSON.

    Args:
        path: The file that ``--ablation-export=findings.json`` wrote.
        rows: "claims", a row for each bound that a test asserted; or "arms", a row for the baseline
            and for each variant.

    Returns:
        The table, its columns as the schema names them; `attrs` has "session" and "experiments".

    Raises:
        AblationError: The file is missing, damaged, something else, or of a newer version.

    Example:
        >>> table = pytest_ablation.findings("findings.json")
        >>> table[table.verdict == "violated"][["arm", "claim", "value"]]
    """
    import pandas as pd

    if rows not in ("claims", "arms"):
        raise AblationError(f'findings(…, rows={rows!r}): rows are "claims" or "arms".')
    told = document.read(Path(path), KIND, SCHEMA, MAKER)
    try:
        table = pd.DataFrame(told[rows])
        table.attrs = {"session": told["session"], "experiments": told["experiments"]}
    except (KeyError, TypeError, ValueError):
        raise AblationError(f"{path}: damaged, it has no {rows}. {MAKER} writes it anew.") from None
    return table
