"""A run on disk that has tiles and no slide: enough for what a person says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.geometry import Size

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeBoxes, MakeRun
    from slidecam.runs import Run


@pytest.fixture
def run(made_run: MakeRun, grid_boxes: MakeBoxes, tmp_path: Path) -> Run:
    """Return a run of 8 x 6 tiles of 10 px in a folder of its own."""
    size = Size(80, 60)
    boxes = grid_boxes(size, 10, 10)
    values = np.random.default_rng(0).dirichlet((1, 1, 1), len(boxes)).astype(np.float32)
    folder = tmp_path / "run"
    folder.mkdir()
    return replace(made_run(boxes, values, size=size, step=10, failed=(9,)), folder=folder)
