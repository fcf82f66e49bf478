"""Slices of one series on several scales: they meet, or the series is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread

from slidecam.errors import RefusedSourceError
from slidecam.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Change = Callable[[NDArray[np.int16]], NDArray[np.int16]]


def rewritten(series: Path, places: Iterable[int], change: Change, **tags: Any) -> Path:
    """Change the samples and tags of the slices at some places, and return the series."""
    files = sorted(series.iterdir())
    for place in places:
        made = dcmread(files[place])
        samples = np.frombuffer(made.PixelData, np.int16)
        made.PixelData = change(samples).astype(np.int16).tobytes()
        for tag, value in tags.items():
            setattr(made, tag, value)
        made.save_as(files[place])
    return series


def volume(path: Path) -> NDArray[np.float32]:
    with open_source(path) as source:
        return np.asarray(source.array())  # type: ignore[attr-defined]


def turned(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    return (-1 - samples.astype(np.int32)).astype(np.int16)


def unchanged(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    return samples


def moved(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the samples turned by the range of a slice, as some writers do."""
    return (int(samples.max()) - samples.astype(np.int32)).astype(np.int16)


PLACES = (range(5), (3,), range(7, 12), (2, 5, 8), range(0, 12, 2))


@pytest.mark.parametrize("places", PLACES, ids=map(str, PLACES))
def test_slices_turned_by_their_files_range_meet_the_others_and_are_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], places: Iterable[int]
) -> None:
    plain = volume(write_volume.dicom(tmp_path / "plain", head))
    series = write_volume.dicom(tmp_path / "mixed", head)
    rewritten(series, places, turned, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(volume(series), plain)
    with open_source(series) as source:
        assert "Its slices differ in photometric interpretation (2 values)" in " ".join(
            source.facts.readings
        )


@pytest.mark.parametrize("change", [unchanged, moved])
@pytest.mark.parametrize("places", PLACES, ids=map(str, PLACES))
def test_slices_whose_greys_do_not_meet_the_others_are_refused(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    places: Iterable[int],
    change: Change,
) -> None:
    series = write_volume.dicom(tmp_path / "mixed", head)
    rewritten(series, places, change, PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(RefusedSourceError, match=r"^Its slices differ in photometric interpreta"):
        open_source(series)


def test_half_a_volume_in_other_units_is_refused(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "mixed", head, Units="BQML")
    rewritten(series, range(6), lambda samples: samples // 17, Units="CNTS")
    with pytest.raises(RefusedSourceError, match=r"differ in unit \(BQML and CNTS\)"):
        open_source(series)


def test_a_slice_that_cannot_be_read_does_not_say_whether_two_scales_meet(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "mixed", head)
    rewritten(series, range(6), turned, PhotometricInterpretation="MONOCHROME1")
    rewritten(series, (6,), lambda samples: samples[:40])
    with open_source(series) as source:
        assert "photometric interpretation" in " ".join(source.facts.readings)
