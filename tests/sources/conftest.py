"""One picture, written in every format that slidecam reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import zoom

from slidecam.sources import Source, open_source
from slidecam.sources.contract import SourceCase, area_mean

if TYPE_CHECKING:
    from pathlib import Path

SPACING = 0.5
Pixels = NDArray[np.uint8]


def make_picture(seed: int, width: int = 1301, height: int = 807) -> Pixels:
    """Return smooth colours with sharp marks.

    Odd sizes, so that no pyramid of it has whole downsamples.
    """
    random = np.random.default_rng(seed)
    clouds = random.uniform(90, 255, (9, 14, 3))
    picture: Pixels = zoom(clouds, (height / 9, width / 14, 1), order=1).astype(np.uint8)
    picture[100:140, 1010:1050] = (20, 30, 160)
    picture[-60:-20, -90:-30] = (160, 20, 40)
    return picture


def smaller(picture: Pixels) -> Pixels:
    """Return the next level of a pyramid, half as wide and high, rounded down."""
    mean = area_mean(picture, picture.shape[0] // 2, picture.shape[1] // 2)
    return np.rint(mean).astype(np.uint8)


def pyramid(picture: Pixels, count: int = 3) -> list[Pixels]:
    levels = [picture]
    while len(levels) < count:
        levels.append(smaller(levels[-1]))
    return levels


def write_tiled_tiff(path: Path, picture: Pixels) -> None:
    """Write what OpenSlide calls generic-tiff: tiles, each level a page of its own."""
    per_cm = 1e4 / SPACING
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(pyramid(picture)):
            tiff.write(
                level,
                tile=(256, 256),
                photometric="rgb",
                compression="zlib",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=1 if index else 0,
                metadata=None,
            )


def write_ome_tiff(path: Path, picture: Pixels) -> None:
    """Write an OME-TIFF whose levels are SubIFDs of the first page."""
    levels = pyramid(picture)
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": SPACING * 1000,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": SPACING,
        "PhysicalSizeYUnit": "µm",
    }
    options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **options)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, **options)


def write_strip_tiff(path: Path, picture: Pixels, **options: Any) -> None:
    """Write a plain TIFF in strips, without a word on its spacing."""
    tifffile.imwrite(
        path, picture, photometric="rgb", metadata=None, resolutionunit="NONE", **options
    )


def write_ome_zarr(url: str, picture: Pixels, version: str, axes: str = "cyx") -> None:
    """Write an OME-Zarr of three levels; axes other than c, y and x are of length 1."""
    group = zarr.open_group(url, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for index, level in enumerate(pyramid(picture)):
        kept = "".join(axis for axis in axes if axis in "yxc")
        data = level.transpose(["yxc".index(axis) for axis in kept])
        data = data.reshape(
            [dict(zip(kept, data.shape, strict=True)).get(axis, 1) for axis in axes]
        )
        chunks = tuple(
            256 if axis in "yx" else length for axis, length in zip(axes, data.shape, strict=True)
        )
        array = group.create_array(
            str(index),
            shape=data.shape,
            chunks=chunks,
            dtype=data.dtype,
            dimension_names=None if version == "0.4" else tuple(axes),
        )
        array[:] = data
        scale = [SPACING * 2**index if axis in "yx" else 1.0 for axis in axes]
        datasets.append(
            {"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    kinds = {"c": "channel", "t": "time"}
    named = [
        {"name": axis, "type": kinds[axis]}
        if axis in kinds
        else {"name": axis, "type": "space", "unit": "micrometer"}
        for axis in axes
    ]
    scales: list[Any] = [{"version": version, "axes": named, "datasets": datasets}]
    group.attrs.update(
        {"multiscales": scales}
        if version == "0.4"
        else {"ome": {"version": version, "multiscales": scales}}
    )


def write_png(path: Path, picture: Pixels) -> None:
    Image.fromarray(picture).save(path, format="PNG", dpi=(96, 96), compress_level=1)


def write_jpeg(path: Path, picture: Pixels) -> None:
    Image.fromarray(picture).save(path, format="JPEG", quality=95, subsampling=0, dpi=(300, 300))


class Writers:
    """The writers, for tests: test modules cannot import a conftest."""

    picture = staticmethod(make_picture)
    pyramid = staticmethod(pyramid)
    tiled_tiff = staticmethod(write_tiled_tiff)
    ome_tiff = staticmethod(write_ome_tiff)
    strip_tiff = staticmethod(write_strip_tiff)
    ome_zarr = staticmethod(write_ome_zarr)
    png = staticmethod(write_png)
    jpeg = staticmethod(write_jpeg)


@pytest.fixture(scope="session")
def write() -> type[Writers]:
    return Writers


@pytest.fixture(scope="session")
def picture() -> Pixels:
    return make_picture(0)


MakeCase = Callable[..., SourceCase]


@pytest.fixture(scope="class")
def make_case(picture: Pixels, tmp_path_factory: pytest.TempPathFactory) -> MakeCase:
    """Return a function that writes the picture, a copy of it and another one, for one case."""

    def make(
        write: Callable[[Path, Pixels], None], suffix: str, read_by: str, **expected: Any
    ) -> SourceCase:
        folder = tmp_path_factory.mktemp("slides")
        first, copy, other = (folder / f"{name}{suffix}" for name in ("first", "copy", "other"))
        write(first, picture)
        write(other, make_picture(1))
        if first.is_dir():
            shutil.copytree(first, copy)
        else:
            shutil.copy(first, copy)
        facts = {
            "reader": None,
            "tolerance": 0,
            "level_tolerance": 1.0,
            "spacing": SPACING,
            **expected,
        }
        return SourceCase(
            path=str(first),
            read_by=read_by,
            picture=picture,
            copy=str(copy),
            other=str(other),
            **facts,
        )

    return make


@pytest.fixture
def source(case: SourceCase) -> Iterator[Source]:
    with open_source(case.path, case.reader) as opened:
        yield opened
