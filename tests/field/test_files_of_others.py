"""Files that others made, of kinds that nobody here would think of: read rightly, or refused.

Nothing is fetched. The files lie in ``../shared/field`` beside the repository, or where
``SLIDECAM_FIELD`` says: the test images of Pillow, image-tiff, large_image, libvips. Each is held
against Pillow's own reading of the same file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.errors import SourceError
from slidecam.geometry import LevelBox
from slidecam.pixels import picture_in_rgb, upright
from slidecam.sources import open_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIELD = Path(os.environ.get("SLIDECAM_FIELD", Path(__file__).parents[3] / "shared" / "field"))
SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".jp2"}
LOSSY = 3
MOST = 4_000_000
PILLOW_READS_OTHERWISE = {
    "tests_images_hpredict-1c-12b.tiff": "12 bits without scaling",
    "tests_images_seq_seq-1c-12b-47c39b31.tiff": "12 bits without scaling",
    "tests_images_seq_seq-1c-12b-hpredict-47c39b31.tiff": "12 bits without scaling",
    "tests_libtiffpic_depth_flower-rgb-planar-16.tif": "planes of 16 bits read as 8",
    "tests_libtiffpic_depth_flower-separated-planar-16.tif": "planes of 16 bits read as 8",
    "Tests_images_child_ifd_jpeg.tiff": "the first page, where we take the largest",
    "tests_images_extra_bits_rgb_8b.tiff": "an unspecified fourth sample left out; libtiff's alpha",
}
"""Names of files and what Pillow makes of them, which libtiff or the file's own words gainsay."""

FILES = sorted(path for path in FIELD.rglob("*") if path.suffix.lower() in SUFFIXES)

pytestmark = pytest.mark.skipif(not FILES, reason="no files of others lie beside the repository")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_others_is_read_as_pillow_reads_it_or_refused_in_words(path: Path) -> None:
    ours = _ours(path)
    theirs = _pillows(path)
    if ours is None or theirs is None or path.name in PILLOW_READS_OTHERWISE:
        return
    assert ours.shape == theirs.shape
    apart = np.abs(ours.astype(int) - theirs).mean()
    assert apart <= LOSSY, f"{apart:.2f} of 255 apart"


def _ours(path: Path) -> NDArray[np.uint8] | None:
    """Return our pixels; None where the file is refused, with a remedy, or damaged."""
    try:
        with open_source(path) as source:
            size = source.facts.size
            if size.width * size.height > MOST:
                return None
            return source.read(0, LevelBox(0, 0, size.width, size.height))
    except SourceError as error:
        refusal = error
    assert refusal.remedy
    return None


def _pillows(path: Path) -> NDArray[np.uint8] | None:
    try:
        with Image.open(path) as picture:
            if path.suffix.startswith(".tif") and getattr(picture, "n_frames", 1) > 1:
                return None  # Pillow takes the first page, we the largest
            return np.asarray(picture_in_rgb(upright(picture)))
    except Exception:  # noqa: BLE001  (what Pillow cannot read decides nothing)
        return None
