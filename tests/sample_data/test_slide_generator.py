"""The generator draws three classes that differ in their nuclei, the same ones for one seed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import openslide
import pytest
from make_slide import LEVELS, main, synthesise
from PIL import Image, ImageDraw
from tissue import CLASS_NAMES, LYMPHOID, STROMA, TUMOUR

if TYPE_CHECKING:
    from pathlib import Path

    from make_slide import SyntheticSlide
    from numpy.typing import NDArray

SIZE = 1024


@pytest.fixture(scope="module")
def slide() -> SyntheticSlide:
    return synthesise(301, SIZE)


def area_of(slide: SyntheticSlide, label: int) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = slide.table[slide.table[:, 2] == label, 3]
    return areas


def density_of(slide: SyntheticSlide, label: int) -> float:
    return len(area_of(slide, label)) / np.count_nonzero(slide.classes == label)


def test_a_seed_gives_the_same_slide_again_and_another_seed_another() -> None:
    first, second, other = (synthesise(seed, 256) for seed in (5, 5, 6))
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.nuclei, second.nuclei)
    assert not np.array_equal(first.pixels, other.pixels)


def test_tumour_nuclei_are_large_and_unlike_lymphoid_ones_small_and_alike(
    slide: SyntheticSlide,
) -> None:
    tumour, lymphoid = area_of(slide, TUMOUR), area_of(slide, LYMPHOID)
    assert np.median(tumour) > 3 * np.median(lymphoid)
    assert tumour.std() / tumour.mean() > 1.5 * lymphoid.std() / lymphoid.mean()


def test_lymphoid_tissue_is_denser_than_tumour_and_tumour_denser_than_stroma(
    slide: SyntheticSlide,
) -> None:
    assert density_of(slide, LYMPHOID) > 3 * density_of(slide, TUMOUR)
    assert density_of(slide, TUMOUR) > 1.5 * density_of(slide, STROMA)


def test_nuclei_lie_in_tissue_and_are_darker_than_what_surrounds_them(
    slide: SyntheticSlide,
) -> None:
    columns, rows = slide.table[:, :2].astype(int).T
    assert np.array_equal(slide.classes[rows, columns], slide.table[:, 2])
    matrix = (slide.classes > 0) & ~slide.nuclei
    assert slide.pixels[slide.nuclei, 0].mean() < slide.pixels[matrix, 0].mean() - 40


def test_glass_is_pale_and_there_is_ink_on_it(slide: SyntheticSlide) -> None:
    glass = slide.pixels[slide.classes == 0].astype(np.int16)
    assert np.median(glass) > 225
    inked = glass[:, 0] < glass[:, 1:].max(axis=1) - 60
    assert 0.002 < inked.mean() < 0.1


def test_without_nuclei_the_same_slide_stands_there(slide: SyntheticSlide) -> None:
    bare = synthesise(301, SIZE, nucleated=False)
    assert np.array_equal(bare.classes, slide.classes)
    assert not bare.nuclei.any()
    glass = slide.classes == 0
    assert np.abs(bare.pixels[glass].astype(int) - slide.pixels[glass]).mean() < 0.2


def test_the_command_writes_a_pyramid_and_outlines_that_follow_the_classes(
    tmp_path: Path, slide: SyntheticSlide
) -> None:
    picture, outlines = tmp_path / "slide.tif", tmp_path / "outlines.geojson"
    main(
        [
            "--seed",
            "301",
            "--size",
            str(SIZE),
            "--out",
            str(picture),
            "--annotations",
            str(outlines),
        ]
    )
    with openslide.OpenSlide(picture) as opened:
        assert opened.dimensions == (SIZE, SIZE)
        assert opened.level_downsamples == LEVELS
    drawn = Image.new("L", (SIZE, SIZE))
    for feature in json.loads(outlines.read_text("utf-8"))["features"]:
        name = feature["properties"]["classification"]["name"]
        outer, *holes = feature["geometry"]["coordinates"]
        ImageDraw.Draw(drawn).polygon(
            [tuple(point) for point in outer], fill=CLASS_NAMES.index(name) + 1
        )
        for hole in holes:
            ImageDraw.Draw(drawn).polygon([tuple(point) for point in hole], fill=0)
    assert np.mean(np.asarray(drawn) == slide.classes) > 0.98
