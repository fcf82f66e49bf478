"""What is to be run, and where on the slide: all tissue, that in the view, or drawn areas."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes

from slidecam.errors import UsageError
from slidecam.exchange.geojson import Annotation, write_annotations
from slidecam.foreground import (
    Foreground,
    ForegroundSpec,
    find_foreground,
    save_foreground,
)
from slidecam.geometry import Box
from slidecam.options import command_words
from slidecam.plugin import compat
from slidecam.plugin.areas import areas_of, in_pixels
from slidecam.runs.spec import PredictSpec
from slidecam.sources import settle_spacing
from slidecam.sources.apart import open_apart
from slidecam.sources.discovery import find_slides
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.plugin.placing import Placing
    from slidecam.plugin.slide import SlideFacts


@dataclass(frozen=True, eq=False)
class Region:
    """Part of a slide.

    Attributes
    ----------
    areas
        As drawn: of each its rings, (N, 2) x, y in level-0 pixels, the outer one first, then its
        holes. All that lies in them is classified.
    view
        A box of which only the tissue is classified; None where areas were drawn.
    """

    areas: tuple[tuple[NDArray[np.float64], ...], ...] = ()
    view: Box | None = None

    @property
    def name(self) -> str:
        """A short name of its own: runs of different regions are different runs."""
        places = repr(self.view).encode() + b"".join(
            np.round(np.concatenate(rings), 1).tobytes() for rings in self.areas
        )
        short = hashlib.sha256(places).hexdigest()[:8]
        if self.view is not None:
            return f"view-{short}"
        return f"areas-{short}"


@dataclass(frozen=True)
class RunRequest:
    """What is to be run.

    Attributes
    ----------
    slide, bundle
        Paths.
    out
        The folder that a call of the command line would be given as ``--out``.
    spec
        Everything else.
    region
        Where on the slide; None for all of its tissue.
    """

    slide: str
    bundle: Path
    out: Path
    spec: PredictSpec = field(default_factory=PredictSpec)
    region: Region | None = None

    @property
    def command(self) -> list[str]:
        """The same run as words of the command line; of a region, once its mask is written."""
        call = [
            "slidecam",
            "predict",
            self.slide,
            "-m",
            str(self.bundle),
            "-o",
            str(self.out),
        ]
        return [*call, *command_words(self.spec)]

    @property
    def seen(self) -> PictureView:
        """Which picture of the file is meant."""
        return PictureView(image=self.spec.image)

    @property
    def folder(self) -> Path:
        """The slide's own folder in ``out``."""
        return self.out / find_slides([self.slide]).slides[0].name


def quoted(words: list[str]) -> str:
    """Return a command as this system's shell takes it, whatever blanks its paths hold."""
    if sys.platform == "win32":
        return subprocess.list2cmdline(words)
    return shlex.join(words)


def region_in_view(viewer: Any, facts: SlideFacts) -> Region:  # noqa: ANN401  (the viewer, its model or a proxy)
    """Return the part of a slide that is on the canvas.

    Raises
    ------
    UsageError
        If there is none.
    """
    camera = compat.camera(viewer)
    half = np.array(compat.canvas_size(viewer)) / camera.zoom / 2
    centre = np.array(camera.center[-2:])
    corners = facts.placing.to_pixels(np.stack([centre - half, centre + half]))
    inside = np.clip(corners, 0, [facts.size.width, facts.size.height]).round().astype(int)
    (left, top), (right, bottom) = inside.tolist()
    if right <= left or bottom <= top:
        raise UsageError("The slide is not in the current view.", "Move the view over it.")
    return Region(view=Box(left, top, right - left, bottom - top))


def drawn_region(viewer: Any, placing: Placing) -> Region:  # noqa: ANN401  (as above)
    """Return the selected shapes; if none is selected, all of the active shapes layer.

    Where no shapes layer is active, the only one that is seen is meant.

    Raises
    ------
    UsageError
        If there is none or there are several, or it holds no area.
    """
    layer = viewer.layers.selection.active
    drawn = [one for one in viewer.layers if isinstance(one, Shapes) and one.visible]
    if not isinstance(layer, Shapes) and len(drawn) == 1:
        layer = drawn[0]
    if not isinstance(layer, Shapes):
        raise UsageError(
            "No shapes layer is selected.",
            "Draw areas in one, and select it in the list of layers.",
        )
    areas: list[tuple[NDArray[np.float64], ...]] = []
    for number, _name, rings in areas_of(layer.data, layer.shape_type, layer.features):
        if number in layer.selected_data or not layer.selected_data:
            areas.append(in_pixels(layer, rings, placing))
    if not areas:
        raise UsageError(
            f"The layer {layer.name!r} holds no area.",
            "Draw rectangles, ellipses or polygons in it.",
        )
    return Region(areas=tuple(areas))


def write_region(request: RunRequest, region: Region) -> Path:
    """Write the mask that `predict` takes for a region, and return where it lies.

    Raises
    ------
    UsageError
        If there is no tissue in the view.
    SlidecamError
        If the slide cannot be read.
    """
    out, view = request.out, VolumeView(slide=request.seen)
    with open_apart(request.slide, view=view) as source:
        facts = source.facts
        if region.view is None:
            path = out / f"{region.name}.geojson"
            write_annotations(path, [Annotation("", rings) for rings in region.areas], facts.bounds)
            return path
        tissue = find_foreground(
            source, settle_spacing(facts, request.spec.mpp).spacing, ForegroundSpec()
        )
    seen = within(tissue, region.view)
    if not seen.mask.any():
        raise UsageError(
            "There is no tissue in the current view.",
            "Move the view to some, or choose another region.",
        )
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{region.name}.png"
    save_foreground(seen, path)
    return path


def within(tissue: Foreground, view: Box) -> Foreground:
    """Return the tissue whose mask pixels have their centres in a box of level-0 pixels."""
    rows, columns = tissue.mask.shape
    y = (np.arange(rows) + 0.5) * tissue.size.height / rows
    x = (np.arange(columns) + 0.5) * tissue.size.width / columns
    inside = np.outer((y >= view.y) & (y < view.bottom), (x >= view.x) & (x < view.right))
    return Foreground(tissue.mask & inside, tissue.size, f"{tissue.origin}, in the current view")
