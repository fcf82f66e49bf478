"""Samples that a DICOM file calls padding are air, whatever number stands for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread

from slidecam.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

INTERCEPT, LOWEST = -1024.0, -983.0
INSIDE = np.zeros((9, 11), bool)
INSIDE[2:7, 3:9] = True
CASES: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "below": ({"PixelPaddingValue": -2000}, (-2000, -2000)),
    "above": ({"PixelPaddingValue": 31767}, (31767, 31767)),
    "range": ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1873}, (-2000, -1873)),
    "range down": ({"PixelPaddingValue": -1873, "PixelPaddingRangeLimit": -2000}, (-2000, -1873)),
}


def stored(number: int, padding: tuple[int, int]) -> NDArray[np.int16]:
    """Return a slice's samples: 41 is the lowest of the volume, in its third slice alone."""
    samples = np.linspace(padding[0], padding[1], 99).astype(np.int16).reshape(9, 11)
    samples[INSIDE] = 57 + 13 * number + np.arange(30)
    if number == 2:
        samples[4, 4] = 41
    return samples


def written(folder: Path, tags: dict[str, Any], padding: tuple[int, int]) -> Path:
    for path in folder.iterdir():
        made = dcmread(path)
        made.Rows, made.Columns = INSIDE.shape
        made.PixelRepresentation, made.BitsStored, made.HighBit = 1, 16, 15
        made.RescaleSlope, made.RescaleIntercept = 1, INTERCEPT
        made.PixelData = stored(int(made.InstanceNumber) - 1, padding).tobytes()
        for name, value in tags.items():
            kind = "SS" if name.startswith("PixelPadding") else "CS"
            made.add_new(name, kind, value)
        made.save_as(path)
    return folder


@pytest.mark.parametrize("case", sorted(CASES))
def test_padding_is_as_dark_as_the_lowest_voxel_of_the_volume(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], case: str
) -> None:
    tags, padding = CASES[case]
    series = written(write_volume.dicom(tmp_path / "a", head), tags, padding)
    with open_source(series) as source:
        opened: Any = source
        found = np.asarray(opened.array())
        for number in range(12):
            expected = stored(number, padding) + INTERCEPT
            expected[~INSIDE] = LOWEST
            np.testing.assert_array_equal(found[number], expected)
        assert opened.limits[0] >= LOWEST
        assert opened.limits[1] <= float(57 + 13 * 11 + 29) + INTERCEPT
        assert opened.not_numbers == 0
        (reading,) = source.facts.readings
    assert "PixelPaddingValue" in reading
    assert "are taken for air" in reading


def test_padding_beside_tissue_alone_is_as_dark_as_no_signal(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = written(write_volume.dicom(tmp_path / "a", head), {}, (31767, 31767))
    for path in series.iterdir():
        made = dcmread(path)
        made.add_new("PixelPaddingValue", "SS", 31767)
        made.RescaleIntercept = 0
        made.save_as(path)
    with open_source(series) as source:
        found = np.asarray(source.array())  # type: ignore[attr-defined]
    assert (found[:, ~INSIDE] == 0).all()
    assert found[:, INSIDE].min() == 41


def test_dark_on_light_has_dark_padding_too(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    tags = {"PixelPaddingValue": -2000, "PhotometricInterpretation": "MONOCHROME1"}
    series = written(write_volume.dicom(tmp_path / "a", head), tags, (-2000, -2000))
    with open_source(series) as source:
        found = np.asarray(source.array())  # type: ignore[attr-defined]
    assert found[:, ~INSIDE].max() <= found[:, INSIDE].min()
    assert found[:, INSIDE].max() == -1 - 41 + INTERCEPT
