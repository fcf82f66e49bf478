"""What napari opens through slidecam: slides, runs, heatmaps, and areas drawn in QuPath.

Here is what a slide or a volume needs, and no more: it lies on the screen before torch would be
loaded. `slidecam.plugin.results` opens the rest.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import SlidecamError, StoreError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.plugin.notices import tell, warn
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.volume import hang, volume_layer
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource
from slidecam.store import RUN_FILE, STORE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slidecam.plugin.slide import LayerData

    Reader = Callable[[str | Sequence[str]], list[LayerData]]

GEOJSON = (".geojson", ".geojson.gz")


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of what lies at ``path``, or None where it is nothing that slidecam knows.

    Parameters
    ----------
    path
        A slide, a run's folder (or its ``run.json``), a ``heatmap.ome.zarr``, or a GeoJSON of
        annotations. A stack of files is none of these.
    """
    if not isinstance(path, str) or not path:
        return None
    where = Path(path)
    if where.name.lower().endswith(GEOJSON):
        return _reading(_result("read_annotations"))
    if where.is_dir() and _is_heatmap(where):
        return _reading(_result("read_heatmap"))
    if run_folder(where) is not None:
        return _reading(_result("read_run_folder"))
    return _reading(read_slide) if _opens(path) else None


def _reading(read: Callable[[Path], list[LayerData]]) -> Reader:
    def reader(path: str | Sequence[str]) -> list[LayerData]:
        return read(Path(path if isinstance(path, str) else path[0]))

    return reader


def _result(name: str) -> Callable[[Path], list[LayerData]]:
    """Return a reader of `slidecam.plugin.results`, which is loaded when something is read."""

    def read(path: Path) -> list[LayerData]:
        layers: list[LayerData] = getattr(import_module("slidecam.plugin.results"), name)(path)
        return layers

    return read


def _is_heatmap(path: Path) -> bool:
    try:
        read_heatmap_ome_zarr(path)
    except StoreError:
        return False
    return True


def _opens(path: str) -> bool:
    """Whether some reader of slidecam's opens it; napari asks the next plugin if none does."""
    try:
        open_source(path).close()
    except SlidecamError as error:
        # A file that is ours and broken is worth a word: the next plugin's message would be about
        # something else.
        if not Path(path).is_dir():
            warn(str(error))
        return False
    return True


def read_slide(path: Path) -> list[LayerData]:
    """Open a slide or a volume, and tell what must be known of it."""
    source = open_source(path)
    if isinstance(source, VolumeSource):
        for note in source.facts.notes:
            tell(note)
        viewer = shown_viewer()
        if viewer is not None:
            hang(viewer)
        return [volume_layer(source)]
    source.close()
    layer, notes = slide_layer(path)
    for note in notes:
        warn(note)
    return [layer]


def run_folder(path: Path) -> Path | None:
    """Return the slide's output folder that ``path`` is or lies in, or None."""
    for folder in (path, path.parent):
        if (folder / STORE_FOLDER).is_dir() and (folder / RUN_FILE).is_file():
            return folder
    return None


def shown_viewer() -> Any:  # noqa: ANN401  (napari's viewer)
    """Return the viewer that the user looks at, if there is one."""
    from napari import current_viewer  # noqa: PLC0415  (loads Qt's half of napari, which a reader in a script lacks)

    return current_viewer()
