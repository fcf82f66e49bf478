from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from slidecam.errors import RegionReadError, UnreadableSourceError, UsageError
from slidecam.geometry import Box, LevelBox, Spacing
from slidecam.pixels import over_background, premultiplied_over
from slidecam.sources import open_source
from slidecam.sources._openslide import _background, _bounds, _on_whole_pixel, _spacing
from slidecam.sources._openslide_handle import SlideHandle, read_rgb
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

BAD = (666, 0)


class PoisonedSlide:
    """Fails at one place, and from then on everywhere, as OpenSlide does."""

    level_dimensions = ((1000, 1000),)
    level_downsamples = (1.0,)
    color_profile = None

    def __init__(self) -> None:
        self.properties: dict[str, str] = {}
        self.associated_images: dict[str, Image.Image] = {}
        self.poisoned = False
        self.closed = False

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        assert not self.closed, "read from a closed slide"
        assert level == 0
        if location == BAD or self.poisoned:
            self.poisoned = True
            raise openslide.OpenSlideError("Bogus marker length")
        return Image.new("RGBA", size, (location[0] % 256, 0, 0, 255))

    def close(self) -> None:
        self.closed = True


class Opener:
    """Opens poisoned slides and remembers them."""

    def __init__(self) -> None:
        self.opened: list[PoisonedSlide] = []

    def __call__(self) -> PoisonedSlide:
        self.opened.append(PoisonedSlide())
        return self.opened[-1]


def red_at(handle: SlideHandle, x: int) -> int:
    picture = handle.read(lambda slide: slide.read_region((x, 0), 0, (1, 1)))
    return int(np.asarray(picture)[0, 0, 0])


def test_after_a_bad_region_a_good_one_reads_right() -> None:
    opener = Opener()
    handle = SlideHandle("x.svs", opener)
    assert red_at(handle, 7) == 7
    with pytest.raises(openslide.OpenSlideError, match="Bogus"):
        red_at(handle, BAD[0])
    assert red_at(handle, 9) == 9
    assert [slide.closed for slide in opener.opened] == [True, True, False]


def test_a_good_region_reads_though_another_thread_poisoned_the_handle() -> None:
    opener = Opener()
    handle = SlideHandle("x.svs", opener)
    opener.opened[0].poisoned = True
    assert red_at(handle, 5) == 5
    assert opener.opened[0].closed
    assert not opener.opened[1].closed


def test_a_slide_that_vanishes_after_a_bad_region_is_an_openslide_error() -> None:
    opener = Opener()
    handle = SlideHandle("x.svs", lambda: opener() if not opener.opened else missing())
    for _ in range(2):
        with pytest.raises(openslide.OpenSlideError):
            red_at(handle, BAD[0])
    with pytest.raises(openslide.OpenSlideError, match="gone"):
        red_at(handle, 1)


def missing() -> PoisonedSlide:
    raise openslide.OpenSlideError("gone")


def test_a_retired_handle_stays_open_for_the_thread_that_still_reads_with_it() -> None:
    opener = Opener()
    handle = SlideHandle("x.svs", opener)
    with handle.lease() as slide:
        with pytest.raises(openslide.OpenSlideError):
            red_at(handle, BAD[0])
        assert slide is opener.opened[0]
        assert not opener.opened[0].closed
    assert opener.opened[0].closed


def test_threads_that_read_good_and_bad_regions_disturb_each_other_nowhere() -> None:
    opener = Opener()
    handle = SlideHandle("x.svs", opener)
    wrong: list[object] = []

    def read_good(x: int) -> None:
        wrong.extend((x, got) for got in (red_at(handle, x) for _ in range(200)) if got != x)

    def read_bad() -> None:
        for _ in range(50):
            try:
                wrong.append(red_at(handle, BAD[0]))
            except openslide.OpenSlideError:
                continue

    threads = [threading.Thread(target=read_good, args=(x,)) for x in range(4)]
    threads += [threading.Thread(target=read_bad) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    handle.close()
    assert all(slide.closed for slide in opener.opened)


def test_closing_waits_for_the_last_reader() -> None:
    opener = Opener()
    handle = SlideHandle("x.svs", opener)
    with handle.lease():
        handle.close()
        assert not opener.opened[0].closed
    assert opener.opened[0].closed
    with pytest.raises(UsageError, match="closed"):
        red_at(handle, 1)


@pytest.mark.shared_data
def test_a_corrupt_slide_opens_and_its_region_is_named_in_the_error(shared_data: Path) -> None:
    with open_source(shared_data / "slides_broken" / "unreadable_corrupt_jpeg.svs") as slide:
        for _ in range(2):
            with pytest.raises(
                RegionReadError, match=r"level 0 at x=0, y=0, 16x16 px: \w+"
            ) as caught:
                slide.read(0, LevelBox(0, 0, 16, 16))
            assert caught.value.box == LevelBox(0, 0, 16, 16)
        with pytest.raises(UnreadableSourceError, match="The thumbnail image"):
            slide.associated_image("thumbnail")


@pytest.mark.shared_data
def test_a_real_slide_survives_a_region_that_cannot_be_read(shared_data: Path) -> None:
    with open_source(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        box = LevelBox(100, 200, 64, 64)
        before = slide.read(0, box)
        handle: Any = slide._handle  # type: ignore[attr-defined]
        with handle.lease() as poisoned, pytest.raises(openslide.OpenSlideError):
            poisoned.read_region((0, 0), 0, (-5, -5))
        np.testing.assert_array_equal(slide.read(0, box), before)


@pytest.mark.shared_data
def test_chunks_of_an_interpolated_level_are_opaque_at_their_seams(shared_data: Path) -> None:
    path = shared_data / "slides" / "cmu1-small_generic_pyramid_mpp0.499.tif"
    with open_source(path, "openslide") as ours, open_source(path, "tiff") as exact:
        assert ours.facts.levels[1].downsample == 2.0
        box = LevelBox(990, 990, 68, 68)
        difference = ours.read(1, box).astype(int) - exact.read(1, box)
        assert abs(difference.mean()) < 1.0
        assert np.abs(difference).max() < 60


@pytest.mark.shared_data
def test_a_slide_that_was_scanned_in_fluorescence_says_so(shared_data: Path) -> None:
    with open_source(shared_data / "slides" / "fluorescence_DAPI.ndpi") as slide:
        assert slide.facts.readings == (
            "It was scanned in fluorescence (DAPI 2 (387)): its colours are those of no stain.",
        )


def write_ndpi(path: Path, offsets: list[int]) -> None:
    """Write a Hamamatsu slide of a plane for each focal offset, the first of them all 40."""
    with tifffile.TiffWriter(path, byteorder="<") as tiff:
        for index, offset in enumerate(offsets):
            tiff.write(
                np.full((512, 640, 3), 40 + 40 * index, np.uint8),
                photometric="rgb",
                compression="jpeg",
                rowsperstrip=512,
                metadata=None,
                software=False,
                resolution=(43826, 43826),
                resolutionunit="CENTIMETER",
                extratags=[
                    (65420, "I", 1, 1, True),
                    (65421, "f", 1, 40.0, True),
                    (65424, "i", 1, offset, True),
                ],
            )


def test_of_a_hamamatsu_stack_the_plane_that_is_read_is_named(tmp_path: Path) -> None:
    write_ndpi(tmp_path / "stack.ndpi", [-3000, 0, 3000])
    write_ndpi(tmp_path / "one.ndpi", [0])
    with open_source(tmp_path / "stack.ndpi") as stack, open_source(tmp_path / "one.ndpi") as one:
        assert (stack.facts.reader, stack.facts.format) == ("openslide", "hamamatsu")
        assert np.abs(stack.read(0, LevelBox(3, 5, 7, 9)).astype(int) - 80).max() <= 2
        (reading,) = stack.facts.readings
        assert reading == (
            "Of its 3 focal planes the one in focus is read (offset 0); --plane reads another, by"
            " the reader tiff."
        )
        assert one.facts.readings == ()
    view = VolumeView(slide=PictureView(plane=3))
    with open_source(tmp_path / "stack.ndpi", view=view) as third:
        assert np.abs(third.read(0, LevelBox(3, 5, 7, 9)).astype(int) - 120).max() <= 2


@pytest.mark.shared_data
def test_label_and_macro_are_offered(shared_data: Path) -> None:
    with open_source(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        assert slide.facts.associated == ("label", "macro", "thumbnail")
        assert slide.associated_image("macro").shape == (431, 1280, 3)


@pytest.mark.parametrize("downsample", [2.0, 1.9812825520833335, 16.0023, 33.37])
def test_a_region_begins_where_a_pixel_of_its_level_does(downsample: float) -> None:
    for start in (0, 1024, 3072, 40961):
        before, corner = _on_whole_pixel(start, downsample)
        assert 0 <= before <= min(start, 512)
        assert abs(corner / downsample - (start - before)) < 1 / 256
        if downsample == 2.0:
            assert before == 0


def test_where_no_such_pixel_is_near_a_region_begins_where_it_was_wanted() -> None:
    assert _on_whole_pixel(1024, 4.000231) == (0, 4096)


def test_transparent_pixels_take_the_background() -> None:
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], np.uint8)
    expected = [[[255, 255, 255], [10, 20, 30], [127, 127, 127]]]
    assert over_background(pixels, (255, 255, 255)).tolist() == expected
    assert over_background(pixels, (9, 9, 9))[0, 0].tolist() == [9, 9, 9]


def test_the_background_is_the_slides_own_and_white_where_it_says_none() -> None:
    assert _background({"openslide.background-color": "C0FFEE"}) == (0xC0, 0xFF, 0xEE)
    assert _background({"openslide.background-color": "no colour"}) == (255, 255, 255)
    assert _background({}) == (255, 255, 255)


def test_bounds_are_read_where_the_scanner_wrote_them() -> None:
    sides = {"x": "10", "y": "20", "width": "300", "height": "400"}
    properties = {f"openslide.bounds-{side}": value for side, value in sides.items()}
    assert _bounds(properties) == Box(10, 20, 300, 400)
    assert _bounds({}) is None


@pytest.mark.parametrize(
    ("x", "spacing"), [("0.25", Spacing(0.25, 0.26)), ("0", None), ("nan", None), ("inf", None)]
)
def test_a_spacing_that_is_no_length_is_none(x: str, spacing: Spacing | None) -> None:
    assert _spacing({"openslide.mpp-x": x, "openslide.mpp-y": "0.26"}) == spacing


def test_openslide_asked_for_by_name_says_what_it_does_not_know(tmp_path: Path, write: Any) -> None:
    write.png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UnreadableSourceError, match="OpenSlide does not know"):
        open_source(tmp_path / "a.png", "openslide")
    with pytest.raises(UnreadableSourceError, match="no local file"):
        open_source(tmp_path, "openslide")


@pytest.mark.shared_data
def test_the_fast_way_reads_what_the_public_one_reads(shared_data: Path) -> None:
    with openslide.OpenSlide(str(shared_data / "slides" / "CMU-1-Small-Region.svs")) as slide:
        for corner in (
            (500, 700),
            (2100, 2900),
        ):  # the second reaches beyond the slide, where it is transparent
            public = np.asarray(slide.read_region(corner, 0, (300, 200)))
            fast = read_rgb(slide, corner, 0, (300, 200), (250, 240, 230))
            np.testing.assert_array_equal(fast, over_background(public, (250, 240, 230)))


def test_premultiplied_pixels_take_the_background() -> None:
    pixels = np.array([[[64, 0, 0, 128], [0, 0, 0, 0], [9, 8, 7, 255]]], np.uint8)
    assert premultiplied_over(pixels, (255, 100, 0)).tolist() == [
        [[191, 50, 0], [255, 100, 0], [9, 8, 7]]
    ]
