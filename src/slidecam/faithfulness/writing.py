"""A report in a folder.

``faithfulness.html`` is for people, ``.json`` and ``.csv`` for programs; its pictures are beside.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.faithfulness.plots import curve_picture, figure_picture, randomisation_picture
from slidecam.faithfulness.sentences import NOTHING, cautions, figure, sentences
from slidecam.faithfulness.spec import measure_called
from slidecam.faithfulness.statistics import mean_and_error
from slidecam.faithfulness.tables import (
    COLUMNS,
    STAGE_COLUMNS,
    report_object,
    rows,
    stage_rows,
    write_rows,
)
from slidecam.files import replacing
from slidecam.pages import picture_uri, write_page

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.faithfulness.report import FaithfulnessReport, Finding

NAME = "faithfulness"
WIDTH = 1800
"""Pixels across of the pictures inside the page, so that they stay sharp on dense screens."""


@dataclass(frozen=True)
class Cell:
    """One figure of the page's table.

    ``verdict`` is beside the random map, ``hint`` what a pointer is told.
    """

    words: str
    verdict: str = ""
    hint: str = ""


def write_faithfulness(report: FaithfulnessReport, folder: Path) -> Path:
    """Write a report into a folder and return its page, ``faithfulness.html``.

    Beside it: ``faithfulness.json`` (everything, each tile's figures too), ``faithfulness.csv``
    (one row for each method and measure), ``randomisation.csv`` if that was checked, and the
    pictures. Each file appears whole or not at all; what is there already is replaced.
    """
    with replacing(folder / f"{NAME}.json") as fresh:
        text = json.dumps(report_object(report), indent=1, ensure_ascii=False, allow_nan=False)
        fresh.write_text(text + "\n", encoding="utf-8", newline="\n")
    write_rows(rows(report), COLUMNS, folder / f"{NAME}.csv")
    if report.likenesses:
        write_rows(stage_rows(report), STAGE_COLUMNS, folder / "randomisation.csv")
    page = folder / f"{NAME}.html"
    write_page(NAME, page, **_values(report, folder))
    return page


def _values(report: FaithfulnessReport, folder: Path) -> dict[str, Any]:
    # Single sizes of sensitivity-n are in the CSV.
    measures = [
        measure_called(name) for name in report.measures if not name.startswith("sensitivity-n:")
    ]
    return {
        "report": report,
        "sentences": sentences(report),
        "cautions": cautions(report),
        "measures": measures,
        "table": [
            (one, [_cell(report.finding(one.name, known.name)) for known in measures])
            for one in report.methods
        ],
        "mask_share": figure(report.mask_share) if math.isfinite(report.mask_share) else "",
        "pictures": _pictures(report, folder),
        "stages": _stages(report),
        "settings": json.dumps(dict(report.settings), indent=1, ensure_ascii=False),
    }


def _pictures(report: FaithfulnessReport, folder: Path) -> dict[str, str | None]:
    """Write the pictures there are, and return each as a data URI by its file's name."""
    drawn = {
        "curves.png": curve_picture(report),
        "figures.png": figure_picture(report),
        "randomisation.png": randomisation_picture(report),
    }
    found: dict[str, str | None] = {}
    for name, picture in drawn.items():
        if picture is not None:
            with replacing(folder / name) as fresh:
                picture.save(fresh, format="PNG")
            found[name] = picture_uri(picture, WIDTH, exact=True)
    return found


def _cell(found: Finding | None) -> Cell:
    if found is None:
        return Cell(NOTHING)
    lines = [f"± {figure(found.se_tiles)} over tiles, ± {figure(found.se_seeds)} over seeds"]
    lines += [
        f"{figure(one.mean, one.se)} from the {one.reference}: {one.verdict}"
        for one in found.differences
    ]
    judged = found.differences and measure_called(found.measure).judged
    verdict = found.differences[0].verdict.replace(" ", "-") if judged else ""
    return Cell(figure(found.mean, found.se_tiles), verdict, "\n".join(lines))


def _stages(report: FaithfulnessReport) -> dict[str, list[tuple[str, str, str]]]:
    """Return by method: stage, rank correlation and structural similarity."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in report.likenesses:
        words = (figure(*mean_and_error(one.correlation)), figure(*mean_and_error(one.structure)))
        found.setdefault(one.method, []).append((one.stage, *words))
    return found
