"""The foreground of a slide: found on a thumbnail, or read from a file of the user's own."""

from slidecam.foreground.classes import (
    AMBIGUOUS,
    UNANNOTATED,
    AnnotatedClasses,
    LabelRule,
    load_classes,
    sort_classes,
)
from slidecam.foreground.files import (
    DRAWN_MASKS,
    VOLUME_MASKS,
    annotation_file,
    load_foreground,
    mask_called,
    mask_file,
    pair_annotations,
    save_foreground,
)
from slidecam.foreground.mask import Foreground, whole_slide
from slidecam.foreground.tissue import ForegroundSpec, find_foreground
from slidecam.foreground.volumes import (
    VolumeForeground,
    find_head,
    load_head,
    mask_on,
)

__all__ = [
    "AMBIGUOUS",
    "DRAWN_MASKS",
    "UNANNOTATED",
    "VOLUME_MASKS",
    "AnnotatedClasses",
    "Foreground",
    "ForegroundSpec",
    "LabelRule",
    "VolumeForeground",
    "annotation_file",
    "find_foreground",
    "find_head",
    "load_classes",
    "load_foreground",
    "load_head",
    "mask_called",
    "mask_file",
    "mask_on",
    "pair_annotations",
    "save_foreground",
    "sort_classes",
    "whole_slide",
]
