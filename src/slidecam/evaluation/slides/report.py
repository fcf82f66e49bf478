"""An evaluation on slides on disk.

The figures of tiles as of pictures, and a page and a record of the areas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.evaluation.slides.areas import DEFINITIONS
from slidecam.files import write_json
from slidecam.learning.evaluation.report import PAGE, Background, write_evaluation
from slidecam.pages import write_page

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.evaluation.slides.results import SlideEvaluation

RECORD, AREA_PAGE = "slides.json", "slides.html"

SQUARE_MM = 1e6
"""µm² in a mm²."""


def write_slide_evaluation(
    evaluation: SlideEvaluation, folder: Path, title: str = "Evaluation on slides"
) -> None:
    """Write what is to be kept of an evaluation on slides.

    Parameters
    ----------
    evaluation
        Of one slide or more.
    folder
        Gets ``evaluation.json``, ``evaluation.html``, ``predictions.csv`` and ``figures/*.png`` of
        the tiles, as an evaluation on pictures does; ``slides.json`` and ``slides.html`` with the
        areas and each slide.
    title
        What was measured: the classifier's name.
    """
    used = [slide for slide in evaluation.slides if not slide.problem]
    notes = [f"{slide.slide}: {slide.problem}" for slide in evaluation.slides if slide.problem]
    notes += [note for slide in used for note in slide.notes]
    data = f"the annotated tiles of {len(used)} {'slide' if len(used) == 1 else 'slides'}"
    write_evaluation(evaluation.tiles, folder, Background(title, data, notes=notes))
    write_page(
        "slides",
        folder / AREA_PAGE,
        title=title,
        areas=evaluation.areas,
        figures=evaluation.areas.figures(),
        definitions=DEFINITIONS,
        slides=evaluation.slides,
        notes=notes,
        square_mm=SQUARE_MM,
        tiles_page=PAGE,
        record=RECORD,
    )
    write_json(folder / RECORD, evaluation.record())
