"""From slides and what was drawn on them to pictures to learn from: how a pathologist teaches a classifier.

The grid, the resize and the pixels are those of `predict`; a tile that is learnt here is seen in the same way there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from slidecam.atomic import replacing_folder
from slidecam.errors import DataSetError, SlidecamError, UsageError
from slidecam.foreground import (
    AMBIGUOUS,
    ForegroundSpec,
    LabelRule,
    find_foreground,
    load_classes,
    pair_annotations,
    whole_slide,
)
from slidecam.learning.pictures import PICTURE_TABLE, PictureSpec
from slidecam.sources import open_source, settle_spacing
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tiling import TilingSpec, lay_grid

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.foreground import AnnotatedClasses
    from slidecam.models import Card
    from slidecam.sources import SettledSpacing, Source
    from slidecam.sources.discovery import FoundSlide
    from slidecam.streaming import TileBatch
    from slidecam.tiling import TileGrid

RECORD = "tile_set.json"
COLUMNS = ("path", "label", "group", "slide", "x", "y", "width", "height")

BATCH = 32
"""Tiles that are cut and written at a time."""

UNSAFE = r'[<>:"/\\|?*\x00-\x1f]'
"""What a file name must not hold on one system or another."""


@dataclass(frozen=True)
class TileSetSpec:
    """How annotated slides become tiles.

    Attributes
    ----------
    tile_px, spacing
        Edge of a tile in pixels at ``spacing`` µm per pixel.
    input_px, interpolation
        Edge of what is written, and how a tile is resized to it; None for ``tile_px``.
    overlap, edge, min_tissue
        See `TilingSpec`. With a ``min_tissue`` of 0 the tissue is not looked for: the annotations alone decide.
    rule
        Which class a tile is of.
    classes
        The classes to take; empty for all.
    renamed
        Other names for annotated classes; two that are given one name become one class.
    group_pattern
        Regular expression with ``(?P<group>…)`` that finds the patient in a slide's name; else each slide is a group.
    mpp, spacings
        µm per level-0 pixel for every slide, or by file name or stem; they win over what the files say.
    workers, memory_mb, reader
        As in `PredictSpec`.
    overwrite
        Whether a tile set that lies there already may be replaced.
    """

    tile_px: int = 224
    spacing: float = 0.5
    input_px: int | None = None
    interpolation: str = "bilinear"
    overlap: float = 0.0
    edge: Literal["pad", "drop"] = "pad"
    min_tissue: float = 0.1
    rule: LabelRule = field(default_factory=LabelRule)
    classes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    group_pattern: str = ""
    mpp: float | None = None
    spacings: Mapping[str, float] = field(default_factory=dict)
    workers: int = 4
    memory_mb: int = 512
    reader: str | None = None
    overwrite: bool = False

    @property
    def tiling(self) -> TilingSpec:
        """How a slide is cut."""
        edges = self.tile_px, self.spacing, self.input_px or self.tile_px
        return TilingSpec(*edges, self.overlap, self.edge, "slidecam", self.min_tissue)

    def like(self, card: Card) -> TileSetSpec:
        """Return the same with the tiles that a classifier sees, to teach it more of its kind."""
        if card.spacing is None:
            raise UsageError(f"{card.name} sees whole pictures, no tiles.", "Name a bundle for slides.")
        seen = replace(self, tile_px=card.tile_px, spacing=card.spacing, input_px=card.input_px)
        return replace(seen, interpolation=card.interpolation)


@dataclass(frozen=True)
class SlideTiles:
    """What became of one slide.

    Attributes
    ----------
    slide, path
        Its name and where it lies.
    tiles
        How many of each class were written.
    ambiguous, unannotated
        Tiles with tissue that were left out: of two classes, and of none.
    failed
        Why single tiles could not be read, by their place.
    problem
        Why the whole slide gave nothing, or nothing.
    notes
        What a careful user wants to know, as sentences.
    facts
        Fingerprint, spacing and digest of the annotations.
    """

    slide: str
    path: str
    tiles: Mapping[str, int] = field(default_factory=dict)
    ambiguous: int = 0
    unannotated: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TileSet:
    """A finished set: where it lies, and what each slide gave."""

    folder: Path
    slides: tuple[SlideTiles, ...]

    @property
    def tiles(self) -> dict[str, int]:
        """How many tiles each class has."""
        total: Counter[str] = Counter()
        for slide in self.slides:
            total.update(slide.tiles)
        return dict(sorted(total.items()))

    @property
    def is_whole(self) -> bool:
        """Whether every slide and every tile could be read."""
        return not any(slide.problem or slide.failed for slide in self.slides)


def write_tile_set(
    slides: Sequence[str | Path], annotations: Path, out: Path, spec: TileSetSpec | None = None
) -> Generator[Step, None, TileSet]:
    """Cut the annotated tiles of slides and write them as pictures to learn from.

    ``out`` gets a PNG per tile in a folder of its class, ``<class>/<slide>_x<X>_y<Y>.png``, a table of them with the
    slide as the group, ``pictures.csv``, which `read_picture_set` reads, and ``tile_set.json``, which says how they
    were made. It appears whole or not at all.

    Parameters
    ----------
    slides
        Slides, or folders of slides.
    annotations
        GeoJSON of the only slide, or a folder with ``<stem>.geojson`` for each; a slide without is passed over.
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
    _refuse_existing(out, spec)
    done: list[SlideTiles] = []
    rows: list[_Tile] = []
    with replacing_folder(out) as fresh:
        fresh.mkdir()
        for note in notes:
            yield Step("tiles", 0, len(pairs), message=note)
        for slide, drawn in pairs:
            done.append((yield from _one_slide(slide, drawn, fresh, spec, rows)))
        _refuse_nothing(done, spec)
        _write_table(rows, fresh / PICTURE_TABLE)
        _write_record(done, spec, fresh / RECORD)
    return TileSet(out, tuple(done))


@dataclass(frozen=True)
class _Tile:
    """One tile: its file below the folder, its class, its slide and patient, and its place there."""

    file: str
    label: str
    group: str
    slide: str
    box: tuple[int, int, int, int]


def _refuse_existing(out: Path, spec: TileSetSpec) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = (out / RECORD).is_file()
    if not (ours and spec.overwrite):
        raise UsageError(
            f"{out}: {'there is a tile set here' if ours else 'this folder is no tile set, and not empty'}.",
            "Pass --overwrite to replace it." if ours else "Pass another --out.",
        )


def _one_slide(
    slide: FoundSlide, drawn: Path, folder: Path, spec: TileSetSpec, rows: list[_Tile]
) -> Generator[Step, None, SlideTiles]:
    """Write the tiles of one slide; what is wrong with it is told, and does not touch the others."""
    try:
        with open_source(slide.path, spec.reader) as source:
            cut = _cut(source, drawn, spec)
            failed = yield from _write_tiles(source, cut, folder, spec, rows)
    except SlidecamError as error:
        problem = SlideTiles(slide.name, slide.shown, problem=f"{error.problem} {error.remedy}")
        yield Step(f"tiles of {slide.name}", 0, 0, message=problem.problem)
        return problem
    written = Counter(row.label for row in rows if row.slide == slide.name)
    facts = {
        "fingerprint": cut.fingerprint,
        "um_px": [cut.spacing.spacing.x, cut.spacing.spacing.y],
        "um_px_from": cut.spacing.origin,
        "annotations": drawn.name,
        "annotations_sha256": hashlib.sha256(drawn.read_bytes()).hexdigest(),
    }
    counts = {name: written[name] for name in cut.names}
    return SlideTiles(slide.name, slide.shown, counts, cut.ambiguous, cut.unannotated, failed, "", cut.notes, facts)


@dataclass(frozen=True)
class _Cut:
    """One slide's tiles to write, the class of each, and what was left out."""

    grid: TileGrid
    labels: tuple[str, ...]
    names: tuple[str, ...]
    ambiguous: int
    unannotated: int
    spacing: SettledSpacing
    fingerprint: str
    notes: tuple[str, ...]


def _cut(source: Source, drawn: Path, spec: TileSetSpec) -> _Cut:
    facts, bounds = source.facts, source.facts.bounds
    override = spec.spacings.get(Path(facts.path).name, spec.spacings.get(facts.name, spec.mpp))
    spacing = settle_spacing(facts, override)
    # QuPath counts from the corner of the scanned bounds.
    offset = (0.0, 0.0) if bounds is None else (float(bounds.x), float(bounds.y))
    classes = load_classes(drawn, facts.size, offset, spec.renamed)
    whole = whole_slide(facts.size)
    tissue = find_foreground(source, spacing.spacing, ForegroundSpec()) if spec.min_tissue else whole
    grid = lay_grid(facts, spacing.spacing, tissue, spec.tiling)
    labels = spec.rule.labels(classes.coverage(grid.boxes))
    names = _wanted(classes, drawn, spec)
    kept = np.flatnonzero([label >= 0 and classes.names[label] in names for label in labels])
    return _Cut(
        grid=grid.only(kept),
        labels=tuple(classes.names[label] for label in labels[kept]),
        names=names,
        ambiguous=int((labels == AMBIGUOUS).sum()),
        unannotated=len(labels) - len(kept) - int((labels == AMBIGUOUS).sum()),
        spacing=spacing,
        fingerprint=facts.fingerprint,
        notes=(*((spacing.warning,) if spacing.warning else ()), *facts.notes, *classes.notes),
    )


def _wanted(classes: AnnotatedClasses, drawn: Path, spec: TileSetSpec) -> tuple[str, ...]:
    names = tuple(name for name in classes.names if not spec.classes or name in spec.classes)
    if not names:
        raise DataSetError(
            f"{drawn}: none of its classes {', '.join(classes.names)} is among those asked for.",
            f"Annotate some of {', '.join(spec.classes)}, or ask for others.",
        )
    return names


def _write_tiles(
    source: Source, cut: _Cut, folder: Path, spec: TileSetSpec, rows: list[_Tile]
) -> Generator[Step, None, dict[str, str]]:
    """Write a slide's tiles and note them in ``rows``, in the order of the grid; return why some could not be read."""
    slide = source.facts.name
    tiles = [_tile(slide, label, box, spec) for label, box in zip(cut.labels, cut.grid.boxes.tolist(), strict=True)]
    for name in set(cut.labels):
        (folder / safe_name(name)).mkdir(exist_ok=True)
    batches = list(enumerate(plan_batches(source, cut.grid, BATCH)))
    stream_spec = StreamSpec(BATCH, spec.workers, spec.memory_mb, spec.interpolation)
    failed: dict[int, str] = {}
    done = 0
    with TileStream(source, cut.grid, batches, stream_spec) as stream, ThreadPoolExecutor(spec.workers) as pool:
        for note in cut.notes:
            yield Step(f"tiles of {slide}", done, len(tiles), message=note)
        for batch in stream:
            failed |= {failure.row: failure.reason for failure in batch.failures}
            list(pool.map(_save, _files(batch, tiles, folder)))
            done += len(batch.rows)
            yield Step(f"tiles of {slide}", done, len(tiles))
    rows.extend(tile for row, tile in enumerate(tiles) if row not in failed)
    return {f"x={tiles[row].box[0]}, y={tiles[row].box[1]}": reason for row, reason in sorted(failed.items())}


def _tile(slide: str, label: str, box: Sequence[int], spec: TileSetSpec) -> _Tile:
    x, y, width, height = box
    group = _group(slide, spec.group_pattern) if spec.group_pattern else slide
    return _Tile(f"{safe_name(label)}/{safe_name(slide)}_x{x}_y{y}.png", label, group, slide, (x, y, width, height))


def _group(slide: str, pattern: str) -> str:
    match = re.search(pattern, slide)
    if match is None:
        raise DataSetError(f"{slide}: group_pattern {pattern!r} finds no group in its name.", "Mend the pattern.")
    return match.group("group")


def safe_name(name: str) -> str:
    """Return a class's or slide's name as a file may be called on every system."""
    return re.sub(UNSAFE, "_", name).strip(". ") or "_"


def _files(batch: TileBatch, tiles: Sequence[_Tile], folder: Path) -> Iterator[tuple[NDArray[np.uint8], Path]]:
    lost = {failure.row for failure in batch.failures}
    for pixels, row in zip(batch.pixels, batch.rows.tolist(), strict=True):
        if row not in lost:
            yield pixels, folder / tiles[row].file


def _save(tile: tuple[NDArray[np.uint8], Path]) -> None:
    pixels, path = tile
    # Level 1 takes a third of the time of the usual one and a few percent more room.
    Image.fromarray(pixels).save(path, compress_level=1)


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


def _write_table(rows: Sequence[_Tile], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows((row.file, row.label, row.group, row.slide, *row.box) for row in rows)


def _write_record(done: Sequence[SlideTiles], spec: TileSetSpec, path: Path) -> None:
    record = {"format": "slidecam-tile-set", "spec": asdict(spec), "slides": [asdict(slide) for slide in done]}
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
