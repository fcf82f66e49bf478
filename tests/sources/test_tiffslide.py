from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pytest
import tifffile

from slidecam.errors import UnreadableSourceError
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources._tiffslide import _level0

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("downsample", [1.0, 2.0, 2.000337154416723, 3.9999, 4.0023, 16.03, 64.897])
def test_a_level_coordinate_survives_tiffslides_truncation(downsample: float) -> None:
    places = [*range(300), 99_999, 100_000]
    assert [int(_level0(place, downsample) / downsample) for place in places] == places


@pytest.mark.shared_data
def test_a_remote_svs_reads_as_the_local_one(shared_data: Path) -> None:
    local = shared_data / "slides" / "CMU-1-Small-Region.svs"
    fsspec.filesystem("memory").put_file(str(local), "/remote.svs")
    with open_source(local) as near, open_source("memory://remote.svs") as far:
        assert (near.facts.reader, far.facts.reader) == ("openslide", "tiffslide")
        assert far.facts.spacing == near.facts.spacing
        assert far.facts.levels == near.facts.levels
        assert far.facts.associated == near.facts.associated
        assert far.facts.fingerprint == near.facts.fingerprint
        assert far.facts.name == "remote"
        box = LevelBox(1000, 1500, 300, 200)
        np.testing.assert_allclose(far.read(0, box).astype(int), near.read(0, box), atol=2)
        assert far.associated_image("label").shape == near.associated_image("label").shape


def test_channels_that_are_not_rgb_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((5, 40, 60), np.uint8), photometric="minisblack", metadata={"axes": "CYX"}
    )
    with pytest.raises(UnreadableSourceError, match="5 channels"):
        open_source(path, "tiffslide")


def test_grey_becomes_rgb(tmp_path: Path, write: Any) -> None:
    grey = write.picture(0)[:300, :300, 0]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey, tile=(64, 64), metadata=None)
    with open_source(path, "tiffslide") as source:
        np.testing.assert_array_equal(
            source.read(0, LevelBox(0, 0, 300, 300)), np.dstack([grey] * 3)
        )
