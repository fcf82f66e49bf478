"""slidecam: whole slides in, class predictions and class-activation heatmaps out.

Research use only.

The verbs follow a tile's way: `open_source`, `find_foreground`, `lay_grid`, `stream_tiles`,
`classify`, `RunStore`, `paint`; `predict` takes all of them in one call, and `Run.open` reads what
it left. `explain_tiles`, `train`, `evaluate` and `fine_tune` are the other commands' functions.

Names are looked up when they are used: importing slidecam loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slidecam import events
    from slidecam.close_up import explain_tiles
    from slidecam.cluster import predict
    from slidecam.errors import SlidecamError
    from slidecam.events import (
        BatchDone,
        Event,
        Finished,
        Planned,
        SlideFailed,
        SlideFinished,
        Started,
        TileFailed,
        Waiting,
        Warned,
    )
    from slidecam.foreground import Foreground, find_foreground, load_foreground
    from slidecam.geometry import Box, LevelBox, Size, Spacing
    from slidecam.heatmap import Heatmap, paint
    from slidecam.inference import classify
    from slidecam.learning.evaluation.classifying import evaluate
    from slidecam.learning.training.training import train
    from slidecam.models import Bundle, Card, open_bundle, save_bundle
    from slidecam.runs import Run
    from slidecam.runs.arrays import tile_array
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources import Source, open_source, settle_spacing
    from slidecam.store import RunStore
    from slidecam.streaming import StreamSpec, stream_tiles
    from slidecam.teaching import fine_tune
    from slidecam.tiling import TileGrid, TilingSpec, lay_grid

    __version__: str

_ROOMS = {
    "BatchDone": "events",
    "Box": "geometry",
    "Bundle": "models",
    "Card": "models",
    "Event": "events",
    "Finished": "events",
    "Foreground": "foreground",
    "Heatmap": "heatmap",
    "LevelBox": "geometry",
    "Planned": "events",
    "PredictSpec": "runs.spec",
    "Run": "runs",
    "RunStore": "store",
    "Size": "geometry",
    "SlideFailed": "events",
    "SlideFinished": "events",
    "SlidecamError": "errors",
    "Source": "sources",
    "Spacing": "geometry",
    "Started": "events",
    "StreamSpec": "streaming",
    "TileFailed": "events",
    "TileGrid": "tiling",
    "TilingSpec": "tiling",
    "Waiting": "events",
    "Warned": "events",
    "classify": "inference",
    "evaluate": "learning.evaluation.classifying",
    "explain_tiles": "close_up",
    "find_foreground": "foreground",
    "fine_tune": "teaching",
    "lay_grid": "tiling",
    "load_foreground": "foreground",
    "open_bundle": "models",
    "open_source": "sources",
    "paint": "heatmap",
    "predict": "cluster",
    "save_bundle": "models",
    "settle_spacing": "sources",
    "stream_tiles": "streaming",
    "tile_array": "runs.arrays",
    "train": "learning.training.training",
}
"""Where each public name lives, below ``slidecam``."""

__all__ = [
    "BatchDone",
    "Box",
    "Bundle",
    "Card",
    "Event",
    "Finished",
    "Foreground",
    "Heatmap",
    "LevelBox",
    "Planned",
    "PredictSpec",
    "Run",
    "RunStore",
    "Size",
    "SlideFailed",
    "SlideFinished",
    "SlidecamError",
    "Source",
    "Spacing",
    "Started",
    "StreamSpec",
    "TileFailed",
    "TileGrid",
    "TilingSpec",
    "Waiting",
    "Warned",
    "__version__",
    "classify",
    "evaluate",
    "events",
    "explain_tiles",
    "find_foreground",
    "fine_tune",
    "lay_grid",
    "load_foreground",
    "open_bundle",
    "open_source",
    "paint",
    "predict",
    "save_bundle",
    "settle_spacing",
    "stream_tiles",
    "tile_array",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (whatever the name stands for)
    if name == "__version__":
        return version("slidecam")
    if name == "events":
        return import_module("slidecam.events")
    if name not in _ROOMS:
        raise AttributeError(f"module 'slidecam' has no attribute {name!r}")
    return getattr(import_module(f"slidecam.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
