"""The findings as Markdown, for a comment on a pull request: short enough, the details folded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_ablation.report import since, words
from pytest_ablation.report.export.text import one_line
from pytest_ablation.report.sweep import sweeps_of

if TYPE_CHECKING:
    from pytest_ablation.claim import Compared
    from pytest_ablation.evidence import Entry
    from pytest_ablation.table import Findings, Row

MOST = 60_000  # characters; GitHub takes a comment of 65,536
MOST_CHANGED = 20  # lines since a reference
MARK = "<!-- pytest-ablation -->"  # by which a CI job finds the comment that it wrote before
SIGNS = {"holds": "✅ ", "undecided": "❔ ", "xfailed": "", "skipped": "", "": ""}
WRONG = "❌ "
# As entities these are no markup, in Markdown, in its tables and in HTML. What is markup only where
# it begins a line stays as it is: no line begins with what a user named.
MARKUP = "&<>\"'|\\`*_[]~$@#!"
ENTITIES = str.maketrans({each: f"&#{ord(each)};" for each in MARKUP})


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How much is said.

    Attributes:
        rows: Most rows of all tables of arms.
        claims: Whether each claim is listed.
        changes: Whether what each ablation changed is.
    """

    rows: int
    claims: bool = True
    changes: bool = True


def rendered(findings: Findings) -> str:
    """Return the findings as Markdown of at most 60,000 characters.

    Where more would be needed, what each ablation changed is left out, then the list of claims,
    then arms whose claims hold and that changed least; what is left out is said.
    """
    rows = findings.rows()
    size = _Size(rows=len(rows))
    text = _composed(findings, rows, size)
    for smaller in (replace(size, changes=False), replace(size, changes=False, claims=False)):
        if len(text) > MOST:
            size, text = smaller, _composed(findings, rows, smaller)
    while len(text) > MOST and size.rows:
        size = replace(size, rows=size.rows // 2)
        text = _composed(findings, rows, size)
    return text


def _composed(findings: Findings, rows: Sequence[Row], size: _Size) -> str:
    kept = sorted(rows, key=_telling)[: size.rows]
    shown = {id(row) for row in kept}
    parts = [
        MARK,
        "### Ablation study",
        f"**{escaped(words.headline(rows, findings.errors))}**",
        *_banner(findings),
    ]
    for name in dict.fromkeys(row.experiment for row in kept):
        own = [row for row in rows if id(row) in shown and row.experiment == name]
        parts += _study(name, own, findings)
    parts += _changed_since(findings, rows)
    if size.claims:
        parts += _claims(findings)
    if size.changes:
        parts += _changes(rows)
    left_out = [
        *([f"{len(rows) - len(kept)} arms"] if len(rows) > len(kept) else []),
        *([] if size.claims else ["each claim"]),
        *([] if size.changes else ["what each ablation changed"]),
    ]
    if left_out:
        parts.append(f"Left out here for length: {', '.join(left_out)}.")
    facts = " · ".join(escaped(fact) for fact in words.facts(findings.facts))
    return "\n\n".join([*parts, f"<sub>{facts}</sub>"]) + "\n"


def _telling(row: Row) -> tuple[bool, bool, float]:
    holds = words.verdict(row) in ("holds", "")
    return row.arm != "baseline", holds, -abs(row.change) if not math.isnan(row.change) else 0.0


def _banner(findings: Findings) -> Iterator[str]:
    facts = findings.facts
    if facts["stand_in"]:
        yield (
            f"> ⚠️ **These are not the images of CIFAR-10.** {escaped(facts['stand_in'])} "
            f"Studied instead: {escaped(facts['data'])}."
        )
    if facts["decides_nothing"]:
        yield (
            f"> ⚠️ **A trial of the wiring, not a study.** The {facts['profile']} profile trains "
            "too little to decide any claim about a trained quantity."
        )


# ------------------------------------------------------------------------------------ the arms


def _study(name: str, rows: Sequence[Row], findings: Findings) -> Iterator[str]:
    sweeps, swept = sweeps_of(rows)
    shown = [row for row in rows if row not in swept]
    yield f"#### {named(name)}"
    yield _arms(shown)
    yield _folded("What was found", "\n".join(_sentences(shown)))
    if sweeps:
        titles = "\n".join(f"- {escaped(sweep.title)}" for sweep in sweeps)
        yield _folded(f"{len(swept)} lesions of single units", f"{titles}\n\n{_arms(swept)}")
    if placebo := words.placebo(findings.placebo(name)):
        yield escaped(placebo)


def _arms(rows: Sequence[Row]) -> str:
    metric = escaped(rows[0].measure.name)
    has_since = any(not math.isnan(row.since) for row in rows)
    head = ["", f"test {metric}", "change", "verdict", *(["since"] if has_since else [])]
    return _table(
        [*head, f"training {metric}", "gap", "time a step", "wall", "parameters", "seeds"],
        [
            [
                named(row.arm),
                words.value(row.value, row.measure),
                _change(row),
                _verdict(words.verdict(row)),
                *([_since(row)] if has_since else []),
                words.value(row.train_value, row.measure),
                words.change(row.gap, row.measure),
                words.ratio(row.time_ratio),
                words.seconds(row.wall),
                words.count(row.params),
                str(row.seeds),
            ]
            for row in rows
        ],
        left=(0, 3),
    )


def _change(row: Row) -> str:
    if row.arm == "baseline":
        return words.UNKNOWN
    change = words.change(row.change, row.measure)
    limits = words.limits(row.change_low, row.change_high, row.measure)
    return f"{change} ({limits})" if row.has_limits else change


def _since(row: Row) -> str:
    since = words.change(row.since, row.measure)
    if math.isnan(row.since_low):
        return since
    return f"{since} ({words.limits(row.since_low, row.since_high, row.measure)})"


def _sentences(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield f"- {named(row.arm)}: {escaped(row.sentence)}"


def _verdict(verdict: str) -> str:
    return SIGNS.get(verdict, WRONG) + verdict


def _changed_since(findings: Findings, rows: Sequence[Row]) -> Iterator[str]:
    told = since.changed(findings, rows)
    if findings.reference is None:
        return
    lines = [f"- {named(arm)}: {escaped(said)}" if arm else said for arm, said in told]
    if len(lines) > MOST_CHANGED:
        lines[MOST_CHANGED:] = [f"- and {len(lines) - MOST_CHANGED} more"]
    yield f"**Since {named(findings.reference.path.name)}**\n\n" + "\n".join(lines)


# ------------------------------------------------------------------------------------- details


def _claims(findings: Findings) -> Iterator[str]:
    claims = findings.claims()
    if not claims:
        return
    confidence = f"{100 - 200 * findings.facts['alpha']:g} %"
    head = [
        "claim",
        "of",
        "found",
        f"interval, {confidence}",
        "seeds",
        "p",
        "p, adjusted",
        "verdict",
    ]
    table = _table([*head, "test"], [_claim(*each) for each in claims], left=(0, 1, 7, 8))
    reasons = [
        f"- {escaped(each.claim)}: {escaped(each.advice or each.reason)}."
        for _, each, _ in claims
        if each.reason or each.advice
    ]
    said = f"{len(claims)} claim{'' if len(claims) == 1 else 's'}"
    yield _folded(said, "\n\n".join([table, *(["\n".join(reasons)] if reasons else [])]))


def _claim(entry: Entry, each: Compared, adjusted: float) -> list[str]:
    return [
        escaped(each.claim),
        named(entry.ablation or "baseline"),
        each.said(each.value),
        each.interval or words.UNKNOWN,
        each.seeds_in_a_table or words.UNKNOWN,
        escaped(words.p_value(each.p)),
        escaped(words.p_value(adjusted)),
        _verdict(words.outcome(entry, each)),
        named(entry.test),
    ]


def _changes(rows: Sequence[Row]) -> Iterator[str]:
    lines = []
    for row in rows:
        changes = row.tests[0].changes if row.tests else ()
        if changes:
            lines += [f"- {named(row.arm)}", *(f"  - {named(line)}" for line in changes)]
    if lines:
        yield _folded("What each ablation changed", "\n".join(lines))


# -------------------------------------------------------------------------------------- markup


def escaped(text: str) -> str:
    """Return text that no Markdown renderer takes for markup, nor for a link."""
    entities = one_line(text).translate(ENTITIES)
    return entities.replace("://", "&#58;//").replace("www.", "www&#46;")


def named(name: str) -> str:
    """Return what a user named, as code: there GitHub looks for no mention and no emoji."""
    return f"<code>{escaped(name)}</code>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    sides = [":---" if place in left else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, sides, *rows))


def _folded(title: str, content: str) -> str:
    # GitHub reads what is folded as Markdown only after an empty line.
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"
