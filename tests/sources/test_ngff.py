"""Which picture of an OME-Zarr is read, in whose colours, and what is said of it."""

from __future__ import annotations

import json
import re
import typing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v04.hcs import HCS
from ome_zarr_models.v04.image import Image as Image04
from ome_zarr_models.v04.well import Well
from PIL import Image
from pydantic_zarr import v2

from slidecam.errors import (
    RefusedSourceError,
    UnknownFormatError,
    UnreadableSourceError,
    UsageError,
)
from slidecam.geometry import LevelBox, Size, Spacing
from slidecam.sources import open_source
from slidecam.sources._ngff import names_in_xml
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

for model in (HCS, Well, Image04):
    model.model_rebuild(force=True, _types_namespace={**vars(typing), **vars(v2)})

RANDOM = np.random.default_rng(13)
WIDTH, HEIGHT = 123, 77
WHOLE = LevelBox(0, 0, WIDTH, HEIGHT)
XML = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0" Name="macro image"/><Image ID="Image:1" Name="Scan_7"/>'
    '<Image ID="Image:2" Name="LABEL"/></OME>'
)


def noise(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return RANDOM.integers(0, 251, shape).astype(dtype)


def axes_of(names: str) -> list[dict[str, str]]:
    kinds = {"c": "channel", "t": "time"}
    found = []
    for name in names:
        axis = {"name": name, "type": kinds.get(name, "space")}
        if name in "zyx":
            axis["unit"] = "micrometer"
        found.append(axis)
    return found


def entry(axes: str, paths: dict[str, float], **more: Any) -> dict[str, Any]:
    """Return the metadata of an image whose levels have these µm per pixel."""
    datasets = []
    for path, pixel in paths.items():
        scale = [pixel if axis in "yx" else 1.0 for axis in axes]
        transform = {"type": "scale", "scale": scale}
        datasets.append({"path": path, "coordinateTransformations": [transform]})
    return {"version": "0.4", "axes": axes_of(axes), "datasets": datasets, **more}


def store(
    path: Path, arrays: dict[str, NDArray[Any]], zarr_format: Any = 2, **attributes: Any
) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    for name, data in arrays.items():
        chunks = tuple(min(64, length) for length in data.shape)
        array = group.create_array(name, shape=data.shape, chunks=chunks, dtype=data.dtype)
        array[...] = data
    group.attrs.update(attributes)
    return path


def single(path: Path, data: NDArray[Any], axes: str, **attributes: Any) -> Path:
    made = store(path, {"0": data}, multiscales=[entry(axes, {"0": 0.37})], **attributes)
    # The oracle of NGFF, which wants axes of space last; many writers of RGB do not.
    if axes.endswith("yx"):
        Image04.from_zarr(zarr.open_group(made, mode="r"))
    return made


def omero(*channels: tuple[str, str]) -> dict[str, Any]:
    window = {"start": 0.0, "end": 255.0, "min": 0.0, "max": 255.0}
    return {
        "channels": [
            {"label": label, "color": color, "active": True, "window": window}
            for label, color in channels
        ]
    }


def seen(**chosen: Any) -> VolumeView:
    return VolumeView(slide=PictureView(**chosen))


def pixels_of(path: Path, **chosen: Any) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    with open_source(path, view=seen(**chosen)) as source:
        size = source.facts.size
        pixels = source.read(0, LevelBox(0, 0, size.width, size.height))
        return pixels, source.facts.readings


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_the_axes_of_the_first_versions_are_always_t_c_z_y_x(tmp_path: Path, version: str) -> None:
    data = noise(1, 3, 1, HEIGHT, WIDTH)
    scale = {"version": version, "datasets": [{"path": "0"}, {"path": "1"}]}
    arrays = {"0": data, "1": data[..., ::2, ::2]}
    with open_source(store(tmp_path / "a.zarr", arrays, multiscales=[scale])) as source:
        assert source.facts.format == f"ome-zarr {version}"
        assert source.facts.spacing is None
        assert [level.downsample for level in source.facts.levels] == [1.0, 2.0]
        np.testing.assert_array_equal(source.read(0, WHOLE), data[0, :, 0].transpose(1, 2, 0))
        assert len(source.facts.readings) == 1
        assert "by their order" in source.facts.readings[0]


def test_later_ones_that_leave_their_axes_out_are_read_so_and_that_is_said(tmp_path: Path) -> None:
    scale = {"version": "0.4", "datasets": [{"path": "0"}]}
    data = noise(1, 1, 1, HEIGHT, WIDTH)
    pixels, readings = pixels_of(store(tmp_path / "a.zarr", {"0": data}, multiscales=[scale]))
    np.testing.assert_array_equal(pixels[:, :, 0], data[0, 0, 0])
    assert [each for each in readings if "name no axes" in each]


def test_axes_that_its_arrays_do_not_have_are_refused_in_words(tmp_path: Path) -> None:
    scale = {"version": "0.2", "datasets": [{"path": "0"}]}
    with pytest.raises(UnreadableSourceError, match=r"3 dimensions.*version 0\.2 has the axes t"):
        open_source(store(tmp_path / "a.zarr", {"0": noise(3, 9, 9)}, multiscales=[scale]))


def test_more_channels_than_any_picture_has_are_refused_before_each_costs_memory(
    tmp_path: Path,
) -> None:
    path = store(tmp_path / "a.zarr", {"0": noise(3, 9, 9)}, multiscales=[entry("cyx", {"0": 0.5})])
    (array,) = path.glob("0/.zarray")
    array.write_text(json.dumps({**json.loads(array.read_text()), "shape": [2**31, 9, 9]}))
    with pytest.raises(RefusedSourceError, match="2,147,483,648 channels"):
        open_source(path)


def test_scales_of_other_axes_than_there_are_are_refused_in_words(tmp_path: Path) -> None:
    scale = entry("yxc", {"0": 0.5})
    del scale["axes"]
    path = store(tmp_path / "a.zarr", {"0": noise(9, 9, 3)}, multiscales=[scale])
    with pytest.raises(UnreadableSourceError, match="3 scales for 5 axes"):
        open_source(path)


def test_a_version_whose_axes_are_not_known_is_named(tmp_path: Path) -> None:
    scale = {"datasets": [{"path": "0"}], "coordinateSystems": []}
    ome = {"version": "0.6", "multiscales": [scale]}
    with pytest.raises(RefusedSourceError, match=r"OME-Zarr 0\.6"):
        open_source(store(tmp_path / "a.zarr", {"0": noise(3, 9, 9)}, 3, ome=ome))


def test_levels_listed_coarsest_first_are_read_finest_first(tmp_path: Path) -> None:
    data = noise(HEIGHT, WIDTH, 3)
    arrays = {"small": data[::4, ::4], "middle": data[::2, ::2], "full": data}
    scale = entry("yxc", {"small": 1.48, "middle": 0.74, "full": 0.37})
    with open_source(store(tmp_path / "a.zarr", arrays, multiscales=[scale])) as source:
        facts = source.facts
        assert facts.size == Size(WIDTH, HEIGHT)
        assert facts.spacing == Spacing(0.37, 0.37)
        assert [level.downsample for level in facts.levels] == [1.0, 2.0, 4.0]
        np.testing.assert_array_equal(source.read(0, WHOLE), data)
        np.testing.assert_array_equal(
            source.read(2, LevelBox(3, 5, 20, 10)), data[20:60:4, 12:92:4]
        )
        assert [each for each in facts.readings if "not listed from the finest" in each]


def test_of_several_multiscales_the_largest_that_is_no_thumbnail_is_read(tmp_path: Path) -> None:
    overview, scan, other = noise(90, 140, 3), noise(HEIGHT, WIDTH, 3), noise(50, 60, 3)
    scales = [
        entry("yxc", {"o": 4.0}, name="Overview"),
        entry("yxc", {"b": 0.5}, name="scan B"),
        entry("yxc", {"a": 0.25}, name="scan A"),
    ]
    path = store(tmp_path / "a.zarr", {"o": overview, "b": other, "a": scan}, multiscales=scales)
    with open_source(path) as source:
        facts = source.facts
        np.testing.assert_array_equal(source.read(0, WHOLE), scan)
        np.testing.assert_array_equal(source.associated_image("macro"), overview)
    assert facts.spacing == Spacing(0.25, 0.25)
    assert facts.associated == ("macro",)
    assert [(each.number, each.name, each.chosen) for each in facts.images] == [
        (1, "Overview", 0),
        (2, "scan B", False),
        (3, "scan A", True),
    ]
    assert facts.readings[0].startswith('Image 3 "scan A" of 3 is read')
    pixels, _ = pixels_of(path, image="scan B")
    np.testing.assert_array_equal(pixels, other)


def collection(path: Path, zarr_format: int, pictures: list[NDArray[Any]]) -> Path:
    """Write what bioformats2raw does: an image to a group, called by its number."""
    layout: dict[str, Any] = {"bioformats2raw.layout": 3}
    if zarr_format == 3:
        layout = {"ome": {"version": "0.5", **layout}}
    store(path, {}, zarr_format, **layout)
    for number, picture in enumerate(pictures):
        scale = entry("yxc", {"0": 0.25 * (number + 1)}, name=str(number))
        attributes: dict[str, Any] = {"multiscales": [scale]}
        if zarr_format == 3:
            attributes = {"ome": {"version": "0.5", **attributes}}
        store(path / str(number), {"0": picture}, zarr_format, **attributes)
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_collection_is_read_at_its_slide_and_not_at_its_macro(
    tmp_path: Path, zarr_format: int
) -> None:
    macro, scan, label = noise(99, 151, 3), noise(HEIGHT, WIDTH, 3), noise(30, 40, 3)
    path = collection(tmp_path / "a.zarr", zarr_format, [macro, scan, label])
    series: dict[str, Any] = {"series": ["0", "1", "2"]}
    if zarr_format == 3:
        series = {"ome": series}
    store(path / "OME", {}, zarr_format, **series)
    (path / "OME" / "METADATA.ome.xml").write_text(XML, encoding="utf-8")
    with open_source(path) as source:
        facts = source.facts
        np.testing.assert_array_equal(source.read(0, WHOLE), scan)
        np.testing.assert_array_equal(source.associated_image("label"), label)
        np.testing.assert_array_equal(source.associated_image("macro"), macro)
        with pytest.raises(KeyError):
            source.associated_image("thumbnail")
    assert facts.spacing == Spacing(0.5, 0.5)
    assert facts.associated == ("label", "macro")
    assert [each.name for each in facts.images] == ["macro image", "Scan_7", "LABEL"]
    assert '"Scan_7" of 3 is read, the largest that is no label' in facts.readings[0]
    pixels, readings = pixels_of(path, image="1")
    np.testing.assert_array_equal(pixels, macro)
    assert "as was asked for" in readings[0]


def test_numbers_in_a_collection_without_names_count_from_1(tmp_path: Path) -> None:
    first, second = noise(50, 60, 3), noise(70, 80, 3)
    path = collection(tmp_path / "a.zarr", 2, [first, second])
    (path / "OME").mkdir()
    (path / "OME" / "METADATA.ome.xml").write_text("<OME", encoding="utf-8")
    np.testing.assert_array_equal(pixels_of(path)[0], second)
    np.testing.assert_array_equal(pixels_of(path, image="1")[0], first)
    with pytest.raises(UsageError, match=r"no image '0' in it.*1 \(60x50 px\); 2 \(80x70 px\)"):
        open_source(path, view=seen(image="0"))


def test_other_pictures_are_named_where_the_largest_is_refused(tmp_path: Path) -> None:
    first, five = noise(50, 60, 3), noise(70, 80, 5)
    path = collection(tmp_path / "a.zarr", 2, [first, five])
    with pytest.raises(RefusedSourceError, match=r"5 channels.*Or pass --image .*1 \(60x50 px\)"):
        open_source(path)
    np.testing.assert_array_equal(pixels_of(path, image="1")[0], first)


def test_xml_that_cannot_be_read_names_nothing() -> None:
    assert names_in_xml(XML.encode()) == ["macro image", "Scan_7", "LABEL"]
    for broken in (b"", b"<OME", b'<?xml version="1.0" encoding="nonsense"?><OME/>', b"\xff\xfe<"):
        assert names_in_xml(broken) == []


@pytest.fixture
def plate(tmp_path: Path) -> tuple[Path, dict[str, NDArray[Any]]]:
    """Return a plate of four wells, and the pictures of its fields."""
    path = tmp_path / "plate.zarr"
    wells = [
        {"path": f"{row}/{column}", "rowIndex": "AB".index(row), "columnIndex": column - 1}
        for row in "AB"
        for column in (1, 2)
    ]
    attributes = {
        "version": "0.4",
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": wells,
    }
    store(path, {}, plate=attributes)
    pictures = {}
    for row in "AB":
        store(path / row, {})
    for well in wells:
        fields = 1 if well["path"] == "B/2" else 2
        images = [{"path": str(number)} for number in range(fields)]
        store(path / str(well["path"]), {}, well={"version": "0.4", "images": images})
        for number in range(fields):
            picture = noise(31, 43, 3)
            pictures[f"{well['path']}/{number}"] = picture
            stored = picture.transpose(2, 0, 1)
            single(path / str(well["path"]) / str(number), stored, "cyx")
    HCS.from_zarr(zarr.open_group(path, mode="r"))
    return path, pictures


def test_a_plate_is_refused_with_its_wells_and_read_at_a_field(
    plate: tuple[Path, dict[str, NDArray[Any]]],
) -> None:
    path, pictures = plate
    with pytest.raises(
        RefusedSourceError, match=r"plate of 4.*--image A/1/0; .*A/1, A/2, B/1 and 1"
    ):
        open_source(path)
    for name, picture in pictures.items():
        pixels, readings = pixels_of(path, image=name)
        np.testing.assert_array_equal(pixels, picture)
        assert f"Field {name} of a plate, which was asked for, is read" in readings[0]
    np.testing.assert_array_equal(pixels_of(path, image="B/2")[0], pictures["B/2/0"])
    np.testing.assert_array_equal(pixels_of(path / "B" / "2")[0], pictures["B/2/0"])
    np.testing.assert_array_equal(pixels_of(path / "A" / "1", image="1")[0], pictures["A/1/1"])
    np.testing.assert_array_equal(pixels_of(path / "A" / "1" / "1")[0], pictures["A/1/1"])


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("C/1/0", "no image 'C/1/0' in this plate.*wells A/1, A/2, B/1 and 1 more"),
        ("A/1/7", "no image 'A/1/7' in it.*A/1/0, A/1/1"),
        ("A/10", "no image 'A/10'"),
        ("../A/1/0", "no image"),
        ("A/1/../1/0", "no image"),
        ("2", "no image '2'"),
    ],
)
def test_a_field_that_is_not_there_is_refused_with_those_that_are(
    plate: tuple[Path, dict[str, NDArray[Any]]], image: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        open_source(plate[0], view=seen(image=image))


def test_a_well_of_several_fields_is_refused_with_their_names(
    plate: tuple[Path, dict[str, NDArray[Any]]],
) -> None:
    for path, image in ((plate[0], "A/2"), (plate[0] / "A" / "2", None)):
        with pytest.raises(RefusedSourceError, match="2 fields"):
            open_source(path, view=seen(image=image))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_folder_above_or_below_the_image_says_what_to_pass(
    tmp_path: Path, zarr_format: int
) -> None:
    store(tmp_path / "project.zarr", {}, zarr_format)
    attributes: dict[str, Any] = {"multiscales": [entry("yxc", {"full": 0.5})]}
    if zarr_format == 3:
        attributes = {"ome": {"version": "0.5", **attributes}}
    image = tmp_path / "project.zarr" / "images" / "slide"
    store(image.parent, {}, zarr_format)
    store(image, {"full": noise(9, 9, 3)}, zarr_format, **attributes)
    for wrong in (tmp_path / "project.zarr", image.parent, image / "full"):
        with pytest.raises(RefusedSourceError) as refused:
            open_source(wrong)
        assert str(refused.value).endswith(f": {image}")
    assert open_source(image).let_go() == ""


def test_a_folder_of_zarrs_says_what_to_pass(tmp_path: Path) -> None:
    first = single(tmp_path / "b.zarr", noise(9, 9), "yx")
    with pytest.raises(UnknownFormatError, match=f"in it: {re.escape(str(first))}$"):
        open_source(tmp_path)
    other = single(tmp_path / "a.zarr", noise(9, 9), "yx")
    with pytest.raises(UnknownFormatError, match=f"one of the 2 .*{re.escape(str(other))}$"):
        open_source(tmp_path)


def test_what_zarr_remarks_on_old_metadata_is_kept_from_people(tmp_path: Path) -> None:
    path = single(tmp_path / "a.zarr", noise(9, 9), "yx")
    described = json.loads((path / "0" / ".zarray").read_text())
    described["filters"] = []  # as bioformats2raw wrote
    (path / "0" / ".zarray").write_text(json.dumps(described))
    assert pixels_of(path)[0].shape == (9, 9, 3)


def test_labels_are_no_slide_and_do_not_hide_their_image(tmp_path: Path) -> None:
    data = noise(9, 9)
    image = single(tmp_path / "a.zarr", data, "yx")
    labels = store(image / "labels", {}, labels=["cells"])
    cells = single(labels / "cells", noise(9, 9), "yx", **{"image-label": {"version": "0.4"}})
    np.testing.assert_array_equal(pixels_of(image)[0][:, :, 0], data)
    for path in (labels, cells):
        with pytest.raises(RefusedSourceError, match="are labels of an image"):
            open_source(path)


COLOURED = [("", "FF0000"), ("", "00FF00"), ("", "0000FF")]
ORDERS = [
    ([("Red", "FFFFFF"), ("Green", "FFFFFF"), ("Blue", "FFFFFF")], (0, 1, 2), 0),
    ([("blue", "FFFFFF"), ("green", "FFFFFF"), ("red", "FFFFFF")], (2, 1, 0), 1),
    ([COLOURED[1], COLOURED[2], COLOURED[0]], (2, 0, 1), 1),
]


@pytest.mark.parametrize(("channels", "order", "told"), ORDERS)
@pytest.mark.parametrize("axes", ["yxc", "cyx"])
def test_channels_are_sorted_by_what_omero_says_of_them(
    tmp_path: Path, axes: str, channels: Any, order: tuple[int, ...], told: int
) -> None:
    data = noise(HEIGHT, WIDTH, 3)
    stored = data if axes == "yxc" else data.transpose(2, 0, 1)
    path = single(tmp_path / "a.zarr", stored, axes, omero=omero(*channels))
    pixels, readings = pixels_of(path)
    np.testing.assert_array_equal(pixels, data[:, :, order])
    assert len(readings) == told


def test_alpha_that_a_writer_left_empty_hides_no_picture(tmp_path: Path) -> None:
    names = omero(("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"), ("alpha", "FFFFFF"))
    data = noise(HEIGHT, WIDTH, 4)
    data[:, :, 3] = 0
    pixels, readings = pixels_of(single(tmp_path / "a.zarr", data, "yxc", omero=names))
    np.testing.assert_array_equal(pixels, data[:, :, :3])
    assert readings[0].startswith("Channel 4, its transparency, is 0 everywhere and left out")


@pytest.mark.parametrize("dtypes", [(np.uint8, np.uint16), (np.uint16, np.uint8)])
def test_a_level_of_another_type_is_left_out_and_said(tmp_path: Path, dtypes: Any) -> None:
    data = noise(HEIGHT, WIDTH, 3)
    arrays = {"0": data.astype(dtypes[0]), "1": data[::2, ::2].astype(dtypes[1])}
    path = store(tmp_path / "a.zarr", arrays, multiscales=[entry("yxc", {"0": 0.5, "1": 1.0})])
    with open_source(path) as source:
        assert len(source.facts.levels) == 1
        assert any("samples of another type" in said for said in source.facts.readings)


def test_what_omero_wants_of_a_screen_is_said_and_not_done(tmp_path: Path) -> None:
    colours = omero(("R", "FF0000"), ("G", "00FF00"), ("B", "0000FF"))
    for channel in colours["channels"][:2]:
        channel["inverted"] = True
    data = noise(HEIGHT, WIDTH, 3).astype(np.uint16) * 7
    path = single(tmp_path / "a.zarr", data.transpose(2, 0, 1), "cyx", omero=colours)
    pixels, readings = pixels_of(path)
    np.testing.assert_array_equal(pixels, np.rint(data / 257.0))
    assert readings[0].startswith('The file wants channels 1 "R" and 2 "G" shown inverted')
    assert readings[1].startswith("The file shows values up to 255 of 65535 as the brightest")


def test_a_stain_alone_is_grey_and_said(tmp_path: Path) -> None:
    data = noise(1, HEIGHT, WIDTH)
    path = single(tmp_path / "a.zarr", data, "cyx", omero=omero(("DAPI", "0000FF")))
    pixels, readings = pixels_of(path)
    np.testing.assert_array_equal(pixels, np.dstack([data[0]] * 3))
    (reading,) = readings
    assert reading.startswith('Its only channel is called "DAPI" and is shown as #0000ff by the')


def test_three_channels_of_fluorescence_are_shown_only_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    stains = omero(("DAPI", "0000FF"), ("FITC", "00FF00"), ("Cy5", "FF0000"))
    data = noise(3, HEIGHT, WIDTH)
    path = single(tmp_path / "a.zarr", data, "cyx", omero=stains)
    with pytest.raises(RefusedSourceError, match="DAPI"):
        open_source(path)
    pixels, readings = pixels_of(path, channels=("Cy5", "2", "DAPI"))
    np.testing.assert_array_equal(pixels, data[[2, 1, 0]].transpose(1, 2, 0))
    assert "as was asked for" in readings[0]


def test_channels_of_many_are_read_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    data = noise(7, HEIGHT, WIDTH, dtype=np.uint16) * np.uint16(251)
    path = single(tmp_path / "a.zarr", data, "cyx")
    with pytest.raises(RefusedSourceError, match="7 channels"):
        open_source(path)
    pixels, _ = pixels_of(path, channels=("6", "1", "3"))
    expected = np.rint(data[[5, 0, 2]].transpose(1, 2, 0) / 257.0)
    np.testing.assert_array_equal(pixels, expected)
    grey, _ = pixels_of(path, channels=("4",))
    np.testing.assert_array_equal(grey, np.dstack([np.rint(data[3] / 257.0)] * 3))


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    names = omero(("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"), ("alpha", "FFFFFF"))
    data = noise(HEIGHT, WIDTH, 4)
    data[:20, :, 3], data[20:40, :, 3] = 0, 255
    path = single(tmp_path / "a.zarr", data.transpose(2, 0, 1), "cyx", omero=names)
    pixels, readings = pixels_of(path)
    white = Image.new("RGBA", (WIDTH, HEIGHT), "white")
    expected = Image.alpha_composite(white, Image.fromarray(data)).convert("RGB")
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= 1
    assert (pixels[:20] == 255).all()
    assert readings == ()


def test_four_channels_without_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedSourceError, match="4 channels"):
        open_source(single(tmp_path / "a.zarr", noise(9, 9, 4), "yxc"))


def test_a_stack_is_read_at_the_plane_and_time_that_are_asked_for(tmp_path: Path) -> None:
    data = noise(2, 3, 5, HEIGHT, WIDTH)
    path = single(tmp_path / "a.zarr", data, "tczyx")
    with pytest.raises(RefusedSourceError, match=r"t=2, z=5.*--plane 1 to 5 and --time 1 to 2"):
        open_source(path)
    with pytest.raises(RefusedSourceError, match=r"\(t=2\)"):
        open_source(path, view=seen(plane=2))
    pixels, readings = pixels_of(path, plane=4, time=2)
    np.testing.assert_array_equal(pixels, data[1, :, 3].transpose(1, 2, 0))
    assert readings[:2] == (
        "Plane 4 of 5 is read, as was asked for; --plane reads another.",
        "Point in time 2 of 2 is read, as was asked for; --time reads another.",
    )
    with pytest.raises(UsageError, match="no plane 6"):
        open_source(path, view=seen(plane=6, time=1))
    grey, _ = pixels_of(path, plane=1, time=1, channels=("2",))
    np.testing.assert_array_equal(grey[:, :, 0], data[0, 1, 0])


def test_different_planes_are_different_pictures(tmp_path: Path) -> None:
    path = single(tmp_path / "a.zarr", noise(3, HEIGHT, WIDTH), "zyx")
    with open_source(path, view=seen(plane=1)) as one, open_source(path, view=seen(plane=2)) as two:
        assert one.facts.fingerprint != two.facts.fingerprint


def test_levels_with_fewer_planes_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    data = noise(4, HEIGHT, WIDTH)
    arrays = {"0": data, "1": data[::2, ::2, ::2]}
    scale = entry("zyx", {"0": 0.5, "1": 1.0})
    path = store(tmp_path / "a.zarr", arrays, multiscales=[scale])
    with open_source(path, view=seen(plane=3)) as source:
        assert len(source.facts.levels) == 1
        assert [each for each in source.facts.readings if each.startswith("Left out of its 2")]


def test_samples_in_either_byte_order_are_read(tmp_path: Path) -> None:
    data = noise(HEIGHT, WIDTH, dtype=np.uint16) * 257
    for order in "<>":
        path = single(tmp_path / f"{order}.zarr", data.astype(f"{order}u2"), "yx")
        np.testing.assert_array_equal(pixels_of(path)[0][:, :, 0], data // 257)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_values_without_a_known_range_are_refused_by_their_type(tmp_path: Path, dtype: Any) -> None:
    path = single(tmp_path / "a.zarr", noise(9, 9, dtype=dtype), "yx")
    with pytest.raises(RefusedSourceError, match=np.dtype(dtype).name):
        open_source(path)


def test_a_level_that_is_padded_to_whole_chunks_has_its_own_downsample(tmp_path: Path) -> None:
    data = noise(500, 1000)
    padded = np.zeros((256, 512), np.uint8)
    padded[:250, :500] = data[::2, ::2]
    twice = np.zeros((128, 256), np.uint8)
    twice[:125, :250] = data[::4, ::4]
    scale = entry("yx", {"0": 0.25, "1": 0.5, "2": 1.0})
    path = store(tmp_path / "a.zarr", {"0": data, "1": padded, "2": twice}, multiscales=[scale])
    with open_source(path) as source:
        levels = source.facts.levels
        assert [level.downsample for level in levels] == [1.0, 2.0, 4.0]
        assert [level.size for level in levels[1:]] == [Size(500, 250), Size(250, 125)]
        box = LevelBox(240, 120, 10, 5)
        np.testing.assert_array_equal(source.read(2, box)[:, :, 0], data[480:500:4, 960:1000:4])
        assert [each for each in source.facts.readings if "padded" in each]


def test_a_scale_that_no_size_bears_out_is_not_believed(tmp_path: Path) -> None:
    data = noise(500, 1000)
    scale = entry("yx", {"0": 0.25, "1": 0.25})
    arrays = {"0": data, "1": data[::2, ::2]}
    with open_source(store(tmp_path / "a.zarr", arrays, multiscales=[scale])) as source:
        assert [level.downsample for level in source.facts.levels] == [1.0, 2.0]
        (said,) = source.facts.readings
        assert said.startswith("The scales in its metadata do not fit")


def test_one_image_leaves_nothing_to_choose(tmp_path: Path) -> None:
    path = single(tmp_path / "a.zarr", noise(9, 9), "yx")
    for chosen in ({"image": "2"}, {"plane": 1}, {"channels": ("1",)}):
        with pytest.raises(UsageError, match="nothing to choose"):
            open_source(path, view=seen(**chosen))
    assert open_source(path, view=seen(image="1")).let_go() == ""
