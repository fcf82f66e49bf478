"""Tissue, and what is none: glass, ink, padding, specks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from slidecam.errors import RegionReadError, UsageError
from slidecam.foreground import ForegroundSpec, find_foreground, tissue
from slidecam.foreground.ink import find_ink, with_halo
from slidecam.foreground.tissue import _smoothed, segment
from slidecam.geometry import Level, LevelBox, Size, Spacing
from slidecam.sources import Source, SourceFacts, open_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from conftest import MakeSource

    Pixels = NDArray[np.uint8]
    Places = NDArray[np.bool_]

EDGE = 240
PIXEL = Spacing(4.0, 4.0)
INKS = {"blue": (30, 60, 170), "green": (20, 130, 90), "black": (35, 33, 38), "red": (215, 35, 50)}
Y, X = np.mgrid[:EDGE, :EDGE]
TISSUE = (X - 120) ** 2 + (Y - 120) ** 2 < 80**2


def glass(tint: tuple[int, int, int] = (244, 243, 244)) -> NDArray[np.float64]:
    """Return a clean slide with the noise of a camera."""
    return np.random.default_rng(0).normal(tint, 2, (EDGE, EDGE, 3))


def stained(where: Places = TISSUE, tint: tuple[int, int, int] = (244, 243, 244)) -> Pixels:
    """Return eosin with hematoxylin nuclei on glass."""
    nuclei = np.random.default_rng(1).random((EDGE, EDGE)) < 0.2
    picture = glass(tint)
    picture[where] = (220, 140, 175)
    picture[where & nuclei] = (110, 75, 150)
    return shown(picture)


def shown(picture: NDArray[np.float64]) -> Pixels:
    return np.asarray(np.clip(gaussian_filter(picture, (0.5, 0.5, 0)), 0, 255), np.uint8)


def marked(picture: Pixels, ink: Places, colour: tuple[int, int, int]) -> Pixels:
    """Lay ink over a picture: light passes through both."""
    through = np.where(ink[..., None], picture * np.array(colour) / 255, picture)
    return np.asarray(through, np.uint8)


def share(mask: Places, where: Places) -> float:
    return float(mask[where].mean())


@pytest.mark.parametrize("tint", [(244, 243, 244), (228, 212, 230), (226, 232, 231)])
def test_tissue_is_found_to_its_edge_on_glass_of_any_tint(tint: tuple[int, int, int]) -> None:
    mask, _ = segment(stained(tint=tint), PIXEL)
    assert (mask & TISSUE).sum() / (mask | TISSUE).sum() > 0.95


@pytest.mark.parametrize("tint", [(255, 255, 255), (244, 243, 244), (228, 212, 230)])
def test_a_white_slide_has_no_tissue(tint: tuple[int, int, int]) -> None:
    mask, _ = segment(shown(glass(tint)), PIXEL)
    assert not mask.any()


def test_a_slide_full_of_tissue_is_not_cut_in_two() -> None:
    mask, _ = segment(stained(np.ones_like(TISSUE)), PIXEL)
    assert mask.mean() > 0.99


@pytest.mark.parametrize("colour", INKS)
def test_pen_marks_on_glass_are_no_tissue(colour: str) -> None:
    ink = (Y > 8) & (Y < 22)
    mask, origin = segment(marked(stained(), ink, INKS[colour]), PIXEL)
    assert share(mask, ink) == 0
    assert share(mask, TISSUE & (Y > 45)) > 0.98
    assert colour == "black" or "pen marks" in origin


@pytest.mark.parametrize("colour", ["blue", "green", "black"])
def test_pen_marks_across_tissue_are_left_out_and_nothing_else_is(colour: str) -> None:
    ink = (abs(X - Y) < 10) & (X < 200)
    mask, _ = segment(marked(stained(), ink, INKS[colour]), PIXEL)
    assert share(mask, ink) < 0.1
    assert share(mask, TISSUE & (abs(X - Y) > 18)) > 0.97


def test_pen_marks_stay_where_the_spec_says_so() -> None:
    ink = (Y > 8) & (Y < 22)
    mask, _ = segment(marked(stained(), ink, INKS["green"]), PIXEL, ForegroundSpec(pen=False))
    assert share(mask, ink) > 0.95


def test_a_stain_that_is_blue_all_over_is_no_ink() -> None:
    picture = glass()
    picture[TISSUE] = (90, 130, 190)
    mask, _ = segment(shown(picture), PIXEL)
    assert share(mask, TISSUE) > 0.98


@pytest.mark.parametrize(
    "colour", [(55, 22, 66), (190, 50, 62)], ids=["a dark fold", "pooled red blood cells"]
)
def test_what_only_resembles_ink_stays_tissue(colour: tuple[int, int, int]) -> None:
    picture = stained().astype(np.float64)
    odd = (abs(X - 120) < 10) & (abs(Y - 120) < 10)
    picture[odd] = colour
    mask, origin = segment(shown(picture), PIXEL)
    assert mask[odd].all()
    assert "pen" not in origin


def test_black_padding_is_no_tissue_and_has_no_rim() -> None:
    padding = X < 60
    picture = stained()
    picture[padding] = 0
    mask, _ = segment(picture, PIXEL)
    assert share(mask, (X < 70) & (abs(Y - 120) > 85)) == 0
    assert share(mask, TISSUE & ~padding) > 0.98
    assert share(mask, padding) == 0


def test_glass_of_a_slide_smaller_than_a_hole_is_not_filled() -> None:
    picture = stained(X < 120)
    mask, _ = segment(picture, Spacing(0.5, 0.5))
    assert share(mask, X > 150) == 0


def test_a_dark_slide_without_anything_is_empty() -> None:
    drift = np.random.default_rng(0).normal(8, 1, (EDGE, EDGE, 3)) + X[..., None] / EDGE
    mask, origin = segment(shown(drift), PIXEL)
    assert "dark background" in origin
    assert not mask.any()


def test_on_a_dark_background_tissue_is_what_shines() -> None:
    picture = np.random.default_rng(0).normal(3, 1, (EDGE, EDGE, 3))
    picture[TISSUE, 2] = 90
    mask, origin = segment(shown(picture), PIXEL)
    assert "dark background" in origin
    assert share(mask, TISSUE) > 0.98
    assert share(mask, (X - 120) ** 2 + (Y - 120) ** 2 > 100**2) == 0


def test_a_grey_picture_is_told_by_darkness() -> None:
    grey = np.repeat(stained().mean(axis=2).astype(np.uint8)[..., None], 3, axis=2)
    mask, origin = segment(grey, PIXEL)
    assert "grey" in origin
    assert (mask & TISSUE).sum() / (mask | TISSUE).sum() > 0.95


def test_holes_and_specks_are_judged_in_square_micrometres() -> None:
    hole, speck = (abs(X - 120) < 12) & (abs(Y - 120) < 12), (X < 20) & (Y < 20)
    picture = stained((TISSUE & ~hole) | speck)
    fine, _ = segment(picture, Spacing(2.0, 2.0))
    coarse, _ = segment(picture, Spacing(16.0, 16.0))
    assert share(fine, hole) == 1
    assert not fine[speck].any()
    assert share(coarse, hole) < 0.3
    assert share(coarse, speck) > 0.9


class Painted(Source):
    """A slide in memory, one level, with some blocks that cannot be decoded."""

    def __init__(self, pixels: Pixels, broken: int | None = None) -> None:
        size, chunk = Size(pixels.shape[1], pixels.shape[0]), Size(60, 60)
        levels = (Level(0, size, 1.0),)
        super().__init__(
            SourceFacts(
                "p.tif", "p", "test", "test", levels, None, None, None, (chunk,), (), "0" * 8
            )
        )
        self._pixels, self._broken = pixels, broken

    def _decode(self, level: int, box: LevelBox) -> Pixels:
        if self._broken is not None and box.x <= self._broken < box.right and box.y == 0:
            raise RegionReadError("p.tif", level, box, "bad tile")
        return self._pixels[box.y : box.bottom, box.x : box.right]

    def associated_image(self, name: str) -> Pixels:
        raise KeyError(name)

    def close(self) -> None:
        pass


def test_the_mask_covers_the_slide_at_the_resolution_asked_for() -> None:
    spec = ForegroundSpec(resolution_um=16.0, least_px=1)
    found = find_foreground(Painted(stained()[:, :200]), PIXEL, spec)
    assert found.mask.shape == (60, 50)
    assert found.size == Size(200, 240)
    assert found.coverage(np.array([[100, 100, 40, 40], [0, 0, 20, 20]])).round(2).tolist() == [
        1,
        0,
    ]


def test_what_cannot_be_decoded_counts_as_tissue_and_is_named() -> None:
    found = find_foreground(Painted(shown(glass()), broken=70), PIXEL)
    assert "unreadable" in found.origin
    assert np.argwhere(found.mask).min(axis=0).tolist() == [0, 60]
    assert np.argwhere(found.mask).max(axis=0).tolist() == [59, 119]


@pytest.mark.parametrize(
    "wrong",
    [{"floor": -1}, {"floor": 0.5}, {"resolution_um": 0}, {"least_px": 9999}, {"hole_um2": np.nan}],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"ForegroundSpec.*{next(iter(wrong))}"):
        ForegroundSpec(**wrong)  # type: ignore[arg-type]


@pytest.mark.shared_data
def test_ink_round_a_real_tumour_is_left_out_and_its_tissue_is_kept(shared_data: Path) -> None:
    with open_source(shared_data / "slides" / "tcga-xk-aaju_prostate_penmarks_nompp.tif") as slide:
        found = find_foreground(slide, Spacing(0.5, 0.5))
        pixels = slide.thumbnail(max(found.mask.shape)).astype(int)
    red, green, blue = np.moveaxis(pixels, 2, 0)
    teal = (green - red > 25) & (red < 200)
    pink = (red - green > 30) & (blue - green > 10) & (red > 150)
    assert teal.mean() > 0.03
    assert share(found.mask, teal) < 0.02
    assert share(found.mask, pink) > 0.95
    assert 0.35 < found.share < 0.5


def test_pale_tissue_counts_where_it_hangs_together_with_dark_tissue_and_nowhere_else() -> None:
    dark, joined, apart = (X > 40) & (X < 90), (X >= 90) & (X < 130), (X > 180) & (X < 220)
    rows = (Y > 60) & (Y < 180)
    picture = glass()
    picture[dark & rows] = (220, 140, 175)
    for pale in (joined, apart):
        picture[pale & rows] = (244, 221, 232)  # a chroma of 0.1, between the two thresholds
    mask, _origin = segment(shown(picture), PIXEL)
    well_inside = (Y > 70) & (Y < 170) & (X % 40 != 0)
    assert share(mask, dark & rows) > 0.95
    assert share(mask, joined & well_inside & (X < 122)) == 1
    assert share(mask, apart & rows) == 0


def test_what_is_paler_than_half_the_threshold_stays_glass_though_it_hangs_together() -> None:
    dark, joined = (X > 40) & (X < 90), (X >= 90) & (X < 160)
    rows = (Y > 60) & (Y < 180)
    picture = glass()
    picture[dark & rows] = (220, 140, 175)
    # log(244 / 229) is a chroma of 0.063: above the floor of 0.06, below half of 0.14.
    picture[joined & rows] = (244, 228, 236)
    mask, _origin = segment(shown(picture), PIXEL)
    assert share(mask, dark & rows) > 0.95
    assert share(mask, joined & rows & (X > 105) & (X < 155)) == 0


def test_gaps_are_closed_by_their_micrometres_along_either_axis() -> None:
    tissue = (abs(X - 120) > 4) & (abs(Y - 120) > 4) & (X > 20) & (X < 220) & (Y > 20) & (Y < 220)
    for pixel, closed in ((Spacing(2.0, 6.0), (120, 70)), (Spacing(6.0, 2.0), (70, 120))):
        mask, _origin = segment(stained(tissue), pixel, ForegroundSpec(hole_um2=1.0))
        row, column = closed[::-1]
        # Nine pixels are 18 or 54 µm, and gaps are closed up to twice 12 µm.
        assert mask[row, column]
        assert not mask[column, row]


def test_pictures_are_smoothed_by_as_many_micrometres_along_either_axis() -> None:
    point = np.zeros((81, 81, 3), np.uint8)
    point[40, 40] = 255
    smooth = _smoothed(point, Spacing(1.3, 3.1), 9.0)[..., 0].astype(np.float64)
    places = np.arange(81) - 40
    for axis, um in ((0, 1.3), (1, 3.1)):
        along = smooth.sum(axis=axis) / smooth.sum()
        assert um * np.sqrt((along * places**2).sum()) == pytest.approx(9.0, rel=0.05)


@pytest.mark.parametrize("pixel", [Spacing(2.0, 6.0), Spacing(6.0, 2.0)])
def test_specks_are_judged_in_square_micrometres_of_oblong_pixels(pixel: Spacing) -> None:
    # 3,000 µm² are 250 pixels of 12 µm².
    large = (abs(X - 60) <= 11) & (abs(Y - 120) <= 11)
    small = (abs(X - 180) <= 5) & (abs(Y - 120) <= 5)
    mask, _origin = segment(stained(large | small), pixel, ForegroundSpec(closing_um=1.0))
    assert share(mask, large) > 0.8
    assert share(mask, small) == 0


def test_the_thumbnails_pixels_are_as_long_as_the_slides_along_each_axis(
    array_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[int, ...], Spacing]] = []

    def noted(pixels: Pixels, pixel: Spacing, spec: ForegroundSpec) -> tuple[Places, str]:
        seen.append((pixels.shape, pixel))
        return segment(pixels, pixel, spec)

    monkeypatch.setattr(tissue, "segment", noted)
    source = array_source(np.full((331, 977, 3), 244, np.uint8))
    spec = ForegroundSpec(resolution_um=7.3, least_px=64)
    find_foreground(source, Spacing(0.71, 1.93), spec)
    ((rows, columns, _bands), pixel) = seen[0]
    assert (rows, columns) != (331, 977)
    assert pixel.x * columns == pytest.approx(0.71 * 977)
    assert pixel.y * rows == pytest.approx(1.93 * 331)


def test_every_mask_pixel_that_touches_what_cannot_be_decoded_counts_as_tissue(
    array_source: MakeSource,
) -> None:
    broken = LevelBox(310, 270, 40, 30)
    source = array_source(np.full((701, 977, 3), 244, np.uint8), chunk=50, broken=broken)
    spec = ForegroundSpec(resolution_um=3.1, least_px=64)
    found = find_foreground(source, Spacing(0.5, 0.5), spec)
    gaps = source.overview(max(found.mask.shape)).gaps
    rows, columns = found.mask.shape
    assert gaps
    assert (rows, columns) != (701, 977)
    for row, column in np.ndindex(rows, columns):
        touched = any(
            column * 977 < gap.right * columns
            and (column + 1) * 977 > gap.x * columns
            and row * 701 < gap.bottom * rows
            and (row + 1) * 701 > gap.y * rows
            for gap in gaps
        )
        assert found.mask[row, column] == touched


@pytest.mark.parametrize("pixel", [Spacing(2.0, 6.0), Spacing(6.0, 2.0)])
def test_strokes_are_judged_in_square_micrometres_of_oblong_pixels(pixel: Spacing) -> None:
    density = np.zeros((90, 90, 3), np.float32)
    density[10:50, 10:50] = (0.1, 0.5, 0.3)
    # 500 µm² of ink are 42 pixels of 12 µm².
    density[60:68, 60:70] = (1.0, 0.5, 0.4)
    density[75:79, 20:25] = (1.0, 0.5, 0.4)
    ink = find_ink(density, pixel, 0.14, 500.0)
    assert ink[60:68, 60:70].all()
    assert ink.sum() == 80


@pytest.mark.parametrize("pixel", [Spacing(2.0, 6.0), Spacing(6.0, 2.0), Spacing(1.7, 1.7)])
def test_inks_halo_is_as_wide_in_micrometres_along_either_axis(pixel: Spacing) -> None:
    ink = np.zeros((31, 31), np.bool_)
    ink[15, 15] = True
    rows, columns = np.mgrid[-15:16, -15:16]
    apart = np.hypot(rows * pixel.y, columns * pixel.x)
    np.testing.assert_array_equal(with_halo(ink, pixel), apart <= 8)
