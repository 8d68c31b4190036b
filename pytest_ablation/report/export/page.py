"""The findings as one HTML file of their own: the report's page, without pytest-html."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ablation.report import html

if TYPE_CHECKING:
    from pytest_ablation.table import Findings


def rendered(findings: Findings) -> str:
    """Return the page, and below it what each test found."""
    return html.alone(findings)
