"""A file of theirs in every slide's folder, where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.runs.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.runs.outputs import SlideOutputs


def write_counts(results: SlideOutputs, path: Path) -> None:
    """Write how many tiles there are, and how many of them gave a result."""
    table = results.table
    path.write_text(f"{int(table.done.sum())} of {len(table)}\n", encoding="utf-8")


COUNTS = Output(
    "counts.txt",
    write_counts,
    "text/plain",
    default=False,
    help="how many tiles gave a result",
)
