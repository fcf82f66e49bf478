"""The foreground of a slide: found on a thumbnail, or read from a file of the user's own."""

from slidecam.foreground.files import load_foreground, save_foreground
from slidecam.foreground.mask import Foreground, whole_slide
from slidecam.foreground.spec import ForegroundSpec
from slidecam.foreground.tissue import find_foreground

__all__ = [
    "Foreground",
    "ForegroundSpec",
    "find_foreground",
    "load_foreground",
    "save_foreground",
    "whole_slide",
]
