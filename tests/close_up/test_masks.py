"""A mask is its own picture's, or it is said that there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.close_up.masks import masks_of_slide, picture_masks
from slidecam.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

EDGE = 24
NAMES = ("alpha/0.jpg", "alpha/1.jpg", "beta/0.jpg", "beta/1.jpg")


def drawn(folder: Path, **columns: int) -> None:
    """Write masks whose first columns are set."""
    for name, width in columns.items():
        pixels = np.zeros((EDGE, EDGE), np.uint8)
        pixels[:, :width] = 255
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def test_pictures_numbered_alike_in_two_classes_have_masks_of_their_own(tmp_path: Path) -> None:
    drawn(tmp_path, alpha__0=5, alpha__1=7, beta__0=17, beta__1=11)
    masks, notes = picture_masks(tmp_path, NAMES, NAMES, EDGE)
    assert masks.mean((1, 2)).tolist() == pytest.approx([5 / 24, 7 / 24, 17 / 24, 11 / 24])
    assert notes == ()


def test_masks_of_a_class_are_found_where_pictures_lie_in_parts(tmp_path: Path) -> None:
    drawn(tmp_path, alpha__0=5, beta__0=17)
    names = ("test/beta/0.png", "test/alpha/0.png")
    masks, _notes = picture_masks(tmp_path, names, names, EDGE)
    assert masks.mean((1, 2)).tolist() == pytest.approx([17 / 24, 5 / 24])
    with pytest.raises(UsageError, match=r"share the mask beta/0\.png: test/beta/0.png, train"):
        picture_masks(tmp_path, names, (*names, "train/beta/0.png"), EDGE)


def test_a_mask_side_by_side_that_two_pictures_would_share_is_refused(tmp_path: Path) -> None:
    drawn(tmp_path, **{"0": 5, "1": 7})
    with pytest.raises(UsageError, match=r"[Ss]everal pictures would share the mask 0\.png"):
        picture_masks(tmp_path, NAMES, NAMES, EDGE)
    # Even if one of the two alone was chosen.
    with pytest.raises(UsageError, match=r"[Ss]everal pictures would share"):
        picture_masks(tmp_path, NAMES[:2], NAMES, EDGE)
    names = ("alpha/0.jpg", "beta/1.jpg")
    masks, _notes = picture_masks(tmp_path, names, names, EDGE)
    assert masks.mean((1, 2)).tolist() == pytest.approx([5 / 24, 7 / 24])


def test_missing_and_empty_masks_are_said(tmp_path: Path) -> None:
    drawn(tmp_path, alpha__0=5, beta__1=0)
    masks, notes = picture_masks(tmp_path, NAMES, NAMES, EDGE)
    assert masks.any((1, 2)).tolist() == [True, False, False, False]
    assert notes[0].startswith("2 of 4 pictures have no mask")
    assert "alpha/1.jpg, beta/0.jpg" in notes[0]
    assert notes[1].startswith("1 of 4 pictures have an empty mask")


def test_measures_that_no_picture_has_a_mask_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no masks of these pictures \(4\)"):
        picture_masks(tmp_path, NAMES, NAMES, EDGE)
    drawn(tmp_path, alpha__0=0)
    with pytest.raises(UsageError, match=r"a mask that is not empty \(3 have none"):
        picture_masks(tmp_path, NAMES, NAMES, EDGE)
    with pytest.raises(UsageError, match="this is a file"):
        picture_masks(tmp_path / "alpha" / "0.png", NAMES, NAMES, EDGE)


def test_a_class_that_was_drawn_in_no_tile_is_refused_and_in_some_is_said(tmp_path: Path) -> None:
    masks = np.zeros((3, 2, 2), np.bool_)
    with pytest.raises(UsageError, match=r"'a' was drawn in none of these 3 tiles.*areas are of b"):
        masks_of_slide(tmp_path, "a", ("b",), masks)
    masks[1] = True
    (note,) = masks_of_slide(tmp_path, "a", ("a",), masks)
    assert note.startswith("'a' was drawn in 1 of 3 tiles")
    masks[:] = True
    assert masks_of_slide(tmp_path, "a", ("a",), masks) == ()
