"""What many tests unfold to, packed into the page: a script unpacks what is looked at.

What a thousand tests unfold to takes 9 MB, and is much alike: packed it is a twentieth of that.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from html import escape

MOST_AT_ONCE = 24  # tests whose content stands in the page as it is


def place(test: str) -> str:
    """Return the markup of where a test's content will stand."""
    return f'<div class="pytest-ablation later" data-test="{escape(test)}"></div>'


def packed(contents: Mapping[str, str]) -> str:
    """Return markup by test as base64 of a gzip file of JSON; nothing of nothing."""
    if not contents:
        return ""
    content = gzip.compress(json.dumps(contents).encode(), mtime=0)
    return base64.b64encode(content).decode()
