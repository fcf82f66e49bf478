"""One place of a slide, or a slice of a volume, explained by several methods as a picture is.

Beside each map stands how far it is to be trusted: what becomes of the class as pixels go and come
in the map's order.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from slidecam.close_up.findings import removal_curves
from slidecam.close_up.methods import choose_methods, class_indices
from slidecam.close_up.tiles import TileChoice, choose_tiles
from slidecam.faithfulness.removal import ClassScorer, CurveSpec
from slidecam.models.backends import within_memory
from slidecam.reports.panel_rows import PanelMap
from slidecam.server.pictures import Turn, data_url, explained_pixels
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from slidecam.close_up.tiles import ChosenTiles
    from slidecam.models import Classifier
    from slidecam.server.callers import Caller
    from slidecam.server.devices import FairLock
    from slidecam.server.guard import Limits
    from slidecam.server.pictures import PictureRequest
    from slidecam.steps import Step

CURVES = CurveSpec(14, ("blur",))
"""Half as many steps as `slidecam explain` takes, on one baseline: somebody waits."""


@dataclass(frozen=True)
class SlidePlace:
    """Where on which slide.

    Attributes
    ----------
    path, image
        The file, and which of its pictures.
    at
        x, y in level-0 pixels: a tile round it; None of a volume.
    plane
        Which slice of a volume.
    mpp
        µm per level-0 pixel, where the file does not say.
    """

    path: Path
    image: str | None = None
    at: tuple[float, float] | None = None
    plane: int | None = None
    mpp: float | None = None

    @property
    def choice(self) -> TileChoice:
        """The tile that is meant."""
        seen = PictureView(image=self.image)
        if self.plane is not None:
            return TileChoice(slices=(self.plane,), seen=seen)
        return TileChoice(at=() if self.at is None else (self.at,), mpp=self.mpp, seen=seen)


def explain_place(
    place: SlidePlace,
    classifier: Classifier,
    request: PictureRequest,
    limits: Limits,
    device: FairLock,
    caller: Caller,
) -> dict[str, Any]:
    """Classify the tile round a place and explain it.

    Parameters are `explain_picture`'s, but for ``place``.

    Returns
    -------
    dict
        What ``GET /v1/explain`` answers: what ``POST /v1/image`` does, and the tile's ``box``, and
        the ``faithfulness`` of each method's map of the foremost class.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide, the place, a method or a class.
    CallerLeftError
        If the caller leaves.
    """
    start = time.monotonic()
    methods = choose_methods(request.methods)
    indices = class_indices(classifier.card, request.classes)
    tiles = _chosen(choose_tiles(str(place.path), classifier, place.choice), caller)
    pixels = torch.from_numpy(tiles.pixels[:1]).to(classifier.device)
    turn = Turn(caller, start + limits.image_seconds)
    with device.held(), within_memory("One place"):
        caller.stays()
        answer = explained_pixels(classifier, pixels, indices, methods, turn)
        trust = _faithfulness(classifier, tiles, answer, turn)
    box = None
    if tiles.boxes is not None:
        box = tiles.boxes[0].tolist()
    return {
        "model": classifier.card.name,
        "name": tiles.names[0],
        "size": [tiles.pixels.shape[2], tiles.pixels.shape[1]],
        "box": box,
        **answer,
        "faithfulness": trust,
        "shown": data_url(Image.fromarray(tiles.pixels[0]), tiles.pixels.shape[1]),
        "notes": list(tiles.notes),
        "seconds": round(time.monotonic() - start, 3),
    }


def _chosen(steps: Generator[Step, None, ChosenTiles], caller: Caller) -> ChosenTiles:
    while True:
        caller.stays()
        try:
            next(steps)
        except StopIteration as end:
            found: ChosenTiles = end.value
            return found


def _faithfulness(
    classifier: Classifier, tiles: ChosenTiles, answer: dict[str, Any], turn: Turn
) -> dict[str, dict[str, float]]:
    """Return the areas under each map's deletion and insertion curve of the foremost class."""
    name = answer["foremost"]
    scorer = ClassScorer(classifier, classifier.card.classes.index(name))
    found = {}
    for one in answer["maps"]:
        if name not in one["classes"]:
            continue
        turn.goes_on(one["title"])
        values = np.asarray(one["values"][one["classes"].index(name)], np.float32)
        shown = PanelMap(one["method"], one["title"], values, one["signed"])
        (curve,) = removal_curves(scorer, tiles.pixels[0], [shown], CURVES)
        found[one["method"]] = {
            "deletion": round(curve.deletion_auc, 4),
            "insertion": round(curve.insertion_auc, 4),
        }
    return found
