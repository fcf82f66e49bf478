"""The pixels of the overview say what the tiles say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.geometry import Size
from slidecam.reports.overlay import (
    NO_TILE,
    NO_WINNER,
    UNREADABLE,
    class_map,
    colored,
    faded,
    heat_scale,
    heated,
    resampled,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tile_tables import TableMaker

NAN = float("nan")
GLASS = np.full((10, 20, 3), 255, np.uint8)


def boxes(*values: tuple[int, int, int, int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def test_a_class_map_shows_each_tile_where_it_lies(make_table: TableMaker) -> None:
    table = make_table([[0.9, 0.1], [0.1, 0.9]], boxes=boxes((0, 0, 20, 20), (60, 20, 20, 20)))
    labels = class_map(table, Size(100, 40), (4, 10))
    expected = np.full((4, 10), NO_TILE)
    expected[:2, :2] = 0
    expected[2:, 6:8] = 1
    np.testing.assert_array_equal(labels, expected)


def test_a_class_map_tells_undecided_unreadable_and_pending_apart(make_table: TableMaker) -> None:
    table = make_table(
        [[0.2], [NAN], [NAN], [0.8]],
        boxes=boxes((0, 0, 2, 2), (2, 0, 2, 2), (4, 0, 2, 2), (6, 0, 2, 2)),
        status=np.array([1, 2, 0, 1], np.uint8),
    )
    labels = class_map(table, Size(8, 2), (1, 4))
    assert labels.tolist() == [[NO_WINNER, UNREADABLE, NO_TILE, 0]]


def test_overlapping_tiles_get_the_cell_around_their_centre(make_table: TableMaker) -> None:
    table = make_table(
        [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], boxes=boxes(*((x, 0, 4, 4) for x in (0, 2, 4)))
    )
    labels = class_map(table, Size(8, 4), (4, 8))
    assert labels[2].tolist() == [NO_TILE, 0, 0, 1, 1, 0, 0, NO_TILE]


@pytest.mark.parametrize("tile", [1, 3, 40], ids=["less than a pixel", "small", "large"])
def test_every_tile_leaves_a_pixel(tile: int, make_table: TableMaker) -> None:
    places = [
        (x, y, tile, tile) for x in range(0, 8 * tile, tile) for y in range(0, 8 * tile, tile)
    ]
    table = make_table([[0.9, 0.1]] * 64, boxes=boxes(*places))
    labels = class_map(table, Size(8 * tile, 8 * tile), (24, 24))
    assert (labels == 0).sum() >= 64
    assert (labels[::3, ::3] == 0).all()


def test_tiles_beyond_the_edge_are_cut_off(make_table: TableMaker) -> None:
    table = make_table([[0.9, 0.1], [0.1, 0.9]], boxes=boxes((-5, -5, 10, 10), (95, 35, 10, 10)))
    labels = class_map(table, Size(100, 40), (40, 100))
    assert labels[0, 0] == 0
    assert labels[-1, -1] == 1


def test_classes_are_seen_in_their_colours_and_glass_stays_bare() -> None:
    labels = np.full((10, 20), NO_TILE)
    labels[:, :5], labels[:, 5:10] = 0, 1
    picture = colored(GLASS, labels, np.array([(200, 0, 0), (0, 0, 200)], np.uint8))
    red, blue, bare = picture[5, 2].astype(int), picture[5, 7].astype(int), picture[5, 15]
    assert red[0] > red[2] + 100
    assert blue[2] > blue[0] + 100
    np.testing.assert_array_equal(bare, faded(GLASS)[5, 15])


def test_heat_darkens_with_its_value_and_leaves_bare_what_has_none() -> None:
    heat = np.full((10, 20), NAN, np.float32)
    heat[:, :5], heat[:, 5:10], heat[:, 10:15] = 0.1, 0.5, 1.0
    row = heated(GLASS, heat)[5].astype(int).sum(axis=1)
    assert row[17] > row[2] > row[7] > row[12]
    assert row[17] == int(faded(GLASS)[5, 17].astype(int).sum())


def test_the_scale_of_the_heat_is_the_heat_on_glass() -> None:
    heat = np.tile(np.linspace(0, 1, 20, dtype=np.float32), (10, 1))
    difference = heated(GLASS, heat)[0].astype(int) - heat_scale(20)[0].astype(int)
    assert np.abs(difference).max() <= 5


def test_resampling_keeps_values_and_holes() -> None:
    heat = np.full((4, 6), NAN, np.float32)
    heat[:, :3] = 0.25
    large = resampled(heat, (6, 4), (8, 12))
    np.testing.assert_allclose(large[:, :6], 0.25)
    assert np.isnan(large[:, 7:]).all()


def test_resampling_leaves_out_what_hangs_over_the_slide() -> None:
    heat = np.tile(np.array([0, 0, 1, 1], np.float32), (2, 1))
    np.testing.assert_allclose(resampled(heat, (2.0, 2), (2, 2)), 0)
    assert resampled(heat, (3.5, 2), (4, 7))[0, -1] == 1
