"""A report as rows and as one JSON object, for programs and spreadsheets."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.faithfulness.sentences import cautions, sentences
from slidecam.faithfulness.spec import measure_called
from slidecam.faithfulness.statistics import mean_and_error
from slidecam.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.faithfulness.report import FaithfulnessReport, Finding

COLUMNS = (
    "method", "reference", "measure", "title", "good", "mean", "se_tiles", "se_seeds", "tiles",
    "random", "minus_random", "minus_random_se", "beside_random",
    "minus_centre", "minus_centre_se", "beside_centre",
)  # fmt: skip
"""The table's columns; the table has one row for each method and measure.

An empty field is not known or does not apply.
"""

STAGE_COLUMNS = (
    "method",
    "stage",
    "correlation",
    "correlation_se",
    "structure",
    "structure_se",
    "tiles",
)
"""Of the randomisation check's table."""

DIGITS = 6


def rows(report: FaithfulnessReport) -> list[dict[str, Any]]:
    """Return one row for each method and measure, by `COLUMNS`: text, numbers, booleans or None."""
    references = {one.name for one in report.methods if one.reference}
    return [_row(one, reference=one.method in references) for one in report.findings]


def stage_rows(report: FaithfulnessReport) -> list[dict[str, Any]]:
    """Return one row for each method and stage of the randomisation check, by `STAGE_COLUMNS`."""
    return [
        {
            "method": one.method,
            "stage": one.stage,
            **dict(
                zip(STAGE_COLUMNS[2:4], map(_number, mean_and_error(one.correlation)), strict=True)
            ),
            **dict(
                zip(STAGE_COLUMNS[4:6], map(_number, mean_and_error(one.structure)), strict=True)
            ),
            "tiles": int(np.isfinite(one.correlation).sum()),
        }
        for one in report.likenesses
    ]


def report_object(report: FaithfulnessReport) -> dict[str, Any]:
    """Return the whole report as JSON values.

    Sentences, rows, curves, each tile's figures, settings.
    """
    return {
        "classifier": report.classifier,
        "output": report.output,
        "explained": report.explained,
        "tiles": report.tiles,
        "mask_share": _number(report.mask_share),
        "sentences": list(sentences(report)),
        "cautions": list(cautions(report)),
        "methods": [_method(report, name) for name in (one.name for one in report.methods)],
        "findings": [
            row | {"values": _numbers(one.values)}
            for row, one in zip(rows(report), report.findings, strict=True)
        ],
        "curves": [
            {
                "method": one.method,
                "measure": one.measure,
                "fractions": _numbers(one.fractions),
                "mean": _numbers(one.mean),
                "se": _numbers(one.se),
            }
            for one in report.curves
        ],
        "randomisation": stage_rows(report),
        "settings": dict(report.settings),
    }


def write_rows(table: Iterable[dict[str, Any]], columns: Iterable[str], path: Path) -> None:
    """Write rows as CSV in UTF-8, whole or not at all."""
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def _row(one: Finding, *, reference: bool) -> dict[str, Any]:
    known, apart = measure_called(one.measure), dict.fromkeys(COLUMNS[9:])
    for place, difference in enumerate(one.differences):
        # The random map first, then the centre prior.
        names = COLUMNS[10 + 3 * place : 13 + 3 * place]
        values = (_number(difference.mean), _number(difference.se), difference.verdict)
        apart |= dict(zip(names, values, strict=True)) | (
            {} if place else {"random": difference.reference}
        )
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


def _method(report: FaithfulnessReport, name: str) -> dict[str, Any]:
    one = next(method for method in report.methods if method.name == name)
    told = (
        {}
        if one.reference
        else {"random": one.random, "passes": one.passes, "facts": dict(one.facts)}
    )
    return {"name": name, "reference": one.reference, **told}


def _number(value: float) -> float | None:
    """Return what JSON can say: no number that is none."""
    return round(float(value), DIGITS) if math.isfinite(value) else None


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values.tolist()]
