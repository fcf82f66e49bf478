"""What the page is given: its own files, and what it lays over a slide.

Tiles and heatmaps are numbers, from the run's store and never from pictures. OpenSeadragon, which
is built into the page, may be missing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.drawing.heat import heat_table
from slidecam.errors import StoreError, UsageError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.exchange.volumes import VolumeHeatmap, read_volume_ome_zarr
from slidecam.explain.catalogue import title_of
from slidecam.runs import Run, RunRecord, compare_runs
from slidecam.runs.tiles import DISAGREEMENT
from slidecam.server.guard import RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.classes import ClassSet
    from slidecam.exchange.ome_zarr import HeatmapImage
    from slidecam.runs.tiles import TileTable
    from slidecam.server.job import SeenRun

LONGEST = 1500
"""Pixels that a heatmap's longer side has at least, where it has so many."""

FULL = 32767
"""What stands for 1 in the numbers that are sent; -1 is the same with its sign."""

NOTHING = -32768
"""What stands for not-a-number."""

SHADES = 256
MOST_CHANGED = 200
"""Tiles that are listed in words where two runs are compared."""


def tiles_record(job: SeenRun, name: str) -> dict[str, Any]:
    """Return a slide's tiles as arrays in base64, little-endian.

    RequestError 404 if it was not begun.
    """
    folder = slide_folder(job, name)
    live = job.live(name)
    if live is None:
        (table, planes), volume = _stored(folder), _call(folder)
    else:
        (table, planes), volume = live.table(), None
    known = table.done | table.failed
    return {
        "slide": name,
        "final": live is None,
        "tiles": int(known.sum()),
        "classes": class_records(table.classes),
        "boxes": _packed(table.boxes[known], "<i4"),
        "winners": _packed(table.winners[known], "<i2"),
        "called": _packed(table.called[known], "u1"),
        "failed": _packed(table.failed[known], "u1"),
        "probabilities": _packed(table.probabilities[known], "<f4"),
        "planes": _packed(planes[known], "<i4"),
        "volume": volume,
        **_disagreement(table, known),
    }


def _disagreement(table: TileTable, known: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how far an ensemble's members disagree of each tile; nothing of a single network."""
    if table.disagreement is None:
        return {}
    return {DISAGREEMENT: _packed(table.disagreement[known], "<f4")}


def _call(folder: Path) -> dict[str, Any] | None:
    """Return what a volume was called; None of a slide."""
    record = RunRecord.find(folder)
    if record is None or record.call is None:
        return None
    return dict(record.call.facts)


def comparison_record(after: tuple[SeenRun, str], before: tuple[SeenRun, str]) -> dict[str, Any]:
    """Return two runs of one slide beside each other, as ``slidecam compare --json`` has them.

    Of the changed tiles the `MOST_CHANGED` surest stand in words, and all as arrays.

    Parameters
    ----------
    after, before
        A run and the name of its slide.

    Raises
    ------
    RequestError
        404 if one of them was not begun, 409 if it is at work.
    UsageError
        If they are of two slides.
    """
    runs = []
    for job, name in (before, after):
        if job.live(name) is not None:
            raise RequestError(409, f"{name} is at work.", "Compare it when it has ended.")
        runs.append(_opened(slide_folder(job, name)))
    found = compare_runs(*runs)
    record = found.record()
    listed = record["changed tiles"]
    changed = [tile["row"] for tile in listed]
    return {
        **record,
        "changed tiles": listed[:MOST_CHANGED],
        "left_out": max(0, len(listed) - MOST_CHANGED),
        "boxes": _packed(runs[1].tiles.boxes[changed], "<i4"),
    }


def class_records(classes: ClassSet) -> list[dict[str, Any]]:
    """Return the names and colours of classes."""
    return [
        {"name": name, "color": list(color)}
        for name, color in zip(classes.names, classes.colors, strict=True)
    ]


def slide_folder(job: SeenRun, name: str) -> Path:
    """Return the folder of a slide's run; RequestError 404 if the job has not come to it."""
    slide = job.slide_record(name)
    if slide is None:
        raise RequestError(
            404,
            f"Job {job.id} has not come to a slide {name!r}.",
            "Wait for its Planned event.",
        )
    job.place()
    return Path(slide.get("folder", job.out / name))


def _opened(folder: Path) -> Run:
    try:
        return Run.open(folder)
    except (StoreError, UsageError) as error:
        raise RequestError(
            404, error.problem, "The slide gave no results; its event says why."
        ) from error


def _stored(folder: Path) -> tuple[TileTable, NDArray[np.int64]]:
    run = _opened(folder)
    return run.tiles, run.plane_numbers


def _packed(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def heatmap_records(job: SeenRun, name: str) -> list[dict[str, Any]]:
    """Return which heatmaps a finished slide or volume has, and their rasters' sizes.

    The sizes are those of the rasters that are given of them.
    """
    folder = slide_folder(job, name)
    paths = sorted(folder.glob("heatmap*.ome.zarr"), key=lambda path: (len(path.name), path.name))
    return [_heatmap_record(path, _heatmap(path)) for path in paths]


def _heatmap(path: Path) -> HeatmapImage | VolumeHeatmap:
    record = RunRecord.find(path.parent)
    if record is not None and record.is_volume:
        return read_volume_ome_zarr(path)
    return read_heatmap_ome_zarr(path)


def _heatmap_record(path: Path, heatmap: HeatmapImage | VolumeHeatmap) -> dict[str, Any]:
    method = str(heatmap.spec.attributes.get("method", ""))
    return {
        "name": path.name.removesuffix(".ome.zarr"),
        "method": method,
        "title": title_of(method),
        "signed": heatmap.spec.signed,
        "shows": heatmap.spec.attributes.get("shows", ""),
        "measured": heatmap.spec.attributes.get("measured", ""),
        "notes": heatmap.spec.attributes.get("notes", []),
        "classes": list(heatmap.spec.class_names),
        **_raster_facts(heatmap),
    }


def _raster_facts(heatmap: HeatmapImage | VolumeHeatmap) -> dict[str, Any]:
    """Return the size of what `heatmap_values` gives, and the level-0 pixels that one of it is."""
    if isinstance(heatmap, VolumeHeatmap):
        planes, height, width = heatmap.spec.stack.shape
        return {
            "width": width,
            "height": height,
            "pitch": 1,
            "planes": planes,
            "axis": heatmap.spec.stack.axis,
        }
    level = heatmap.level_for(LONGEST)
    _classes, height, width = heatmap.levels[level].shape
    return {
        "width": width,
        "height": height,
        "pitch": heatmap.spec.pitch * 2**level,
        "planes": 1,
        "axis": None,
    }


def heatmap_values(job: SeenRun, name: str, heatmap: str, place: tuple[int, int]) -> bytes:
    """Return one class of a heatmap on one plane as little-endian int16.

    `FULL` is 1, `NOTHING` not-a-number.
    """
    index, plane = place
    known = {record["name"]: record for record in heatmap_records(job, name)}
    if heatmap not in known or not 0 <= index < len(known[heatmap]["classes"]):
        raise RequestError(
            404,
            f"Slide {name!r} has no heatmap {heatmap!r} of class {index}.",
            "GET …/heatmaps first.",
        )
    if not 0 <= plane < known[heatmap]["planes"]:
        raise RequestError(
            404,
            f"Heatmap {heatmap!r} has no plane {plane}.",
            "GET …/heatmaps says how many it has.",
        )
    folder = slide_folder(job, name)
    return _as_int16(_values(_heatmap(folder / f"{heatmap}.ome.zarr"), index, plane)).tobytes()


def _values(heatmap: HeatmapImage | VolumeHeatmap, index: int, plane: int) -> NDArray[np.float32]:
    if isinstance(heatmap, VolumeHeatmap):
        return np.asarray(heatmap.pictures(index, plane, plane + 1)[0], np.float32)
    return np.asarray(heatmap.levels[heatmap.level_for(LONGEST)][index])


def _as_int16(values: NDArray[np.float32]) -> NDArray[np.int16]:
    finite = np.isfinite(values)
    scaled = np.rint(np.where(finite, values, 0) * FULL)
    return np.where(finite, scaled, NOTHING).astype("<i2")


def heat_colours() -> dict[str, list[list[int]]]:
    """Return red, green, blue and cover, 0 to 255, of the heat.

    Plain heat runs from 0 to 1, signed heat from -1 to 1.
    """
    return {"plain": _shades(signed=False), "signed": _shades(signed=True)}


def _shades(*, signed: bool) -> list[list[int]]:
    shades: list[list[int]] = np.rint(heat_table(SHADES, signed=signed) * 255).astype(int).tolist()
    return shades


PAGE = Path(__file__).parent / "page"
VIEWER = "openseadragon"
"""Folder of the deep-zoom viewer in the wheel, below the page."""

FROM_NPM = Path("web", "node_modules", "openseadragon")
"""Where ``npm ci`` lays it in a working tree."""

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


@dataclass(frozen=True)
class StaticFile:
    """A file's bytes, and what they are."""

    content: bytes
    media_type: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return all files of the page by their place below ``/page/``."""
    own = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES}
    paths = own | {f"{VIEWER}/{path.name}": path for path in viewer_files()}
    return {name: StaticFile(path.read_bytes(), TYPES[path.suffix]) for name, path in paths.items()}


def viewer_files() -> list[Path]:
    """Return the viewer's script and licence, of the wheel or of the working tree.

    Nothing where it was not built.
    """
    installed, tree = PAGE / VIEWER, Path(__file__).parents[3] / FROM_NPM
    for script, licence in (
        (installed / "openseadragon.min.js", installed / "LICENSE.txt"),
        (
            tree / "build" / "openseadragon" / "openseadragon.min.js",
            tree / "LICENSE.txt",
        ),
    ):
        if script.is_file() and licence.is_file():
            return [script, licence]
    return []
