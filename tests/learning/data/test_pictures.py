"""Which file is of which class, patient and part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.errors import DataSetError
from slidecam.learning.data.dataset import dataset_for, folds_for
from slidecam.learning.data.picture_files import PARTS, PictureSpec
from slidecam.learning.data.pictures import (
    PictureSet,
    counted,
    nameless,
    read_picture_set,
    write_picture_table,
)
from slidecam.learning.data.readings import look_at_pictures
from slidecam.learning.recipes.tables import DataSpec
from slidecam.steps import result_of

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    return root


def table(root: Path, *lines: str) -> Path:
    path = root / "list.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_class_folders_are_read_in_sorted_order(tmp_path: Path) -> None:
    pictures = read_picture_set(put(tmp_path, "b/2.png", "b/1.JPG", "a/deep/er/3.tif"))
    assert pictures.class_names == ("a", "b")
    assert pictures.names == ("a/deep/er/3.tif", "b/1.JPG", "b/2.png")
    assert pictures.labels.tolist() == [0, 1, 1]
    assert pictures.labels.dtype == np.int64
    assert pictures.parts == ("", "", "")
    assert pictures.groups is None
    assert not pictures.is_split
    assert pictures.counts() == {"a": 1, "b": 2}


def test_folders_of_parts_are_read_by_their_usual_names(tmp_path: Path) -> None:
    put(
        tmp_path, "Training/a/1.png", "Training/b/2.png", "validation/a/3.png", "validation/b/4.png"
    )
    pictures = read_picture_set(put(tmp_path, "Testing/a/5.png", "Testing/b/6.png"))
    assert {part: pictures.part(part).names for part in PARTS} == {
        "train": ("Training/a/1.png", "Training/b/2.png"),
        "val": ("validation/a/3.png", "validation/b/4.png"),
        "test": ("Testing/a/5.png", "Testing/b/6.png"),
    }
    assert pictures.is_split
    assert pictures.notes == ()


def test_hidden_files_and_checkpoints_are_passed_over(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a/1.png",
        "b/2.png",
        "a/.ipynb_checkpoints/1.png",
        ".ipynb_checkpoints/x.png",
        "b/.hidden.png",
        "__MACOSX/a/1.png",
    )
    pictures = read_picture_set(tmp_path)
    assert pictures.names == ("a/1.png", "b/2.png")
    assert pictures.notes == ()


def test_files_that_are_no_pictures_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "Thumbs.db").touch()
    (tmp_path / "b" / "notes.txt").touch()
    (note,) = read_picture_set(tmp_path).notes
    assert note == "Left out, no pictures by their suffix (2): a/Thumbs.db, b/notes.txt."


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "c").mkdir()
    with pytest.raises(DataSetError, match=r"There is no picture in this class folder .*c\)"):
        read_picture_set(tmp_path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"one class only, 'a'"):
        read_picture_set(put(tmp_path, "a/1.png", "a/2.png"))


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="There is no picture"):
        read_picture_set(tmp_path)
    with pytest.raises(DataSetError, match=r"There is no such file.*gone"):
        read_picture_set(tmp_path / "gone")


def test_a_class_that_only_the_test_part_has_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/B/4.png")
    with pytest.raises(DataSetError, match=r"test has pictures of 'B', and train has none"):
        read_picture_set(tmp_path)


def test_a_class_that_the_test_part_lacks_is_told(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png")
    assert read_picture_set(tmp_path).notes == ("test has no picture of b, which train has.",)


def test_a_test_part_alone_is_enough_to_be_measured_on(tmp_path: Path) -> None:
    pictures = read_picture_set(put(tmp_path, "test/a/3.png", "test/b/4.png"))
    assert len(pictures.part("test")) == 2


def test_a_part_beside_a_class_is_unclear(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"This folder lies beside train.*tumour"):
        read_picture_set(put(tmp_path, "train/a/1.png", "tumour/2.png"))


def test_named_classes_give_the_order_and_refuse_others(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    pictures = read_picture_set(tmp_path, PictureSpec(class_names=("b", "c", "a")))
    assert pictures.labels.tolist() == [2, 0]
    assert pictures.counts() == {"b": 1, "c": 0, "a": 1}
    with pytest.raises(DataSetError, match=r"This picture's class 'a' is none of b, c .*1\.png"):
        read_picture_set(tmp_path, PictureSpec(class_names=("b", "c")))


def test_the_patient_is_found_in_the_file_name(tmp_path: Path) -> None:
    put(tmp_path, "0/10261_idx5_x1_y1.png", "1/10261_idx5_x2_y1.png", "1/10299_idx5_x1_y1.png")
    pictures = read_picture_set(tmp_path, PictureSpec(group_pattern=r"^(?P<group>\d+)_idx"))
    assert pictures.groups == ("10261", "10261", "10299")
    assert pictures.part("").rows([2]).groups == ("10299",)


def test_a_pattern_with_a_slash_is_looked_for_in_the_path(tmp_path: Path) -> None:
    put(tmp_path, "a/P1/x/1.png", "b/P2/x/2.png")
    assert read_picture_set(tmp_path, PictureSpec(group_pattern=r"/(?P<group>P\d)/")).groups == (
        "P1",
        "P2",
    )


def test_the_patient_may_be_a_folder_below_the_class(tmp_path: Path) -> None:
    put(tmp_path, "a/P1/x/1.png", "b/P2/2.png")
    assert read_picture_set(tmp_path, PictureSpec(group_folder=True)).groups == ("P1", "P2")
    put(tmp_path, "b/3.png")
    with pytest.raises(DataSetError, match=r"This picture lies in no folder of a patient.*3\.png"):
        read_picture_set(tmp_path, PictureSpec(group_folder=True))


def test_a_name_without_a_patient_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a/7_idx.png", "b/other.png")
    with pytest.raises(
        DataSetError, match=r"group_pattern .* finds no group in 'other\.png' .*b.other\.png"
    ):
        read_picture_set(tmp_path, PictureSpec(group_pattern=r"^(?P<group>\d+)_idx"))


def test_the_class_may_be_anywhere_in_the_path(tmp_path: Path) -> None:
    put(tmp_path, "fold_0/all/1.png", "fold_0/hem/2.png", "fold_1/hem/3.png")
    pictures = read_picture_set(
        tmp_path,
        PictureSpec(label_pattern=r"/(?P<label>all|hem)/", group_pattern=r"(?P<group>fold_\d)/"),
    )
    assert pictures.class_names == ("all", "hem")
    assert pictures.labels.tolist() == [0, 1, 1]
    assert pictures.groups == ("fold_0", "fold_0", "fold_1")


def test_a_part_of_the_data_can_be_picked(tmp_path: Path) -> None:
    put(tmp_path, "a/40X/1.png", "a/100X/2.png", "b/40X/3.png", "b/40X/3_mask.png")
    pictures = read_picture_set(tmp_path, PictureSpec(only_pattern=r"^(?!.*_mask).*/40X/"))
    assert pictures.names == ("a/40X/1.png", "b/40X/3.png")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"group_pattern": "("}, "no regular expression"),
        ({"group_pattern": r"^\d+"}, r"no \(\?P<group>…\)"),
        ({"label_pattern": "x"}, r"no \(\?P<label>…\)"),
        ({"group_pattern": "(?P<group>x)", "group_folder": True}, "both"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_at_once(spec: dict[str, str], word: str) -> None:
    with pytest.raises(DataSetError, match=word):
        PictureSpec(**spec)  # type: ignore[arg-type]  # text and flags, as parametrised


def test_a_table_lists_pictures_relative_to_itself(tmp_path: Path) -> None:
    put(tmp_path, "x/1.png", "x/2.png", "3.png")
    path = table(
        tmp_path,
        "path,label,group,split,x",
        "x/1.png,b,P1,train,7",
        "x/2.png,a,P2,train,7",
        "3.png,a,P3,Testing,7",
    )
    pictures = read_picture_set(path)
    assert pictures.class_names == ("a", "b")
    assert pictures.labels.tolist() == [1, 0, 0]
    assert pictures.groups == ("P1", "P2", "P3")
    assert pictures.parts == ("train", "train", "test")
    said = "Columns of list.csv that are not read: x (path, label, group, split are)."
    assert said in pictures.notes
    result_of(result_of(look_at_pictures(pictures)).refuse_broken())


def test_of_many_classes_some_are_counted_in_words(tmp_path: Path) -> None:
    names = [f"c{number:02}" for number in range(27)]
    pictures = PictureSet(
        root=tmp_path,
        paths=tuple(tmp_path / name for name in names),
        labels=np.arange(27),
        class_names=tuple(names),
        groups=None,
        parts=("",) * 27,
    )
    said = counted(pictures)
    assert said.startswith("27 pictures of 27 classes: c00 1; c01 1;")
    assert said.endswith("; c23 1 and 3 more.")


def test_a_class_of_which_a_pattern_takes_nothing_is_the_patterns_fault(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(DataSetError, match=r"nly_pattern 'a/' takes no picture .*b\)"):
        read_picture_set(tmp_path, PictureSpec(only_pattern="a/"))


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("patient", "group"),
        ("Patient ID", "group"),
        ("subject_id", "group"),
        ("slide", "group"),
        ("Group", "group"),
        (" split", "split"),
        ("Set", "split"),
    ],
)
def test_patients_and_parts_in_a_column_of_another_name_are_not_passed_over(
    tmp_path: Path, column: str, meant: str
) -> None:
    put(tmp_path, "1.png", "2.png")
    rows = ["1.png,a,train", "2.png,b,train"]
    with pytest.raises(DataSetError, match=f"{column}' is not read, .* no column '{meant}'"):
        read_picture_set(table(tmp_path, f"path,label,{column}", *rows))
    if meant == "group":
        found = read_picture_set(
            table(tmp_path, f"path,label,{column}", *rows),
            PictureSpec(group_pattern="(?P<group>.)"),
        )
        assert found.groups == ("1", "2")
    both = [f"{row},train" for row in rows]
    found = read_picture_set(table(tmp_path, f"path,label,{column},{meant}", *both))
    assert len(found) == 2


def test_columns_that_are_there_twice_and_rows_of_too_many_values_are_refused(
    tmp_path: Path,
) -> None:
    put(tmp_path, "1.png", "2.png")
    with pytest.raises(DataSetError, match="'label' is there 2 times"):
        read_picture_set(table(tmp_path, "path,label,label", "1.png,a,b", "2.png,b,a"))
    with pytest.raises(DataSetError, match="line 3: there are more values than columns"):
        read_picture_set(table(tmp_path, "path,label", "1.png,a", "2.png,b,c"))


def test_a_table_joins_data_that_are_read_as_they_would_be_alone(tmp_path: Path) -> None:
    put(tmp_path / "parted", "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png")
    slices = put(tmp_path / "slices", "b/s1.png", "b/s2.png", "loose.png")
    rows = "path,label,group", "b/s1.png,b,head 1", "b/s2.png,b,head 2"
    table(slices, *rows).rename(slices / "pictures.csv")
    own = "slices/loose.png,a,nobody,train"
    path = table(tmp_path, "path,label,group,split", "parted,,,", "slices,,,train", own)
    joined = read_picture_set(path)
    found = dict(
        zip(joined.names, zip(joined.groups or (), joined.parts, strict=True), strict=True)
    )
    assert found["slices/b/s2.png"] == ("head 2", "train")
    assert found["slices/loose.png"] == ("nobody", "train")
    assert found["parted/test/a/3.png"] == ((tmp_path / "parted/test/a/3.png").as_posix(), "test")
    assert len(found) == 7
    assert joined.counts() == {"a": 3, "b": 4}
    assert "4 pictures of data that know no patient or slide count as one each." in joined.notes


@pytest.mark.parametrize("name", ["list.csv", "."])
def test_a_table_that_joins_itself_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataSetError, match=r"This table names itself"):
        read_picture_set(table(tmp_path, "path,label", f"{name},"))


def test_a_folder_with_a_table_is_read_by_it(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "b/not_listed.png")
    table(tmp_path, "path,label,group", "a/1.png,a,S1", "b/2.png,b,S1").rename(
        tmp_path / "pictures.csv"
    )
    pictures = read_picture_set(tmp_path)
    assert pictures.names == ("a/1.png", "b/2.png")
    assert pictures.groups == ("S1", "S1")


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (["path,class", "1.png,a"], r"There is no column 'label' among path, class .*list\.csv"),
        (
            [""],
            (
                r"The table is empty .*list\.csv\)\. List a picture a line, below the columns"
                r" path and label"
            ),
        ),
        (["path,label", "1.png,a", ",b"], r"line 3: the path or the label is empty"),
        (
            ["path,label,split", "1.png,a,train", "2.png,b,holdout"],
            r"line 3: there is no split 'holdout'",
        ),
        (
            ["path,label", "1.png,a", "gone.png,b"],
            r"1 of its 2 pictures are not there, the first is .*gone\.png",
        ),
        (["path,label", "1.png,a", "1.png,b"], r"1\.png is listed more than once"),
        (
            ["path,label,group", "1.png,a,P", "2.png,b,"],
            r"2\.png has no group, and others have one",
        ),
        (
            ["path,label,split", "1.png,a,", "2.png,b,test"],
            r"1\.png has no split, and others have one",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path: Path, lines: list[str], word: str) -> None:
    put(tmp_path, "1.png", "2.png")
    with pytest.raises(DataSetError, match=word):
        read_picture_set(table(tmp_path, *lines))


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataSetError, match=r"This is no table.*a\.csv"):
        read_picture_set(tmp_path / "a.csv")


def test_a_patient_in_two_parts_is_told(tmp_path: Path) -> None:
    put(tmp_path, "train/a/7_1.png", "train/b/8_2.png", "test/a/7_3.png", "test/b/9_4.png")
    (note,) = read_picture_set(tmp_path, PictureSpec(group_pattern=r"^(?P<group>\d)_")).notes
    assert note == "Patients or slides in more than one part (1): 7."


def test_a_written_table_is_read_back(tmp_path: Path) -> None:
    put(tmp_path / "data", "train/a/7.png", "train/b/8.png", "test/a/9.png", "test/b/10.png")
    pictures = read_picture_set(tmp_path / "data", PictureSpec(group_pattern=r"(?P<group>\d+)"))
    write_picture_table(pictures, tmp_path / "data" / "split.csv")
    again = read_picture_set(tmp_path / "data" / "split.csv")
    assert again.names == pictures.names
    assert again.labels.tolist() == pictures.labels.tolist()
    assert again.groups == pictures.groups
    assert again.parts == pictures.parts


@pytest.mark.shared_data
def test_the_real_sets_have_the_counts_of_their_readme(shared_data: Path) -> None:
    mri = read_picture_set(shared_data / "brain_tumor_mri")
    assert mri.part("train").counts() == {
        "glioma": 600,
        "meningioma": 600,
        "notumor": 362,
        "pituitary": 600,
    }
    assert set(mri.part("val").counts().values()) == {40}
    assert set(mri.part("test").counts().values()) == {60}
    idc = read_picture_set(
        shared_data / "idc_breast_patches", PictureSpec(group_pattern=r"^(?P<group>\d+)_idx")
    )
    assert idc.class_names == ("0_nonidc", "1_idc")
    assert idc.notes == ()
    busi = read_picture_set(shared_data / "busi")
    assert busi.counts() == {"benign": 300, "malignant": 107, "normal": 80}
    for pictures in (mri, idc, busi):
        result_of(result_of(look_at_pictures(pictures)).refuse_broken())


@pytest.mark.parametrize(
    "place", ["train/test/red", "train/red/Validation", "red/test", "red/testing/deeper"]
)
def test_a_part_within_a_part_or_a_class_is_no_class(tmp_path: Path, place: str) -> None:
    top = tmp_path
    if place.startswith("train"):
        top = tmp_path / "train"
    for folder in (top / "red", top / "blue", tmp_path / place):
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / "a.png")
    with pytest.raises(DataSetError, match=r"The folder '\w+' within '\w+' is called like a part"):
        read_picture_set(tmp_path)
    # What is not wanted is not looked at.
    only = PictureSpec(only_pattern="^(train/)?(red|blue)/a")
    if place != "train/test/red":
        assert len(read_picture_set(tmp_path, only)) == 2


@pytest.mark.parametrize("twin", ["beta", "BETA ", "be-ta", "Be_ta"])
def test_classes_that_differ_in_capitals_or_gaps_alone_are_refused(
    tmp_path: Path, twin: str
) -> None:
    rows = ["path,label"]
    for number, label in enumerate(("alpha", "Beta", twin) * 6):
        noise = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{label}")
    table = tmp_path / "pictures.csv"
    table.write_text("\n".join(rows))
    with pytest.raises(DataSetError, match=r"differ in capitals or gaps alone .*data\.classes"):
        result_of(dataset_for(table, DataSpec()))
    named = DataSpec(classes=("alpha", "Beta", twin.strip()))
    assert len(result_of(dataset_for(table, named)).pictures) == 18


def test_what_a_bundle_passes_on_of_notes_names_nobody() -> None:
    notes = {
        "Patients or slides in more than one part (6): Anna, Bo 2.": (
            "Patients or slides in more than one part (6)."
        ),
        "In more than one part (2): a/Anna.png = b/Bo (1).png; c = d.": (
            "In more than one part (2)."
        ),
        "Of 9 pictures 3 (Anna/1.tif for one): Plane 2 of 3 is read; --plane reads another.": (
            "Of 9 pictures 3: Plane 2 of 3 is read; --plane reads another."
        ),
        'Of 9 pictures all (x.tif for one): Image 2 "Anna" of 2 is read, the largest; --image'
        ' reads another: 1 "Bo" (3x4 px).': (
            "Of 9 pictures all: Image 2  of 2 is read, the largest; --image reads another."
        ),
        "val has no picture of red, which train has.": (
            "val has no picture of red, which train has."
        ),
    }
    assert list(map(nameless, notes)) == list(notes.values())


def patients_and_slides(root: Path, *, column: str) -> Path:
    """Write two slides of each of three patients; ``column`` names slides, or wards."""
    lines = ["path,label,group"]
    for place, name in enumerate(("P1-A", "P1-B", "P2-A", "P2-B", "P3-A", "P3-B")):
        put(root, f"{name}_x.png")
        group = {"slide": name, "ward": "W", "patient": name[:2]}[column]
        lines.append(f"{name}_x.png,{'ab'[place % 2]},{group}")
    return table(root, *lines)


PATIENT = PictureSpec(group_pattern="^(?P<group>P[0-9]+)-")


def test_a_pattern_for_patients_counts_beside_a_column_of_slides_and_says_so(
    tmp_path: Path,
) -> None:
    pictures = read_picture_set(patients_and_slides(tmp_path, column="slide"), PATIENT)
    assert pictures.groups == ("P1", "P1", "P2", "P2", "P3", "P3")
    (note,) = pictures.notes
    assert note == (
        "group_pattern finds 3 patients or slides, and the table's column group names 6: the"
        " pattern counts, the column is not heeded (leave group_pattern out to take the column)."
    )
    assert read_picture_set(patients_and_slides(tmp_path, column="patient"), PATIENT).notes == ()
    (note,) = read_picture_set(patients_and_slides(tmp_path, column="ward"), PATIENT).notes
    assert "names 1: the pattern counts" in note
    assert "1 of whose groups the pattern takes apart" in note


def test_folders_of_patients_are_refused_of_a_table_or_said_to_be_passed_over(
    tmp_path: Path,
) -> None:
    spec = PictureSpec(group_folder=True)
    pictures = read_picture_set(patients_and_slides(tmp_path, column="slide"), spec)
    assert pictures.notes == (
        "Patients are those of the table's column group: group_folder is not heeded.",
    )
    listed = table(tmp_path, "path,label", "P1-A_x.png,a", "P1-B_x.png,b")
    with pytest.raises(DataSetError, match="Fill the table's column group, or use group_pattern"):
        read_picture_set(listed, spec)


def test_a_pattern_counts_beside_the_group_of_joined_data_too(tmp_path: Path) -> None:
    put(tmp_path / "more", "a/P1-A.png", "b/P2-A.png")
    listed = table(tmp_path, "path,label,group", "more,,S")
    pictures = read_picture_set(listed, PATIENT)
    assert pictures.groups == ("P1", "P2")
    assert pictures.notes[0].startswith("group_pattern finds the patients of more: the column")


def test_pictures_that_a_pattern_leaves_out_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/1_mask.png", "b/2.png", "b/2_mask.png")
    pictures = read_picture_set(tmp_path, PictureSpec(only_pattern="^(?!.*_mask)"))
    assert pictures.names == ("a/1.png", "b/2.png")
    assert pictures.notes == (
        "Left out, not matched by only_pattern (2): a/1_mask.png, b/2_mask.png.",
    )
    listed = table(tmp_path, "path,label", "a/1.png,a", "a/1_mask.png,a", "b/2.png,b")
    assert read_picture_set(listed, PictureSpec(only_pattern="^(?!.*_mask)")).notes == (
        "Left out, not matched by only_pattern (1): a/1_mask.png.",
    )


def test_settings_of_a_training_that_find_nothing_are_said(tmp_path: Path) -> None:
    for part in PARTS:
        put(tmp_path, f"{part}/a/1.png", f"{part}/b/2.png")
    spec = DataSpec(repeat={"/rare/": 3, "/a/": 2}, train=0.8, val=0.1, test=0.1)
    notes = result_of(dataset_for(tmp_path, spec)).pictures.notes
    assert "data.repeat names '/rare/', which no picture's path matches: none is repeated." in notes
    assert any("data.train, val and test are not heeded" in note for note in notes)
    assert not any("'/a/'" in note for note in notes)


def test_parts_of_the_data_that_folds_deal_out_anew_are_said(tmp_path: Path) -> None:
    for part in ("train", "test"):
        put(tmp_path, f"{part}/a/1.png", f"{part}/b/2.png")
    first, *_others = result_of(folds_for(tmp_path, DataSpec(duplicates="ignore"), 2, 1))
    assert any(
        note.startswith("The parts that the data bring (test, train) are dealt into the folds anew")
        for note in first.pictures.notes
    )
