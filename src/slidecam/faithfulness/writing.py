"""A report in a folder.

``faithfulness.html`` is for people, ``.json`` and ``.csv`` for programs; its pictures are beside.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.faithfulness.plots import (
    curve_picture,
    figure_picture,
    randomisation_picture,
)
from slidecam.faithfulness.report import (
    Difference,
    FaithfulnessReport,
    Finding,
    MeanCurve,
    MethodFacts,
    mean_and_error,
)
from slidecam.faithfulness.sentences import NOTHING, cautions, figure, sentences
from slidecam.faithfulness.spec import measure_called
from slidecam.files import replacing, write_json
from slidecam.pages import picture_uri, write_page

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray


COLUMNS = (
    "method", "reference", "measure", "title", "good", "mean", "se_tiles", "se_seeds", "tiles",
    "random", "minus_random", "minus_random_se", "beside_random",
    "minus_centre", "minus_centre_se", "beside_centre",
)  # fmt: skip
"""The table's columns; the table has one row for each method and measure.

An empty field is not known or does not apply.
"""

DIGITS = 6


def rows(report: FaithfulnessReport) -> list[dict[str, Any]]:
    """Return one row for each method and measure, by `COLUMNS`: text, numbers, booleans or None."""
    references = {one.name for one in report.methods if one.reference}
    return [_row(one, reference=one.method in references) for one in report.findings]


def stage_rows(report: FaithfulnessReport) -> list[dict[str, Any]]:
    """Return one row for each method and stage of the randomisation check."""
    found = []
    for one in report.likenesses:
        row: dict[str, Any] = {"method": one.method, "stage": one.stage}
        for name, values in (
            ("correlation", one.correlation),
            ("structure", one.structure),
        ):
            row[name], row[f"{name}_se"] = map(_number, mean_and_error(values))
        row["tiles"] = int(np.isfinite(one.correlation).sum())
        found.append(row)
    return found


def report_object(report: FaithfulnessReport) -> dict[str, Any]:
    """Return the whole report as JSON values.

    Sentences, rows, curves, each tile's figures, settings.
    """
    findings = rows(report)
    for row, one in zip(findings, report.findings, strict=True):
        row["values"] = _numbers(one.values)
    return {
        "classifier": report.classifier,
        "output": report.output,
        "explained": report.explained,
        "tiles": report.tiles,
        "mask_share": _number(report.mask_share),
        "sentences": list(sentences(report)),
        "cautions": list(cautions(report)),
        "methods": list(map(_method, report.methods)),
        "findings": findings,
        "curves": list(map(_curve, report.curves)),
        "randomisation": stage_rows(report),
        "settings": dict(report.settings),
        "notes": list(report.notes),
        "runs by": list(report.runs_by),
    }


def _write_rows(table: list[dict[str, Any]], columns: Collection[str], path: Path) -> None:
    """Write rows as CSV in UTF-8, whole or not at all."""
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def _row(one: Finding, *, reference: bool) -> dict[str, Any]:
    known, apart = measure_called(one.measure), dict.fromkeys(COLUMNS[9:])
    # The random map first, then the centre prior.
    for name, difference in zip(("random", "centre"), one.differences, strict=False):
        apart[f"minus_{name}"] = _number(difference.mean)
        apart[f"minus_{name}_se"] = _number(difference.se)
        apart[f"beside_{name}"] = difference.verdict
    if one.differences:
        apart["random"] = one.differences[0].reference
    return {
        "method": one.method,
        "reference": reference,
        "measure": one.measure,
        "title": known.title,
        "good": known.good,
        "mean": _number(one.mean),
        "se_tiles": _number(one.se_tiles),
        "se_seeds": _number(one.se_seeds),
        "tiles": int(np.isfinite(one.values).sum()),
        **apart,
    }


def _method(one: MethodFacts) -> dict[str, Any]:
    known: dict[str, Any] = {"name": one.name, "reference": one.reference}
    if not one.reference:
        known |= {"random": one.random, "passes": one.passes, "facts": dict(one.facts)}
    return known


def _curve(one: MeanCurve) -> dict[str, Any]:
    return {
        "method": one.method,
        "measure": one.measure,
        "fractions": _numbers(one.fractions),
        "mean": _numbers(one.mean),
        "se": _numbers(one.se),
    }


def _number(value: float) -> float | None:
    """Return what JSON can say: no number that is none."""
    if math.isfinite(value):
        return round(float(value), DIGITS)
    return None


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return list(map(_number, values.tolist()))


NAME = "faithfulness"
WIDTH = 1800
"""Pixels across of the pictures inside the page, so that they stay sharp on dense screens."""


@dataclass(frozen=True)
class Cell:
    """One figure of the page's table.

    ``verdict`` is beside the random map, ``hint`` what a pointer shows.
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
    write_json(folder / f"{NAME}.json", report_object(report), indent=1)
    _write_rows(rows(report), COLUMNS, folder / f"{NAME}.csv")
    if report.likenesses:
        stages = stage_rows(report)
        _write_rows(stages, stages[0], folder / "randomisation.csv")
    page = folder / f"{NAME}.html"
    write_page(NAME, page, **_values(report, folder))
    return page


def _values(report: FaithfulnessReport, folder: Path) -> dict[str, Any]:
    measures = list(map(measure_called, report.shown_measures))
    table = []
    for one in report.methods:
        cells = [_cell(report.finding(one.name, known.name)) for known in measures]
        table.append((one, cells))
    mask_share = ""
    if math.isfinite(report.mask_share):
        mask_share = figure(report.mask_share)
    return {
        "report": report,
        "sentences": sentences(report),
        "cautions": cautions(report),
        "measures": measures,
        "table": table,
        "mask_share": mask_share,
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
    lines += map(_difference, found.differences)
    verdict = ""
    if found.differences and measure_called(found.measure).judged:
        verdict = found.differences[0].verdict.replace(" ", "-")
    return Cell(figure(found.mean, found.se_tiles), verdict, "\n".join(lines))


def _difference(one: Difference) -> str:
    return f"{figure(one.mean, one.se)} from the {one.reference}: {one.verdict}"


def _stages(report: FaithfulnessReport) -> dict[str, list[tuple[str, str, str]]]:
    """Return by method: stage, rank correlation and structural similarity."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in report.likenesses:
        words = (
            figure(*mean_and_error(one.correlation)),
            figure(*mean_and_error(one.structure)),
        )
        found.setdefault(one.method, []).append((one.stage, *words))
    return found
