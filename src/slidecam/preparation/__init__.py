"""What one slide needs before its first batch.

Opened, masked, cut into a grid, laid out on disk, prefetching.
"""

from slidecam.preparation.model import LoadedModel, WarmClassifiers, load_model
from slidecam.preparation.outputs import (
    FINISHED,
    HEATMAP,
    OUTPUTS,
    QUPATH_FOLDER,
    clear_heatmaps,
    clear_leftovers,
    heatmap_files,
    nifti_name,
    output_names,
    painting,
)
from slidecam.preparation.slide import OpenRun, Prepared, mask_digest, prepare, view_of
from slidecam.preparation.spec import EVERY_METHOD, EVERY_SLIDE, PredictSpec

__all__ = [
    "EVERY_METHOD",
    "EVERY_SLIDE",
    "FINISHED",
    "HEATMAP",
    "OUTPUTS",
    "QUPATH_FOLDER",
    "LoadedModel",
    "OpenRun",
    "PredictSpec",
    "Prepared",
    "WarmClassifiers",
    "clear_heatmaps",
    "clear_leftovers",
    "heatmap_files",
    "load_model",
    "mask_digest",
    "nifti_name",
    "output_names",
    "painting",
    "prepare",
    "view_of",
]
