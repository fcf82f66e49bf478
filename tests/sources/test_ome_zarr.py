from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from ngff import multiscale_of, places_of
from slidecam.errors import RegionReadError, UnreadableSourceError
from slidecam.geometry import LevelBox, Spacing
from slidecam.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

RGB = np.random.default_rng(4).integers(0, 256, (50, 70, 3), np.uint8)
BOX = LevelBox(0, 0, 70, 50)


def with_metadata(path: Path, scales: Any, data: Any = RGB, **attributes: Any) -> str:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array("0", shape=data.shape, chunks=data.shape, dtype=data.dtype)
    array[:] = data
    group.attrs.update({**({"multiscales": scales} if scales else {}), **attributes})
    return str(path)


def multiscale(axes: str, unit: str | None = "micrometer", scale: float = 0.5) -> Any:
    named = [
        {"name": axis, "type": "space", **({"unit": unit} if unit else {})}
        if axis in "zyx"
        else {"name": axis}
        for axis in axes
    ]
    factors = [scale if axis in "yx" else 1.0 for axis in axes]
    transforms = [{"type": "scale", "scale": factors}]
    return [{"axes": named, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["yxc", "cyx", "tczyx", "czyx"])
def test_any_order_of_axes_gives_the_picture(
    tmp_path: Path, write: Any, version: str, axes: str
) -> None:
    write.ome_zarr(str(tmp_path / "a.zarr"), RGB, version, axes)
    with open_source(tmp_path / "a.zarr") as source:
        assert source.facts.format == f"ome-zarr {version}"
        np.testing.assert_array_equal(source.read(0, BOX), RGB)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "tczyx", "czyx"])
def test_levels_and_spacing_are_those_that_ngffs_own_models_tell(
    tmp_path: Path, write: Any, version: str, axes: str
) -> None:
    write.ome_zarr(str(tmp_path / "a.zarr"), RGB, version, axes)
    scales = [scale[-2:] for scale, _moved in places_of(multiscale_of(tmp_path / "a.zarr"))]
    with open_source(tmp_path / "a.zarr") as source:
        spacing, levels = source.facts.spacing, source.facts.levels
    assert spacing is not None
    assert (spacing.y, spacing.x) == pytest.approx(scales[0])
    expected = [scale[0] / scales[0][0] for scale in scales]
    assert [level.downsample for level in levels] == pytest.approx(expected)


def test_grey_without_a_channel_axis_becomes_rgb(tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "a.zarr", multiscale("yx"), RGB[:, :, 0])
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(0, BOX), np.dstack([RGB[:, :, 0]] * 3))


def test_sixteen_bits_are_scaled_and_noted(tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "a.zarr", multiscale("yxc"), RGB.astype(np.uint16) * 257)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(0, BOX), RGB)
        assert source.facts.readings


@pytest.mark.parametrize(
    ("unit", "scale", "expected"),
    [
        ("micrometer", 0.25, Spacing(0.25, 0.25)),
        ("nanometer", 250.0, Spacing(0.25, 0.25)),
        ("millimeter", 0.00025, Spacing(0.25, 0.25)),
        (None, 1.0, None),
        ("parsec", 1.0, None),
        ("micrometer", 0.0, None),
    ],
)
def test_a_scale_without_a_unit_says_nothing(
    tmp_path: Path, unit: str | None, scale: float, expected: Spacing | None
) -> None:
    path = with_metadata(tmp_path / "a.zarr", multiscale("yxc", unit, scale))
    with open_source(path) as source:
        found = source.facts.spacing
        assert (found is None) == (expected is None)
        if found and expected:
            assert found.x == pytest.approx(expected.x)


def test_the_scale_of_the_whole_multiscale_counts_too(tmp_path: Path) -> None:
    scales = multiscale("yxc")
    scales[0]["coordinateTransformations"] = [{"type": "scale", "scale": [3.0, 2.0, 1.0]}]
    with open_source(with_metadata(tmp_path / "a.zarr", scales)) as source:
        assert source.facts.spacing == Spacing(1.0, 1.5)


def test_the_first_image_of_a_bioformats_collection_is_opened(tmp_path: Path, write: Any) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    write.ome_zarr(str(tmp_path / "a.zarr" / "0"), RGB, "0.4")
    with open_source(tmp_path / "a.zarr") as source:
        np.testing.assert_array_equal(source.read(0, BOX), RGB)


@pytest.mark.parametrize(
    ("scales", "data", "attributes", "says"),
    [
        (None, RGB, {}, "no OME-Zarr multiscales"),
        (None, RGB, {"plate": {}}, "plate of 0 wells"),
        (multiscale("yx"), RGB[:, :, 0].astype(np.float32), {}, "float32"),
        (multiscale("cyx"), np.zeros((5, 9, 9), np.uint8), {}, "5 channels"),
        (multiscale("zyx"), np.zeros((5, 9, 9), np.uint8), {}, "z=5"),
        ([{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "9"}]}], RGB, {}, "'9'"),
        ([{"axes": [{"name": "q"}], "datasets": [{"path": "0"}]}], RGB, {}, "without y and x"),
        ([{"datasets": []}], RGB, {}, "name no arrays"),
        ("nonsense", RGB, {}, "cannot be opened"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(
    tmp_path: Path, scales: Any, data: Any, attributes: Any, says: str
) -> None:
    path = with_metadata(tmp_path / "a.zarr", scales, data, **attributes)
    with pytest.raises(UnreadableSourceError, match=says):
        open_source(path)


def test_a_broken_chunk_is_an_error_of_its_box(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "a.zarr"
    write.ome_zarr(str(path), write.picture(0)[:600, :600], "0.4")
    chunk = next(
        file for file in (path / "0").rglob("*") if file.is_file() and file.name in {"0.0.0", "0"}
    )
    chunk.write_bytes(b"broken")
    with open_source(path) as source:
        with pytest.raises(RegionReadError, match="level 0 at x=0, y=0"):
            source.read(0, LevelBox(0, 0, 10, 10))
        assert source.read(0, LevelBox(300, 300, 10, 10)).shape == (10, 10, 3)


def test_a_folder_with_broken_json_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text("{not json")
    with pytest.raises(UnreadableSourceError, match="cannot be opened"):
        open_source(tmp_path)
