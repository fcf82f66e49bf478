"""What stands in napari's menu of samples: the synthetic slide, as it is and classified."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from slidecam.plugin.open_run import read_shown
from slidecam.plugin.overlays import run_layers
from slidecam.plugin.slide import LayerData, slide_layer
from slidecam.prediction.pipeline import predict
from slidecam.sources.discovery import sample_folder


def sample_slide() -> list[LayerData]:
    """Return the synthetic slide as a layer."""
    return [slide_layer(sample_folder() / "slide.tif")[0]]


def sample_run() -> list[LayerData]:
    """Classify the synthetic slide, which takes some seconds, and return it with all overlays."""
    sample, out = sample_folder(), Path(tempfile.mkdtemp(prefix="slidecam-sample-"))
    try:
        for _event in predict(sample / "slide.tif", sample / "bundle", out):
            pass
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return [*sample_slide(), *run_layers(read_shown(out / "slide"))]
