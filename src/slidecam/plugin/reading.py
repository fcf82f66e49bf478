"""What napari opens through slidecam: slides, runs, heatmaps, and areas drawn in QuPath."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import SlidecamError, StoreError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.plugin.areas import annotation_layer
from slidecam.plugin.notices import tell, warn
from slidecam.plugin.overlays import heat_layers, run_layers
from slidecam.plugin.placing import Placing
from slidecam.plugin.shown import ShownRun, read_shown, run_folder
from slidecam.plugin.slide import KEY, LayerData, SlideFacts, slide_layer
from slidecam.plugin.volume import hang, is_volume_run, volume_heat_layers, volume_layer, volume_run_layers
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource
from slidecam.store import read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Reader = Callable[[str | Sequence[str]], list[LayerData]]

GEOJSON = (".geojson", ".geojson.gz")


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of what lies at ``path``, or None where it is nothing that slidecam knows.

    Parameters
    ----------
    path
        A slide, a run's folder (or its ``run.json``), a ``heatmap.ome.zarr``, or a GeoJSON of annotations. A stack
        of files is none of these.
    """
    if not isinstance(path, str) or not path:
        return None
    where = Path(path)
    if where.name.lower().endswith(GEOJSON):
        return _reading(_annotations)
    if where.is_dir() and _is_heatmap(where):
        return _reading(_heatmap)
    if run_folder(where) is not None:
        return _reading(_run)
    return _reading(_slide) if _opens(path) else None


def _reading(read: Callable[[Path], list[LayerData]]) -> Reader:
    def reader(path: str | Sequence[str]) -> list[LayerData]:
        return read(Path(path if isinstance(path, str) else path[0]))

    return reader


def _is_heatmap(path: Path) -> bool:
    try:
        read_heatmap_ome_zarr(path)
    except StoreError:
        return False
    return True


def _opens(path: str) -> bool:
    """Whether some reader of slidecam's opens it; napari then asks the next plugin where none does."""
    try:
        open_source(path).close()
    except SlidecamError as error:
        # A file that is ours and broken is worth a word: the next plugin's message would be about something else.
        if not Path(path).is_dir():
            warn(str(error))
        return False
    return True


def _slide(path: Path) -> list[LayerData]:
    source = open_source(path)
    if isinstance(source, VolumeSource):
        for note in source.facts.notes:
            tell(note)
        viewer = _viewer()
        if viewer is not None:
            hang(viewer)
        return [volume_layer(source)]
    source.close()
    layer, notes = slide_layer(path)
    for note in notes:
        warn(note)
    return [layer]


def _run(path: Path) -> list[LayerData]:
    folder = run_folder(path) or path
    if is_volume_run(folder):
        return _volume_run(folder)
    run = read_shown(folder)
    return [*_slide_of(run), *run_layers(run)]


def _volume_run(folder: Path) -> list[LayerData]:
    record = read_run(folder) or {}
    path = Path(str(record.get("input", {}).get("path", "")))
    below = _slide(path) if path.exists() else []
    if not below:
        tell(f"The volume of this run is not at {path} any more: open it yourself.")
    return [*below, *volume_run_layers(folder)]


def _slide_of(run: ShownRun) -> list[LayerData]:
    """Return the run's slide, unless it has been moved since."""
    if not Path(run.tiles.slide_path).exists():
        tell(
            f"The slide of this run is not at {run.tiles.slide_path} any more: open it yourself, and it will lie below."
        )
        return []
    layer, notes = slide_layer(run.tiles.slide_path, run.spacing)
    for note in notes:
        warn(note)
    return [layer]


def _heatmap(path: Path) -> list[LayerData]:
    folder = run_folder(path)
    if folder is not None and is_volume_run(folder):
        return volume_heat_layers(path, folder.name)
    return heat_layers(path, None if folder is None else read_shown(folder))


def _annotations(path: Path) -> list[LayerData]:
    facts = _open_slide()
    if facts is None:
        warn("No slide is open, so these areas are shown in pixels: open their slide first.")
    placing = Placing(None) if facts is None else facts.placing
    return [annotation_layer(path, placing, None if facts is None else facts.bounds)]


def _viewer() -> Any:  # noqa: ANN401  (napari's viewer)
    """Return the viewer that the user looks at, if there is one."""
    from napari import current_viewer  # noqa: PLC0415  (loads Qt's half of napari, which a reader in a script lacks)

    return current_viewer()


def _open_slide() -> SlideFacts | None:
    """Return the slide of the viewer that the user looks at: annotations are told in its pixels."""
    viewer = _viewer()
    kept = [] if viewer is None else [layer.metadata.get(KEY) for layer in viewer.layers]
    return next((facts for facts in reversed(kept) if isinstance(facts, SlideFacts)), None)
