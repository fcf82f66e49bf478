"""Close-up: some tiles or pictures explained by costly methods, and how far to trust the maps."""

from slidecam.close_up.explaining import CloseUpSpec, compare_models, explain_tiles
from slidecam.close_up.measuring import MeasureSpec, measure_tiles
from slidecam.close_up.tiles import ChosenTiles, TileChoice, choose_tiles

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
