"""What users name, as text of one line: what it is escaped for is each format's own."""

from __future__ import annotations

import re
import unicodedata

# Characters that turn the direction of all that follows them, the rest of a table included.
TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Return text without line ends and control characters, and with what turns lines shown."""
    shown = TURNING.sub(lambda found: f"U+{ord(found[0]):04X}", text)
    kept = (
        " " if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") else each for each in shown
    )
    return re.sub(" +", " ", "".join(kept)).strip()
