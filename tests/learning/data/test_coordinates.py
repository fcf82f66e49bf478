"""Tiles that overlap by their names are found, empty ones too, where the names can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.learning.data.coordinates import place_of
from slidecam.learning.data.duplicates import find_duplicates
from slidecam.learning.data.pictures import read_picture_set
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

EDGE = 53


def slide(seed: int = 3, edge: int = 460) -> NDArray[np.uint8]:
    """Return cells on the left of a slide, and nothing on its right."""
    rng = np.random.default_rng(seed)
    levels = np.full((edge, edge), 231.0)
    rows, columns = np.mgrid[:edge, :edge]
    for _cell in range(900):
        row, column, radius = rng.uniform(0, edge), rng.uniform(0, edge * 0.6), rng.uniform(2, 6)
        levels[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] *= rng.uniform(0.4, 0.9)
    return levels.clip(0, 255).astype(np.uint8)


def tiles(folder: Path, places: Mapping[str, tuple[int, int]], pixels: NDArray[np.uint8]) -> Path:
    """Save tiles whose names are formats of x and y, in the classes ``a`` and ``b`` by turns."""
    for number, (name, (x, y)) in enumerate(places.items()):
        save(folder / "ab"[number % 2] / name.format(x=x, y=y), pixels, (x, y))
    return folder


def save(path: Path, pixels: NDArray[np.uint8], corner: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = corner
    Image.fromarray(pixels[y : y + EDGE, x : x + EDGE]).save(path)


def found(folder: Path) -> set[frozenset[str]]:
    overlaps = result_of(find_duplicates(read_picture_set(folder)))
    return {
        frozenset(name.rsplit("/", 1)[1].split(".")[0] for name in pair)
        for pair in overlaps.names(overlaps.overlaps)
    }


INSIDE = {"s_x{x}_y{y}_" + str(at) + ".png": (30 + 26 * at, 111) for at in range(6)}
EMPTY = {"s_x{x}_y{y}_e" + str(at) + ".png": (341 + 31 * at, 57) for at in range(2)}
PLACED = frozenset({"s_x341_y57_e0", "s_x372_y57_e1"})


def test_empty_tiles_are_placed_by_their_names_where_the_other_tiles_agree(tmp_path: Path) -> None:
    pairs = found(tiles(tmp_path, INSIDE | EMPTY, slide()))
    assert PLACED in pairs
    for at in range(5):
        assert frozenset(f"s_x{30 + 26 * each}_y111_{each}" for each in (at, at + 1)) in pairs
    assert frozenset({"s_x30_y111_0", "s_x108_y111_3"}) not in pairs


def test_names_that_the_pictures_contradict_are_not_believed(tmp_path: Path) -> None:
    pixels = slide()
    for number, (name, (x, y)) in enumerate(INSIDE.items()):
        named = tmp_path / "ab"[number % 2] / name.format(x=x, y=y)
        save(named, pixels, (x * 2 % 200, y + 61 * (number % 4)))
    assert PLACED not in found(tiles(tmp_path, EMPTY, pixels))


def test_tiles_of_two_slides_or_side_by_side_do_not_overlap(tmp_path: Path) -> None:
    beside = {"s_x{x}_y{y}.png": (30, 111), "s_x{x}_y{y}_1.png": (30 + EDGE, 111)}
    other = {"t_x{x}_y{y}.png": (341, 57), "u_x{x}_y{y}.png": (351, 57)}
    assert found(tiles(tmp_path, beside | other, slide())) == set()


def test_tiles_whose_names_state_their_sides_need_no_picture_that_agrees(tmp_path: Path) -> None:
    named = {
        "q [x={x},y={y},w=106,h=106].png": (341, 57),
        "q [x={x},y={y},w=106,h=106] 1.png": (391, 107),
        "r [x={x},y={y},w=106,h=106].png": (341, 57),
    }
    assert len(found(tiles(tmp_path, named, slide()))) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("b/8863_idx5_x51_y1251_class0.png", (("g", "8863_idx5_"), (51, 1251), (53, 71), False)),
        ("a [x=1024,y=77,w=512,h=300].png", (("g", "a ["), (1024, 77), (512, 300), True)),
        ("Case X12 Y3.jpg", (("g", "case "), (12, 3), (53, 71), False)),
        ("a_x=5_y=6_w=9.png", (("g", "a_"), (5, 6), (53, 71), False)),
        ("max5_y6.png", None),
        ("x5.png", None),
        ("plain.png", None),
    ],
)
def test_a_name_is_read_as_it_is_written(name: str, expected: object) -> None:
    place = place_of(name, "g", (53, 71))
    if place is None:
        assert expected is None
    else:
        assert (place.of, place.corner, place.side, place.is_stated) == expected
