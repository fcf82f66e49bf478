"""What ``slidecam summary`` and ``compare`` show of a folder of outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.exchange.cohort import (
    MEAN,
    TOGETHER,
    UNSURE,
    cohort_shares,
    compare_cohorts,
    means_of,
    mixed_words,
)
from slidecam.exchange.manifest import holds_slides, remembered
from slidecam.runs.legend import SHARE_MEANS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slidecam.cli.terminal import Terminal
    from slidecam.exchange.cohort import CohortShares
    from slidecam.exchange.manifest import SlideReport
    from slidecam.exchange.tables import Cell


def is_cohort(folder: Path) -> bool:
    """Whether a folder is the ``--out`` of predict, and not one slide's."""
    if (folder / "run.json").is_file():
        return False
    return (folder / "manifest.json").is_file() or holds_slides(folder)


def show_comparison(before: Path, after: Path, terminal: Terminal, *, json: bool) -> None:
    """Show the slides of two folders beside each other."""
    found = compare_cohorts(remembered(before).slides, remembered(after).slides)
    means = [SHARE_MEANS, TOGETHER, MEAN]
    if json:
        record = {"before": str(before), "after": str(after), "shares": " ".join(means)}
        rows = {"slides": found.rows, "classes": found.classes}
        terminal.line(record | rows | {"left out": found.left_out, "models": found.notes})
        return
    terminal.rows("slides in both", list(map(_in_percent, found.rows[:SHOWN_SLIDES])))
    terminal.rows("classes in both", list(map(_in_percent, found.classes)))
    facts: dict[str, object] = {"slides compared": len(found.rows), "shares": means}
    if len(found.rows) > SHOWN_SLIDES:
        facts["shown"] = f"the first {SHOWN_SLIDES}; --json gives all"
    facts["largest change"] = "after minus before, in percentage points"
    if found.notes:
        facts["models"] = list(found.notes)
    terminal.table(f"{before} and {after}", facts | {"left out": list(found.left_out)})


def _in_percent(row: Mapping[str, object]) -> dict[str, object]:
    return {name: _words(value, SHARE) for name, value in row.items()}


SHARE = ".1%"
"""How a share stands in a table on the terminal."""

SHOWN_SLIDES = 50
"""Slides that a table on the terminal lists."""

SHORT_COLUMNS = {
    "slide": "slide",
    "status": "status",
    "tissue_mm2": "mm²",
    "tiles_failed": "failed",
    "seconds": "s",
    "share none called": "none",
    "share undecided": "unsure",
}
"""What the terminal shows of a slide beside its classes' shares, and what it calls it."""


def show_cohort(
    out: Path,
    reports: Sequence[SlideReport],
    rows: Sequence[Mapping[str, Cell]],
    terminal: Terminal,
    *,
    json: bool,
) -> None:
    """Show every slide of a folder, a row each, and what they have together."""
    counts: dict[str, int] = {}
    for report in reports:
        counts[report.status] = counts.get(report.status, 0) + 1
    cohort = cohort_shares(reports)
    if json:
        record = {"shares": SHARE_MEANS, "counts": counts, "models": mixed_words(reports)}
        together = [shares.record() for shares in cohort]
        terminal.line(record | {"together": together, "slides": rows})
        return
    terminal.rows("slides", [_in_short(row) for row in rows[:SHOWN_SLIDES]])
    facts: dict[str, object] = {"slides": len(rows), **counts}
    for shares in cohort:
        facts |= _together(shares, alone=len(cohort) == 1)
    facts["shares"] = means_of(cohort) or SHARE_MEANS
    if mixed_words(reports):
        facts["models"] = mixed_words(reports)
    if any(row["share undecided"] is not None for row in rows):
        facts["unsure"] = UNSURE
    if len(rows) > SHOWN_SLIDES:
        facts["shown"] = f"the first {SHOWN_SLIDES}; slides.csv and --json have all"
    terminal.table(str(out), facts)


def _together(shares: CohortShares, *, alone: bool) -> dict[str, object]:
    """Return what slides of the same classes have together."""
    classes = [f"{one.name} {one.share:{SHARE}}" for one in shares.classes]
    if shares.none_called:
        classes.append(f"none {shares.none_share:{SHARE}}")
    of = "" if alone else f" of {', '.join(shares.models)}"
    return {f"slides together{of}": classes}


def _in_short(row: Mapping[str, object]) -> dict[str, object]:
    """Return a slide's row as the terminal has room for it."""
    short: dict[str, object] = {}
    for name, value in row.items():
        form = SHARE if name.startswith("share ") else ".3g"
        if name in SHORT_COLUMNS:
            short[SHORT_COLUMNS[name]] = _words(value, form)
        elif name.startswith("share "):
            label = name.removeprefix("share ")
            if label in SHORT_COLUMNS.values():
                # A class that is called as another column is.
                label = name
            short[label] = _words(value, form)
    return short


def _words(value: object, form: str) -> object:
    if isinstance(value, float):
        return format(value, form)
    return value
