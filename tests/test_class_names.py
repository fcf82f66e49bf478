"""Names of classes and files, as they are written down."""

from __future__ import annotations

import pytest

from slidecam.class_names import broken_name, classes_meant, in_one_line, taken_name
from slidecam.classes import ClassSet
from slidecam.errors import UsageError


@pytest.mark.parametrize(
    "letter",
    ["\x1b", "\n", "\u2028", "\u202e", "\u2066", "\u202a", "\u200e", "\u200f", "\u061c"],
)
def test_what_moves_or_reorders_letters_is_escaped_and_no_class_is_called_so(letter: str) -> None:
    name = f"tumour{letter}ruomut"
    assert broken_name(["stroma", name]) == name
    assert letter not in in_one_line(name)
    assert in_one_line(name, kept=letter) == name


@pytest.mark.parametrize(
    "name", ["Lymphknoten, rechts", "\u05d2\u05d9\u05d3\u05d5\u05dc", "\u0646\u200c\u0645"]
)
def test_names_of_all_scripts_stand_as_they_are(name: str) -> None:
    assert broken_name([name]) is None
    assert in_one_line(name) == name


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("tumor", "Names like it are tumour. The classes are: fat, stroma, tumour."),
        ("TUMOUR", "Names like it are tumour. The classes are: fat, stroma, tumour."),
        ("xyz", "The classes are: fat, stroma, tumour."),
    ],
)
def test_a_name_that_no_class_has_is_answered_with_those_that_were_meant(
    name: str, remedy: str
) -> None:
    assert classes_meant(name, ["fat", "stroma", "tumour"]) == remedy


def test_of_a_thousand_classes_the_first_are_listed_and_the_others_counted() -> None:
    remedy = classes_meant("x", [f"class {number}" for number in range(1000)])
    assert remedy.startswith("The classes are: class 0, class 1,")
    assert remedy.endswith("class 15 and 984 more.")


@pytest.mark.parametrize("name", ["none called", "Undecided", "NONE CALLED"])
def test_what_tables_call_tiles_of_no_class_no_class_is_called(name: str) -> None:
    assert taken_name(["Tumour", name]) == name
    with pytest.raises(UsageError, match="as tables name tiles of no class"):
        ClassSet(("Tumour", name), "softmax")
    assert taken_name(["Tumour", f"{name} yet"]) is None
