"""Every real slide opens with sane facts and reads, or ends in an error naming it and a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slidecam.errors import RefusedSourceError, SourceError, SpacingError
from slidecam.geometry import LevelBox
from slidecam.sources import open_source, settle_spacing
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.shared_data

GOOD = {
    "CMU-1-Small-Region.svs": ("openslide", 1, 0.499),
    "CropBreastSlide.tiff": ("tiff", 6, 264.5833),
    "camelyon_jpeg2000_coarse.dcm": ("openslide", 1, 28.969),
    "camelyon_jpeg_coarse.dcm": ("openslide", 1, 28.969),
    "cmu1-small_generic_pyramid_mpp0.499.tif": ("tiff", 4, 0.499),
    "cmu1-small_pyramid.ome.tif": ("tiff", 4, 0.499),
    "dicom_7levels_wrong_colour": ("openslide", 7, 0.499),
    "dicom_volume_label_macro": ("openslide", 1, 0.499),
    "fluorescence_DAPI.ndpi": ("openslide", 7, 0.22818),
    "tcga-cr-7395-01a-01-ts1.svs": ("openslide", 2, None),
    "tcga-xk-aaju_prostate_penmarks_nompp.tif": ("tiff", 4, None),
}
ODD_BUT_READABLE = {
    "boxes_4levels_bogus_mpp.tiff": ("tiff", 4, 352.7778),
    "kidney-48-5.tif": ("tiff", 1, None),
    "tiny_16x16.svs": ("openslide", 1, 0.499),
}
REFUSED = {"small_vectra.qptiff": '1 "DAPI", 2 "FITC" and 3 "Cy3".*--channels A,B,C'}
BROKEN = {
    "broken_not_a_tiff.svs": "This is text",
    "dicom_missing_imagetype.dcm": "Couldn't get image flavor",
    "git_lfs_pointer.ndpi": "git lfs pull",
    "unopenable_compression.tiff": "52479",
    "unreadable_corrupt_jpeg.svs": "Bogus marker length",
}
IMPLAUSIBLE = {"CropBreastSlide.tiff", "camelyon_jpeg2000_coarse.dcm", "camelyon_jpeg_coarse.dcm"}


def test_the_tables_name_every_file(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "slides").iterdir()} - {"SOURCE.txt"} == set(GOOD)
    broken = {path.name for path in (shared_data / "slides_broken").iterdir()} - {"SOURCE.txt"}
    assert broken == set(ODD_BUT_READABLE) | set(BROKEN) | set(REFUSED)


@pytest.mark.parametrize("name", sorted({**GOOD, **ODD_BUT_READABLE}))
def test_a_good_slide_has_sane_facts_and_reads(shared_data: Path, name: str) -> None:
    reader, levels, spacing = {**GOOD, **ODD_BUT_READABLE}[name]
    folder = "slides" if name in GOOD else "slides_broken"
    with open_source(shared_data / folder / name) as source:
        facts = source.facts
        assert (facts.reader, len(facts.levels)) == (reader, levels)
        assert (facts.spacing and facts.spacing.x) == (spacing and pytest.approx(spacing, rel=1e-4))
        last = facts.levels[-1]
        assert source.read(last.index, LevelBox(0, 0, last.size.width, last.size.height)).any()
        overview = source.overview(128)
        assert overview.gaps == ()
        assert overview.pixels.std() > 1


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_slide_ends_in_a_clear_word(shared_data: Path, name: str) -> None:
    path = shared_data / "slides_broken" / name
    with pytest.raises(SourceError, match=BROKEN[name]) as caught, open_source(path) as source:
        source.thumbnail(64)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_fluorescence_is_no_rgb_until_its_channels_are_named(shared_data: Path, name: str) -> None:
    path = shared_data / "slides_broken" / name
    with pytest.raises(RefusedSourceError, match=REFUSED[name]):
        open_source(path)
    view = VolumeView(slide=PictureView(channels=("Cy3", "FITC", "DAPI")))
    with open_source(path, view=view) as source:
        assert source.facts.spacing is not None
        assert source.facts.spacing.x == pytest.approx(0.49653, rel=1e-4)
        assert source.overview(128).pixels.std() > 1


@pytest.mark.parametrize("name", sorted(GOOD))
def test_no_spacing_or_an_implausible_one_asks_for_mpp(shared_data: Path, name: str) -> None:
    with open_source(shared_data / "slides" / name) as source:
        if source.facts.spacing is None or name in IMPLAUSIBLE:
            with pytest.raises(SpacingError, match="--mpp X"):
                settle_spacing(source.facts)
        else:
            assert settle_spacing(source.facts).spacing == source.facts.spacing
        assert settle_spacing(source.facts, 0.499).spacing.mean == 0.499
