"""One tile, explained by several methods: the pictures, their scores, and their place on the slide.

It knows no Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.close_up.methods import USUAL_METHODS
from slidecam.drawing.heat import enlarged
from slidecam.drawing.style import drawn_as_one, shares_of
from slidecam.explain.catalogue import CATALOGUE
from slidecam.explain.facts import least_scale, unit_of
from slidecam.parsing import json_in
from slidecam.plugin.overlays import heat_look
from slidecam.plugin.ownership import SLIDE
from slidecam.registry import deferred
from slidecam.reports.panel_rows import PanelMap, overlaid
from slidecam.steps import Milestone

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam import close_up
    from slidecam.close_up import findings
    from slidecam.close_up.findings import CloseUp
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.slide import LayerData
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

FOLDER = "close-ups"
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
    """All that was found of one tile.

    Attributes
    ----------
    box
        x, y, width, height in level-0 pixels.
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
    """

    box: tuple[int, int, int, int]
    class_name: str
    probability: float
    tile: NDArray[np.uint8]
    pictures: tuple[MethodMap, ...]
    folder: Path
    call: str = ""


@dataclass(frozen=True, eq=False)
class TileSoFar(Milestone):
    """One more method's map of a tile is done; its curves follow at the end."""

    explanation: TileExplanation | None = None


def explain_tile(
    run: ShownRun,
    row: int,
    class_name: str | None = None,
    methods: tuple[str, ...] = (),
    device: str = "auto",
) -> Generator[Step, None, TileExplanation]:
    """Explain one tile of a run, for its predicted class or for another, by `METHODS` or by others.

    Raises
    ------
    SlidecamError
        If the slide or the bundle is not where it was any more, or is another one.
    """
    methods = methods or METHODS
    x, y, width, height = (int(value) for value in run.table.boxes[row])
    folder = run.folder / FOLDER / f"{x}_{y}"
    # The colours that the run saw, though the card or the call of today may say otherwise.
    seen = run.stored.seen
    seen = replace(seen, profile=seen.profile or "ignore")
    slide, bundle = run.stored.find_slide(), run.stored.open_bundle()
    spec = close_up.CloseUpSpec(
        methods=methods,
        settings=tuple(each for each in SETTINGS if each.split(".")[0] in methods),
        classes=() if class_name is None else (class_name,),
        tiles=close_up.TileChoice(
            at=((x + width / 2, y + height / 2),),
            mpp=run.spacing,
            reader=run.stored.reader,
            seen=seen,
        ),
        device=device,
        overwrite=True,
    )
    shown = partial(_explanation, run=run, box=(x, y, width, height), folder=folder)
    work = close_up.explain_tiles(slide, bundle.path, folder, spec)
    try:
        while True:
            step = next(work)
            if isinstance(step, findings.MapsSoFar) and step.found is not None:
                so_far = shown(step.found, scores={})
                yield TileSoFar(step.phase, step.done, step.total, explanation=so_far)
            else:
                yield step
    except StopIteration as end:
        return shown(end.value, scores=_scores(folder))
    finally:
        work.close()


def _explanation(
    found: CloseUp,
    run: ShownRun,
    box: tuple[int, int, int, int],
    folder: Path,
    scores: Mapping[str, Mapping[str, Any]],
) -> TileExplanation:
    index, tile = found.classes[0][0], found.tiles.pixels[0]
    pictures = tuple(_picture(found, name, scores.get(name, {})) for name in found.maps)
    return TileExplanation(
        box,
        run.table.class_names[index],
        float(found.probabilities[0, index]),
        tile,
        pictures,
        folder,
        run.table.classes.call(found.probabilities[0].tolist()),
    )


def _scores(folder: Path) -> dict[str, dict[str, Any]]:
    """Return each method's scores by the last baseline, which is the one that the panel draws."""
    record = json_in(folder / EXPLANATION)
    return {curve["method"]: curve for curve in record["curves"]}


def _picture(found: CloseUp, name: str, scores: Mapping[str, Any]) -> MethodMap:
    method, tile, values = CATALOGUE[name], found.tiles.pixels[0], found.maps[name][0][0]
    drawn = MethodMap(
        method.title,
        name,
        tile,
        values,
        method.signed,
        deletion=float(scores.get("deletion AUC", np.nan)),
        insertion=float(scores.get("insertion AUC", np.nan)),
        unit=unit_of(name, found.facts[name][0]),
        notes=found.notes(name, 0, 0),
    )
    shown = PanelMap(name, method.title, values, signed=method.signed)
    return replace(drawn, pixels=overlaid(tile, shown, drawn.top))


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
