"""Volumes: opened the way radiologists hang them.

Arrays are (S, P, L) and the world is LPS+ mm as (z, y, x): sliced, anterior is up and the patient's
right is on the left of the screen. In 3-D napari's own handedness would show the mirror image, so
the camera is turned for as long as a volume lies in the viewer.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from slidecam.errors import UsageError
from slidecam.plugin import compat
from slidecam.plugin.slide import KEY, LayerData, facts_of
from slidecam.sources.display import displayed

if TYPE_CHECKING:
    from slidecam.sources.volume import VolumeSource

AXES = ("S", "P", "L")
HUNG = ("away", "down", "right")
"""Camera orientation in which (S, P, L) is not mirrored in 3-D."""


def volume_layer(source: VolumeSource) -> LayerData:
    """Return a volume as a layer in mm; its file stays open as long as the layer's data."""
    facts = source.facts
    if facts.stack is None:
        raise UsageError(f"{facts.path} is no volume.", "Open it as a slide.")
    shown = displayed(source.array(), facts.stack.grid)
    weakref.finalize(shown.array, source.close)
    meta = {
        "name": facts.name,
        "rgb": source.is_colour,
        "metadata": {
            KEY: facts_of(source)[0],
            "slide": {"path": str(facts.path), "resampled": shown.resampled},
        },
        **placed(shown.scale, shown.translate),
    }
    return (
        shown.array,
        meta if source.is_colour else {**meta, "contrast_limits": source.limits},
        "image",
    )


def placed(scale: Any, translate: Any) -> dict[str, Any]:  # noqa: ANN401  (three numbers each)
    """Return where a layer of (S, P, L) lies, in millimetres, as napari takes it."""
    place = {"scale": tuple(map(float, scale)), "translate": tuple(map(float, translate))}
    return {**place, "axis_labels": AXES, "units": ("mm",) * 3}


def hang(viewer: Any) -> None:  # noqa: ANN401  (napari's viewer or its model)
    """Turn the camera so that volumes are not mirrored in 3-D, until the last one is taken away."""
    camera = compat.camera(viewer)
    before = camera.orientation

    def look(_event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        volumes = [
            layer for layer in viewer.layers if getattr(layer.metadata.get(KEY), "is_volume", False)
        ]
        camera.orientation = HUNG if volumes else before
        if not volumes:
            viewer.layers.events.removed.disconnect(look)

    if tuple(map(str, before)) != HUNG:
        camera.orientation = HUNG
        viewer.layers.events.removed.connect(look)
