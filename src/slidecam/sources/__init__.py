"""Slides and pictures: opened by content, read region by region from any thread."""

from slidecam.pixels import GLASS, RGB
from slidecam.sources._probe import Probe
from slidecam.sources.opening import open_source
from slidecam.sources.overview import Overview
from slidecam.sources.qupath import shown_corner
from slidecam.sources.readers import (
    READERS,
    Reader,
    reader_names,
    reader_packages,
    slide_suffixes,
    suffixes_for_viewers,
)
from slidecam.sources.source import Source, SourceFacts
from slidecam.sources.spacing import SettledSpacing, read_spacings, settle_spacing

__all__ = [
    "GLASS",
    "READERS",
    "RGB",
    "Overview",
    "Probe",
    "Reader",
    "SettledSpacing",
    "Source",
    "SourceFacts",
    "open_source",
    "read_spacings",
    "reader_names",
    "reader_packages",
    "settle_spacing",
    "shown_corner",
    "slide_suffixes",
    "suffixes_for_viewers",
]
