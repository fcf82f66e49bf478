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
    difference_hash,
    find_duplicates,
    grouped_with_duplicates,
    near_pairs,
    without_duplicates,
)
from slidecam.learning.data.picture_files import PictureSpec
from slidecam.learning.data.pictures import PictureSet, read_picture_set
from slidecam.learning.data.splitting import SplitSpec, split
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    return Duplicates(pictures, tuple(tuple(rows) for rows in clusters), (), 0)


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
    assert found.even == 4
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
    assert len(found.across) == 14
    rest = without_duplicates(found)
    assert len(rest.part("test")) == 240
    assert result_of(find_duplicates(rest)).across == ()
    idc = read_picture_set(
        shared_data / "idc_breast_patches", PictureSpec(group_pattern=r"^(?P<group>\d+)_idx")
    )
    assert result_of(find_duplicates(idc.part("val", "test"))).across == ()
