"""A run, read: its tiles, their legend, how unsure each is, two runs compared, one as a figure."""

from slidecam.run_results.comparison import ChangedTile, ClassChange, RunComparison, compare_runs
from slidecam.run_results.figure import FigureSpec, write_figure
from slidecam.run_results.legend import Legend, LegendRow, legend
from slidecam.run_results.run import RunTiles, read_run_tiles
from slidecam.run_results.uncertainty import most_suspicious, neighbour_in, uncertainty

__all__ = [
    "ChangedTile",
    "ClassChange",
    "FigureSpec",
    "Legend",
    "LegendRow",
    "RunComparison",
    "RunTiles",
    "compare_runs",
    "legend",
    "most_suspicious",
    "neighbour_in",
    "read_run_tiles",
    "uncertainty",
    "write_figure",
]
