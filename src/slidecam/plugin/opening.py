"""A slide or a volume as layers, and where a run lies: what every other part of reading needs.

It lies on the screen before torch would be loaded, so that nothing here may need that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slidecam.errors import StoreError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.plugin.notices import tell, warn
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.volume import hang, volume_layer
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource
from slidecam.store import RUN_FILE, STORE_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.slide import LayerData

GEOJSON = (".geojson", ".geojson.gz")


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


def is_annotations(path: Path) -> bool:
    """Whether a file is called as areas drawn in QuPath are."""
    return path.name.lower().endswith(GEOJSON)


def is_heatmap(path: Path) -> bool:
    """Whether a folder is a heatmap of ours."""
    if not path.is_dir():
        return False
    try:
        read_heatmap_ome_zarr(path)
    except StoreError:
        return False
    return True


def shown_viewer() -> Any:  # noqa: ANN401  (napari's viewer)
    """Return the viewer that the user looks at, if there is one."""
    from napari import current_viewer  # noqa: PLC0415  (loads Qt's half of napari, which a reader in a script lacks)

    return current_viewer()
