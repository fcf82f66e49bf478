"""Which tiles of a run somebody said the class of: by drawing round them, or one by one.

And those tiles as a set to train on, with the areas as GeoJSON for QuPath.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.class_names import normal_name
from slidecam.errors import DataSetError, RunMismatchError
from slidecam.exchange.geojson import Annotation, read_annotations, write_annotations
from slidecam.files import refuse_inputs, replacing_folder
from slidecam.foreground import AMBIGUOUS, LabelRule, load_classes, sort_classes
from slidecam.learning.data.picture_files import PICTURE_TABLE
from slidecam.teaching.corrections import Corrections, beside, read_corrections
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
    from collections.abc import (
        Collection,
        Generator,
        Iterator,
        Mapping,
        Sequence,
    )

    from numpy.typing import NDArray

    from slidecam.foreground import AnnotatedClasses
    from slidecam.models import Card
    from slidecam.runs import Run
    from slidecam.sources import Source
    from slidecam.steps import Step


DRAWN = Path("the annotations")
"""What messages call areas that come from no file."""


@dataclass(frozen=True, eq=False)
class LabelledTiles:
    """Tiles of a run with the class that a person gave them.

    Attributes
    ----------
    rows
        int64, (M,), ascending.
    names
        The class of each, in NFC.
    corrected
        bool, (M,): which were corrected one by one; a correction wins over an annotation.
    ambiguous
        Tiles that were left out since they lie in areas of two classes.
    notes
        What a careful user wants to know, as sentences.
    """

    rows: NDArray[np.int64]
    names: tuple[str, ...]
    corrected: NDArray[np.bool_]
    ambiguous: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(normal_name, self.names)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """How many tiles there are of each class."""
        return dict(sorted(Counter(self.names).items()))


def label_tiles(
    run: Run,
    annotations: Path | Sequence[Annotation] | None = None,
    corrections: Corrections | Path | None = None,
    rule: LabelRule | None = None,
    renamed: Mapping[str, str] | None = None,
) -> LabelledTiles:
    """Return the tiles that annotations and corrections give a class.

    Those that could not be read are left out.

    Parameters
    ----------
    run
        Whose tiles.
    annotations
        GeoJSON as QuPath exports it, or areas.
    corrections
        Of this run, or a file of any run of this slide: its tiles are found by their boxes.
    rule
        Which class a tile is of by the shares of it that are drawn on; None for the usual.
    renamed
        Other names for classes.

    Raises
    ------
    MaskError
        If the annotations cannot be read, or lie off the slide.
    StoreError, RunMismatchError
        If the corrections cannot be read, or are of another slide.
    """
    found: dict[int, str] = {}
    notes: list[str] = []
    ambiguous = 0
    classes = _classes(run, annotations, renamed)
    if classes is not None:
        labels = (rule or LabelRule()).labels(classes.coverage(run.tiles.boxes))
        found = {int(row): classes.names[labels[row]] for row in np.flatnonzero(labels >= 0)}
        ambiguous = int((labels == AMBIGUOUS).sum())
        notes += classes.notes
    corrected = _corrected(run, corrections, notes)
    found |= {row: (renamed or {}).get(name, name) for row, name in corrected.items()}
    rows = [row for row in sorted(found) if not run.tiles.failed[row]]
    names = tuple(found[row] for row in rows)
    if classes is not None:
        notes += _unmet(classes.names, set(map(normal_name, names)))
    return LabelledTiles(
        rows=np.array(rows, np.int64),
        names=names,
        corrected=np.array([row in corrected for row in rows], np.bool_),
        ambiguous=ambiguous,
        notes=tuple(notes),
    )


def _unmet(drawn: Sequence[str], labelled: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each class that was drawn and is no tile's."""
    for name in drawn:
        if normal_name(name) not in labelled:
            yield f"No tile lies far enough in the areas of {name}: nothing is learnt of it."


def _classes(
    run: Run,
    annotations: Path | Sequence[Annotation] | None,
    renamed: Mapping[str, str] | None,
) -> AnnotatedClasses | None:
    if annotations is None:
        return None
    if isinstance(annotations, Path):
        left, top = run.tiles.corner
        return load_classes(annotations, run.size, (float(left), float(top)), renamed)
    if not annotations:
        return None
    areas = [(each.class_name, list(each.area)) for each in annotations]
    return sort_classes(DRAWN, areas, run.size, renamed)


def _corrected(
    run: Run,
    corrections: Corrections | Path | None,
    notes: list[str],
) -> dict[int, str]:
    if corrections is None:
        return {}
    if isinstance(corrections, Corrections):
        return dict(corrections.labels)
    saved = read_corrections(corrections)
    if saved.slide != run.fingerprint:
        raise RunMismatchError(
            corrections,
            f"these corrections are of another slide than {run.folder}.",
            "Name others.",
        )
    rows = {box: row for row, box in enumerate(map(tuple, run.tiles.boxes.tolist()))}
    corrected: dict[int, str] = {}
    lost = 0
    for box, name in zip(saved.boxes.tolist(), saved.names, strict=True):
        row = rows.get(tuple(box))
        if row is None:
            lost += 1
        else:
            corrected[row] = name
    if lost:
        notes.append(
            f"{lost} of {len(saved.names)} corrected tiles are none of this run's, and left out"
            f" ({corrections})."
        )
    return corrected


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
        run,
        annotations,
        beside(run, corrections, wanted=spec.beside),
        spec.rule,
        spec.renamed,
    )
    if not len(labelled):
        raise DataSetError(
            "no tile has a label.",
            "Draw larger areas, or correct some tiles.",
            run.folder,
        )
    card = run.open_bundle(trust=spec.trust).card
    cut = _tile_set_spec(spec).like(card)
    read = [each for each in (annotations, corrections) if isinstance(each, Path)]
    refuse_inputs([out], [run.slide_path, *read], whole=True)
    refuse_existing(out, RECORD, overwrite=cut.overwrite)
    with replacing_folder(out) as fresh:
        fresh.mkdir()
        slide = yield from _written(run, labelled, fresh, cut, card)
        write_annotations(
            fresh / DRAWN_FILE,
            _drawn_areas(run, annotations, labelled),
            run.tiles.bounds,
        )
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
    run: Run,
    labelled: LabelledTiles,
    folder: Path,
    spec: TileSetSpec,
    card: Card,
) -> Generator[Step, None, SlideTiles]:
    rows: list[Tile] = []
    with run.open_slide() as source:
        cut = _cut(run, labelled, source, card)
        failed = yield from write_tiles(source, cut, folder, spec, rows)
    if not rows:
        raise DataSetError(
            "none of the labelled tiles could be read.",
            "Copy the slide again.",
            run.slide_path,
        )
    written = Counter(row.label for row in rows)
    counts = {name: written[name] for name in cut.names}
    left = cut.ambiguous, cut.unannotated
    slide = SlideTiles(run.slide, run.slide_path, counts, *left, failed, "", cut.notes, cut.facts)
    write_table(rows, folder / PICTURE_TABLE)
    write_record([slide], replace(spec, spacings={}, seen=source.seen), folder / RECORD)
    return slide


def _cut(run: Run, labelled: LabelledTiles, source: Source, card: Card) -> LabelledGrid:
    boxes, kind, spacing = run.tiles.boxes[labelled.rows], run.grid_kind, run.spacing
    return LabelledGrid(
        grid=lay_again(source.facts, boxes, run.steps, card.input_px, kind),
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


def _drawn_areas(
    run: Run,
    annotations: Path | Sequence[Annotation] | None,
    labelled: LabelledTiles,
) -> list[Annotation]:
    """Return what was drawn, and every corrected tile as an annotation."""
    areas: list[Annotation] = []
    if isinstance(annotations, Path):
        areas += read_annotations(annotations, run.tiles.bounds)
    elif annotations is not None:
        areas += annotations
    colors = dict(zip(run.tiles.class_names, run.tiles.class_colors, strict=True))
    for place in np.flatnonzero(labelled.corrected).tolist():
        name, corners = labelled.names[place], _corners(run, labelled.rows[place])
        areas.append(Annotation(name, (corners,), colors.get(name), CORRECTED))
    return areas


def _corners(run: Run, row: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    x, y, width, height = run.tiles.boxes[row].tolist()
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)
