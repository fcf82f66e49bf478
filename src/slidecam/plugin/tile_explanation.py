"""Tiles and slices, explained by several methods: pictures, their scores, and where they lie.

It knows no Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.close_up.methods import USUAL_METHODS
from slidecam.drawing.heat import enlarged
from slidecam.drawing.style import drawn_as_one, shares_of
from slidecam.errors import UsageError
from slidecam.explain.catalogue import CATALOGUE
from slidecam.explain.facts import least_scale, unit_of
from slidecam.parsing import json_in
from slidecam.plugin.overlays import heat_look
from slidecam.plugin.ownership import SLIDE
from slidecam.plugin.slide import volume_place
from slidecam.registry import deferred
from slidecam.reports.panel_rows import PanelMap, overlaid
from slidecam.sources.display import displayed
from slidecam.steps import Milestone

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam import close_up
    from slidecam.close_up import findings
    from slidecam.close_up.findings import CloseUp
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.slide import LayerData
    from slidecam.plugin.subjects import Subject
    from slidecam.sources.volume_grid import PlaneStack
    from slidecam.steps import Step
else:
    # torch comes with them: they are first used beside the window.
    close_up = deferred("slidecam.close_up")
    findings = deferred("slidecam.close_up.findings")

METHODS = (USUAL_METHODS, "score-cam", "lime", "partition-shap")
SETTINGS = ("lime.samples=500",)
"""LIME's map hardly changes with more samples, and a person waits for it."""

MAP = "map of a tile"
"""The kind of an explanation's layer."""

EXPLANATION = "explanation.json"


@dataclass(frozen=True, eq=False)
class MethodMap:
    """One method's map of the tile.

    Attributes
    ----------
    title, method
        As people and as machines read it.
    pixels
        The tile under the map, uint8, (edge, edge, 3).
    values
        The raw map, float32, (h, w).
    signed
        Whether values below 0 speak against the class.
    unit, notes
        What its values are counted in, and what limits it.
    deletion, insertion
        Areas under both curves: a good map has little of the first and much of the second.
    """

    title: str
    method: str
    pixels: NDArray[np.uint8]
    values: NDArray[np.float32]
    signed: bool
    deletion: float
    insertion: float
    unit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def top(self) -> float:
        """The raw value that is drawn as the last colour."""
        return max(drawn_as_one(self.values), least_scale(self.unit, self.values.size))


@dataclass(frozen=True, eq=False)
class TileExplanation:
    """All that was found of one tile, or of one slice of a volume.

    Attributes
    ----------
    box
        x, y, width, height in level-0 pixels, or in the slice's own.
    class_name, probability
        The class that was explained.
    tile
        The tile as the classifier sees it.
    pictures
        One for each method.
    folder
        Where the whole report lies.
    call
        What the tile is called, in words.
    number, stack
        The slice's number, and the volume's slices; None of a slide's tile.
    """

    box: tuple[int, int, int, int]
    class_name: str
    probability: float
    tile: NDArray[np.uint8]
    pictures: tuple[MethodMap, ...]
    folder: Path
    call: str = ""
    number: int | None = None
    stack: PlaneStack | None = None

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        if self.number is not None:
            return f"slice {self.number}"
        x, y, *_size = self.box
        return f"x {x}, y {y}"


@dataclass(frozen=True, eq=False)
class TilesSoFar(Milestone):
    """One more method's maps are done; their curves follow at the end."""

    explanations: tuple[TileExplanation, ...] = ()


def explain(
    subject: Subject,
    class_name: str | None = None,
    methods: tuple[str, ...] = (),
    device: str = "auto",
) -> Generator[Step, None, tuple[TileExplanation, ...]]:
    """Explain what was chosen, for its predicted class or another, by `METHODS` or by others.

    Raises
    ------
    SlidecamError
        If the slide or the bundle is not where it was any more, or is another one; or if too many
        tiles were chosen, or none.
    """
    methods = methods or METHODS
    folder, choice = subject.folder, subject.choice()
    slide, bundle = subject.run.find_slide(), subject.run.open_bundle()
    spec = close_up.CloseUpSpec(
        methods=methods,
        settings=tuple(each for each in SETTINGS if each.split(".")[0] in methods),
        classes=() if class_name is None else (class_name,),
        tiles=close_up.TileChoice(**choice),
        device=device,
        overwrite=True,
    )
    work = close_up.explain_tiles(slide, bundle.path, folder, spec)
    try:
        while True:
            step = next(work)
            if isinstance(step, findings.MapsSoFar) and step.found is not None:
                so_far = _explanations(subject, step.found, ())
                yield TilesSoFar(step.phase, step.done, step.total, explanations=so_far)
            else:
                yield step
    except StopIteration as end:
        return _explanations(subject, end.value, json_in(folder / EXPLANATION)["curves"])
    finally:
        work.close()


def _explanations(
    subject: Subject, found: CloseUp, curves: Iterable[Mapping[str, Any]]
) -> tuple[TileExplanation, ...]:
    """Return what was found of each tile; of several baselines the last one's curves are shown."""
    scores: dict[tuple[str, str], Mapping[str, Any]] = {}
    for curve in curves:
        scores[curve["tile"], curve["method"]] = curve
    return tuple(_explanation(subject, found, number, scores) for number in range(len(found.tiles)))


def _explanation(
    subject: Subject,
    found: CloseUp,
    number: int,
    scores: Mapping[tuple[str, str], Mapping[str, Any]],
) -> TileExplanation:
    tiles, table = found.tiles, subject.run.tiles
    index, name = found.classes[number][0], tiles.names[number]
    box = subject.box
    if box is None and tiles.boxes is not None:
        x, y, width, height = tiles.boxes[number].tolist()
        box = x, y, width, height
    pictures = [
        _picture(found, method, number, scores.get((name, method), {})) for method in found.maps
    ]
    return TileExplanation(
        box or (0, 0, 0, 0),
        table.class_names[index],
        float(found.probabilities[number, index]),
        tiles.pixels[number],
        tuple(pictures),
        subject.folder,
        table.classes.call(found.probabilities[number].tolist()),
        tiles.slices[number] if tiles.slices else None,
        subject.stack,
    )


def _picture(
    found: CloseUp,
    name: str,
    number: int,
    scores: Mapping[str, Any],
) -> MethodMap:
    method, tile = CATALOGUE[name], found.tiles.pixels[number]
    values = found.maps[name][number][0]
    drawn = MethodMap(
        method.title,
        name,
        tile,
        values,
        method.signed,
        deletion=float(scores.get("deletion AUC", np.nan)),
        insertion=float(scores.get("insertion AUC", np.nan)),
        unit=unit_of(name, found.facts[name][number]),
        notes=found.notes(name, number, 0),
    )
    shown = PanelMap(name, method.title, values, signed=method.signed)
    return replace(drawn, pixels=overlaid(tile, shown, drawn.top))


def slice_layer(
    found: TileExplanation,
    picture: MethodMap,
    fingerprint: str,
) -> LayerData:
    """Return one method's map as an image that lies on its slice of a volume.

    Raises
    ------
    UsageError
        If nobody knows where the slice lies.
    """
    stack = found.stack
    if stack is None or found.number is None:
        problem = "The result does not say where its slices lie."
        raise UsageError(problem, "Run the model again.")
    _planes, rows, columns = stack.shape
    x, y, width, height = found.box
    shares = shares_of(picture.values, picture.top, signed=picture.signed)
    plane = np.zeros((rows, columns), np.float32)
    low_x, low_y = max(x, 0), max(y, 0)
    high_x, high_y = min(x + width, columns), min(y + height, rows)
    within = slice(low_y - y, high_y - y), slice(low_x - x, high_x - x)
    plane[low_y:high_y, low_x:high_x] = enlarged(shares, (width, height))[within]
    meta = {
        "name": f"{picture.title} {found.class_name} @ {found.place}",
        "opacity": 0.8,
        "metadata": {SLIDE: fingerprint, "kind": MAP},
        **heat_look(signed=picture.signed),
        "blending": "translucent_no_depth",
    }
    voxels, place = _placed(stack, found.number, stack.from_pictures(plane[None]))
    return voxels, {**meta, **place}, "image"


def _placed(
    stack: PlaneStack, number: int, voxels: NDArray[np.generic]
) -> tuple[Any, dict[str, Any]]:
    """Return one slice's voxels as napari shows them, and where they lie."""
    grid = stack.grid
    if grid.is_oblique:
        whole = np.zeros(grid.spl_shape, np.float32)
        np.moveaxis(whole, stack.place, 0)[number] = np.moveaxis(voxels, stack.place, 0)[0]
        straight = displayed(whole, grid)
        return straight.array, volume_place(straight.scale, straight.translate)
    translate = list(grid.translate)
    translate[stack.place] += number * grid.scale[stack.place]
    return voxels, volume_place(grid.scale, translate)


def explanation_layer(found: TileExplanation, picture: MethodMap, run: ShownRun) -> LayerData:
    """Return one method's map as an image that lies on its tile."""
    values, signed = picture.values, picture.signed
    edge = found.tile.shape[0]
    pixels = enlarged(shares_of(values, picture.top, signed=signed), (edge, edge))
    x, y, width, height = found.box
    meta = {
        "name": f"{picture.title} {found.class_name} @ {x}, {y}",
        "opacity": 0.8,
        "metadata": {SLIDE: run.fingerprint, "kind": MAP},
        **heat_look(signed=signed),
        **run.placing.raster((width / edge, height / edge), (x, y)),
    }
    return pixels, meta, "image"
