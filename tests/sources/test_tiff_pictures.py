"""Which picture of a TIFF is the slide: pages, OME images, planes and channels.

Right is what tifffile's own decoder gives for the page that is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidecam.errors import RefusedSourceError, UnreadableSourceError, UsageError
from slidecam.geometry import LevelBox, Size, Spacing
from slidecam.sources import open_source
from slidecam.sources.overview import overview
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources import Source

Pixels = Any
Pages = list[tuple[Pixels, dict[str, Any]]]
WIDE, HIGH = 533, 389
RANDOM = np.random.default_rng(11)
TILED: dict[str, Any] = {"photometric": "rgb", "tile": (128, 128), "compression": "zlib"}
STRIPS: dict[str, Any] = {"photometric": "rgb", "rowsperstrip": 13}
LOOSE: dict[str, Any] = {"metadata": None}


def picture(width: int = WIDE, height: int = HIGH) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


def planes(count: int, width: int = 67, height: int = 43) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (count, height, width), np.uint8)


def opened(path: Path, reader: str | None = None, **chosen: Any) -> Source:
    return open_source(path, reader, VolumeView(slide=PictureView(**chosen)))


def whole(source: Source, level: int = 0) -> NDArray[np.uint8]:
    size = source.facts.levels[level].size
    return source.read(level, LevelBox(0, 0, size.width, size.height))


def write_pages(path: Path, pages: Pages) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for data, options in pages:
            tiff.write(data, **{**LOOSE, **TILED, **options})
    return path


def page(path: Path, index: int) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = tifffile.imread(path, key=index)
    return pixels


class TestPages:
    def test_a_thumbnail_on_the_first_page_is_not_the_slide(self, tmp_path: Path) -> None:
        thumbnail = (picture(67, 49), {"subfiletype": 1, "tile": None, "rowsperstrip": 49})
        path = write_pages(tmp_path / "a.tif", [thumbnail, (picture(), {})])
        with open_source(path) as source:
            assert source.facts.size == Size(WIDE, HIGH)
            np.testing.assert_array_equal(whole(source), page(path, 1))

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
    @pytest.mark.parametrize("metadata", [None, {}])
    @pytest.mark.parametrize("flag", [1, 0])
    def test_a_pyramid_is_one_in_whatever_order_its_pages_were_written(
        self, tmp_path: Path, order: tuple[int, ...], metadata: Any, flag: int
    ) -> None:
        shapes = [(533, 389), (266, 194), (133, 97), (66, 48)]
        full = Image.fromarray(picture())
        pages = []
        for index in order:
            options = {"subfiletype": flag * (index > 0), "metadata": metadata}
            pages.append((np.asarray(full.resize(shapes[index])), options))
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            facts = source.facts
            assert [level.size for level in facts.levels] == [Size(*shape) for shape in shapes]
            assert [level.downsample for level in facts.levels] == [1, 2, 4, 8]
            assert facts.images == ()
            assert len(facts.readings) == 1 - flag
            for level in range(4):
                np.testing.assert_array_equal(whole(source, level), page(path, order.index(level)))

    def test_unlike_pictures_are_several_of_which_the_largest_is_read_and_named(
        self, tmp_path: Path
    ) -> None:
        pages: Pages = [
            (picture(211, 99), {"description": "Block A"}),
            (picture(), {"description": "Block B"}),
            (picture(266, 194), {"subfiletype": 1}),
            (picture(601, 401), {"description": "macro photograph"}),
        ]
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            facts = source.facts
            assert [each.name for each in facts.images] == [
                "Block A",
                "Block B",
                "macro photograph",
            ]
            assert [each.chosen for each in facts.images] == [False, True, False]
            assert facts.offers == {"image"}
            assert facts.readings[0].startswith('Image 2 "Block B" of 3 is read, the largest that')
            assert [level.size.width for level in facts.levels] == [533, 266]
            assert facts.associated == ("macro",)
            np.testing.assert_array_equal(source.associated_image("macro"), page(path, 3))
            np.testing.assert_array_equal(whole(source), page(path, 1))
        for name in ("1", "Block A"):
            with opened(path, image=name) as source:
                np.testing.assert_array_equal(whole(source), page(path, 0))

    def test_each_of_two_scans_keeps_its_own_levels(self, tmp_path: Path) -> None:
        shapes = [(533, 389), (266, 194), (601, 411), (300, 205)]
        pages = [
            (picture(*shape), {"subfiletype": index % 2}) for index, shape in enumerate(shapes)
        ]
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            assert [level.size for level in source.facts.levels] == [Size(601, 411), Size(300, 205)]
            np.testing.assert_array_equal(whole(source, 1), page(path, 3))
        with opened(path, image="1") as source:
            np.testing.assert_array_equal(whole(source, 1), page(path, 1))

    def test_a_thumbnail_as_large_as_a_level_takes_not_its_place(self, tmp_path: Path) -> None:
        pages: Pages = [(picture(), {}), (picture(266, 194), {"subfiletype": 1})]
        pages.append((picture(266, 194), {"subfiletype": 1, "tile": None}))
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            assert len(source.facts.levels) == 2
            assert len(source.facts.images) == 2
            np.testing.assert_array_equal(whole(source, 1), page(path, 1))

    def test_what_all_pages_are_called_tells_none_from_another(self, tmp_path: Path) -> None:
        said = {"description": "Slide label 2301/B"}
        pages: Pages = [(picture(), said), (picture(266, 194), {"subfiletype": 1, **said})]
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            assert len(source.facts.levels) == 2
            assert (source.facts.images, source.facts.associated) == ((), ())

    def test_a_mask_is_no_picture(self, tmp_path: Path) -> None:
        mask = (np.ones((HIGH, WIDE), bool), {"subfiletype": 4, "photometric": "minisblack"})
        path = write_pages(tmp_path / "a.tif", [(picture(), {}), mask])
        with open_source(path) as source:
            assert source.facts.images == ()
            np.testing.assert_array_equal(whole(source), page(path, 0))

    def test_aperios_mark_of_a_macro_keeps_it_out_of_the_levels(self, tmp_path: Path) -> None:
        pages: Pages = [(picture(532, 388), {}), (picture(266, 194), {"subfiletype": 1})]
        pages.append((picture(133, 97), {"subfiletype": 9}))
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            assert len(source.facts.levels) == 2
            np.testing.assert_array_equal(source.associated_image("macro"), page(path, 2))

    def test_a_level_that_says_nothing_of_its_bits_has_those_of_the_finest(
        self, tmp_path: Path
    ) -> None:
        full = picture(532, 388).astype(np.uint16) * 16
        said: Any = {"extratags": [(281, 3, 3, (4095,) * 3, True)]}
        pages: Pages = [(full, said), (full[::2, ::2], {"subfiletype": 1})]
        with open_source(write_pages(tmp_path / "a.tif", pages)) as source:
            expected = np.rint(full[::2, ::2] * (255 / 4095))
            np.testing.assert_array_equal(whole(source, 1), expected)

    def test_subifds_are_levels(self, tmp_path: Path) -> None:
        pages = [(picture(), {"subifds": 1}), (picture(266, 194), {"subfiletype": 1})]
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            assert [level.size.width for level in source.facts.levels] == [533, 266]
            assert source.facts.readings == ()

    def test_levels_that_shrink_unlike_are_told(self, tmp_path: Path) -> None:
        pages = [(picture(2003, 1501), {}), (picture(500, 378), {"subfiletype": 1})]
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            assert len(source.facts.levels) == 2
            assert "do not shrink alike" in source.facts.readings[0]

    def test_spacing_is_that_of_the_page_that_is_read(self, tmp_path: Path) -> None:
        fine, coarse = (20_000.0, 20_000.0), (2_500.0, 2_500.0)
        small = {"subfiletype": 1, "resolution": coarse, "resolutionunit": "CENTIMETER"}
        large = {"resolution": fine, "resolutionunit": "CENTIMETER"}
        path = write_pages(tmp_path / "a.tif", [(picture(67, 49), small), (picture(), large)])
        with open_source(path) as source:
            assert source.facts.spacing == Spacing(0.5, 0.5)


def write_scans(path: Path) -> Path:
    """Write a macro and two scans, of which the second is larger, coarser and of 12 bits."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, shape, spacing, bits in (
            ("macro image", (701, 401), 8.0, 16),
            ("scan left", (261, 199), 0.25, 16),
            ("scan right", (WIDE, HIGH), 0.5, 12),
        ):
            metadata = {"axes": "YXS", "Name": name, "PhysicalSizeX": spacing}
            metadata |= {"PhysicalSizeY": spacing, "SignificantBits": bits}
            data = picture(*shape).astype(np.uint16) * (2**bits // 256)
            tiff.write(data, subifds=1, metadata=metadata, **TILED)
            tiff.write(data[::2, ::2], subfiletype=1, **TILED)
    return path


class TestOmeImages:
    def test_the_largest_that_is_no_macro_is_read_with_its_own_metadata(
        self, tmp_path: Path
    ) -> None:
        path = write_scans(tmp_path / "a.ome.tif")
        with open_source(path) as source:
            facts = source.facts
            assert [str(each) for each in facts.images] == [
                '1 "macro image" (701x401 px)',
                '2 "scan left" (261x199 px)',
                '3 "scan right" (533x389 px)',
            ]
            assert facts.readings[0].startswith('Image 3 "scan right" of 3 is read, the largest')
            assert "Samples of 12 bits were scaled to 8." in facts.readings
            assert facts.spacing == Spacing(0.5, 0.5)
            assert [level.size for level in facts.levels] == [Size(533, 389), Size(267, 195)]
            assert facts.associated == ("macro",)
            expected = np.rint(tifffile.imread(path, series=2) * (255 / 4095))
            np.testing.assert_array_equal(whole(source), expected)

    def test_another_is_read_by_number_or_name(self, tmp_path: Path) -> None:
        path = write_scans(tmp_path / "a.ome.tif")
        for name in ("2", "scan left"):
            with opened(path, image=name) as source:
                assert source.facts.spacing == Spacing(0.25, 0.25)
                expected = np.rint(tifffile.imread(path, series=1) / 257)
                np.testing.assert_array_equal(whole(source), expected)
        with pytest.raises(UsageError, match=r"no image '4'.*scan left"):
            opened(path, image="4")

    def test_one_picture_has_nothing_to_choose_or_to_say(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ome.tif"
        tifffile.imwrite(path, picture(), ome=True, **TILED)
        with opened(path, image="1") as source:
            assert (source.facts.images, source.facts.readings) == ((), ())
        with pytest.raises(UsageError, match="nothing to choose by --plane"):
            opened(path, plane=1)


class TestStacks:
    @pytest.mark.parametrize("layout", [TILED, STRIPS])
    @pytest.mark.parametrize("metadata", [None, {}])
    @pytest.mark.parametrize("reader", [None, "tiff"])
    def test_pages_of_one_size_are_planes_of_which_one_must_be_named(
        self, tmp_path: Path, layout: Any, metadata: Any, reader: str | None
    ) -> None:
        pages = [(picture(), {**layout, "tile": layout.get("tile"), "metadata": metadata})] * 3
        pages[1] = (picture(), pages[1][1])
        path = write_pages(tmp_path / "a.tif", pages)
        with pytest.raises(
            RefusedSourceError, match=r"stack of planes \(pages=3\).*--plane N \(1 to 3\)"
        ):
            open_source(path, reader)
        with opened(path, reader, plane=2) as source:
            assert source.facts.offers == {"plane"}
            (reading,) = source.facts.readings
            assert reading.startswith("Plane 2 of 3 is read, a page of the same size")
            assert reading.endswith("which the file does not say; --plane reads another.")
            np.testing.assert_array_equal(whole(source), page(path, 1))
        with pytest.raises(UsageError, match="no plane 4 in it"):
            opened(path, reader, plane=4)

    @pytest.mark.parametrize("metadata", [None, {}])
    @pytest.mark.parametrize("wanted", ["2", "Block 7"])
    def test_a_scan_among_pages_of_one_size_is_named_with_the_option_that_reads_it(
        self, tmp_path: Path, metadata: Any, wanted: str
    ) -> None:
        pages: Pages = []
        for name in ("Block 5", "Block 7"):
            pages.append((picture(), {"metadata": metadata, "description": name}))
        if metadata is not None and wanted == "Block 7":
            pytest.skip("tifffile's own metadata name no page")
        path = write_pages(tmp_path / "a.tif", pages)
        with pytest.raises(UsageError, match=r"2 pages of one size.*Pass --plane 2, which reads"):
            opened(path, image=wanted)
        with pytest.raises(RefusedSourceError, match="scans of their own, it does not say"):
            open_source(path)

    def test_another_picture_is_named_where_the_largest_is_refused(self, tmp_path: Path) -> None:
        fractions = RANDOM.random((601, 703)).astype(np.float32)
        grey: Any = {"photometric": "minisblack", "tile": None}
        path = write_pages(tmp_path / "a.tif", [(fractions, grey), (picture(), {})])
        with pytest.raises(
            RefusedSourceError, match=r"float32.*Or pass --image to read another.*2 \(533x389 px\)"
        ):
            open_source(path)
        with opened(path, image="2") as source:
            np.testing.assert_array_equal(whole(source), page(path, 1))
        stack = tmp_path / "b.tif"
        write_pages(stack, [(picture(601, 703), {}), (picture(601, 703), {}), (picture(), {})])
        with pytest.raises(RefusedSourceError, match=r"--plane N .*--image .*2 \(533x389 px\)"):
            open_source(stack)

    @pytest.mark.parametrize("axes", ["TZYX", "ZTYX", "TZCYX", "CZTYX"])
    @pytest.mark.parametrize("form", ["ome", "imagej", "shaped"])
    def test_planes_and_times_are_read_by_number(
        self, tmp_path: Path, axes: str, form: str
    ) -> None:
        lengths = {"T": 2, "Z": 3, "C": 3, "Y": 43, "X": 67}
        path = tmp_path / "a.tif"
        data = RANDOM.integers(0, 256, [lengths[axis] for axis in axes], np.uint8)
        options: dict[str, Any] = {"photometric": "minisblack", "metadata": {"axes": axes}}
        if form == "imagej":
            if axes not in {"TZYX", "TZCYX"}:
                pytest.skip("ImageJ has one order of axes")
            tifffile.imwrite(path, data, imagej=True, metadata={"axes": axes})
        else:
            tifffile.imwrite(path, data, ome=form == "ome", **options)
        with pytest.raises(
            RefusedSourceError, match=r"--plane N \(1 to 3\) and --time N \(1 to 2\)"
        ):
            open_source(path)
        with pytest.raises(RefusedSourceError, match="stack of planes"):
            opened(path, time=1)
        with opened(path, plane=3, time=2) as source:
            readings = source.facts.readings
            assert readings[0] == "Plane 3 of 3 is read; --plane reads another."
            assert readings[1] == "Time 2 of 2 is read; --time reads another."
            index: dict[str, Any] = {
                "T": 1,
                "Z": 2,
                "C": slice(None),
                "Y": slice(None),
                "X": slice(None),
            }
            expected = data[tuple(index[axis] for axis in axes)]
            if "C" in axes:
                np.testing.assert_array_equal(whole(source), expected.transpose(1, 2, 0))
            else:
                np.testing.assert_array_equal(whole(source)[:, :, 1], expected)

    def test_planes_behind_one_directory_are_read(self, tmp_path: Path) -> None:
        path, data = tmp_path / "a.tif", planes(5)
        metadata = {"axes": "ZYX"}
        tifffile.imwrite(path, data, photometric="minisblack", truncate=True, metadata=metadata)
        with opened(path, plane=4) as source:
            np.testing.assert_array_equal(whole(source)[:, :, 0], data[3])

    def test_a_stack_of_pyramids_is_read_by_plane_at_every_level(self, tmp_path: Path) -> None:
        pages: Pages = []
        for _ in range(2):
            pages += [(picture(), {}), (picture(266, 194), {"subfiletype": 1})]
        path = write_pages(tmp_path / "a.tif", pages)
        with pytest.raises(RefusedSourceError, match="stack of planes"):
            open_source(path)
        with opened(path, plane=2) as source:
            np.testing.assert_array_equal(whole(source), page(path, 2))
            np.testing.assert_array_equal(whole(source, 1), page(path, 3))

    def test_planes_in_other_files_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ome.tif"
        metadata = {"axes": "ZYX"}
        tifffile.imwrite(path, planes(2), ome=True, photometric="minisblack", metadata=metadata)
        xml = str(tifffile.tiffcomment(path))
        tifffile.tiffcomment(path, xml.replace('SizeZ="2"', 'SizeZ="3"').encode())
        with opened(path, plane=2) as source:
            assert source.facts.size == Size(67, 43)
        with pytest.raises(RefusedSourceError, match="planes of it are missing"):
            opened(path, plane=3)


def write_channels(path: Path, names: list[str], colors: list[int] | None = None) -> Any:
    """Write tiled channels on pages of their own, with a level below; return their pixels."""
    data = planes(len(names), 211, 133)
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": names}}
    if not any(names):
        del metadata["Channel"]
    if colors is not None:
        metadata["Channel"] = {"Color": colors}
    options: dict[str, Any] = {"photometric": "minisblack", "tile": (64, 64)}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(data, subifds=1, metadata=metadata, **options)
        tiff.write(data[:, ::2, ::2], subfiletype=1, **options)
    return data.transpose(1, 2, 0)


class TestChannels:
    def test_blue_green_red_are_sorted_by_their_names(self, tmp_path: Path) -> None:
        data = write_channels(tmp_path / "a.ome.tif", ["Blue", "Green", "Red"])
        with open_source(tmp_path / "a.ome.tif") as source:
            np.testing.assert_array_equal(whole(source), data[:, :, ::-1])
            np.testing.assert_array_equal(whole(source, 1), data[::2, ::2, ::-1])
            (reading,) = source.facts.readings
            assert reading.startswith("Channels 3, 2, 1 are taken as red, green and blue, by their")

    def test_colours_sort_channels_without_names(self, tmp_path: Path) -> None:
        colors = [16711935, -16776961, 65535]
        data = write_channels(tmp_path / "a.ome.tif", ["", "", ""], colors)
        with open_source(tmp_path / "a.ome.tif") as source:
            np.testing.assert_array_equal(whole(source), data[:, :, (1, 0, 2)])
            assert "by their colours" in source.facts.readings[0]

    def test_nameless_channels_are_taken_in_order_and_that_is_said(self, tmp_path: Path) -> None:
        data = write_channels(tmp_path / "a.ome.tif", ["", "", ""])
        with open_source(tmp_path / "a.ome.tif") as source:
            np.testing.assert_array_equal(whole(source), data)
            assert "by their order" in source.facts.readings[0]

    @pytest.mark.parametrize("reader", [None, "tiff", "openslide", "tiffslide"])
    @pytest.mark.parametrize(
        "names", [["DAPI", "FITC", "Cy5"], ["DAPI", "CD3", "CD8", "CD20", "AF"]]
    )
    def test_fluorescence_is_refused_by_its_names_whoever_reads_it(
        self, tmp_path: Path, names: list[str], reader: str | None
    ) -> None:
        path = tmp_path / "a.ome.tif"
        write_channels(path, names)
        with pytest.raises(RefusedSourceError, match=f'2 "{names[1]}".*--channels A,B,C'):
            open_source(path, reader)

    @pytest.mark.parametrize("depth", [1, 2])
    def test_a_stain_alone_is_grey_and_said(self, tmp_path: Path, depth: int) -> None:
        path, data = tmp_path / "a.ome.tif", planes(depth)
        metadata: dict[str, Any] = {"axes": "ZYX", "Channel": {"Name": ["Hoechst"]}}
        tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata=metadata)
        chosen: dict[str, Any] = {"plane": depth} if depth > 1 else {}
        with opened(path, **chosen) as source:
            assert source.facts.readings[-1] == (
                'Its only channel is called "Hoechst": it is read as grey.'
            )
            np.testing.assert_array_equal(whole(source)[:, :, 0], data[-1])

    def test_colours_that_contradict_the_names_are_said(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ome.tif"
        data = write_channels(path, ["Red", "Green", "Blue"])
        xml = str(tifffile.tiffcomment(path))
        assert xml.count('Name="Red"') == 1
        xml = xml.replace('Name="Red"', 'Name="Red" Color="65535"')
        tifffile.tiffcomment(path, xml.encode())
        with open_source(path) as source:
            assert "which their colours in the file contradict" in source.facts.readings[0]
            np.testing.assert_array_equal(whole(source), data)

    def test_channels_lie_where_ome_says_that_their_pages_are(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ome.tif"
        data = planes(3)
        metadata = {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}}
        tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata=metadata)
        xml = str(tifffile.tiffcomment(path))
        together = '<TiffData IFD="0" PlaneCount="3"/>'
        assert together in xml
        each = '<TiffData IFD="{}" FirstC="{}" FirstZ="0" FirstT="0" PlaneCount="1"/>'
        apart = "".join(each.format(*pair) for pair in ((1, 0), (2, 1), (0, 2)))
        tifffile.tiffcomment(path, xml.replace(together, apart).encode())
        with open_source(path) as source:
            np.testing.assert_array_equal(whole(source), data[[1, 2, 0]].transpose(1, 2, 0))

    def test_dyes_and_wavelengths_are_names_too(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ome.tif"
        write_channels(path, ["", "", ""])
        xml = str(tifffile.tiffcomment(path))
        for number, said in enumerate(('Fluor="Hoechst"', 'EmissionWavelength="525"')):
            channel = f'ID="Channel:0:{number}"'
            assert channel in xml
            xml = xml.replace(channel, f"{channel} {said}")
        tifffile.tiffcomment(path, xml.encode())
        with pytest.raises(RefusedSourceError, match=r'1 "Hoechst", 2 "emission 525 nm" and 3'):
            open_source(path)

    def test_wanted_channels_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ome.tif"
        data = write_channels(path, ["DAPI", "CD3", "CD8", "CD20", "AF"])
        with opened(path, channels=("CD20", "2", "dapi")) as source:
            np.testing.assert_array_equal(whole(source), data[:, :, (3, 1, 0)])
            assert source.facts.readings[0].startswith('Channels 4 "CD20", 2 "CD3" and 1 "DAPI" of')
        with opened(path, channels=("CD8",)) as source:
            for band in range(3):
                np.testing.assert_array_equal(whole(source)[:, :, band], data[:, :, 2])
        with pytest.raises(UsageError, match=r"no channel 'CD99'.*CD20"):
            opened(path, channels=("CD99",))

    @pytest.mark.parametrize("apart", ["contig", "separate"])
    def test_samples_of_one_page_are_channels_too(self, tmp_path: Path, apart: str) -> None:
        path, data = tmp_path / "a.tif", planes(5).transpose(1, 2, 0)
        options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": apart, **LOOSE}
        stored = data if apart == "contig" else data.transpose(2, 0, 1)
        tifffile.imwrite(path, stored, **options)
        with pytest.raises(RefusedSourceError, match="5 channels"):
            open_source(path)
        with opened(path, channels=("5", "1", "3")) as source:
            np.testing.assert_array_equal(whole(source), data[:, :, (4, 0, 2)])
        with opened(path, channels=("4",)) as source:
            np.testing.assert_array_equal(whole(source)[:, :, 2], data[:, :, 3])

    def test_imagejs_colour_tables_say_what_is_red(self, tmp_path: Path) -> None:
        path, data = tmp_path / "a.tif", planes(3)
        ramp, none = np.arange(256, dtype=np.uint8), np.zeros(256, np.uint8)
        tables = [
            np.stack(each) for each in ((none, none, ramp), (none, ramp, none), (ramp, none, none))
        ]
        metadata = {"axes": "CYX", "mode": "composite", "LUTs": tables}
        tifffile.imwrite(path, data, imagej=True, metadata=metadata)
        with open_source(path) as source:
            np.testing.assert_array_equal(whole(source), data[::-1].transpose(1, 2, 0))

    def test_rgb_leaves_no_channels_to_choose(self, tmp_path: Path) -> None:
        path = write_pages(tmp_path / "a.tif", [(picture(), {})])
        with pytest.raises(UsageError, match="nothing to choose by --channels"):
            opened(path, channels=("1",))


class TestOtherReaders:
    """OpenSlide and TIFFSlide look at the first page; what else a file holds they must not hide."""

    @pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
    def test_a_stack_is_refused_by_them_too(self, tmp_path: Path, reader: str) -> None:
        path = write_pages(tmp_path / "a.tif", [(picture(), {}), (picture(), {})])
        with pytest.raises(RefusedSourceError, match="stack of planes"):
            open_source(path, reader)

    @pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
    def test_another_picture_than_the_first_is_not_theirs(
        self, tmp_path: Path, reader: str
    ) -> None:
        path = write_pages(tmp_path / "a.tif", [(picture(211, 99), {}), (picture(), {})])
        with open_source(path) as source:
            assert source.facts.size == Size(WIDE, HIGH)
        with pytest.raises(UnreadableSourceError, match=r"first page alone.*reader tiff shows it"):
            open_source(path, reader)


class TestSparse:
    """Tiles that a file leaves out cost nothing, and are as white as ever."""

    @pytest.mark.parametrize("photometric", ["rgb", "miniswhite", "palette"])
    def test_the_overview_reads_what_is_there_alone(self, tmp_path: Path, photometric: str) -> None:
        edge, rows, columns = 256, 9, 13
        bands = 3 if photometric == "rgb" else 1
        shape = (edge, edge, 3)[: 2 + bands // 2]
        here = {(0, 0), (5, 6), (8, 12)}
        tiles: list[Any] = []
        for row in range(rows):
            for column in range(columns):
                written = RANDOM.integers(0, 256, shape, np.uint8)
                tiles.append(written if (row, column) in here else None)
        size = (rows * edge - 57, columns * edge - 101, bands)[: 2 + bands // 2]
        options: dict[str, Any] = {"photometric": photometric, "tile": (edge, edge), **LOOSE}
        if photometric == "palette":
            options["colormap"] = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, iter(tiles), shape=size, dtype=np.uint8, **options)
        with open_source(path) as source:
            touched: list[LevelBox] = []
            read = source.read

            def counting(level: int, box: LevelBox, **more: Any) -> Any:
                touched.append(box)
                return read(level, box, **more)

            source.read = counting  # type: ignore[method-assign,assignment]
            sparse = source.overview(307).pixels
            assert len(touched) == 3
            assert source.overview(307).pixels is sparse, "the last one is kept"
            source.is_absent = lambda *_: False  # type: ignore[method-assign]
            np.testing.assert_array_equal(sparse, overview(source, 307).pixels)
            assert len(touched) > 10

    def test_absent_tiles_are_only_glass_where_the_colours_keep_it(self, tmp_path: Path) -> None:
        path, box = tmp_path / "a.tif", LevelBox(16, 0, 16, 16)
        tiles = iter([np.zeros((16, 16), np.uint8), None])
        grey = np.tile(np.arange(256, dtype=np.uint16) * 200, (3, 1))
        options: dict[str, Any] = {"photometric": "palette", "tile": (16, 16), "colormap": grey}
        tifffile.imwrite(path, tiles, shape=(16, 32), dtype=np.uint8, **LOOSE, **options)
        with open_source(path) as source:
            assert (source.read(0, box) == 199).all()
            assert not source.is_absent(0, box)


def test_pages_that_are_named_or_measured_apart_are_no_levels_of_one_another(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    sizes = [("Scan A", 1600, 0.4), ("Scan A", 800, 0.8), ("Scan B", 1280, 0.5)]
    sizes += [("Scan B", 640, 1.0), ("Scan A", 400, 1.6), ("Scan B", 320, 2.0)]
    pages = {}
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        for name, edge, spacing in sizes:
            pages[name, edge] = rng.integers(0, 255, (edge, edge, 3), np.uint8)
            writer.write(
                pages[name, edge],
                photometric="rgb",
                tile=(64, 64),
                description=name,
                metadata=None,
                resolution=(10_000 / spacing, 10_000 / spacing),
                resolutionunit="CENTIMETER",
            )
    for name, edges in (("Scan A", (1600, 800, 400)), ("Scan B", (1280, 640, 320))):
        view = VolumeView(slide=PictureView(image=name))
        with open_source(tmp_path / "two.tif", view=view) as source:
            assert [level.size.width for level in source.facts.levels] == list(edges)
            for level in source.facts.levels:
                whole = LevelBox(0, 0, level.size.width, level.size.height)
                found = source.read(level.index, whole)
                np.testing.assert_array_equal(found, pages[name, level.size.width])


def test_pages_of_one_stated_spacing_are_two_pictures_whatever_their_sizes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "half.tif") as writer:
        for width, height in ((600, 400), (300, 200)):
            writer.write(
                np.full((height, width, 3), width // 3, np.uint8),
                photometric="rgb",
                metadata=None,
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
            )
    with open_source(tmp_path / "half.tif") as source:
        assert len(source.facts.levels) == 1
        assert [str(each.size.width) for each in source.facts.images] == ["600", "300"]


def tissue(seed: int, width: int = 1033, height: int = 771) -> NDArray[np.uint8]:
    """Return cells on clouds, and glass to the left."""
    random = np.random.default_rng(seed)
    grey = np.full((height, width), 170.0)
    for edge, strength in ((130, 25), (31, 22), (9, 18), (3, 9)):
        rows, columns = -(-height // edge) + 1, -(-width // edge) + 1
        noise = Image.fromarray(random.normal(0, strength, (rows, columns)).astype(np.float32))
        grey += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
    colours = np.dstack([grey * 1.05, grey * 0.82, grey * 0.97])
    colours[:, : width // 3] = (243, 241, 244)
    return colours.clip(0, 255).astype(np.uint8)


def resized(pixels: NDArray[np.uint8], factor: int, how: str) -> NDArray[np.uint8]:
    size = pixels.shape[1] // factor, pixels.shape[0] // factor
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling[how]))


def curved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels as another profile would have them."""
    return (255 * (pixels / 255.0) ** 1.8 * (1, 0.9, 0.8)).astype(np.uint8)


class TestUnmarkedPages:
    """Pages that no tag calls copies, and whose sizes shrink alike."""

    @pytest.mark.parametrize("first", [0, 1])
    @pytest.mark.parametrize("metadata", [None, {}])
    def test_two_scans_of_which_one_is_half_as_large_are_two_images(
        self, tmp_path: Path, first: int, metadata: Any
    ) -> None:
        scans = [tissue(5), tissue(6, 516, 385)]
        options = {"metadata": metadata}
        pages: Pages = [(scans[first], options), (scans[1 - first], options)]
        path = write_pages(tmp_path / "a.tif", pages)
        with open_source(path) as source:
            assert len(source.facts.levels) == 1
            assert [each.chosen for each in source.facts.images] == [not first, bool(first)]
            assert any("show different pictures" in said for said in source.facts.readings)
            np.testing.assert_array_equal(whole(source), scans[0])
        with opened(path, image=str(2 - first)) as source:
            np.testing.assert_array_equal(whole(source), scans[1])

    @pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 4, 0, 1, 2), (4, 2, 1, 3, 0)])
    def test_levels_of_two_scans_find_their_own_picture(
        self, tmp_path: Path, order: tuple[int, ...]
    ) -> None:
        large, small = tissue(7, 1600, 1200), tissue(8, 800, 600)
        pages = [large, resized(large, 2, "BOX"), resized(large, 4, "BOX")]
        pages += [small, resized(small, 2, "BOX")]
        written: Pages = [(pages[index], {}) for index in order]
        path = write_pages(tmp_path / "a.tif", written)
        with open_source(path) as source:
            assert [level.size.width for level in source.facts.levels] == [1600, 800, 400]
            for level in range(3):
                np.testing.assert_array_equal(whole(source, level), pages[level])
            other = next(each for each in source.facts.images if not each.chosen)
        with opened(path, image=str(other.number)) as source:
            assert [level.size.width for level in source.facts.levels] == [800, 400]
            np.testing.assert_array_equal(whole(source), small)
            np.testing.assert_array_equal(whole(source, 1), pages[4])

    @pytest.mark.parametrize("how", ["NEAREST", "BOX", "LANCZOS"])
    @pytest.mark.parametrize("kind", ["plain", "jpeg", "profile", "12 bit", "strips", "grey"])
    def test_a_copy_is_one_whatever_made_it(self, tmp_path: Path, how: str, kind: str) -> None:
        full = tissue(9)
        levels = [full, resized(full, 2, how), resized(full, 8, how)]
        options: dict[str, Any] = {}
        if kind == "jpeg":
            options = {"compression": "jpeg", "compressionargs": {"level": 35}}
        elif kind == "profile":
            levels[1:] = map(curved, levels[1:])
        elif kind == "12 bit":
            levels = [level.astype(np.uint16) * 16 for level in levels]  # type: ignore[misc]
        elif kind == "strips":
            options = {"tile": None, "rowsperstrip": 7}
        elif kind == "grey":
            levels = [level[:, :, 1] for level in levels]
            options = {"photometric": "minisblack"}
        path = write_pages(tmp_path / "a.tif", [(level, options) for level in levels])
        with open_source(path) as source:
            assert len(source.facts.levels) == 3
            assert source.facts.images == ()
            assert any("no pixels tell them apart" in said for said in source.facts.readings)

    def test_a_blank_slide_keeps_its_levels_and_another_colour_is_another(
        self, tmp_path: Path
    ) -> None:
        blank = np.full((HIGH, WIDE, 3), 241, np.uint8)
        noisy = (blank - RANDOM.integers(0, 5, blank.shape)).astype(np.uint8)
        path = write_pages(tmp_path / "a.tif", [(noisy, {}), (noisy[1::2, 1::2], {})])
        with open_source(path) as source:
            assert len(source.facts.levels) == 2
        path = write_pages(tmp_path / "b.tif", [(noisy, {}), (noisy[1::2, 1::2] // 2, {})])
        with open_source(path) as source:
            assert len(source.facts.levels) == 1

    def test_what_says_it_is_a_copy_is_one_whatever_it_shows(self, tmp_path: Path) -> None:
        pages: Pages = [(tissue(5), {}), (tissue(6, 516, 385), {"subfiletype": 1})]
        with open_source(write_pages(tmp_path / "a.tif", pages)) as source:
            assert [level.size.width for level in source.facts.levels] == [1033, 516]
            assert source.facts.readings == ()


@pytest.mark.parametrize("form", ["{}", "{} resolution #{}", "{} #{}", "{} (level {})"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 0, 3, 1)])
def test_levels_that_old_bio_formats_wrote_as_images_are_one_pyramid(
    tmp_path: Path, form: str, order: tuple[int, ...]
) -> None:
    full, other = tissue(11, 1024, 768), tissue(12, 512, 384)
    pixels = [full, resized(full, 2, "BOX"), resized(full, 4, "BOX"), other, picture(99, 201)]
    names = [form.format("Slide 7.svs", number) for number in (1, 2, 3)]
    names += [form.format("Slide 7.svs", 4), "label image"]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        for index in order:
            metadata = {"axes": "YXS", "Name": names[index]}
            tiff.write(pixels[index], photometric="rgb", tile=(128, 128), metadata=metadata)
    with open_source(tmp_path / "a.ome.tif") as source:
        facts = source.facts
        if form == "{}":
            assert (len(facts.levels), len(facts.images)) == (1, 5)
            return
        assert [level.size.width for level in facts.levels] == [1024, 512, 256]
        assert {each.name for each in facts.images} == {names[0], names[3], names[4]}
        assert any(said.startswith("3 of its images are taken as one") for said in facts.readings)
        for level in range(3):
            np.testing.assert_array_equal(whole(source, level), pixels[level])
    with opened(tmp_path / "a.ome.tif", image=names[3]) as source:
        np.testing.assert_array_equal(whole(source), other)


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{above}'
    '<Image ID="Image:0" Name="i"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8"'
    ' SizeX="{x}" SizeY="51" SizeC="3" SizeZ="{z}" SizeT="1">'
    '<Channel ID="Channel:0:0" SamplesPerPixel="3"/>'
    '<TiffData IFD="{ifd}" PlaneCount="{count}"/></Pixels></Image></OME>'
)
STEPS = (
    '<StructuredAnnotations><XMLAnnotation ID="Annotation:0"><Value><Modulo>'
    '<ModuloAlongZ Type="angle" Start="0" End="1" Step="1e-12"/>'
    "</Modulo></Value></XMLAnnotation></StructuredAnnotations>"
)


@pytest.mark.parametrize(
    "lie",
    [
        {"x": 99_999_999_999},
        {"z": 88_888_888_888},
        {"count": 77_777_777_777},
        {"ifd": 66_666_666_666},
        {"above": STEPS},
    ],
)
def test_numbers_in_ome_xml_that_no_file_holds_cost_nothing(
    tmp_path: Path, lie: dict[str, Any]
) -> None:
    said = OME.format(**{"x": 67, "z": 1, "ifd": 0, "count": 1, "above": "", **lie})
    path = tmp_path / "a.tif"
    pixels = np.full((51, 67, 3), 201, np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", description=said, metadata=None)
    with pytest.raises(RefusedSourceError, match="OME-XML"):
        open_source(path)
