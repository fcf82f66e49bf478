"""The sample slide and its annotations are what README.md in sample_data says."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from shapely.geometry import shape

FOLDER = Path(__file__).parents[2] / "sample_data"
SLIDE = FOLDER / "slide.tif"


@pytest.fixture(scope="module")
def features() -> list[dict[str, Any]]:
    collection: dict[str, Any] = json.loads((FOLDER / "annotations.geojson").read_text("utf-8"))
    assert collection["type"] == "FeatureCollection"
    found: list[dict[str, Any]] = collection["features"]
    return found


def test_the_sample_slide_is_small_and_openslide_knows_its_spacing_and_levels() -> None:
    assert SLIDE.stat().st_size <= 3_000_000
    with openslide.OpenSlide(SLIDE) as slide:
        assert slide.dimensions == (4096, 4096)
        assert slide.level_downsamples == (1, 2, 4, 8, 16)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)


def test_tifffile_sees_the_same_pyramid_and_pixels_as_openslide() -> None:
    with tifffile.TiffFile(SLIDE) as tiff, openslide.OpenSlide(SLIDE) as slide:
        levels = tiff.series[0].levels
        assert [level.shape[:2] for level in levels] == [
            size[::-1] for size in slide.level_dimensions
        ]
        seen = np.asarray(
            slide.read_region((0, 0), 3, slide.level_dimensions[3]).convert("RGB"), np.int16
        )
        assert np.abs(levels[3].asarray() - seen).mean() < 2  # two JPEG decoders


def test_each_level_is_the_one_before_at_half_the_size() -> None:
    with tifffile.TiffFile(SLIDE) as tiff:
        levels = [level.asarray().astype(np.float32) for level in tiff.series[0].levels[2:]]
    for fine, coarse in pairwise(levels):
        means = fine.reshape(coarse.shape[0], 2, coarse.shape[1], 2, 3).mean(axis=(1, 3))
        assert np.abs(means - coarse).mean() < 4


def test_the_annotations_name_three_classes_with_colours_as_qupath_wants_them(
    features: list[dict[str, Any]],
) -> None:
    classes = [feature["properties"]["classification"] for feature in features]
    assert {entry["name"] for entry in classes} == {"lymphoid", "stroma", "tumour"}
    assert all(len(entry["color"]) == 3 for entry in classes)
    assert all(feature["properties"]["objectType"] == "annotation" for feature in features)
    assert len({feature["id"] for feature in features}) == len(features)


def test_the_annotations_are_valid_polygons_inside_the_slide_that_hardly_overlap(
    features: list[dict[str, Any]],
) -> None:
    polygons: list[Any] = [shape(feature["geometry"]) for feature in features]
    assert all(polygon.is_valid for polygon in polygons)
    assert all(polygon.within(shape_of_slide()) for polygon in polygons)
    assert any(polygon.interiors for polygon in polygons)  # the tears
    overlaps = sum(
        first.intersection(second).area
        for index, first in enumerate(polygons)
        for second in polygons[:index]
    )
    assert overlaps < 0.01 * sum(polygon.area for polygon in polygons)


def shape_of_slide() -> Any:
    corners = [[0, 0], [4096, 0], [4096, 4096], [0, 4096], [0, 0]]
    return shape({"type": "Polygon", "coordinates": [corners]})
