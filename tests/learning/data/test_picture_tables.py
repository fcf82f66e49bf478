"""What lies beside pictures is read in one place, and held against a classifier."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.learning.data.picture_tables import (
    scale_notes,
    slides_of,
    tile_set_facts,
)
from slidecam.models import open_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.models.card import Card


@pytest.fixture
def card(tiny_bundle: Path) -> Card:
    return replace(open_bundle(tiny_bundle).card, tile_px=128, spacing=0.5, input_px=64)


def tile_set(folder: Path, tile_px: object, spacing: object, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    spec = {"tile_px": tile_px, "spacing": spacing, **more}
    slides = [
        {"slide": "S1", "facts": {"fingerprint": "f1"}},
        {"slide": "S2", "facts": {}},
    ]
    (folder / "tile_set.json").write_text(json.dumps({"spec": spec, "slides": slides}))
    return folder


@pytest.mark.parametrize(("tile_px", "spacing"), [(128, 0.5), (256, 0.25), (127, 0.5), (64, 1.0)])
def test_tiles_that_show_as_much_of_the_slide_are_of_the_classifiers_scale(
    tmp_path: Path, card: Card, tile_px: int, spacing: float
) -> None:
    assert scale_notes(tile_set(tmp_path / "t", tile_px, spacing), card) == ()


@pytest.mark.parametrize(
    ("tile_px", "spacing", "width"), [(224, 0.5, "112"), (128, 0.25, "32"), (128, 0.53, "67.84")]
)
def test_tiles_of_another_scale_are_named_with_both_scales(
    tmp_path: Path, card: Card, tile_px: int, spacing: float, width: str
) -> None:
    (said,) = scale_notes(tile_set(tmp_path / "t", tile_px, spacing), card)
    assert f"{tile_px} px at {spacing:g} µm/px show {width} µm" in said
    assert "trained on 128 px at 0.5 µm/px, 64 µm" in said


def test_a_table_beside_the_record_is_read_like_its_folder(tmp_path: Path, card: Card) -> None:
    folder = tile_set(tmp_path / "t", 224, 0.5)
    (folder / "some.csv").write_text("path,label\n")
    assert scale_notes(folder / "some.csv", card) == scale_notes(folder, card) != ()


def test_a_classifier_of_whole_pictures_has_no_scale(tmp_path: Path, card: Card) -> None:
    assert scale_notes(tile_set(tmp_path / "t", 224, 0.5), replace(card, spacing=None)) == ()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"spec": 3}', '{"spec": {"tile_px": "x"}}'])
def test_pictures_without_such_a_record_are_any_pictures(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "tile_set.json").write_text(text)
    assert tile_set_facts(tmp_path) is None
    assert slides_of(tmp_path, ["a.png"]) == []


def test_the_slides_of_some_pictures_are_found_by_their_fingerprints(tmp_path: Path) -> None:
    folder = tile_set(tmp_path / "t", 128, 0.5)
    (folder / "pictures.csv").write_text("path,label,slide\na.png,x,S1\nb.png,x,S2\nc.png,x,S3\n")
    assert slides_of(folder, ["a.png", "b.png", "c.png"]) == ["f1"]
    assert slides_of(folder, ["b.png"]) == []
