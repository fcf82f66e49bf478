"""How tiles divide among classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.runs.tiles import ClassSummary, summarise_classes

if TYPE_CHECKING:
    from tile_tables import TableMaker

NAN = float("nan")


def test_shares_are_of_the_classified_tiles(make_table: TableMaker) -> None:
    table = make_table(
        [[0.75, 0.25], [1.0, 0.0], [0.0, 1.0], [0.25, 0.75], [NAN, NAN]],
        status=np.array([1, 1, 1, 1, 2], np.uint8),
    )
    assert summarise_classes(table) == (
        ClassSummary("Tumor", (200, 0, 0), 2, 0.5, 0.5),
        ClassSummary("Stroma", (150, 200, 150), 2, 0.5, 0.5),
    )


def test_a_tile_without_a_winner_counts_for_no_class_but_for_the_mean(
    make_table: TableMaker,
) -> None:
    (tumor,) = summarise_classes(make_table([[0.25], [0.75]], activation="sigmoid"))
    assert (tumor.count, tumor.share, tumor.mean_probability) == (1, 0.5, 0.5)


def test_a_finished_tile_without_a_number_is_left_out_of_the_mean(make_table: TableMaker) -> None:
    (tumor,) = summarise_classes(make_table([[NAN], [0.75]]))
    assert (tumor.count, tumor.share) == (1, 0.5)
    assert tumor.mean_probability == pytest.approx(0.75)


def test_without_classified_tiles_there_is_no_mean(make_table: TableMaker) -> None:
    table = make_table([[NAN, NAN]], status=np.array([2], np.uint8))
    assert [(one.count, one.share, one.mean_probability) for one in summarise_classes(table)] == [
        (0, 0.0, None),
        (0, 0.0, None),
    ]
