"""slidecam: whole slides in, class predictions and class-activation heatmaps out.

Research use only.

The verbs follow a tile's way: `open_source`, `find_foreground`, `lay_grid`, `stream_tiles`,
`classify`, `RunStore`, `paint`; `predict` takes all of them in one call.

Names are looked up when they are used: importing slidecam loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slidecam.errors import SlidecamError
    from slidecam.foreground import Foreground, find_foreground, load_foreground
    from slidecam.geometry import Box, LevelBox, Size, Spacing
    from slidecam.heatmap import Heatmap, paint
    from slidecam.inference import classify
    from slidecam.models import Bundle, Card, open_bundle, save_bundle
    from slidecam.prediction.pipeline import predict
    from slidecam.runs import Run
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources import Source, open_source, settle_spacing
    from slidecam.store import RunStore
    from slidecam.streaming import StreamSpec, stream_tiles
    from slidecam.tiling import TileGrid, TilingSpec, lay_grid

_ROOMS = {
    "Box": "geometry",
    "Bundle": "models",
    "Card": "models",
    "Foreground": "foreground",
    "Heatmap": "heatmap",
    "LevelBox": "geometry",
    "PredictSpec": "runs.spec",
    "Run": "runs",
    "RunStore": "store",
    "Size": "geometry",
    "SlidecamError": "errors",
    "Source": "sources",
    "Spacing": "geometry",
    "StreamSpec": "streaming",
    "TileGrid": "tiling",
    "TilingSpec": "tiling",
    "classify": "inference",
    "find_foreground": "foreground",
    "lay_grid": "tiling",
    "load_foreground": "foreground",
    "open_bundle": "models",
    "open_source": "sources",
    "paint": "heatmap",
    "predict": "prediction.pipeline",
    "save_bundle": "models",
    "settle_spacing": "sources",
    "stream_tiles": "streaming",
}

__all__ = [
    "Box",
    "Bundle",
    "Card",
    "Foreground",
    "Heatmap",
    "LevelBox",
    "PredictSpec",
    "Run",
    "RunStore",
    "Size",
    "SlidecamError",
    "Source",
    "Spacing",
    "StreamSpec",
    "TileGrid",
    "TilingSpec",
    "classify",
    "find_foreground",
    "lay_grid",
    "load_foreground",
    "open_bundle",
    "open_source",
    "paint",
    "predict",
    "save_bundle",
    "settle_spacing",
    "stream_tiles",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (whatever the name stands for)
    if name not in _ROOMS:
        raise AttributeError(f"module 'slidecam' has no attribute {name!r}")
    return getattr(import_module(f"slidecam.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
