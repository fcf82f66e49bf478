"""Close-up: some tiles or pictures explained by costly methods, and how far to trust the maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.registry import looked_up

if TYPE_CHECKING:
    from slidecam.close_up.explaining import CloseUpSpec, compare_models, explain_tiles
    from slidecam.close_up.measuring import MeasureSpec, measure_tiles
    from slidecam.close_up.tiles import ChosenTiles, TileChoice, choose_tiles

__getattr__ = looked_up(
    __name__,
    {
        "ChosenTiles": "tiles",
        "CloseUpSpec": "explaining",
        "MeasureSpec": "measuring",
        "TileChoice": "tiles",
        "choose_tiles": "tiles",
        "compare_models": "explaining",
        "explain_tiles": "explaining",
        "measure_tiles": "measuring",
    },
)

__all__ = [
    "ChosenTiles",
    "CloseUpSpec",
    "MeasureSpec",
    "TileChoice",
    "choose_tiles",
    "compare_models",
    "explain_tiles",
    "measure_tiles",
]
