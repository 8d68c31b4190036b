"""The page's templates, which escape what users write, and its style and scripts."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pytest_ablation.report import words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from pytest_ablation.quantity import Measure


def rendered(template: str, **context: Any) -> str:
    """Return a template of this folder, filled in."""
    return _environment().get_template(template).render(**context).strip()


def own(name: str) -> Markup:
    """Return a style or a script of this folder as it is."""
    from markupsafe import Markup

    text = files("pytest_ablation.report").joinpath(name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 # not what users write


def as_shown(number: float, measure: Measure) -> float:
    """Return a number in the unit that is shown: what sorts and filters is what is read."""
    return 100 * number if measure.unit == "fraction" else number


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pytest_ablation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (
        *(words.verdict, words.placebo, words.p_value, words.limits, words.reasoning, words.found),
        *(words.value, words.change, words.ratio, words.seconds, words.count, words.shortened),
        *(words.outcome, as_shown, _number, _after_colon, _capital),
    )
    environment.filters |= {each.__name__.removeprefix("_"): each for each in shown}
    return environment


def _number(value: float) -> str:
    """Return what a cell is sorted by; nothing of what is no number."""
    return "" if math.isnan(value) else f"{value:.6g}"


def _after_colon(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
