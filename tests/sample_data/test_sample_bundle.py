"""The toy bundle is right on the sample slide, and its Grad-CAM++ points at nuclei."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from make_slide import SPACING, SyntheticSlide, synthesise
from measure import classify, measure, read_pixels
from PIL import Image, ImageDraw
from tiles import cut_tiles, grid_corners, through_jpeg
from tissue import CLASS_NAMES
from train_bundle import Recipe

from slidecam.models import open_bundle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.models import Bundle

FOLDER = Path(__file__).parents[2] / "sample_data"
UNSEEN = 301


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(FOLDER / "bundle")


@pytest.fixture(scope="module")
def figures(bundle: Bundle) -> dict[str, Any]:
    """Measure the bundle on a slide that is in no set, whose nuclei are known."""
    slide = synthesise(UNSEEN, 1536)
    slide = replace(slide, pixels=through_jpeg(slide.pixels, 80))
    return measure(bundle.classifier("cpu"), cut_tiles(slide, grid_corners(1536)))


def annotated_classes(size: int) -> NDArray[np.uint8]:
    """Return the annotations as a picture: 0 glass, 1 to 3 the classes."""
    picture = Image.new("L", (size, size))
    for feature in json.loads((FOLDER / "annotations.geojson").read_text("utf-8"))["features"]:
        label = CLASS_NAMES.index(feature["properties"]["classification"]["name"]) + 1
        stencil = Image.new("1", (size, size))
        for index, ring in enumerate(feature["geometry"]["coordinates"]):
            ImageDraw.Draw(stencil).polygon([tuple(point) for point in ring], fill=index == 0)
        picture.paste(label, mask=stencil)
    return np.asarray(picture)


def test_the_bundle_is_small_and_its_card_says_where_it_comes_from(bundle: Bundle) -> None:
    assert sum(file.stat().st_size for file in (FOLDER / "bundle").iterdir()) <= 1_500_000
    assert bundle.card.class_names == CLASS_NAMES
    assert bundle.card.spacing == SPACING
    assert bundle.card.licence == "BSD-3-Clause"
    assert str(bundle.card.provenance["command"]).startswith("python sample_data/train_bundle.py")


def test_the_card_tells_the_recipe_that_stands_in_the_code(bundle: Bundle) -> None:
    assert bundle.card.provenance["recipe"] == json.loads(json.dumps(asdict(Recipe())))


def test_no_slide_that_judges_was_learnt_from() -> None:
    recipe = Recipe()
    seeds = {*recipe.train_seeds, *recipe.validation_seeds, 7, UNSEEN}
    assert len(seeds) == len(recipe.train_seeds) + len(recipe.validation_seeds) + 2
    assert set(recipe.bare_seeds) <= set(recipe.train_seeds)


def test_at_least_95_of_100_tiles_of_the_sample_slide_are_right(bundle: Bundle) -> None:
    pixels = read_pixels(FOLDER / "slide.tif")
    classes = annotated_classes(len(pixels))
    unknown = np.zeros(classes.shape, np.bool_)
    tiles = cut_tiles(
        SyntheticSlide(pixels, classes, unknown, np.empty((0, 4))), grid_corners(len(pixels))
    )
    winners = np.concatenate(
        [batch for batch, _ in classify(bundle.classifier("cpu"), tiles.pixels)]
    )
    right = winners == tiles.truth
    assert len(right) > 400
    assert right[tiles.clear].mean() >= 0.95
    assert right.mean() >= 0.95


def test_a_slide_that_nobody_saw_is_classified_as_well(figures: dict[str, Any]) -> None:
    assert figures["accuracy_clear"] >= 0.95
    assert figures["accuracy_all"] >= 0.93  # many of its tiles are rims, it is a small slide


@pytest.mark.parametrize(("name", "least"), [("lymphoid", 1.1), ("stroma", 2.5), ("tumour", 1.5)])
def test_grad_cam_points_at_nuclei_more_than_chance(
    figures: dict[str, Any], name: str, least: float
) -> None:
    pointing = figures["pointing"][name]
    assert pointing["tiles"] >= 10
    assert pointing["energy_ratio"] > least
    assert pointing["hits"] > 1.2 * pointing["area"]
