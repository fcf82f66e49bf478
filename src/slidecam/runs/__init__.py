"""A run: what it may be set to, what it leaves, its tiles read back, and two of them compared."""

from slidecam.runs.comparison import (
    ChangedTile,
    ClassChange,
    RunComparison,
    compare_runs,
)
from slidecam.runs.legend import Legend, LegendRow, legend
from slidecam.runs.record import RunRecord
from slidecam.runs.run import Run
from slidecam.runs.tiles import most_suspicious, neighbour_in, uncertainty

__all__ = [
    "ChangedTile",
    "ClassChange",
    "Legend",
    "LegendRow",
    "Run",
    "RunComparison",
    "RunRecord",
    "compare_runs",
    "legend",
    "most_suspicious",
    "neighbour_in",
    "uncertainty",
]
