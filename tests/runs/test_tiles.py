"""The table that every writer starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.classes import ClassSet
from slidecam.errors import UsageError
from slidecam.runs.tiles import TileTable

if TYPE_CHECKING:
    from tile_tables import TableMaker

NAN = float("nan")


def test_the_winner_is_the_most_probable_class(make_table: TableMaker) -> None:
    assert make_table([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]]).winners.tolist() == [1, 0]


def test_a_tile_that_is_not_done_has_no_winner(make_table: TableMaker) -> None:
    table = make_table([[0.9, 0.1], [NAN, NAN], [0.9, 0.1]], status=np.array([1, 2, 0], np.uint8))
    assert table.winners.tolist() == [0, -1, -1]
    assert table.done.tolist() == [True, False, False]
    assert table.failed.tolist() == [False, True, False]


def test_a_finished_tile_without_a_number_has_no_winner(make_table: TableMaker) -> None:
    assert make_table([[NAN, 0.4], [0.1, 0.9]]).winners.tolist() == [-1, 1]


def test_a_lone_class_wins_from_one_half(make_table: TableMaker) -> None:
    table = make_table([[0.49], [0.5], [0.99]], activation="sigmoid")
    assert table.winners.tolist() == [-1, 0, 0]


def test_raw_scores_below_zero_still_have_a_winner(make_table: TableMaker) -> None:
    assert make_table([[-3.0, -1.0]], activation="none").winners.tolist() == [1]


def test_an_empty_table_has_no_winners() -> None:
    table = TileTable(
        np.zeros((0, 4), np.int64),
        np.zeros(0, np.uint8),
        np.zeros((0, 2), np.float32),
        ClassSet(("a", "b")),
    )
    assert len(table) == 0
    assert table.winners.shape == (0,)


@pytest.mark.parametrize(
    "change",
    [
        {"boxes": np.zeros((3, 4), np.int64)},
        {"boxes": np.zeros((2, 4), np.int32)},
        {"status": np.ones(2, np.int64)},
        {"probabilities": np.zeros((2, 3), np.float32)},
        {"probabilities": np.zeros((2, 2), np.float64)},
        {"class_names": ("a", "a")},
        {"class_names": ()},
        {"class_colors": ((1, 2, 3),)},
        {"class_colors": ((1, 2, 3), (1, 2, 256))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_arrays_that_do_not_fit_are_refused(
    change: dict[str, object], make_table: TableMaker
) -> None:
    with pytest.raises(UsageError):
        make_table([[0.5, 0.5], [0.5, 0.5]], **change)
