"""Shares are kept, classes and patients too, and the seed decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidecam.errors import DataSetError
from slidecam.learning.data.dataset import group_digests, split_record
from slidecam.learning.data.picture_files import PARTS
from slidecam.learning.data.pictures import PictureSet
from slidecam.learning.data.splitting import SplitSpec, folds, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.learning.data.picture_files import Part


def pictures_of(
    labels: Sequence[int], groups: Sequence[str] | None = None, parts: Sequence[Part] | None = None
) -> PictureSet:
    unknown: tuple[Part, ...] = ("",)
    names = tuple("abcdefgh"[: max(labels) + 1])
    return PictureSet(
        root=Path("data"),
        paths=tuple(Path("data") / f"{index}.png" for index in range(len(labels))),
        labels=np.array(labels, np.int64),
        class_names=names,
        groups=None if groups is None else tuple(groups),
        parts=tuple(parts) if parts else unknown * len(labels),
    )


def patients(count: int, classes: int, seed: int) -> PictureSet:
    """Return pictures of patients with 1 to 40 pictures each, of one or two classes."""
    random = np.random.default_rng(seed)
    labels: list[int] = []
    groups: list[str] = []
    for patient in range(count):
        mine = random.choice(classes, 2)
        some = random.choice(mine, int(random.integers(1, 40)))
        labels += some.tolist()
        groups += [f"P{patient}"] * len(some)
    return pictures_of(labels, groups)


@given(
    counts=st.lists(st.integers(3, 300), min_size=2, max_size=5),
    val=st.floats(0.05, 0.3),
    test=st.floats(0.05, 0.3),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=60)
def test_every_class_has_its_shares_but_for_rounding(
    counts: list[int], val: float, test: float, seed: int
) -> None:
    pictures = pictures_of(np.repeat(np.arange(len(counts)), counts).tolist())
    spec = SplitSpec(1 - val - test, val, test, seed)
    parted = split(pictures, spec)
    for part, share in zip(PARTS, spec.shares, strict=True):
        of_part = parted.part(part).counts()
        for name, count in zip("abcde", counts, strict=False):
            # One for rounding, and what each class owes so that no part of it goes without.
            assert abs(of_part[name] - share * count) <= 1 + len(counts)
            assert of_part[name] >= 1
    assert parted.notes == ()


def test_the_published_shares_of_563_100_117_come_out() -> None:
    parted = split(pictures_of([0] * 563 + [1] * 100 + [2] * 117), SplitSpec())
    assert parted.part("train").counts() == {"a": 394, "b": 70, "c": 82}
    assert [len(parted.part(part)) for part in PARTS] == [546, 117, 117]


def test_the_seed_decides() -> None:
    for pictures in (pictures_of([0] * 40 + [1] * 60), patients(30, 2, 1)):
        first, again, other = (split(pictures, SplitSpec(seed=seed)).parts for seed in (3, 3, 4))
        assert first == again
        assert first != other


def test_no_patient_is_in_two_parts_and_shares_are_near() -> None:
    for seed in range(5):
        pictures = patients(60, 3, seed)
        parted = split(pictures, SplitSpec(seed=seed))
        assert parted.groups is not None
        held = {(group, part) for group, part in zip(parted.groups, parted.parts, strict=True)}
        assert len(held) == 60
        for part, share in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
            for name, count in parted.part(part).counts().items():
                assert abs(count / pictures.counts()[name] - share) < 0.03


def test_dealing_patients_out_is_nearly_as_good_as_trying_everything() -> None:
    """Six patients of known sizes: 2^6 ways to part them in two halves, tried one by one."""
    sizes = [(9, 1), (2, 7), (4, 4), (6, 2), (1, 5), (3, 3)]
    labels = [label for size in sizes for label, count in enumerate(size) for _ in range(count)]
    groups = [f"P{index}" for index, size in enumerate(sizes) for _ in range(sum(size))]
    total = np.sum(sizes, axis=0)

    def off(chosen: Sequence[bool]) -> float:
        share = (
            np.sum(
                [size for size, taken in zip(sizes, chosen, strict=True) if taken] or [(0, 0)],
                axis=0,
            )
            / total
        )
        return float(((share - 0.5) ** 2).sum())

    best = min(off([bool(code >> place & 1) for place in range(6)]) for code in range(64))
    found = []
    for seed in range(4):
        parted = split(pictures_of(labels, groups), SplitSpec(0.5, 0.5, 0.0, seed))
        part_of = dict(zip(groups, parted.parts, strict=True))
        found.append(off([part_of[f"P{index}"] == "val" for index in range(6)]))
    assert max(found) <= best + 0.02


def test_groups_may_be_ignored_on_demand() -> None:
    pictures = pictures_of([0, 1] * 20, ["P1"] * 20 + ["P2"] * 20)
    assert split(pictures, SplitSpec(by_group=False)).part("test").counts() == {"a": 3, "b": 3}


def test_parts_that_the_data_bring_are_kept() -> None:
    parts: list[Part] = ["train", "train", "val", "test", "test", "train"]
    assert split(pictures_of([0, 1, 0, 1, 0, 1], parts=parts), SplitSpec()).parts == tuple(parts)


def test_a_missing_validation_part_is_taken_from_the_training_part() -> None:
    parts: list[Part] = [*["train"] * 80, *["test"] * 20]  # type: ignore[list-item]  # mypy widens the words
    parted = split(pictures_of([0, 1] * 50, parts=parts), SplitSpec(0.6, 0.2, 0.2))
    assert parted.parts[80:] == ("test",) * 20
    assert parted.part("val").counts() == {"a": 10, "b": 10}
    assert "20 of the 80 pictures to train on are taken for it" in parted.notes[0]
    whole = split(pictures_of([0, 1] * 50, parts=parts), SplitSpec(0.8, 0.0, 0.2))
    assert (whole.parts, whole.notes) == (tuple(parts), ())


def test_a_class_with_too_few_patients_to_train_on_is_refused() -> None:
    pictures = pictures_of([0] * 9 + [1], ["P1"] * 5 + ["P2"] * 5)
    with pytest.raises(DataSetError, match=r"No picture of '[ab]' is left to train on"):
        split(pictures, SplitSpec(0.1, 0.0, 0.9))


def test_a_part_without_a_class_is_told() -> None:
    parted = split(pictures_of([0] * 20 + [1, 1]), SplitSpec())
    assert parted.notes == (
        "val has no picture of b: there are too few to go round.",
        "test has no picture of b: there are too few to go round.",
    )


def test_pictures_of_one_slide_are_said_to_be_the_reason_why_nothing_is_measured() -> None:
    reason, training, measures = split(pictures_of([0, 1] * 20, ["S1"] * 40), SplitSpec()).notes
    assert reason.startswith(
        "val and test have no picture: all 40 pictures are of one patient or slide"
    )
    assert "no temperature is fitted" in training
    assert "Nothing is measured" in measures


def test_a_test_part_alone_is_said_to_be_missing_without_a_word_on_temperature() -> None:
    (reason,) = split(
        pictures_of([0, 1] * 20, ["S1", "S1", "S2", "S2"] * 10), SplitSpec(0.5, 0.4, 0.1)
    ).notes
    assert reason.startswith("test has no picture: all 40 pictures are of 2 patients or slides")


@pytest.mark.parametrize(
    "shares", [(0.7, 0.2, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)]
)
def test_shares_that_do_not_add_up_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(DataSetError, match="add up to 1"):
        SplitSpec(*shares)


@pytest.mark.parametrize("groups", [None, [f"P{index // 4}" for index in range(80)]])
def test_folds_test_every_picture_once_a_repeat(groups: list[str] | None) -> None:
    pictures = pictures_of([0, 1] * 40, groups)
    made = folds(pictures, 5, seed=0, repeats=2, val=0.2)
    assert len(made) == 10
    for repeat in (made[:5], made[5:]):
        tested = np.sum([[part == "test" for part in fold.parts] for fold in repeat], axis=0)
        assert tested.tolist() == [1] * 80
    assert made[0].parts != made[5].parts
    for fold in made:
        assert set(fold.parts) == {"train", "val", "test"}
        assert fold.part("test").counts() == {"a": 8, "b": 8}
        if groups:
            assert len(set(zip(groups, fold.parts, strict=True))) == 20


def test_folds_do_not_heed_earlier_parts_and_leave_no_validation_unasked() -> None:
    pictures = pictures_of([0, 1] * 5, parts=["train"] * 10)
    assert {part for fold in folds(pictures, 5, seed=0) for part in fold.parts} == {"train", "test"}


def test_more_folds_than_pictures_or_patients_are_refused() -> None:
    with pytest.raises(DataSetError, match="'b' has 3 pictures, too few for 4 folds"):
        folds(pictures_of([0] * 9 + [1] * 3), 4, seed=0)
    with pytest.raises(
        DataSetError, match=r"'a' has 2 groups \(patients or slides\), too few for 3 folds"
    ):
        folds(pictures_of([0, 1] * 6, ["P1"] * 6 + ["P2"] * 6), 3, seed=0)
    with pytest.raises(DataSetError, match="no cross-validation"):
        folds(pictures_of([0, 1] * 6), 1, seed=0)


def test_the_record_is_json_and_its_digest_knows_the_parts() -> None:
    pictures, spec = pictures_of([0] * 20 + [1] * 20), SplitSpec(seed=1)
    record = split_record(split(pictures, spec), spec)
    assert json.loads(json.dumps(record)) == record
    assert record["counts"] == {
        "train": {"a": 14, "b": 14},
        "val": {"a": 3, "b": 3},
        "test": {"a": 3, "b": 3},
    }
    assert record["seed"] == 1
    assert (
        split_record(split(pictures, spec).rows(list(range(39, -1, -1))), spec)["digest"]
        == record["digest"]
    )
    assert split_record(split(pictures, SplitSpec(seed=2)), spec)["digest"] != record["digest"]
    assert split_record(pictures, None)["seed"] is None
    assert record["learnt_from"] is None


def test_the_record_knows_by_digest_what_was_not_tested_on() -> None:
    parts: list[Part] = ["train", "train", "val", "val", "test", "test"]
    pictures = pictures_of([0, 1, 0, 1, 0, 1], "aabbcc", parts)
    assert split_record(pictures, None)["learnt_from"] == group_digests("ab")
