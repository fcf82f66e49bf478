"""A volume's slices are written and read as they are, an ensemble's disagreement with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import UsageError
from slidecam.runs.slices import SliceTable, read_slices_csv, write_slices_csv

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def table(disagreement: NDArray[np.float32] | None) -> SliceTable:
    return SliceTable(
        "axial",
        np.array([-31.25, -27.125, -23.0]),
        np.array([7, 6, 5]),
        ("done", "missing", "done"),
        np.array([[0.3125, 0.6875], [np.nan, np.nan], [0.71875, 0.28125]], np.float32),
        ("prob_a, b", "disagreement"),
        disagreement,
    )


@pytest.mark.parametrize("apart", [None, np.array([0.0625, np.nan, 0.40625], np.float32)])
def test_slices_are_read_as_they_were_written(
    tmp_path: Path, apart: NDArray[np.float32] | None
) -> None:
    path = tmp_path / "slices.csv"
    write_slices_csv(table(apart), path)
    found, whole = read_slices_csv(path), table(apart)
    assert (found.class_names, found.status) == (whole.class_names, whole.status)
    np.testing.assert_array_equal(found.positions, whole.positions)
    np.testing.assert_array_equal(found.file_indices, whole.file_indices)
    np.testing.assert_array_equal(found.probabilities, whole.probabilities)
    if apart is None:
        assert found.disagreement is None
    else:
        np.testing.assert_array_equal(found.disagreement, apart)
        assert path.read_text(encoding="utf-8").splitlines()[0].endswith(",disagreement")


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slices.csv"
    path.write_text("slice,position_mm,file_index,status,disagreement,prob_a\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"not those of a slices\.csv"):
        read_slices_csv(path)
