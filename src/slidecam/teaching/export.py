"""What was drawn and said of a run's tiles as a tile set to train on, and as GeoJSON for QuPath."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError
from slidecam.exchange.geojson import Annotation, read_annotations, write_annotations
from slidecam.files import replacing_folder
from slidecam.foreground import LabelRule
from slidecam.learning.data.pictures import PICTURE_TABLE
from slidecam.teaching.corrections import beside
from slidecam.teaching.labelling import label_tiles
from slidecam.tile_sets import RECORD, SlideTiles, TileSet, TileSetSpec
from slidecam.tile_sets.writing import (
    LabelledGrid,
    Tile,
    refuse_existing,
    write_record,
    write_table,
    write_tiles,
)
from slidecam.tiling import lay_again

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from slidecam.models import Card
    from slidecam.runs import Run
    from slidecam.sources import Source
    from slidecam.steps import Step
    from slidecam.teaching.corrections import Corrections
    from slidecam.teaching.labelling import LabelledTiles

DRAWN_FILE = "annotations.geojson"
CORRECTED = "corrected tile"


@dataclass(frozen=True)
class ExportSpec:
    """How labelled tiles of a run are exported.

    Attributes
    ----------
    rule, renamed
        As for `label_tiles`.
    group_pattern, workers, memory_mb, overwrite
        As of `TileSetSpec`.
    beside
        Whether corrections beside the run are taken where none are named.
    trust
        Whether a bundle that can run code may be opened; only its card is read.
    """

    rule: LabelRule = field(default_factory=LabelRule)
    renamed: Mapping[str, str] = field(default_factory=dict)
    group_pattern: str = ""
    workers: int = 4
    memory_mb: int = 512
    overwrite: bool = False
    beside: bool = True
    trust: bool = False


def export_training(
    run: Run,
    out: Path,
    annotations: Path | Sequence[Annotation] | None = None,
    corrections: Corrections | Path | None = None,
    spec: ExportSpec | None = None,
) -> Generator[Step, None, TileSet]:
    """Write the labelled tiles of a run as `write_tile_set` writes annotated slides.

    What was drawn is written beside them.

    The tiles are the run's own, in their places and with the pixels that its classifier saw.
    ``annotations.geojson`` holds the annotations, and each corrected tile as one more of that name.

    Parameters
    ----------
    run
        Whose tiles.
    out
        A folder that is not there yet, or empty.
    annotations, corrections
        As for `label_tiles`; without corrections those beside the run are taken, if there are any.
    spec
        Everything else.

    Raises
    ------
    UsageError
        If something lies in ``out``.
    DataSetError
        If no tile has a label or could be read.
    SlidecamError
        Whatever is wrong with the annotations, the slide or the bundle.
    """
    spec = spec or ExportSpec()
    labelled = label_tiles(
        run, annotations, beside(run, corrections, wanted=spec.beside), spec.rule, spec.renamed
    )
    if not len(labelled):
        raise DataSetError(
            "no tile has a label.", "Draw larger areas, or correct some tiles.", run.folder
        )
    card = run.open_bundle(trust=spec.trust).card
    cut = _tile_set_spec(spec).like(card)
    refuse_existing(out, cut)
    with replacing_folder(out) as fresh:
        fresh.mkdir()
        slide = yield from _written(run, labelled, fresh, cut, card)
        write_annotations(fresh / DRAWN_FILE, _drawn(run, annotations, labelled), run.tiles.bounds)
    return TileSet(out, (slide,))


def _tile_set_spec(spec: ExportSpec) -> TileSetSpec:
    return TileSetSpec(
        rule=spec.rule,
        renamed=spec.renamed,
        group_pattern=spec.group_pattern,
        workers=spec.workers,
        memory_mb=spec.memory_mb,
        overwrite=spec.overwrite,
    )


def _written(
    run: Run, labelled: LabelledTiles, folder: Path, spec: TileSetSpec, card: Card
) -> Generator[Step, None, SlideTiles]:
    rows: list[Tile] = []
    with run.open_slide() as source:
        cut = _cut(run, labelled, source, card)
        failed = yield from write_tiles(source, cut, folder, spec, rows)
    if not rows:
        raise DataSetError(
            "none of the labelled tiles could be read.", "Copy the slide again.", run.slide_path
        )
    written = Counter(row.label for row in rows)
    counts = {name: written[name] for name in cut.names}
    left = cut.ambiguous, cut.unannotated
    slide = SlideTiles(run.slide, run.slide_path, counts, *left, failed, "", cut.notes, cut.facts)
    write_table(rows, folder / PICTURE_TABLE)
    write_record([slide], replace(spec, spacings={}), folder / RECORD)
    return slide


def _cut(run: Run, labelled: LabelledTiles, source: Source, card: Card) -> LabelledGrid:
    boxes, kind, spacing = run.tiles.boxes[labelled.rows], run.grid_kind, run.spacing
    return LabelledGrid(
        grid=lay_again(source.facts, boxes, run.step, card.input_px, kind),
        labels=labelled.names,
        names=tuple(labelled.counts),
        ambiguous=labelled.ambiguous,
        unannotated=len(run) - len(labelled) - labelled.ambiguous,
        facts={
            "fingerprint": source.facts.fingerprint,
            "um_px": None if spacing is None else [spacing.x, spacing.y],
            "um_px_from": "the run",
            "run": run.identity,
            "corrected": int(labelled.corrected.sum()),
        },
        notes=labelled.notes,
    )


def _drawn(
    run: Run, annotations: Path | Sequence[Annotation] | None, labelled: LabelledTiles
) -> list[Annotation]:
    """Return what was drawn, and every corrected tile as an annotation."""
    given = (
        read_annotations(annotations, run.tiles.bounds)
        if isinstance(annotations, Path)
        else annotations or ()
    )
    colors = dict(zip(run.tiles.class_names, run.tiles.class_colors, strict=True))
    corrected = [
        Annotation(name, (_corners(run, row),), colors.get(name), CORRECTED)
        for row, name, by_click in zip(
            labelled.rows, labelled.names, labelled.corrected, strict=True
        )
        if by_click
    ]
    return [*given, *corrected]


def _corners(run: Run, row: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    x, y, width, height = run.tiles.boxes[row].tolist()
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)
