"""How tiles divide among classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.foreground.mask import Foreground
from slidecam.geometry import Size, Spacing
from slidecam.runs.legend import (
    UM2,
    ClassSummary,
    OwnParts,
    classified_tissue,
    own_parts,
    own_slices,
    summarise_classes,
)

if TYPE_CHECKING:
    from tile_tables import TableMaker

NAN = float("nan")


def test_shares_are_of_the_classified_slices_of_a_volume(make_table: TableMaker) -> None:
    table = make_table(
        [[0.75, 0.25], [1.0, 0.0], [0.0, 1.0], [0.25, 0.75], [NAN, NAN]],
        status=np.array([1, 1, 1, 1, 2], np.uint8),
    )
    assert summarise_classes(table, own_slices(5)) == (
        ClassSummary("Tumor", (200, 0, 0), 2, 0.5, 0.5, area=2.0, top_probability=0.5),
        ClassSummary("Stroma", (150, 200, 150), 2, 0.5, 0.5, area=2.0, top_probability=0.5),
    )


def test_a_tile_without_a_winner_counts_for_no_class_but_for_the_mean(
    make_table: TableMaker,
) -> None:
    (tumor,) = summarise_classes(make_table([[0.25], [0.75]], activation="sigmoid"), own_slices(2))
    assert (tumor.count, tumor.share, tumor.mean_probability) == (1, 0.5, 0.5)


def test_a_finished_tile_without_a_number_is_left_out_of_the_mean(make_table: TableMaker) -> None:
    (tumor,) = summarise_classes(make_table([[NAN], [0.75]]), own_slices(2))
    assert (tumor.count, tumor.share) == (1, 0.5)
    assert tumor.mean_probability == pytest.approx(0.75)


def test_without_classified_tiles_there_is_no_mean(make_table: TableMaker) -> None:
    table = make_table([[NAN, NAN]], status=np.array([2], np.uint8))
    rows = summarise_classes(table, own_slices(1))
    assert [(one.count, one.share, one.mean_probability) for one in rows] == [
        (0, 0.0, None),
        (0, 0.0, None),
    ]


def test_a_share_is_the_tissue_in_a_classes_tiles_of_that_in_all(make_table: TableMaker) -> None:
    # Four tiles of 37 px side by side; the mask's columns of 1 px are tissue up to 37 + 5.
    mask = np.zeros((37, 148), np.bool_)
    mask[:, :42], mask[:, 111:] = True, True
    size, spacing = Size(148, 37), Spacing(0.5, 0.25)
    boxes = np.array([[left, 0, 37, 37] for left in (0, 37, 74, 111)], np.int64)
    table = make_table(
        [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [NAN, NAN]],
        boxes=boxes,
        status=np.array([1, 1, 1, 2], np.uint8),
    )
    parts = own_parts(boxes, 37, Foreground(mask, size, "drawn"), spacing)
    whole = classified_tissue(table, parts)
    tumor, stroma = summarise_classes(table, parts)
    assert (whole.unit, whole.none_called) == (UM2, 0.0)
    assert whole.tissue == pytest.approx(79 * 37 * 0.125)
    assert whole.classified == pytest.approx(42 * 37 * 0.125)
    assert tumor.area == pytest.approx(37 * 37 * 0.125)
    assert tumor.share == pytest.approx(37 / 42)
    assert stroma.count == 2
    assert stroma.share == pytest.approx(5 / 42)


def test_of_tiles_that_overlap_each_counts_with_its_middle(make_table: TableMaker) -> None:
    boxes = np.array([[0, 0, 30, 30], [10, 0, 30, 30]], np.int64)
    mask = np.zeros((30, 40), np.bool_)
    mask[:, :21] = True
    table = make_table([[0.9, 0.1], [0.2, 0.8]], boxes=boxes)
    parts = own_parts(boxes, 10, Foreground(mask, Size(40, 30), "drawn"), None)
    assert parts.unit == "px²"
    # Own parts: columns 10 to 20 and 20 to 30 of rows 10 to 20; tissue ends at column 21.
    tumor, stroma = summarise_classes(table, parts)
    assert [tumor.area, stroma.area] == pytest.approx([100, 10])
    assert tumor.share + stroma.share == pytest.approx(1)


def test_what_is_called_none_has_a_share_of_its_own(make_table: TableMaker) -> None:
    table = make_table([[0.25], [0.75], [0.1]], activation="sigmoid")
    parts = OwnParts(np.array([3.0, 4.0, 6.0]), UM2)
    whole = classified_tissue(table, parts)
    assert (whole.classified, whole.none_called) == (13.0, 9.0)
    assert whole.share(whole.none_called) == pytest.approx(9 / 13)


def test_a_rare_class_is_told_by_its_likeliest_tiles_and_doubt_by_area(
    make_table: TableMaker,
) -> None:
    rows = [[0.97, 0.03]] * 4 + [[0.21, 0.79]] * 9 + [[0.55, 0.45]]
    table = make_table(rows)
    parts = OwnParts(np.array([1.0] * 13 + [7.0]), UM2)
    tumor, _stroma = summarise_classes(table, parts)
    # The ten likeliest: four of 0.97, the one of 0.55, and five of 0.21.
    assert tumor.top_probability == pytest.approx((4 * 0.97 + 0.55 + 5 * 0.21) / 10)
    # Entropies of 0.194, 0.741 and 0.993 bits: the nine and the large one are undecided.
    assert classified_tissue(table, parts).undecided == 16.0
