"""Slides and the files of annotations that belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.errors import UsageError
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slidecam.sources.discovery import FoundSlide

SUFFIXES = (".geojson", ".json", ".geojson.gz")


def pair_annotations(
    slides: Sequence[str | Path], annotations: Path
) -> tuple[list[tuple[FoundSlide, Path]], list[str]]:
    """Return each slide with its annotations, and sentences on what has none.

    Parameters
    ----------
    slides
        Slides, or folders of slides.
    annotations
        GeoJSON of the only slide, or a folder with ``<stem>.geojson`` (``.json``, ``.geojson.gz``)
        for each.

    Raises
    ------
    UsageError
        If no slide or no annotations are found, or one file is given for several slides.
    """
    found = find_slides(slides)
    if not annotations.exists():
        raise UsageError(f"--annotations {annotations}: there is no such file.", "Check the path.")
    if annotations.is_file() and len(found.slides) > 1:
        raise UsageError(
            f"--annotations {annotations} is one file for {len(found.slides)} slides.",
            "Pass a folder with one <stem>.geojson for each.",
        )
    drawn = [(slide, annotation_file(annotations, slide.name)) for slide in found.slides]
    pairs = [(slide, path) for slide, path in drawn if path is not None]
    if not pairs:
        raise UsageError(
            f"--annotations {annotations}: there is no {found.slides[0].name}.geojson in this"
            " folder.",
            "Call each file like its slide.",
        )
    missing = [
        f"{slide.name} has no annotations and was passed over."
        for slide, path in drawn
        if path is None
    ]
    return pairs, [*found.ignored, *missing]


def annotation_file(annotations: Path, name: str) -> Path | None:
    """Return the annotations of the slide called ``name``.

    The file itself, or ``<name>.geojson`` in a folder.
    """
    if not annotations.is_dir():
        return annotations
    candidates = (annotations / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)
