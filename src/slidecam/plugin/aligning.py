"""A slide put where its run lies.

The user may have told its spacing, or another reader opened it in pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import SlidecamError
from slidecam.plugin import compat
from slidecam.plugin.areas import SLIDE
from slidecam.plugin.slide import KEY, SlideFacts

if TYPE_CHECKING:
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.placing import Placing

PLANE = 2


def align(viewer: Any, run: ShownRun) -> None:  # noqa: ANN401  (napari's viewer, its model or a proxy)
    """Move a run's slide to the run's own µm per pixel.

    What was drawn on it and the camera that looks at it move along.

    Parameters
    ----------
    viewer
        Where the slide lies. One that slidecam opened is known by its fingerprint, one that napari
        or another plugin opened by that of its file.
    run
        Whose overlays are about to be laid.
    """
    for layer in [one for one in viewer.layers if one.ndim == PLANE]:
        facts = layer.metadata.get(KEY)
        if isinstance(facts, SlideFacts):
            if facts.fingerprint == run.stored.fingerprint and facts.spacing != run.spacing:
                _rescale(viewer, facts, run.placing)
                layer.metadata[KEY] = replace(facts, spacing=run.spacing)
        elif facts is None and getattr(layer, "rgb", False) and _shows(layer.source.path, run):
            _stretch(layer, run)


def _shows(path: str | None, run: ShownRun) -> bool:
    """Whether a file that another reader opened is the run's slide, by its content."""
    if not path:
        return False
    try:
        with replace(run.stored, given_slide=str(path)).open_slide():
            return True
    except SlidecamError:
        return False


def _rescale(viewer: Any, facts: SlideFacts, after: Placing) -> None:  # noqa: ANN401
    ratio = np.array([after.unit.y / facts.placing.unit.y, after.unit.x / facts.placing.unit.x])
    for layer in [
        one
        for one in viewer.layers
        if one.ndim == PLANE and _lies_on(one, facts.fingerprint, viewer)
    ]:
        layer.scale, layer.translate = layer.scale * ratio, layer.translate * ratio
        layer.units = after.units
    camera = compat.camera(viewer)
    camera.center = (camera.center[0], *(np.array(camera.center[-2:]) * ratio))
    camera.zoom /= float(ratio.mean())


def _lies_on(layer: Any, fingerprint: str, viewer: Any) -> bool:  # noqa: ANN401
    """Whether a layer is the slide itself or was drawn on it.

    What says nothing lies on the one slide that is open.
    """
    facts, drawn_on = layer.metadata.get(KEY), layer.metadata.get(SLIDE)
    if isinstance(facts, SlideFacts):
        return facts.fingerprint == fingerprint
    if drawn_on is not None:
        return bool(drawn_on == fingerprint)
    slides = [one for one in viewer.layers if isinstance(one.metadata.get(KEY), SlideFacts)]
    return facts is None and "kind" not in layer.metadata and len(slides) == 1


def _stretch(layer: Any, run: ShownRun) -> None:  # noqa: ANN401  (a napari layer)
    """Give a picture that another reader opened its slide's extent, whichever level it holds."""
    height, width = (layer.data[0] if layer.multiscale else layer.data).shape[:2]
    placed = run.placing.raster((run.size.width / width, run.size.height / height))
    layer.scale, layer.translate, layer.units = (
        placed["scale"],
        placed["translate"],
        run.placing.units,
    )
