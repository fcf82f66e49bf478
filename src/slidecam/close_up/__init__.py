"""A close-up: a few tiles or pictures, explained by dear methods, and how far to trust what they show."""

from slidecam.close_up.comparing import compare_models
from slidecam.close_up.explaining import CloseUpSpec, explain_tiles
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
