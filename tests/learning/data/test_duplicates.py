"""What is in the data twice is found, told, kept together or dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from slidecam.errors import DataSetError
from slidecam.learning.data.duplicates import (
    Duplicates,
    find_duplicates,
    grouped_with_duplicates,
    without_duplicates,
)
from slidecam.learning.data.looks import NEAR_BITS, difference_hash, near_pairs, turned_hashes
from slidecam.learning.data.overlaps import alike_spots
from slidecam.learning.data.picture_files import PictureSpec
from slidecam.learning.data.pictures import PictureSet, read_picture_set
from slidecam.learning.data.splitting import SplitSpec, split
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slidecam.learning.data.picture_files import Part

ALL_PARTS: tuple[Part, ...] = ("train", "val", "test")


def scene(seed: int) -> Image.Image:
    """Return a picture of soft blobs, as unlike another seed's as two photographs."""
    random = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(random.normal(size=(120, 120, 3)), (8, 8, 0))
    return Image.fromarray(np.clip(128 + 600 * blobs, 0, 255).astype(np.uint8))


def saved(root: Path, **pictures: Image.Image) -> None:
    for name, picture in pictures.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path.with_suffix(".png"))


def made(
    parts: Sequence[Part], clusters: Sequence[Sequence[int]], groups: Sequence[str] | None = None
) -> Duplicates:
    pictures = PictureSet(
        root=Path("d"),
        paths=tuple(Path("d") / f"{index}.png" for index in range(len(parts))),
        labels=np.arange(len(parts)) % 2,
        class_names=("a", "b"),
        groups=None if groups is None else tuple(groups),
        parts=tuple(parts),
    )
    return Duplicates(pictures, tuple(tuple(rows) for rows in clusters), ())


def test_a_copy_and_a_retouched_copy_are_found_across_parts(tmp_path: Path) -> None:
    saved(
        tmp_path,
        train__a__1=scene(1),
        train__a__2=scene(2),
        train__b__3=scene(3),
        test__a__4=scene(4),
    )
    (tmp_path / "train" / "a" / "copy.png").write_bytes(
        (tmp_path / "train" / "a" / "2.png").read_bytes()
    )
    retouched = ImageEnhance.Brightness(scene(3).resize((90, 90))).enhance(0.8)
    (tmp_path / "test" / "b").mkdir()
    retouched.save(tmp_path / "test" / "b" / "x.jpg", quality=60)
    pictures = read_picture_set(tmp_path)
    found = result_of(find_duplicates(pictures))
    assert found.names(found.clusters) == [
        ["test/b/x.jpg", "train/b/3.png"],
        ["train/a/2.png", "train/a/copy.png"],
    ]
    assert found.names(found.exact) == [["train/a/2.png", "train/a/copy.png"]]
    assert found.names(found.across) == [["test/b/x.jpg", "train/b/3.png"]]
    assert found.disputed == ()
    assert found.sentences()[1] == "In more than one part (1): test/b/x.jpg = train/b/3.png."
    record = found.record()
    assert json.loads(json.dumps(record)) == record
    assert record["across_parts"] == [["test/b/x.jpg", "train/b/3.png"]]
    exact_only = result_of(find_duplicates(pictures, bits=-1))
    assert exact_only.clusters == exact_only.exact == found.exact


def test_pictures_that_are_nothing_alike_are_no_duplicates(tmp_path: Path) -> None:
    saved(tmp_path, **{f"{'ab'[seed % 2]}__{seed}": scene(seed) for seed in range(12)})
    found = result_of(find_duplicates(read_picture_set(tmp_path)))
    assert found.clusters == ()
    assert found.sentences() == ()


def test_even_pictures_are_duplicates_only_byte_by_byte(tmp_path: Path) -> None:
    saved(
        tmp_path,
        **{
            f"{'ab'[grey % 2]}__{grey}": Image.new("L", (20, 20), grey)
            for grey in (10, 200, 91, 251)
        },
    )
    found = result_of(find_duplicates(read_picture_set(tmp_path)))
    assert found.clusters == ()
    assert found.even == (0, 1, 2, 3)
    (sentence,) = found.sentences()
    assert sentence == (
        "Too even to be found once more (4), as empty tiles are: a/10.png, a/200.png, b/251.png,"
        " b/91.png."
    )
    (tmp_path / "a" / "again.png").write_bytes((tmp_path / "a" / "10.png").read_bytes())
    again = result_of(find_duplicates(read_picture_set(tmp_path)))
    assert again.names(again.clusters) == [["a/10.png", "a/again.png"]]


def test_one_picture_in_two_classes_is_told(tmp_path: Path) -> None:
    saved(tmp_path, a__1=scene(1), a__2=scene(2), b__3=scene(1))
    found = result_of(find_duplicates(read_picture_set(tmp_path)))
    assert found.names(found.disputed) == [["a/1.png", "b/3.png"]]
    assert "In more than one class (1): a/1.png = b/3.png." in found.sentences()


def test_the_hash_has_a_bit_for_every_step_up_in_grey() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 170, dtype=np.uint8), (160, 1)))
    hashed, informed = difference_hash(ramp)
    assert int(np.bitwise_count(hashed).sum()) == informed == 256
    assert (
        int(
            np.bitwise_count(
                difference_hash(ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT))[0]
            ).sum()
        )
        == 0
    )


WAYS = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def test_the_hashes_of_a_held_otherwise_picture_are_those_of_pillows_seven_transposes() -> None:
    picture = scene(31).crop((0, 0, 117, 83))
    found = turned_hashes(picture)
    nearest = []
    for way in WAYS:
        plain = difference_hash(picture.transpose(way))[0]
        away = np.bitwise_count(found ^ plain).sum(axis=1)
        assert sorted(away.tolist())[1] > 30
        # Pillow rounds rows before columns: where hardly anything changes, some bits are another's.
        assert away.min() <= NEAR_BITS // 2
        nearest.append(int(away.argmin()))
    assert sorted(nearest) == list(range(7))


@pytest.mark.parametrize("way", WAYS)
def test_a_mirrored_or_turned_copy_in_another_part_is_found_and_leaves_the_training(
    tmp_path: Path, way: Image.Transpose
) -> None:
    saved(
        tmp_path,
        train__a__1=scene(1),
        train__a__2=scene(2),
        train__a__again=scene(2).transpose(way),
        train__b__3=scene(3),
        test__a__4=scene(4),
        test__b__5=scene(3).transpose(way).resize((97, 97)),
    )
    found = result_of(find_duplicates(read_picture_set(tmp_path)))
    assert found.clusters == ()
    assert found.names(found.overlaps_across) == [["test/b/5.png", "train/b/3.png"]]
    assert "or as a copy is mirrored or turned (1): test/b/5.png" in found.sentences()[0]
    kept = without_duplicates(found)
    # What a person turned for the training alone stays there.
    assert {*found.pictures.names} - {*kept.names} == {"train/b/3.png"}
    groups = grouped_with_duplicates(found).groups
    assert groups is not None
    assert len(set(groups)) == 4


def test_near_pairs_are_those_of_counting_every_bit() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (600, 256), dtype=np.uint8)
    for row in range(0, 600, 7):
        bits[row] = bits[row // 2]
        bits[row, random.choice(256, int(random.integers(0, 20)), replace=False)] ^= 1
    informed = random.random(600) > 0.1
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    slow = [
        (one, other)
        for one in range(600)
        for other in range(one + 1, 600)
        if informed[one] and informed[other] and int((bits[one] != bits[other]).sum()) <= 9
    ]
    assert len(slow) > 10
    assert sorted(map(tuple, near_pairs(hashes, 9, informed).tolist())) == slow
    assert len(near_pairs(hashes, -1, informed)) == 0


def test_what_is_held_out_stays_and_the_training_loses_its_copies() -> None:
    parts: list[Part] = ["train", "val", "test", "test", "train", "train", "val", "val", "train"]
    kept = without_duplicates(made(parts, [(0, 1, 2, 3), (4, 5), (6, 7, 8)]))
    assert kept.names == ("2.png", "3.png", "4.png", "6.png")


def test_before_a_split_the_first_of_each_stays() -> None:
    kept = without_duplicates(made([""] * 5, [(0, 3), (1, 4)]))
    assert kept.names == ("0.png", "1.png", "2.png")


def test_duplicates_stay_together_in_a_split() -> None:
    parts: list[Part] = [""] * 60
    found = made(parts, [(row, row + 1, row + 31) for row in range(0, 20, 2)])
    grouped = split(grouped_with_duplicates(found), SplitSpec(0.6, 0.2, 0.2))
    for rows in found.clusters:
        assert len({grouped.parts[row] for row in rows}) == 1
    assert set(grouped.parts) == set(ALL_PARTS)


def test_patients_who_share_a_picture_become_one() -> None:
    groups = ["P1", "P1", "P2", "P2", "P3", "P4"]
    grouped = grouped_with_duplicates(made([""] * 6, [(1, 2), (3, 4)], groups)).groups
    assert grouped == ("P1", "P1", "P1", "P1", "P1", "P4")


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    saved(tmp_path, a__1=scene(1), b__2=scene(2))
    (tmp_path / "b" / "2.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataSetError, match=r"This picture cannot be read.*2\.png"):
        result_of(find_duplicates(read_picture_set(tmp_path)))


@pytest.mark.shared_data
@pytest.mark.slow
def test_the_real_sets_have_what_was_seen_in_them(shared_data: Path) -> None:
    """The MRI set was freed of duplicates once.

    Pictures of other contrast were left, and were looked at.
    """
    mri = read_picture_set(shared_data / "brain_tumor_mri")
    found = result_of(find_duplicates(mri))
    assert found.exact == ()
    assert ["test/notumor/Tr-no_0873.jpg", "train/notumor/Te-no_0395.jpg"] in found.names(
        found.across
    )
    assert len(found.across) == 16
    # 154 by their spots; the others are mirrored copies, of which some were looked at.
    assert len(found.overlaps_across) == 330
    rest = without_duplicates(found)
    assert len(rest.part("test")) == 240
    assert result_of(find_duplicates(rest)).across == ()
    idc = read_picture_set(
        shared_data / "idc_breast_patches", PictureSpec(group_pattern=r"^(?P<group>\d+)_idx")
    )
    patches = result_of(find_duplicates(idc.part("val", "test")))
    assert patches.across == patches.overlaps == ()


def tissue(seed: int, width: int = 400, height: int = 60) -> NDArray[np.uint8]:
    """Return a strip of dark nuclei on pink, of which tiles are cut."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    strip = np.ones((height, width, 3)) * (225, 170, 205)
    for _nucleus in range(width * height // 90):
        y, x = random.uniform(0, height), random.uniform(0, width)
        long, wide = random.uniform(2.5, 4.5, 2)
        inside = ((rows - y) / long) ** 2 + ((columns - x) / wide) ** 2 < 1
        strip[inside] *= random.uniform(0.45, 0.8)
    soft = ndimage.gaussian_filter(strip, (0.8, 0.8, 0)) + random.normal(0, 3, strip.shape)
    strip = soft.clip(0, 255).astype(np.uint8)
    return np.asarray(strip)


def tile(strip: NDArray[np.uint8], left: int, top: int = 0, edge: int = 50) -> Image.Image:
    return Image.fromarray(strip[top : top + edge, left : left + edge])


def test_tiles_that_overlap_are_found_across_parts_and_kept_in_one(tmp_path: Path) -> None:
    one, other = tissue(1), tissue(2)
    saved(
        tmp_path,
        train__a__1=tile(one, 0),
        train__b__2=tile(other, 100),
        train__b__3=tile(other, 300),
        test__a__half=tile(one, 25),
        test__b__third=tile(other, 117, 9),
        test__b__own=tile(other, 200),
    )
    pictures = read_picture_set(tmp_path)
    found = result_of(find_duplicates(pictures))
    assert found.clusters == ()
    assert sorted(found.names(found.overlaps_across)) == [
        ["test/a/half.png", "train/a/1.png"],
        ["test/b/third.png", "train/b/2.png"],
    ]
    (sentence,) = found.sentences()
    assert sentence.startswith("The same place in more than one part, as tiles overlap or slices")
    assert found.record()["overlapping_across_parts"] == found.names(found.overlaps_across)
    groups = grouped_with_duplicates(found).groups
    assert groups is not None
    assert groups[0] == groups[3]
    assert len(set(groups)) == 4
    rest = without_duplicates(found)
    assert rest.names == tuple(name for name in pictures.names if name[-5] not in "12")
    assert result_of(find_duplicates(rest)).overlaps == ()


def test_small_tiles_that_were_saved_again_are_duplicates(tmp_path: Path) -> None:
    strip = tissue(3, width=700)
    for place in range(12):
        folder = tmp_path / "train" / "ab"[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        tile(strip, 55 * place).save(folder / f"{place}.png")
        again = tmp_path / "test" / "ab"[place % 2]
        again.mkdir(parents=True, exist_ok=True)
        darker = ImageEnhance.Brightness(tile(strip, 55 * place)).enhance(0.9)
        darker.save(again / f"{place}.jpg", quality=50)
    found = result_of(find_duplicates(read_picture_set(tmp_path)))
    assert {Path(name).stem for names in found.names(found.across) for name in names} == {
        str(place) for place in range(12)
    }
    assert all(len(rows) == 2 for rows in found.clusters)


def test_straight_edges_are_no_place(tmp_path: Path) -> None:
    for number, top in enumerate((14, 18, 23, 27, 31, 35)):
        random = np.random.default_rng(number)
        pixels = np.full((50, 50), 230.0)
        pixels[top:] = 140
        pixels += random.normal(0, 2, pixels.shape)
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    assert result_of(find_duplicates(read_picture_set(tmp_path))).overlaps == ()


def test_spots_are_alike_as_a_plain_count_of_bits_says() -> None:
    random = np.random.default_rng(4)
    bits = random.integers(0, 2**63, 60, np.int64).astype(np.uint64)
    for number in range(30):  # each other one is the one before with three bits changed
        flips = random.choice(64, 3, replace=False)
        bits[2 * number + 1] = bits[2 * number] ^ np.uint64(sum(1 << int(flip) for flip in flips))
    owner = np.arange(60) // 3
    expected = set()
    for one in range(60):
        for other in range(one + 1, 60):
            if owner[one] != owner[other] and int(bits[one] ^ bits[other]).bit_count() <= 8:
                expected.add((one, other))
    first, second = alike_spots(bits, owner)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert len(expected) == 10
