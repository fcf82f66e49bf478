"""The tables that are read elsewhere: a row a tile, and a row a slide.

`tiles.csv` is in the layout that WSInfer and its readers share. `slides.csv` is made of what a
folder of outputs remembers, and lies beside the slides' folders.
"""

from __future__ import annotations

import csv
import io
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from slidecam.class_names import in_one_line
from slidecam.files import replacing
from slidecam.runs.legend import SHARE_NAMES, TOP, UM2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.manifest import SlideReport
    from slidecam.runs.legend import ClassSummary
    from slidecam.runs.tiles import TileTable

    Cell = str | int | float | None

BOX_COLUMNS = ("minx", "miny", "width", "height")
PROBABILITY = "prob_"
"""What stands before a class's name, here and in QuPath's measurements."""

VALUES_AT_ONCE = 1 << 18
"""Values that are text in memory at any time."""


def write_tiles_csv(table: TileTable, path: Path, dialect: Dialect = "comma") -> None:
    """Write the finished tiles of ``table``, in grid order.

    The header is ``minx,miny,width,height,prob_<class>…``, of an ensemble ``disagreement`` at the
    end; boxes are whole level-0 pixels, and probabilities have as many digits as give back the same
    float32.
    """
    delimiter, encoding = DIALECTS[dialect]
    with replacing(path) as fresh, fresh.open("w", encoding=encoding, newline="") as file:
        file.write(_header(table, delimiter))
        values = [*table.values.values()]
        for rows in pieces(table):
            columns = as_text(table.boxes[rows])
            for column in values:
                columns += as_text(column[rows, None])
            written = lines(columns, delimiter)
            if dialect == "semicolon":
                written = (line.replace(".", ",") for line in written)
            file.writelines(written)


def pieces(table: TileTable) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of the finished tiles, as many at once as make `VALUES_AT_ONCE` values."""
    rows = np.flatnonzero(table.done)
    step = max(1, VALUES_AT_ONCE // (len(BOX_COLUMNS) + len(table.class_names)))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _header(table: TileTable, delimiter: str) -> str:
    line = io.StringIO()
    columns = [*BOX_COLUMNS, *table.values]
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(columns)
    return line.getvalue()


def lines(columns: Iterable[Iterable[str]], delimiter: str = ",") -> Iterator[str]:
    """Yield the lines of a table from the cells of its columns."""
    for row in zip(*columns, strict=True):
        yield delimiter.join(row) + "\n"


def as_text(values: NDArray[np.generic]) -> list[list[str]]:
    """Return each column of (rows, columns) as strings.

    NumPy writes the fewest digits that read back the same.
    """
    return [column.astype(np.str_).tolist() for column in values.T]


UM2_IN_MM2 = 1e6

OLDER_SHARE = "share of classified tiles (an older slidecam)"

DIGITS = 6
"""Significant digits of figures that were computed."""

Dialect = Literal["comma", "semicolon"]
"""How a table is written: with commas and decimal points, or as spreadsheets of most of Europe
read it, with semicolons and decimal commas."""

DIALECTS: Mapping[Dialect, tuple[str, str]] = MappingProxyType(
    {"comma": (",", "utf-8"), "semicolon": (";", "utf-8-sig")}
)
"""What lies between cells, and how letters are written, by the dialect."""


def slide_rows(reports: Sequence[SlideReport]) -> list[dict[str, Cell]]:
    """Return a row for each slide, all with the same columns; what is not known is None.

    Each class has four: ``mm2``, ``share`` (of what ``share_of`` says), ``mean`` and ``top10``, the
    mean probability of all tiles and of the ten likeliest.
    """
    names = class_names_of(reports)
    return [_slide_row(report, names) for report in reports]


def class_names_of(reports: Iterable[SlideReport]) -> list[str]:
    """Return the classes of all slides, in the order in which they are met."""
    names: dict[str, None] = {}
    for report in reports:
        for one in report.classes:
            names[one.name] = None
    return list(names)


def _slide_row(report: SlideReport, names: Sequence[str]) -> dict[str, Cell]:
    spacing = report.facts.get("spacing") or {}
    across, down = spacing.get("um_px") or (None, None)
    row: dict[str, Cell] = {
        "slide": report.slide,
        "status": report.status,
        "path": report.path,
        "group": report.facts.get("group", ""),
        "um_px_x": across,
        "um_px_y": down,
        "spacing_from": spacing.get("from", ""),
        **_tissue_cells(report),
    }
    known = {one.name: one for one in report.classes}
    for name in names:
        row |= _class_cells(name, known.get(name), in_mm2=row["classified_mm2"] is not None)
    return row | {
        "tiles": report.tiles.done,
        "tiles_failed": report.tiles.failed,
        "tiles_background": report.tiles.skipped,
        "seconds": round(report.seconds, 3),
        "warnings": " ".join(report.warnings),
        "reason": report.reason,
        "remedy": report.remedy,
        "bundle": report.bundle,
        "bundle_sha256": report.bundle_digest,
    }


def _tissue_cells(report: SlideReport) -> dict[str, Cell]:
    """Return what shares are shares of, and what of it no class has or nobody is sure of."""
    tissue, none = report.tissue, None
    cells: dict[str, Cell] = {
        "tissue_mm2": None,
        "classified_mm2": None,
        "share_of": "",
        "share none called": none,
        "share undecided": none,
    }
    if tissue is None:
        if report.classes:
            cells["share_of"] = OLDER_SHARE
        return cells
    cells |= {
        "share_of": SHARE_NAMES[tissue.unit].removeprefix("share of "),
        "share none called": in_digits(tissue.share(tissue.none_called)),
    }
    if tissue.undecided is not None:
        cells["share undecided"] = in_digits(tissue.share(tissue.undecided))
    if tissue.unit == UM2:
        cells["classified_mm2"] = in_digits(tissue.classified / UM2_IN_MM2)
        if tissue.tissue is not None:
            cells["tissue_mm2"] = in_digits(tissue.tissue / UM2_IN_MM2)
    return cells


def _class_cells(name: str, one: ClassSummary | None, *, in_mm2: bool) -> dict[str, Cell]:
    columns = (f"mm2 {name}", f"share {name}", f"mean {name}", f"top{TOP} {name}")
    if one is None:
        return dict.fromkeys(columns)
    area = None
    if in_mm2 and one.area is not None:
        area = one.area / UM2_IN_MM2
    values = (area, one.share, one.mean_probability, one.top_probability)
    return dict(zip(columns, map(in_digits, values), strict=True))


def in_digits(value: float | None) -> float | None:
    """Return a computed figure with `DIGITS` significant digits; None of None."""
    if value is None:
        return None
    return float(f"{value:.{DIGITS}g}")


def write_slides_csv(
    rows: Sequence[Mapping[str, Cell]],
    path: Path,
    dialect: Dialect = "comma",
) -> None:
    """Write rows of one set of columns as a table.

    For spreadsheets with a byte order mark, without which Excel takes it for another encoding.
    """
    delimiter, encoding = DIALECTS[dialect]
    with (
        replacing(path) as fresh,
        fresh.open("w", encoding=encoding, errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        if rows:
            writer.writerow(rows[0])
        for row in rows:
            writer.writerow([_cell(value, dialect) for value in row.values()])


def _cell(value: Cell, dialect: Dialect) -> Cell:
    if isinstance(value, float) and dialect == "semicolon":
        return str(value).replace(".", ",")
    if not isinstance(value, str):
        return value
    text = in_one_line(value)
    if text[:1] in FORMULAS:
        # A name that a spreadsheet would compute.
        return f"'{text}"
    return text


FORMULAS = {"=", "+", "-", "@"}
