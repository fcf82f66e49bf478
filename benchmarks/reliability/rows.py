"""Rows of the table: what was tried, how often, and what was lost."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PACKAGES = (
    "slidecam",
    "numpy",
    "torch",
    "pillow",
    "tifffile",
    "openslide-python",
    "nibabel",
    "pydicom",
    "zarr",
)
"""Whose versions a table is of."""

SHOWN = 12
"""Losses of one row that are listed."""


@dataclass
class Row:
    """One kind of fault.

    Attributes
    ----------
    part
        ``kills``, ``faults``, ``fuzz``, ``determinism`` or ``soak``.
    fault
        What was done.
    tries
        How often.
    lost
        What was lost, each with what makes it again: a seed, a number, an option.
    note
        What else a reader should know; why nothing was tried, where nothing was.
    """

    part: str
    fault: str
    tries: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def add(self, fault: str) -> None:
        """Count one more try; ``fault`` is empty where all went well."""
        self.tries += 1
        if fault:
            self.lost.append(fault)

    @property
    def survived(self) -> int:
        """Tries that lost nothing."""
        return self.tries - len(self.lost)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown, a sum below them, and what was lost."""
    lines = ["| part | fault | tries | survived | lost |", "|---|---|---:|---:|---:|"]
    lines += [_line(row) for row in rows]
    whole = Row("", "**all**", sum(row.tries for row in rows))
    whole.lost = [each for row in rows for each in row.lost]
    lines.append(_line(whole))
    notes = [f"- {row.part}, {row.fault}: {row.note}" for row in rows if row.note]
    losses = [line for row in rows for line in _losses(row)]
    blocks = ["\n".join(lines)]
    if notes:
        blocks.append("\n".join(notes))
    if losses:
        blocks.append("## Lost\n\n" + "\n".join(losses))
    return "\n\n".join(blocks) + "\n"


def _line(row: Row) -> str:
    figures = f"{row.tries:,} | {row.survived:,} | {len(row.lost):,}"
    return f"| {row.part} | {row.fault} | {figures} |"


def _losses(row: Row) -> list[str]:
    """Return what a row lost, alike ones once, with how many there are."""
    kinds = Counter(each.partition(": ")[2] or each for each in row.lost)
    firsts: dict[str, str] = {}
    for each in row.lost:
        firsts.setdefault(each.partition(": ")[2] or each, each)
    lines = [f"- {row.fault}: {firsts[kind]} ({count})" for kind, count in kinds.most_common()]
    return lines[:SHOWN]


@dataclass(frozen=True)
class Sitting:
    """Parts that one call has tried, and how it was made."""

    command: str
    ended: str
    seconds: float
    load: float
    rows: tuple[Row, ...]

    @classmethod
    def now(cls, command: str, seconds: float, rows: Sequence[Row]) -> Sitting:
        """Return the sitting that ends now."""
        ended = datetime.now(UTC).isoformat(timespec="minutes")
        return cls(command, ended, seconds, psutil.getloadavg()[0], tuple(rows))

    @property
    def said(self) -> str:
        """How it was made, in words."""
        when = f"{self.ended}, {self.seconds:,.0f} s, load {self.load:.1f} at the end"
        return f"`{self.command}` ({when})"


def kept(file: Path) -> list[Sitting]:
    """Return the sittings that a file holds; none where it is not there."""
    if not file.exists():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    return [Sitting(**{**one, "rows": tuple(Row(**row) for row in one["rows"])}) for one in found]


def keep(file: Path, sitting: Sitting) -> list[Sitting]:
    """Add a sitting to a file, in place of what the same command has tried before; return all."""
    before = (one for one in kept(file) if one.command != sitting.command)
    sittings = [*before, sitting]
    file.write_text(json.dumps(list(map(asdict, sittings)), indent=1), encoding="utf-8")
    return sittings


def added_up(sittings: Sequence[Sitting]) -> list[Row]:
    """Return a row for each fault, with what all sittings have tried of it."""
    rows: dict[tuple[str, str], Row] = {}
    for one in (row for sitting in sittings for row in sitting.rows):
        row = rows.setdefault((one.part, one.fault), Row(one.part, one.fault))
        row.tries += one.tries
        row.lost += one.lost
        row.note = "; ".join(filter(None, (row.note, one.note)))
    return list(rows.values())


def page(sittings: Sequence[Sitting]) -> str:
    """Return the whole page: how its tables were made, where and when, and the rows of all."""
    memory = psutil.virtual_memory().total / 2**30
    where = (
        f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} processors,"
        f" {memory:.0f} GB; Python {platform.python_version()}, {', '.join(_versions())}"
    )
    return (
        "# Reliability\n\n"
        "What was done to slidecam, how often, and what of it was lost: a process that ended, hung"
        " or filled the memory, an exception without a remedy, an output that differs from an"
        " undisturbed run's.\n\n"
        f"Made by {', '.join(one.said for one in sittings)} on {where}."
        " Every row is drawn from its seed and can be made again.\n\n"
        f"{table(added_up(sittings))}"
    )


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
