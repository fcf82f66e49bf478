"""A series of many files is opened file by file: as often for each of them, however many."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.server.slides import SlideCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_counting: list[Counter[str]] = []


def _heard(event: str, given: tuple[Any, ...]) -> None:
    if event == "open" and _counting:
        _counting[-1][str(given[0])] += 1


@pytest.fixture
def opened() -> Iterator[Counter[str]]:
    """Return how often each file was opened since."""
    if _heard not in _hooked:
        sys.addaudithook(_heard)  # there is no way to take it off again
        _hooked.append(_heard)
    _counting.append(Counter())
    yield _counting[-1]
    _counting.pop()


_hooked: list[Any] = []


@pytest.mark.parametrize("slices", [20, 60])
def test_each_file_of_a_series_is_opened_as_often_however_many_there_are(
    tmp_path: Path, write_volume: Any, opened: Counter[str], slices: int
) -> None:
    voxels = np.zeros((8, 8, slices), np.int16)
    voxels[2:6, 2:6] = 900
    folder = write_volume.dicom(tmp_path / "series", voxels)
    opened.clear()
    with closing(SlideCache(most=1)) as shelf:
        told = shelf.open(folder)
        assert told["volume"]["planes"] == slices
        shelf.tile(told["id"], 0, 0, 0, plane=slices // 2)
    counts = [count for path, count in opened.items() if path.startswith(str(folder))]
    assert len(counts) == slices
    assert sorted(counts)[-2] <= 7  # but for one, which is the first to be looked at
    assert max(counts) <= 12
