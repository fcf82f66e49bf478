"""`heatmap.ome.zarr` is read by others, and lies on its slide to the pixel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from ngff import multiscale_of, places_of
from slidecam.errors import StoreError, UsageError
from slidecam.exchange import ome_zarr
from slidecam.exchange.ome_zarr import (
    RasterSpec,
    read_heatmap_ome_zarr,
    write_heatmap_ome_zarr,
)
from slidecam.geometry import Size, Spacing
from slidecam.pixels import halved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

NAN = float("nan")
SPEC = RasterSpec(
    name="CMU-1",
    class_names=("Tumor", "Stroma"),
    class_colors=((200, 0, 0), (150, 200, 150)),
    size=Size(700, 301),
    pitch=8,
    spacing=Spacing(0.5, 0.25),
    origin=(16.0, 32.0),
    attributes={"scale_low": 0.0, "scale_high": 3.5, "method": "gradcam++"},
)


def raster(spec: RasterSpec = SPEC) -> NDArray[np.float32]:
    shape = (len(spec.class_names), spec.size.height, spec.size.width)
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    values[:, 100:150, 40:90] = NAN
    values[:, 290:, :] = NAN
    return values


def bands(values: NDArray[np.float32], rows: int = 128) -> Iterator[NDArray[np.float32]]:
    return (values[:, start : start + rows] for start in range(0, values.shape[1], rows))


def as_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_what_was_painted_comes_back(ngff: ome_zarr.Ngff, tmp_path: Path) -> None:
    spec, values = replace(SPEC, ngff=ngff), raster()
    write_heatmap_ome_zarr(tmp_path / "heatmap.ome.zarr", bands(values), spec)
    heatmap = read_heatmap_ome_zarr(tmp_path / "heatmap.ome.zarr")
    assert heatmap.spec == spec
    assert [level.shape for level in heatmap.levels] == [(2, 301, 700), (2, 151, 350), (2, 76, 175)]
    np.testing.assert_array_equal(np.asarray(heatmap.levels[0][:]), values)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
@pytest.mark.parametrize("spacing", [Spacing(0.5, 0.25), None])
def test_ngffs_own_models_read_the_same_image_at_the_same_place(
    ngff: ome_zarr.Ngff, spacing: Spacing | None, tmp_path: Path
) -> None:
    spec = replace(SPEC, ngff=ngff, spacing=spacing, pitch=7, signed=True)
    write_heatmap_ome_zarr(tmp_path / "h.ome.zarr", bands(raster()), spec)
    found = multiscale_of(tmp_path / "h.ome.zarr")
    unit = "micrometer" if spacing else None
    axes = [(axis.name, axis.type, axis.unit) for axis in found.axes]
    assert axes == [("c", "channel", None), ("y", "space", unit), ("x", "space", unit)]
    y, x = (spacing.y, spacing.x) if spacing else (1.0, 1.0)
    for level, (scale, moved) in enumerate(places_of(found)):
        pitch = 7 * 2**level
        assert scale == pytest.approx([1, pitch * y, pitch * x])
        # The mean of the centres of the slide's pixels that the first one covers.
        middle = sum(range(pitch)) / pitch
        assert moved == pytest.approx([0, (32 + middle) * y, (16 + middle) * x])


def test_each_level_is_the_mean_of_the_finer_one_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ome_zarr, "CHUNK", 64)
    values = raster()
    write_heatmap_ome_zarr(tmp_path / "h", bands(values), SPEC)
    levels = read_heatmap_ome_zarr(tmp_path / "h").levels
    for channel in range(2):
        expected = halved(values[channel])
        np.testing.assert_array_equal(np.asarray(levels[1][channel]), expected)
        np.testing.assert_array_equal(np.asarray(levels[2][channel]), halved(expected))


def test_a_small_level_is_one_file_for_all_of_its_classes(tmp_path: Path) -> None:
    values = raster()
    write_heatmap_ome_zarr(tmp_path / "h", bands(values), SPEC)
    levels = read_heatmap_ome_zarr(tmp_path / "h").levels
    assert [level.chunks for level in levels] == [(1, 512, 512), (2, 151, 350), (2, 76, 175)]
    assert (tmp_path / "h" / "1" / "0" / "0" / "0").is_file()
    assert len(list((tmp_path / "h" / "1" / "0").rglob("*"))) == 2
    for channel in range(2):
        np.testing.assert_array_equal(np.asarray(levels[1][channel]), halved(values[channel]))


def test_a_mean_leaves_out_what_is_not_a_number() -> None:
    block = np.array([[1, 3, NAN, NAN, 5], [5, NAN, NAN, NAN, 7], [0, 2, 4, NAN, 9]], np.float32)
    expected = np.array([[3, NAN, 6], [1, 4, 9]], np.float32)
    np.testing.assert_array_equal(halved(block), expected)


@pytest.mark.parametrize("nothing", [NAN, np.inf])
def test_a_mean_of_no_number_is_none(nothing: float) -> None:
    block = np.full((3, 5), nothing, np.float32)
    np.testing.assert_array_equal(halved(block), np.full((2, 3), NAN, np.float32))


def test_version_0_4_is_zarr_v2_with_blosc_and_slashes(tmp_path: Path) -> None:
    write_heatmap_ome_zarr(tmp_path / "h", bands(raster()), SPEC)
    assert as_json(tmp_path / "h" / ".zgroup") == {"zarr_format": 2}
    assert as_json(tmp_path / "h" / "0" / ".zarray") == {
        "zarr_format": 2,
        "shape": [2, 301, 700],
        "chunks": [1, 512, 512],
        "dtype": "<f4",
        "order": "C",
        "filters": None,
        "fill_value": 0.0,
        "dimension_separator": "/",
        "compressor": {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 1, "blocksize": 0},
    }
    assert (tmp_path / "h" / "0" / "1" / "0" / "1").is_file()


def test_version_0_4_says_where_each_level_lies(tmp_path: Path) -> None:
    write_heatmap_ome_zarr(tmp_path / "h", bands(raster()), SPEC)
    attributes = as_json(tmp_path / "h" / ".zattrs")
    (multiscale,) = attributes["multiscales"]
    assert multiscale["version"] == "0.4"
    assert multiscale["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    # By hand: (origin + (pitch * 2^level - 1) / 2) * µm, in y then x.
    assert [dataset["coordinateTransformations"] for dataset in multiscale["datasets"]] == [
        [
            {"type": "scale", "scale": [1, 2, 4]},
            {"type": "translation", "translation": [0, (32 + 3.5) * 0.25, (16 + 3.5) * 0.5]},
        ],
        [
            {"type": "scale", "scale": [1, 4, 8]},
            {"type": "translation", "translation": [0, (32 + 7.5) * 0.25, (16 + 7.5) * 0.5]},
        ],
        [
            {"type": "scale", "scale": [1, 8, 16]},
            {"type": "translation", "translation": [0, (32 + 15.5) * 0.25, (16 + 15.5) * 0.5]},
        ],
    ]
    assert [dataset["path"] for dataset in multiscale["datasets"]] == ["0", "1", "2"]


def test_channels_are_the_classes_with_their_colours(tmp_path: Path) -> None:
    write_heatmap_ome_zarr(tmp_path / "h", bands(raster()), SPEC)
    attributes = as_json(tmp_path / "h" / ".zattrs")
    window = {"min": 0, "max": 1, "start": 0, "end": 1}
    assert attributes["omero"]["channels"] == [
        {"label": "Tumor", "color": "C80000", "active": True, "window": window},
        {"label": "Stroma", "color": "96C896", "active": True, "window": window},
    ]
    assert attributes["slidecam"]["scale_high"] == 3.5


def test_version_0_5_is_zarr_v3_with_named_dimensions(tmp_path: Path) -> None:
    write_heatmap_ome_zarr(tmp_path / "h", bands(raster()), replace(SPEC, ngff="0.5"))
    group, array = (
        as_json(tmp_path / "h" / "zarr.json"),
        as_json(tmp_path / "h" / "0" / "zarr.json"),
    )
    ome = group["attributes"]["ome"]
    assert group["zarr_format"] == 3
    assert ome["version"] == "0.5"
    assert "version" not in ome["multiscales"][0]
    assert "multiscales" not in group["attributes"]
    assert array["dimension_names"] == ["c", "y", "x"]
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [1, 512, 512]


def test_a_pixel_of_every_level_lies_on_the_same_place_of_the_slide() -> None:
    # Half a pixel before the first centre lies the raster's corner, from whatever level it is
    # reckoned.
    edges = {
        (y - sy / 2, x - sx / 2)
        for level in range(3)
        for (y, x), (sy, sx) in [(SPEC.level_translation(level), SPEC.level_scale(level))]
    }
    assert edges == {((32 - 0.5) * 0.25, (16 - 0.5) * 0.5)}


def test_a_pitch_of_one_at_the_corner_is_the_slides_own_grid() -> None:
    spec = replace(SPEC, pitch=1, origin=(0.0, 0.0))
    assert spec.level_translation(0) == (0, 0)
    assert spec.level_scale(0) == (0.25, 0.5)


@pytest.mark.parametrize(
    ("longest", "levels"), [(1, 1), (256, 1), (257, 2), (512, 2), (513, 3), (1024, 3)]
)
def test_the_pyramid_ends_at_a_small_level(longest: int, levels: int) -> None:
    sizes = replace(SPEC, size=Size(10, longest)).level_sizes
    assert len(sizes) == levels
    assert sizes[-1].height <= 256


@pytest.mark.parametrize(("longest", "level"), [(1, 2), (175, 2), (176, 1), (351, 0), (5000, 0)])
def test_a_level_is_chosen_for_a_picture(longest: int, level: int, tmp_path: Path) -> None:
    write_heatmap_ome_zarr(tmp_path / "h", bands(raster()), SPEC)
    assert read_heatmap_ome_zarr(tmp_path / "h").level_for(longest) == level


@pytest.mark.parametrize(
    "cut", [np.s_[:, :-1], np.s_[:, :, :-1], np.s_[:1]], ids=["rows", "columns", "classes"]
)
def test_bands_that_do_not_add_up_leave_the_old_heatmap(cut: Any, tmp_path: Path) -> None:
    write_heatmap_ome_zarr(tmp_path / "h", bands(raster()), SPEC)
    with pytest.raises(UsageError, match="301"):
        write_heatmap_ome_zarr(tmp_path / "h", bands(np.zeros_like(raster())[cut]), SPEC)
    assert list(tmp_path.iterdir()) == [tmp_path / "h"]
    assert np.nanmax(np.asarray(read_heatmap_ome_zarr(tmp_path / "h").levels[0][:])) > 0


def test_too_many_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="after 256 rows"):
        write_heatmap_ome_zarr(tmp_path / "h", (raster()[:, :128] for _ in range(4)), SPEC)
    assert list(tmp_path.iterdir()) == []


def test_pixels_of_value_zero_stay_zero_and_background_stays_nan(tmp_path: Path) -> None:
    values = np.full((2, 301, 700), NAN, np.float32)
    values[0, :100] = 0
    write_heatmap_ome_zarr(tmp_path / "h", bands(values), SPEC)
    np.testing.assert_array_equal(
        np.asarray(read_heatmap_ome_zarr(tmp_path / "h").levels[0][:]), values
    )


def test_another_zarr_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.zarr"):
        read_heatmap_ome_zarr(tmp_path / "nothing.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=2)
    with pytest.raises(StoreError, match=r"other\.zarr"):
        read_heatmap_ome_zarr(tmp_path / "other.zarr")
