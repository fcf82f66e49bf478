"""A slide or a volume that is opened: its layer, how it hangs, and what must be known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slidecam.plugin.hanging import hang
from slidecam.plugin.slide import shown_viewer, slide_layer, volume_layer
from slidecam.plugin.tasks import inform, warn
from slidecam.sources.apart import open_apart
from slidecam.sources.volume import VolumeSource
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.slide import LayerData, SlideFacts


def read_slide(path: Path | str, volume: str | None = None) -> list[LayerData]:
    """Open a slide, or a volume of a file, and say what must be known of it."""
    source = open_apart(path, view=VolumeView(volume=volume))
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


def another_of(facts: SlideFacts, place: int) -> LayerData:
    """Open another picture or volume of a file, by its place among them.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    if facts.is_volume:
        (opened,) = read_slide(facts.path, str(facts.volumes[place].number))
        return opened
    seen = replace(facts.seen, image=str(facts.images[place].number))
    layer, notes = slide_layer(facts.path, seen=seen)
    for note in notes:
        warn(note)
    return layer
