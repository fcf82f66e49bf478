"""A slide or a volume that is opened: its layer, how it hangs, and what must be known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.plugin.hanging import hang
from slidecam.plugin.slide import shown_viewer, slide_layer, volume_layer
from slidecam.plugin.tasks import inform, warn
from slidecam.sources.apart import open_apart
from slidecam.sources.volume import VolumeSource

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.slide import LayerData


def read_slide(path: Path) -> list[LayerData]:
    """Open a slide or a volume, and say what must be known of it."""
    source = open_apart(path)
    if isinstance(source, VolumeSource):
        for note in source.facts.readings:
            inform(note)
        viewer = shown_viewer()
        if viewer is not None:
            hang(viewer)
        return [volume_layer(source)]
    source.let_go()
    layer, notes = slide_layer(path)
    for note in notes:
        warn(note)
    return [layer]
