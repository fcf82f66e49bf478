"""A run's probabilities on real files are those of the plain network on independently read pixels.

The pixels come from tifffile, pydicom or Pillow, of which none is the reader that `predict` chose
or none goes through our conversion; the network is built and loaded here, without the pipeline.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file

from slidecam import predict
from slidecam.models import open_bundle
from slidecam.models.networks import PocketResNet
from slidecam.pixels import picture_in_rgb, upright
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
FIELD = Path(os.environ.get("SLIDECAM_FIELD", ROOT.parent / "shared" / "field"))
BUNDLE = ROOT / "sample_data" / "bundle"
MOST_TILES = 12

pytestmark = pytest.mark.slow


def _tiff(path: Path) -> NDArray[np.uint8]:
    """Return the largest page as tifffile and imagecodecs have it."""
    with tifffile.TiffFile(path) as tiff:
        pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
        largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
        pixels = np.asarray(largest.asarray())
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, np.newaxis], 3, 2)
    return pixels[:, :, :3]


def _dicom(folder: Path) -> NDArray[np.uint8]:
    """Return the largest plane of a series, its frames laid by rows."""
    files = [folder] if folder.is_file() else sorted(folder.iterdir())
    volumes = [one for one in map(pydicom.dcmread, files) if "VOLUME" in one.ImageType]
    level = max(volumes, key=lambda one: one.TotalPixelMatrixColumns)
    frames = np.reshape(level.pixel_array, (-1, level.Rows, level.Columns, 3))
    width, height = level.TotalPixelMatrixColumns, level.TotalPixelMatrixRows
    across = -(-width // level.Columns)
    down = len(frames) // across
    laid = frames.reshape(down, across, level.Rows, level.Columns, 3).swapaxes(1, 2)
    return laid.reshape(down * level.Rows, across * level.Columns, 3)[:height, :width]


def _pillow(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture_in_rgb(upright(picture)))


SLIDES: dict[str, Callable[[Path], NDArray[np.uint8]]] = {
    "CMU-1-Small-Region.svs": _tiff,
    "CropBreastSlide.tiff": _tiff,
    "cmu1-small_generic_pyramid_mpp0.499.tif": _tiff,
    "cmu1-small_pyramid.ome.tif": _tiff,
    "dicom_volume_label_macro": _dicom,
    "camelyon_jpeg_coarse.dcm": _dicom,
    "camelyon_jpeg2000_coarse.dcm": _dicom,
    "fluorescence_DAPI.ndpi": _tiff,
    "tcga-cr-7395-01a-01-ts1.svs": _tiff,
    "tcga-xk-aaju_prostate_penmarks_nompp.tif": _tiff,
}
PICTURES = (
    "tests_benches_kodim02-lzw.tif",
    "tests_benches_kodim07-lzw.tif",
    "tests_decodedata-rgb-3c-8b.tiff",
    "tests_libtiffpic_depth_flower-rgb-contig-08.tif",
    "tests_libtiffpic_depth_flower-rgb-planar-08.tif",
    "Tests_images_hopper.tif",
    "Tests_images_hopper_lzw.tif",
    "Tests_images_g4_orientation_6.tif",
    "test_test_files_test_orient7.tif",
    "Tests_images_hopper.webp",
    "Tests_images_hopper.jpg",
    "Tests_images_hopper.png",
    "Tests_images_test-card-lossless.jp2",
)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", SLIDES)
def test_a_slides_probabilities_are_those_of_independently_read_tiles(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    path = shared_data / "slides" / name
    _compare(path, SLIDES[name](path), tmp_path)


@pytest.mark.parametrize("name", PICTURES)
def test_a_pictures_probabilities_are_those_of_independently_read_tiles(
    tmp_path: Path, name: str
) -> None:
    found = sorted(FIELD.rglob(name))
    if not found:
        pytest.skip("no files of others lie beside the repository")
    _compare(found[0], _pillow(found[0]), tmp_path)


def _compare(path: Path, pixels: NDArray[np.uint8], folder: Path) -> None:
    """Hold a run at the classifier's own spacing, tile for pixel, against the plain network."""
    card = open_bundle(BUNDLE).card
    mask = folder / "all.geojson"
    height, width = pixels.shape[:2]
    ring = [[0, 0], [width, 0], [width, height], [0, height], [0, 0]]
    mask.write_text(str({"type": "Polygon", "coordinates": [ring]}).replace("'", '"'))
    spec = PredictSpec(heatmap="none", outputs=("tiles.csv",), mpp=card.spacing, mask=mask)
    list(predict(path, BUNDLE, folder / "out", spec))
    (table,) = (folder / "out").rglob("tiles.csv")
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    chosen = rows[:: max(1, len(rows) // MOST_TILES)]
    boxes = np.array(
        [[int(row[key]) for key in ("minx", "miny", "width", "height")] for row in chosen]
    )
    expected = _plain_network(pixels, boxes)
    columns = [f"prob_{each}" for each in card.class_names]
    found = np.array([[float(row[key]) for key in columns] for row in chosen])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def _plain_network(pixels: NDArray[np.uint8], boxes: NDArray[np.int64]) -> NDArray[np.float32]:
    card = open_bundle(BUNDLE).card
    arguments: dict[str, Any] = dict(card.architecture_args)
    network = PocketResNet(num_classes=len(card.class_names), **arguments)
    network.load_state_dict(load_file(BUNDLE / card.weights_file))
    tiles = np.full((len(boxes), card.tile_px, card.tile_px, 3), 255, np.uint8)
    for tile, (x, y, width, height) in zip(tiles, boxes, strict=True):
        part = pixels[y : y + height, x : x + width]
        tile[: part.shape[0], : part.shape[1]] = part
    values = torch.from_numpy(tiles).float().permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (card.mean, card.std))
    with torch.inference_mode():
        return np.asarray(network.eval()((values - mean) / std).softmax(1))
