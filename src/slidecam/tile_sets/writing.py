"""Labelled tiles of slides as a folder of pictures: files, table and record."""

from __future__ import annotations

import csv
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from slidecam.errors import DataSetError, UsageError
from slidecam.files import check_folder, write_json
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.sources import Source
    from slidecam.streaming import TileBatch
    from slidecam.tile_sets.spec import SlideTiles, TileSetSpec
    from slidecam.tiling import TileGrid

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


def refuse_existing(out: Path, spec: TileSetSpec) -> None:
    """Refuse to write where something lies, unless it is a tile set that may be replaced."""
    check_folder(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = (out / RECORD).is_file()
    if not (ours and spec.overwrite):
        fault = "this folder is no tile set, and not empty"
        if ours:
            fault = "there is a tile set here"
        raise UsageError(
            f"{fault}.",
            "Pass --overwrite to replace it." if ours else "Pass another --out.",
            out,
        )


def write_tiles(
    source: Source, cut: LabelledGrid, folder: Path, spec: TileSetSpec, rows: list[Tile]
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
            list(pool.map(_save, _files(batch, tiles, folder)))
            done += len(batch.rows)
            yield Step(f"tiles of {slide}", done, len(tiles))
    rows.extend(tile for row, tile in enumerate(tiles) if row not in failed)
    return {
        f"x={tiles[row].box[0]}, y={tiles[row].box[1]}": reason
        for row, reason in sorted(failed.items())
    }


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
            f"group_pattern {pattern!r} finds no group in its name.", "Mend the pattern.", slide
        )
    return match.group("group")


def safe_name(name: str) -> str:
    """Return a class's or slide's name as a file may be called on every system."""
    return re.sub(UNSAFE, "_", name).strip(". ") or "_"


def _files(
    batch: TileBatch, tiles: Sequence[Tile], folder: Path
) -> Iterator[tuple[NDArray[np.uint8], Path]]:
    lost = {failure.row for failure in batch.failures}
    for pixels, row in zip(batch.pixels, batch.rows.tolist(), strict=True):
        if row not in lost:
            yield pixels, folder / tiles[row].file


def _save(tile: tuple[NDArray[np.uint8], Path]) -> None:
    pixels, path = tile
    # Level 1 takes a third of the time of the usual one and a few percent more room.
    Image.fromarray(pixels).save(path, compress_level=1)


def write_table(rows: Sequence[Tile], path: Path) -> None:
    """Write the table of all tiles, as `read_picture_set` reads it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows((row.file, row.label, row.group, row.slide, *row.box) for row in rows)


def write_record(done: Sequence[SlideTiles], spec: TileSetSpec, path: Path) -> None:
    """Write how the tiles were made, and what became of each slide."""
    record = {
        "format": "slidecam-tile-set",
        "spec": asdict(spec),
        "slides": list(map(asdict, done)),
    }
    write_json(path, record)
