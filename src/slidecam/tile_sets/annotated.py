"""From annotated slides to pictures to learn from.

The grid, the resize and the pixels are those of `predict`; a tile that is learnt here is seen in
the same way there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError, SlidecamError
from slidecam.files import replacing_folder
from slidecam.foreground import (
    AMBIGUOUS,
    ForegroundSpec,
    find_foreground,
    load_classes,
    pair_annotations,
    whole_slide,
)
from slidecam.learning.data.pictures import PICTURE_TABLE, PictureSpec
from slidecam.sources import open_source, settle_spacing
from slidecam.steps import Step
from slidecam.tile_sets.spec import SlideTiles, TileSet, TileSetSpec
from slidecam.tile_sets.writing import (
    RECORD,
    LabelledGrid,
    Tile,
    refuse_existing,
    write_record,
    write_table,
    write_tiles,
)
from slidecam.tiling import lay_grid

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from slidecam.foreground import AnnotatedClasses
    from slidecam.sources import Source
    from slidecam.sources.discovery import FoundSlide


def write_tile_set(
    slides: Sequence[str | Path], annotations: Path, out: Path, spec: TileSetSpec | None = None
) -> Generator[Step, None, TileSet]:
    """Cut the annotated tiles of slides and write them as pictures to learn from.

    ``out`` gets a PNG per tile in a folder of its class, ``<class>/<slide>_x<X>_y<Y>.png``, a table
    of them with the slide as the group, ``pictures.csv``, which `read_picture_set` reads, and
    ``tile_set.json``, which says how they were made. It appears whole or not at all.

    Parameters
    ----------
    slides
        Slides, or folders of slides.
    annotations
        GeoJSON of the only slide, or a folder with ``<stem>.geojson`` for each; a slide without is
        passed over.
    out
        A folder that is not there yet, or empty.
    spec
        Everything else.

    Raises
    ------
    UsageError
        If nothing is found, or something lies in ``out``.
    SlidecamError
        Whatever is wrong with the slide, if no slide gives a tile.
    """
    spec = spec or TileSetSpec()
    PictureSpec(group_pattern=spec.group_pattern)
    pairs, notes = pair_annotations(slides, annotations)
    refuse_existing(out, spec)
    done: list[SlideTiles] = []
    rows: list[Tile] = []
    with replacing_folder(out) as fresh:
        fresh.mkdir()
        for note in notes:
            yield Step("tiles", 0, len(pairs), message=note)
        for slide, drawn in pairs:
            done.append((yield from _one_slide(slide, drawn, fresh, spec, rows)))
        _refuse_nothing(done, spec)
        write_table(rows, fresh / PICTURE_TABLE)
        write_record(done, spec, fresh / RECORD)
    return TileSet(out, tuple(done))


def _one_slide(
    slide: FoundSlide, drawn: Path, folder: Path, spec: TileSetSpec, rows: list[Tile]
) -> Generator[Step, None, SlideTiles]:
    """Write the tiles of one slide.

    What is wrong with it is reported, and does not touch the others.
    """
    try:
        with open_source(slide.path, spec.reader) as source:
            cut = _cut(source, drawn, spec)
            failed = yield from write_tiles(source, cut, folder, spec, rows)
    except SlidecamError as error:
        problem = SlideTiles(slide.name, slide.shown, problem=f"{error.problem} {error.remedy}")
        yield Step(f"tiles of {slide.name}", 0, 0, message=problem.problem)
        return problem
    written = Counter(row.label for row in rows if row.slide == slide.name)
    digest = hashlib.sha256(drawn.read_bytes()).hexdigest()
    facts = {**cut.facts, "annotations": drawn.name, "annotations_sha256": digest}
    counts = {name: written[name] for name in cut.names}
    return SlideTiles(
        slide.name,
        slide.shown,
        counts,
        cut.ambiguous,
        cut.unannotated,
        failed,
        "",
        cut.notes,
        facts,
    )


def _cut(source: Source, drawn: Path, spec: TileSetSpec) -> LabelledGrid:
    facts, bounds = source.facts, source.facts.bounds
    override = spec.spacings.get(Path(facts.path).name, spec.spacings.get(facts.name, spec.mpp))
    spacing = settle_spacing(facts, override)
    # QuPath counts from the corner of the scanned bounds.
    if bounds is None:
        offset = (0.0, 0.0)
    else:
        offset = (float(bounds.x), float(bounds.y))
    classes = load_classes(drawn, facts.size, offset, spec.renamed)
    whole = whole_slide(facts.size)
    tissue = whole
    if spec.min_tissue:
        tissue = find_foreground(source, spacing.spacing, ForegroundSpec())
    grid = lay_grid(facts, spacing.spacing, tissue, spec.tiling)
    labels = spec.rule.labels(classes.coverage(grid.boxes))
    names = _wanted(classes, drawn, spec)
    kept = np.flatnonzero([label >= 0 and classes.names[label] in names for label in labels])
    return LabelledGrid(
        grid=grid.only(kept),
        labels=tuple(classes.names[label] for label in labels[kept]),
        names=names,
        ambiguous=int((labels == AMBIGUOUS).sum()),
        unannotated=len(labels) - len(kept) - int((labels == AMBIGUOUS).sum()),
        facts={
            "fingerprint": facts.fingerprint,
            "um_px": [spacing.spacing.x, spacing.spacing.y],
            "um_px_from": spacing.origin,
        },
        notes=(*((spacing.warning,) if spacing.warning else ()), *facts.notes, *classes.notes),
    )


def _wanted(classes: AnnotatedClasses, drawn: Path, spec: TileSetSpec) -> tuple[str, ...]:
    names = tuple(name for name in classes.names if not spec.classes or name in spec.classes)
    if not names:
        raise DataSetError(
            f"none of its classes {', '.join(classes.names)} is among those asked for.",
            f"Annotate some of {', '.join(spec.classes)}, or ask for others.",
            drawn,
        )
    return names


def _refuse_nothing(done: Sequence[SlideTiles], spec: TileSetSpec) -> None:
    if any(sum(slide.tiles.values()) for slide in done):
        return
    problems = [slide.problem for slide in done if slide.problem]
    if problems:
        raise DataSetError(f"no slide gave a tile: {problems[0]}", "")
    left = f"{sum(slide.ambiguous for slide in done)} are of two classes, the others of none"
    raise DataSetError(
        f"no tile of {spec.tile_px} px at {spec.spacing:g} µm/px has a class: {left}.",
        "Annotate larger areas, or pass smaller tiles or a smaller --min-share.",
    )
