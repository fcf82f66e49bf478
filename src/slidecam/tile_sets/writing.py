"""From annotated slides to pictures to learn from: a folder of tiles, their table and a record.

The grid, the resize and the pixels are those of `predict`; a tile that is learnt here is seen in
the same way there.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from slidecam.errors import DataSetError, SlidecamError, UsageError
from slidecam.files import check_folder, refuse_inputs, replacing_folder, write_json
from slidecam.foreground import (
    AMBIGUOUS,
    ForegroundSpec,
    find_foreground,
    load_classes,
    pair_annotations,
    whole_slide,
)
from slidecam.learning.data.picture_files import PICTURE_TABLE, PictureSpec
from slidecam.sources import settle_spacing
from slidecam.sources.apart import open_apart
from slidecam.sources.names import names_of
from slidecam.sources.spacing import given_spacing
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tile_sets.spec import SlideTiles, TileSet, TileSetSpec
from slidecam.tiling import lay_grid, shape_readings
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.foreground import AnnotatedClasses
    from slidecam.sources import Source
    from slidecam.sources.names import FoundSlide
    from slidecam.streaming import TileBatch
    from slidecam.tiling import TileGrid


def write_tile_set(
    slides: Sequence[str | Path],
    annotations: Path,
    out: Path,
    spec: TileSetSpec | None = None,
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
    read: list[str | Path] = [annotations]
    for slide, _drawn in pairs:
        read.extend(slide.own_places)
    refuse_inputs([out], read, whole=True)
    refuse_existing(out, RECORD, overwrite=spec.overwrite)
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
    slide: FoundSlide,
    drawn: Path,
    folder: Path,
    spec: TileSetSpec,
    rows: list[Tile],
) -> Generator[Step, None, SlideTiles]:
    """Write the tiles of one slide.

    What is wrong with it is reported, and does not touch the others.
    """
    try:
        view = VolumeView(slide=slide.seen(spec.seen))
        with open_apart(slide.path, spec.reader, view) as source:
            source.facts = slide.named(source.facts)
            cut = _cut(source, drawn, spec)
            failed = yield from write_tiles(source, cut, folder, spec, rows)
    except SlidecamError as error:
        said = slide.public(f"{error.problem} {error.remedy}")
        problem = SlideTiles(slide.name, slide.shown, problem=said)
        yield Step(f"tiles of {slide.name}", 0, 0, message=problem.problem)
        return problem
    written = Counter(row.label for row in rows if row.slide == slide.name)
    digest = hashlib.sha256(drawn.read_bytes()).hexdigest()
    facts = {**cut.facts, "annotations": drawn.name, "annotations_sha256": digest}
    return SlideTiles(
        slide.name,
        slide.shown,
        tiles={name: written[name] for name in cut.names},
        ambiguous=cut.ambiguous,
        unannotated=cut.unannotated,
        failed=failed,
        notes=cut.notes,
        facts=facts,
    )


def _cut(source: Source, drawn: Path, spec: TileSetSpec) -> LabelledGrid:
    facts, bounds = source.facts, source.facts.bounds
    given, note = given_spacing(names_of(facts), spec.mpp, spec.spacings)
    spacing = settle_spacing(facts, given).with_note(note)
    # QuPath counts from the corner of the scanned bounds.
    offset = (0.0, 0.0)
    if bounds is not None:
        offset = (float(bounds.x), float(bounds.y))
    classes = load_classes(drawn, facts.size, offset, spec.renamed)
    whole = whole_slide(facts.size)
    tissue = whole
    if spec.min_tissue:
        tissue = find_foreground(source, spacing.spacing, ForegroundSpec())
    grid = lay_grid(facts, spacing.spacing, tissue, spec.tiling)
    labels = spec.rule.labels(classes.coverage(grid.boxes))
    names = _wanted(classes, drawn, spec)
    kept = np.flatnonzero(np.isin(labels, list(map(classes.names.index, names))))
    ambiguous = int((labels == AMBIGUOUS).sum())
    notes = (*facts.readings, *shape_readings(spacing.spacing, grid), *classes.notes)
    if spacing.warning:
        notes = (spacing.warning, *notes)
    return LabelledGrid(
        grid=grid.only(kept),
        labels=tuple(classes.names[label] for label in labels[kept]),
        names=names,
        ambiguous=ambiguous,
        unannotated=len(labels) - len(kept) - ambiguous,
        facts={
            "fingerprint": facts.fingerprint,
            "um_px": [spacing.spacing.x, spacing.spacing.y],
            "um_px_from": spacing.origin,
        },
        notes=notes,
    )


def _wanted(classes: AnnotatedClasses, drawn: Path, spec: TileSetSpec) -> tuple[str, ...]:
    if not spec.classes:
        return classes.names
    names = tuple(name for name in classes.names if name in spec.classes)
    if not names:
        raise DataSetError(
            f"None of its classes {', '.join(classes.names)} is among those asked for.",
            f"Annotate some of {', '.join(spec.classes)}, or ask for others.",
            drawn,
        )
    return names


def _refuse_nothing(done: Sequence[SlideTiles], spec: TileSetSpec) -> None:
    ambiguous = 0
    for slide in done:
        if any(slide.tiles.values()):
            return
        ambiguous += slide.ambiguous
    problems = [slide.problem for slide in done if slide.problem]
    if problems:
        raise DataSetError(
            f"No slide gave a tile: {problems[0]}",
            "Mend what is said of it, then repeat the call.",
        )
    raise DataSetError(
        f"No tile of {spec.tile_px} px at {spec.spacing:g} µm/px has a class: {ambiguous} are of"
        " two classes, the others of none.",
        "Annotate larger areas, or pass smaller tiles or a smaller --min-share.",
    )


RECORD = "tile_set.json"
COLUMNS = ("path", "label", "group", "slide", "x", "y", "width", "height")

BATCH = 32
"""Tiles that are cut and written at a time."""

UNSAFE = r'[<>:"/\\|?*\x00-\x1f]'
"""What a file name must not hold on one system or another."""


@dataclass(frozen=True)
class Tile:
    """One tile: its file below the folder, its class, slide and patient, and its place there."""

    file: str
    label: str
    group: str
    slide: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class LabelledGrid:
    """One slide's tiles to write.

    With the class of each, what was left out, and what the record says of the slide.
    """

    grid: TileGrid
    labels: tuple[str, ...]
    names: tuple[str, ...]
    ambiguous: int
    unannotated: int
    facts: Mapping[str, Any]
    notes: tuple[str, ...]


def refuse_existing(out: Path, record: str, *, overwrite: bool) -> None:
    """Refuse to write where something lies, unless it is a set that may be replaced.

    ``record`` is the file that such a set has.
    """
    check_folder(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    kind = Path(record).stem.replace("_", " ")
    if not (out / record).is_file():
        problem = f"This folder is no {kind}, and not empty."
        raise UsageError(problem, "Pass another --out.", out)
    if not overwrite:
        problem = f"There is a {kind} here."
        raise UsageError(problem, "Pass --overwrite to replace it.", out)


def write_tiles(
    source: Source,
    cut: LabelledGrid,
    folder: Path,
    spec: TileSetSpec,
    rows: list[Tile],
) -> Generator[Step, None, dict[str, str]]:
    """Write a slide's tiles and note them in ``rows``, in the order of the grid.

    Return why some could not be read.
    """
    slide = source.facts.name
    tiles = [
        _tile(slide, label, box, spec)
        for label, box in zip(cut.labels, cut.grid.boxes.tolist(), strict=True)
    ]
    for name in set(cut.labels):
        (folder / safe_name(name)).mkdir(exist_ok=True)
    batches = list(enumerate(plan_batches(source, cut.grid, BATCH)))
    stream_spec = StreamSpec(BATCH, spec.workers, spec.memory_mb, spec.interpolation)
    failed: dict[int, str] = {}
    done = 0
    with (
        TileStream(source, cut.grid, batches, stream_spec) as stream,
        ThreadPoolExecutor(spec.workers) as pool,
    ):
        for note in cut.notes:
            yield Step(f"tiles of {slide}", done, len(tiles), message=note)
        for batch in stream:
            failed |= {failure.row: failure.reason for failure in batch.failures}
            list(pool.map(save_tile, _files(batch, tiles, folder)))
            done += len(batch.rows)
            yield Step(f"tiles of {slide}", done, len(tiles))
    rows.extend(tile for row, tile in enumerate(tiles) if row not in failed)
    by_place: dict[str, str] = {}
    for row, reason in sorted(failed.items()):
        x, y, _width, _height = tiles[row].box
        by_place[f"x={x}, y={y}"] = reason
    return by_place


def _tile(slide: str, label: str, box: Sequence[int], spec: TileSetSpec) -> Tile:
    x, y, width, height = box
    group = slide
    if spec.group_pattern:
        group = _group(slide, spec.group_pattern)
    return Tile(
        f"{safe_name(label)}/{safe_name(slide)}_x{x}_y{y}.png",
        label,
        group,
        slide,
        (x, y, width, height),
    )


def _group(slide: str, pattern: str) -> str:
    match = re.search(pattern, slide)
    if match is None:
        raise DataSetError(
            f"The group_pattern {pattern!r} finds no group in the name {slide}.",
            "Mend the pattern.",
        )
    return match.group("group")


def safe_name(name: str) -> str:
    """Return a class's or slide's name as a file may be called on every system."""
    return re.sub(UNSAFE, "_", name).strip(". ") or "_"


def _files(
    batch: TileBatch,
    tiles: Sequence[Tile],
    folder: Path,
) -> Iterator[tuple[NDArray[np.uint8], Path]]:
    lost = {failure.row for failure in batch.failures}
    for pixels, row in zip(batch.pixels, batch.rows.tolist(), strict=True):
        if row not in lost:
            yield pixels, folder / tiles[row].file


def save_tile(tile: tuple[NDArray[np.uint8], Path]) -> None:
    """Write the pixels of a tile, uint8 (rows, columns, 3), as PNG."""
    pixels, path = tile
    # Level 1 takes a third of the time of the usual one and a few percent more room.
    Image.fromarray(pixels).save(path, compress_level=1)


def write_table(rows: Sequence[Tile], path: Path) -> None:
    """Write the table of all tiles, as `read_picture_set` reads it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            table.writerow((row.file, row.label, row.group, row.slide, *row.box))


def write_record(done: Sequence[SlideTiles], spec: TileSetSpec, path: Path) -> None:
    """Write how the tiles were made, and what became of each slide."""
    record = {
        "format": "slidecam-tile-set",
        "spec": asdict(spec),
        "slides": list(map(asdict, done)),
    }
    write_json(path, record)
