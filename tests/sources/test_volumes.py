"""What volumes say of themselves, whatever their format, orientation and number of dimensions."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import nibabel
import nrrd
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from slidecam.errors import RegionReadError, SourceError, UnreadableSourceError, UsageError
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources.display import displayed
from slidecam.sources.volume import VolumeSource
from slidecam.sources.volume_grid import VolumeGrid
from slidecam.viewing import VolumeView, Window, air_below

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ALIKE = {"left-handed": "LAS", "turned": "AIL", "coronal": "RIA", "upside down": "RAI"}
RAW = Window("fixed", 0, 255)


def opened(path: Path, **view: Any) -> VolumeSource:
    source = open_source(path, view=VolumeView(**view))
    assert isinstance(source, VolumeSource)
    return source


def stored_as(
    voxels: NDArray[Any], affine: NDArray[np.float64], codes: str
) -> tuple[Any, NDArray[np.float64]]:
    """Return the same physical volume with its axes permuted and flipped."""
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    return apply_orientation(voxels, turn), affine @ inv_ornt_aff(turn, voxels.shape)


SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "left-anterior-superior": (-1, 1, 1),
}


@st.composite
def leaning(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw an affine to RAS+ mm of oblong voxels in any order of axes, somewhat oblique."""
    affine = np.eye(4)
    straight = np.eye(3)[draw(st.permutations(range(3)))]
    straight *= draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    straight *= draw(st.tuples(*[st.floats(0.3, 4)] * 3))
    lean = np.reshape(draw(st.tuples(*[st.integers(-97, 97)] * 9)), (3, 3)) / 970
    affine[:3, :3] = (np.eye(3) + lean) @ straight
    affine[:3, 3] = draw(st.tuples(*[st.floats(-90, 90).map(lambda mm: round(mm, 2))] * 3))
    return affine


@settings(max_examples=20)
@given(
    affine=leaning(),
    space=st.sampled_from(sorted(SPACES)),
    encoding=st.sampled_from(["raw", "gzip"]),
)
def test_an_nrrd_of_any_directions_lies_where_a_nifti_of_them_does(
    tmp_path_factory: pytest.TempPathFactory,
    affine: NDArray[np.float64],
    space: str,
    encoding: str,
) -> None:
    folder = tmp_path_factory.mktemp("lying")
    voxels = np.random.default_rng(3).integers(0, 900, (4, 5, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "a.nii")
    theirs = np.diag([*SPACES[space], 1]) @ affine
    header = {
        "space": space,
        "space directions": theirs[:3, :3].T,
        "space origin": theirs[:3, 3],
        "kinds": ["domain"] * 3,
        "encoding": encoding,
    }
    nrrd.write(str(folder / "a.nrrd"), voxels, header)
    with opened(folder / "a.nii") as expected, opened(folder / "a.nrrd") as found:
        own, other = found.stack.grid, expected.stack.grid
        np.testing.assert_allclose(own.affine, affine, atol=1e-6)
        np.testing.assert_allclose(own.spl_affine, other.spl_affine, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(found.array()), np.asarray(expected.array()))


@pytest.mark.parametrize("codes", ALIKE.values(), ids=ALIKE.keys())
@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_orientation_is_the_affines_and_not_the_arrays(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], codes: str, axis: str
) -> None:
    plain = write_volume.nifti(tmp_path / "plain.nii", head)
    turned = write_volume.nifti(
        tmp_path / "turned.nii", *stored_as(head, write_volume.affine(head.shape), codes)
    )
    with opened(plain, axis=axis) as one, opened(turned, axis=axis) as other:
        np.testing.assert_array_equal(np.asarray(one.array()), np.asarray(other.array()))
        np.testing.assert_allclose(one.stack.grid.scale, other.stack.grid.scale)
        np.testing.assert_allclose(one.stack.grid.translate, other.stack.grid.translate, atol=1e-5)
        np.testing.assert_allclose(one.stack.positions, other.stack.positions, atol=1e-5)
        box = LevelBox(0, 0, one.facts.size.width, one.facts.size.height)
        for plane in (0, one.facts.planes // 2):
            np.testing.assert_array_equal(
                one.read(0, box, plane=plane), other.read(0, box, plane=plane)
            )


def test_slices_are_hung_with_the_patients_right_on_the_left(
    tmp_path: Path, write_volume: Any
) -> None:
    voxels = np.zeros((8, 10, 6), np.int16)  # x right, y forwards, z up
    voxels[7, 0, 0], voxels[0, 9, 0], voxels[0, 0, 5] = (
        100,
        150,
        200,
    )  # rightmost, foremost, uppermost
    path = write_volume.nifti(tmp_path / "corners.nii", voxels)
    with opened(path, window=RAW) as axial:
        picture = axial.read(0, LevelBox(0, 0, 8, 10))[:, :, 0]
        assert picture[9, 0] == 100  # right on the left, behind at the bottom
        assert picture[0, 7] == 150  # in front on top
    with opened(path, axis="coronal", window=RAW) as coronal:
        picture = coronal.read(0, LevelBox(0, 0, 8, 6), plane=9)[
            :, :, 0
        ]  # planes follow each other backwards
        assert picture[0, 7] == 200  # superior up
        assert picture[5, 0] == 100
    with opened(path, axis="sagittal", window=RAW) as sagittal:
        picture = sagittal.read(0, LevelBox(0, 0, 10, 6), plane=7)[
            :, :, 0
        ]  # … and to the patient's left
        assert picture[0, 9] == 200
        assert picture[5, 0] == 150  # in front on the left


def test_a_plane_reads_the_same_whichever_slab_it_comes_with(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_volume.nifti(tmp_path / "head.nii.gz", head)
    expected = head[::-1, ::-1].transpose(2, 1, 0)
    for slab, block in ((1, 1), (7_700 * 5, 4_000), (16_000_000, 8_000_000)):
        monkeypatch.setattr("slidecam.sources.volume.SLAB_BYTES", slab)
        monkeypatch.setattr("slidecam.sources._voxels.BLOCK_BYTES", block)
        for axis in ("axial", "coronal", "sagittal"):
            with opened(path, axis=axis) as source:
                np.testing.assert_array_equal(np.asarray(source.array()), expected)
                np.testing.assert_array_equal(
                    np.asarray(source.array()[::-2, 3:9:2, 5]), expected[::-2, 3:9:2, 5]
                )


def test_scaled_samples_are_intensities_and_holes_are_dark(
    tmp_path: Path, head: NDArray[np.int16]
) -> None:
    values = head.astype(np.float32) / 7
    values[3, 3, 3] = np.nan
    image = nibabel.Nifti1Image(values, np.eye(4))
    nibabel.save(image, tmp_path / "float.nii")
    scaled = nibabel.Nifti1Image(head, np.eye(4))
    scaled.header.set_slope_inter(0.5, -100)
    nibabel.save(scaled, tmp_path / "scaled.nii.gz")
    with opened(tmp_path / "scaled.nii.gz") as source:
        expected = (
            nibabel.nifti1.load(tmp_path / "scaled.nii.gz")
            .get_fdata()[::-1, ::-1]
            .transpose(2, 1, 0)
        )
        np.testing.assert_allclose(np.asarray(source.array()), expected, rtol=1e-6)
    with opened(tmp_path / "scaled.nii.gz") as source:
        assert source.not_numbers == 0
    with opened(tmp_path / "float.nii") as source:
        assert source.not_numbers == pytest.approx(1 / values.size)
        box = LevelBox(0, 0, source.facts.size.width, source.facts.size.height)
        assert source.read(0, box, plane=3)[head.shape[1] - 4, head.shape[0] - 4, 0] == 0


def test_of_a_4d_file_the_first_volume_is_read_and_that_is_said(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    path = write_volume.nifti(tmp_path / "two.nii.gz", np.stack([head, head + 1000], axis=3))
    with opened(path) as first, opened(path, volume="1") as second:
        assert "holds 2 volumes: volume 0 is read; pass --volume" in first.facts.readings[0]
        np.testing.assert_array_equal(np.asarray(second.array()), np.asarray(first.array()) + 1000)
    with pytest.raises(UnreadableSourceError, match=r"no volume '2' among its 2.*--volume 0 to 1"):
        open_source(path, view=VolumeView(volume="2"))


def test_an_oblique_volume_is_shown_on_straight_axes(tmp_path: Path, write_volume: Any) -> None:
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    shape = (30, 36, 24)
    affine = turn @ write_volume.affine(shape)
    places = (
        np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=3) @ affine[:3, :3].T
        + affine[:3, 3]
    )
    height = (
        places[..., 2].astype(np.float32) + 100
    )  # mm upwards: after resampling, each slice has one value
    with opened(write_volume.nifti(tmp_path / "oblique.nii", height, affine)) as source:
        assert source.stack.grid.is_oblique
        assert any("oblique" in note for note in source.facts.readings)
        shown = displayed(source.array(), source.stack.grid)
        assert shown.resampled
        whole = np.asarray(shown.array)
        for plane in (shown.array.shape[0] // 2, shown.array.shape[0] // 2 + 3):
            inside = whole[plane][whole[plane] > 50]
            z = shown.translate[0] + plane * shown.scale[0]
            assert np.abs(np.median(inside) - 100 - z) < 0.05
        np.testing.assert_array_equal(shown.array[5, 3:7, ::2].compute(), whole[5, 3:7, ::2])


@given(affine=leaning(), shape=st.tuples(*[st.integers(1, 6)] * 3))
def test_the_straight_axes_hold_every_voxel_of_an_oblique_volume_and_no_more(
    affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> None:
    grid = VolumeGrid(shape, affine)
    assume(grid.is_oblique)
    shown = displayed(np.zeros(grid.spl_shape, np.float32), grid)
    indices = np.array([*np.ndindex(shape)], np.float64)
    right, front, up = (indices @ affine[:3, :3].T + affine[:3, 3]).T
    for axis, places in enumerate((up, -front, -right)):
        first, step = shown.translate[axis], shown.scale[axis]
        last = first + (shown.array.shape[axis] - 1) * step
        assert first == pytest.approx(places.min(), abs=1e-6)
        assert places.max() - 1e-6 <= last <= places.max() + step * (1 + 1e-6)


def test_a_straight_volume_is_shown_as_it_is(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    with opened(write_volume.nifti(tmp_path / "head.nii", head)) as source:
        shown = displayed(source.array(), source.stack.grid)
        assert not shown.resampled
        assert shown.scale == pytest.approx((2.0, 0.8, 0.8))
        # LPS: the first voxel is the lowest, foremost and rightmost one
        assert shown.translate == pytest.approx((-11 / 2 * 2.0, -47 / 2 * 0.8, -39 / 2 * 0.8))


def test_colours_are_colours(tmp_path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    voxels = np.zeros((6, 7, 4), kind)
    voxels["G"][2] = 200
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "rgb.nii")
    with opened(tmp_path / "rgb.nii") as source:
        assert source.is_colour
        assert source.array().shape == (4, 7, 6, 3)
        assert (source.read(0, LevelBox(0, 0, 6, 7))[:, 3] == (0, 200, 0)).all()


def test_a_window_of_slices_shows_its_neighbours_as_colours(
    tmp_path: Path, write_volume: Any
) -> None:
    voxels = np.zeros((8, 8, 5), np.int16) + np.arange(5, dtype=np.int16) * 10
    with opened(write_volume.nifti(tmp_path / "a.nii", voxels), slices=3, window=RAW) as source:
        assert source.read(0, LevelBox(0, 0, 1, 1), plane=2).ravel().tolist() == [10, 20, 30]
        assert source.read(0, LevelBox(0, 0, 1, 1), plane=4).ravel().tolist() == [30, 40, 40]


@pytest.mark.parametrize(
    ("window", "limits"),
    [
        (Window("fixed", 5, 50), (5, 50)),
        (Window("percentile", 0, 100), (101, 200)),
        (Window("zscore", -1, 1), None),
    ],
)
def test_a_window_is_found_on_what_is_no_air(
    window: Window, limits: tuple[float, float] | None
) -> None:
    sample = np.concatenate([np.zeros(300), np.arange(101, 201)]).astype(np.float32)
    found = window.limits(sample)
    body = np.arange(101, 201)
    assert found == pytest.approx(limits or (body.mean() - body.std(), body.mean() + body.std()))


def test_a_mask_of_one_value_is_shown_white_on_black() -> None:
    low, high = Window().limits(np.array([0] * 999 + [1] * 10, np.float32))
    assert low < high == 1
    assert air_below(np.array([0] * 999 + [1] * 10, np.float32)) == 0


@pytest.mark.parametrize("wrong", [{"axis": "oblique"}, {"slices": 2}, {"slices": 0}], ids=str)
def test_an_impossible_view_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"Pass"):
        VolumeView(**wrong)


@pytest.mark.parametrize("numbers", [(5, 5), (9, 1), (-1, 50), (1, 101), (float("nan"), 3)])
def test_an_impossible_window_is_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="percentile"):
        Window("percentile", *numbers)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mgz"])
def test_a_volume_that_was_cut_off_ends_in_a_source_error(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], name: str, share: float
) -> None:
    method = {"nrrd": "nrrd", "mgz": "mgh"}.get(name.rsplit(".", maxsplit=1)[-1], "nifti")
    path = getattr(write_volume, method)(tmp_path / name, head)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SourceError), open_source(path) as source:
        source.read(0, LevelBox(0, 0, 9, 9), plane=11)


def test_a_damaged_stream_is_unpacked_once_and_fails_for_every_slice(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    path = write_volume.nifti(tmp_path / "a.nii.gz", head)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: len(whole) // 2]))
    with open_source(path) as source:
        for plane in (0, 11):
            with pytest.raises(RegionReadError, match="ends before its last slice"):
                source.read(0, LevelBox(0, 0, 9, 9), plane=plane)


def test_an_affine_that_places_nothing_is_refused(tmp_path: Path, head: NDArray[np.int16]) -> None:
    image = nibabel.Nifti1Image(head, np.eye(4))
    image.header["srow_x"] = image.header["srow_y"]
    nibabel.save(image, tmp_path / "flat.nii")
    content = bytearray((tmp_path / "flat.nii").read_bytes())
    content[280:296] = content[296:312]  # srow_x becomes srow_y
    (tmp_path / "flat.nii").write_bytes(bytes(content))
    with pytest.raises(UnreadableSourceError, match="affine is singular"):
        open_source(tmp_path / "flat.nii")


def test_complex_numbers_are_refused_with_a_remedy(tmp_path: Path) -> None:
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((4, 4, 4), np.complex64), np.eye(4)), tmp_path / "c.nii"
    )
    with pytest.raises(UnreadableSourceError, match=r"complex64.*magnitude"):
        open_source(tmp_path / "c.nii")


def test_nothing_unpacked_is_left_behind(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    path = write_volume.nifti(tmp_path / "a.nii.gz", head)
    with open_source(path) as source:
        assert not [*(tmp_path / "spool").iterdir()]  # nothing before a pixel is wanted
        source.read(0, LevelBox(0, 0, 4, 4))
        kinds = sorted(entry.suffix for entry in (tmp_path / "spool").iterdir())
        assert kinds == [".lock", ".raw"]  # the voxels, and what says that they are in use
    assert not [*(tmp_path / "spool").iterdir()]


def test_a_header_in_other_units_is_noted(tmp_path: Path, head: NDArray[np.int16]) -> None:
    image = nibabel.Nifti1Image(head, np.diag([500, 500, 900, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "um.nii")
    with opened(tmp_path / "um.nii") as source:
        assert any("states microns" in note for note in source.facts.readings)


@pytest.mark.parametrize("kind", ["nifti", "nrrd"])
def test_a_packed_file_whose_checksum_is_wrong_is_refused(
    tmp_path: Path, write_volume: Any, kind: str
) -> None:
    voxels = np.random.default_rng(0).integers(0, 900, (90, 90, 60)).astype(np.int16)
    name = "brain.nii.gz" if kind == "nifti" else "brain.nrrd"
    path = getattr(write_volume, kind)(tmp_path / name, voxels)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # in the checksum, behind the last voxel
    path.write_bytes(content)
    with pytest.raises(SourceError, match="brain"), opened(path) as source:
        np.asarray(source.array())


@given(shift=st.integers(-900, 900), stretch=st.integers(1, 7))
def test_air_ends_a_tenth_of_the_way_between_the_robust_ends_wherever_they_lie(
    shift: int, stretch: int
) -> None:
    # Of 0 to 100, the 2nd percentile is 2 and the 98th 98.
    values = (np.arange(101) * stretch + shift).astype(np.float32)
    assert air_below(values) == pytest.approx((2 + 9.6) * stretch + shift, abs=1e-3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_samples_that_no_file_of_its_size_can_hold_are_not_looked_for(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], suffix: str
) -> None:
    content = bytearray(write_volume.nifti(tmp_path / "a.nii", head).read_bytes())
    content[42:48] = np.array([3000, 3000, 300], "<i2").tobytes()
    path = tmp_path / f"b{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(SourceError, match=r"ends before its last slice.*5400000000 bytes"):
        open_source(path)
