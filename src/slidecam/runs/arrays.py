"""A slide's tiles and a run's results as arrays and tables of other libraries, for research.

Nothing is read before it is wanted where the library allows that: Dask's arrays read tiles, maps
and numbers block by block. pandas, GeoPandas and AnnData are no dependencies of ours.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.classes import NO_CLASS
from slidecam.errors import SlideFailedError, TilingError
from slidecam.extras import imported
from slidecam.objects import from_everywhere
from slidecam.sources import Source, open_source
from slidecam.sources.tasks import TaskSlide
from slidecam.store import RunStore, Status
from slidecam.streaming import StreamSpec, stream_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs.run import Run
    from slidecam.tiling import TileGrid

BLOCK_TILES = 256
"""Tiles of one task: neighbours, so that a decoded chunk serves all of its tiles."""

BATCH = 32


def tile_array(slide: str | Path | Source, grid: TileGrid, interpolation: str = "bilinear") -> Any:  # noqa: ANN401  (a Dask array, whose package says too little of its types)
    """Return the tiles of a slide as a lazy Dask array, a task for each run of neighbours.

    Parameters
    ----------
    slide
        Its path or URL, which each task opens, on whatever machine it runs; or an open slide, which
        tasks of other processes open again and keep open.
    grid
        Its tiles (`lay_grid`).
    interpolation
        Of the one resize, as `StreamSpec`.

    Returns
    -------
    dask.array.Array
        uint8, (tiles, y, x, 3), in the order of the grid.

    Raises
    ------
    SlideFailedError
        When it is computed, if a tile cannot be read: no tile is made up.
    TilingError
        When it is computed, if the grid was laid on another slide.

    Examples
    --------
    >>> tiles = slidecam.tile_array("slide.svs", grid)
    >>> tiles.mean(axis=(1, 2)).compute()
    """
    # Half a second, which runs that are only read save.
    da, delayed = import_module("dask.array"), import_module("dask").delayed
    edge, blocks = grid.input_px, []
    read = _read_by(slide)
    for start in range(0, len(grid), BLOCK_TILES):
        part = grid.only(np.arange(start, min(start + BLOCK_TILES, len(grid))))
        pixels = delayed(read)(part, interpolation)
        blocks.append(da.from_delayed(pixels, (len(part), edge, edge, 3), np.uint8))
    if not blocks:
        return da.zeros((0, edge, edge, 3), np.uint8)
    return da.concatenate(blocks)


def _read_by(slide: str | Path | Source) -> Callable[[TileGrid, str], NDArray[np.uint8]]:
    """Return what reads all tiles of a small grid, in whatever process."""
    if isinstance(slide, Source):
        return partial(_read_open, TaskSlide(slide))
    return partial(_read_file, from_everywhere(slide))


def _read_open(slide: TaskSlide[Source], grid: TileGrid, interpolation: str) -> NDArray[np.uint8]:
    with slide.opened() as source:
        return _read(source, grid, interpolation)


def _read_file(path: str, grid: TileGrid, interpolation: str) -> NDArray[np.uint8]:
    with open_source(path) as source:
        return _read(source, grid, interpolation)


def _read(source: Source, grid: TileGrid, interpolation: str) -> NDArray[np.uint8]:
    if grid.level not in source.facts.levels:
        problem = "The grid of tiles is of another slide: this one has no such level."
        raise TilingError(problem, "Lay one on this slide (slidecam.lay_grid).", source.facts.path)
    pixels = np.zeros((len(grid), grid.input_px, grid.input_px, 3), np.uint8)
    spec = StreamSpec(BATCH, workers=2, memory_mb=128, interpolation=interpolation)
    for batch in stream_tiles(source, grid, spec):
        for failure in batch.failures:
            raise SlideFailedError(
                source.facts.path,
                f"A tile cannot be read: {failure.reason}",
                "Leave it out with TileGrid.only.",
            )
        pixels[batch.rows] = batch.pixels
    return pixels


def run_arrays(run: Run) -> dict[str, Any]:
    """Return a run's numbers as lazy Dask arrays by name, in the order of its tiles.

    ``boxes``, ``status``, ``logits``, ``probabilities`` and, where the run keeps them, the raw
    ``maps``: float16, (tiles, methods, mapped classes, height, width).
    """
    da = import_module("dask.array")
    store = RunStore.open(run.folder)
    places = np.argsort(store.order)
    arrays = {
        "boxes": da.from_array(run.tiles.boxes),
        "status": da.from_array(run.tiles.status),
        "logits": da.from_array(run.logits),
        "probabilities": da.from_array(run.tiles.probabilities),
    }
    if store.maps is not None:
        arrays["maps"] = da.from_array(store.maps, chunks=store.maps.chunks)[places]
    return arrays


def run_frame(run: Run) -> Any:  # noqa: ANN401  (pandas's, which is not installed everywhere)
    """Return a run's tiles as a pandas DataFrame, a row a tile."""
    pandas = _library("pandas")
    table = run.tiles
    columns: dict[str, Any] = {}
    for place, name in enumerate(("x", "y", "width", "height")):
        columns[name] = table.boxes[:, place]
    if run.planes is not None:
        columns["plane"] = run.planes
    columns["status"] = [Status(value).name.lower() for value in table.status.tolist()]
    columns.update(table.values)
    columns["called"] = list(map(_name_of(table.class_names), table.winners.tolist()))
    frame = pandas.DataFrame(columns)
    frame.attrs.update(_facts(run))
    return frame


def _name_of(names: tuple[str, ...]) -> Any:  # noqa: ANN401  (a function)
    def name(index: int) -> str | None:
        return None if index == NO_CLASS else names[index]

    return name


def run_geoframe(run: Run) -> Any:  # noqa: ANN401  (GeoPandas')
    """Return a run's tiles as a GeoPandas frame; shapes are in level-0 pixels, y downwards."""
    geopandas, shapely = _library("geopandas"), _library("shapely")
    left, top, width, height = run.tiles.boxes.T
    shapes = shapely.box(left, top, left + width, top + height)
    frame = geopandas.GeoDataFrame(run_frame(run), geometry=shapes)
    frame.attrs.update(_facts(run))
    return frame


def run_anndata(run: Run) -> Any:  # noqa: ANN401  (AnnData's)
    """Return a run as AnnData: tiles by classes, and where each tile's centre lies.

    ``obsm["spatial"]`` is in µm, or in level-0 pixels where nobody knows the spacing.
    """
    anndata, pandas = _library("anndata"), _library("pandas")
    frame = run_frame(run)
    frame.index = frame.index.astype(str)
    boxes = run.tiles.boxes.astype(np.float64)
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    unit = "level-0 pixel"
    if run.spacing is not None:
        centres, unit = centres * (run.spacing.x, run.spacing.y), "µm"
    classes = pandas.DataFrame(index=list(run.tiles.class_names))
    made = anndata.AnnData(run.tiles.probabilities, obs=frame, var=classes)
    made.obsm["spatial"] = centres
    made.uns["slidecam"] = {**_facts(run), "spatial unit": unit}
    return made


def _facts(run: Run) -> Mapping[str, str]:
    return {"slide": run.slide, "path": run.slide_path, "model": run.model}


def _library(name: str) -> Any:  # noqa: ANN401  (a module)
    """Return a library that is no dependency of ours; UsageError if it is not installed."""
    return imported(name, undone="no table of this kind can be made")
