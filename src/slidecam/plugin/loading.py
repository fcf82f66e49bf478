"""What takes seconds to load or to compile, before anybody waits for it and beside the window.

torch and what else a classifier needs; and what napari compiles for the first classes and the first
area, up to 20 s of it after it was installed. Whoever opens the dock chooses a slide and a model
first, which takes longer.
"""

from __future__ import annotations

import atexit
import gc
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from slidecam.plugin.compat import keep_triton_out
from slidecam.plugin.overlays import LABEL, label_colors
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LIBRARIES = (
    "torch",
    "slidecam.inference",
    "slidecam.prediction.preparation",
    "slidecam.prediction.outputs",
    "slidecam.streaming",
    "slidecam.close_up.explaining",
    "slidecam.teaching.fine_tuning",
    "slidecam.plugin.writing",
)
"""What running, explaining, teaching and saving import when they begin."""

LOADING = "Loading what classifiers need"

TRIANGLE = np.array([[0.0, 0.0], [0.0, 8.0], [8.0, 0.0]])


def is_loaded() -> bool:
    """Whether nothing is left to load."""
    return all(name in sys.modules for name in LIBRARIES)


def load_libraries() -> Generator[Step]:
    """Load `LIBRARIES`, one a step, and have napari compile what it will need.

    What cannot be imported is left: whoever needs it says so, and what to do about it.
    """
    keep_triton_out()
    # The last collection of a process with torch in it takes three seconds and frees nothing that
    # the system would not.
    atexit.register(gc.freeze)
    libraries = [partial(import_module, name) for name in LIBRARIES]
    steps: list[Callable[[], object]] = [compile_colors, *libraries, compile_areas]
    for number, load in enumerate(steps):
        yield Step(LOADING, number, len(steps))
        try:
            load()
        except (ImportError, OSError):
            return


def compile_colors() -> None:
    """Have napari compile what colours a layer of classes."""
    label_colors([(0, 0, 0)]).map(np.zeros((1, 1), LABEL))


def compile_areas() -> None:
    """Have napari compile what an area that is drawn is shown by."""
    Shapes([TRIANGLE], shape_type="polygon")
