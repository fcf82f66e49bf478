"""Which of a file's pictures is the slide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam.errors import UsageError
from slidecam.geometry import Size
from slidecam.sources.images import FileImage, associated_name, choose_image, file_volumes

SIZES = st.builds(Size, st.integers(1, 9999), st.integers(1, 9999))


def test_the_largest_that_is_no_label_macro_or_thumbnail_is_the_slide() -> None:
    images = (
        FileImage(1, "macro image", Size(4003, 3001)),
        FileImage(2, "scan", Size(2207, 1709)),
        FileImage(3, "", Size(1103, 853)),
    )

    marked, chosen, readings = choose_image("a.tif", images, None)

    assert (chosen.number, [each.chosen for each in marked]) == (2, [False, True, False])
    (reading,) = readings
    assert reading.startswith('Image 2 "scan" of 3 is read, the largest that is no label')
    assert '1 "macro image" (4003x3001 px)' in reading


@given(st.lists(SIZES, min_size=1, max_size=6))
def test_the_order_in_the_file_decides_nothing_but_between_equals(
    sizes: list[Size],
) -> None:
    images = [FileImage(number, "", size) for number, size in enumerate(sizes, 1)]
    areas = [size.width * size.height for size in sizes]

    _, chosen, readings = choose_image("a.tif", images, None)

    assert chosen.number == areas.index(max(areas)) + 1
    assert len(readings) == (len(images) > 1)


def test_a_reduced_copy_is_the_slide_only_where_all_are() -> None:
    copies = (FileImage(1, "", Size(907, 703), reduced=True), FileImage(2, "", Size(307, 203)))
    assert choose_image("a.tif", copies, None)[1].number == 2
    assert choose_image("a.tif", copies[:1], None)[1].number == 1
    assert choose_image("a.tif", [FileImage(1, "Label", Size(3, 7))], None)[1].number == 1


def test_a_picture_is_named_by_its_name_before_its_number() -> None:
    images = (FileImage(1, "2", Size(31, 17)), FileImage(2, "left", Size(97, 53)))
    assert choose_image("a.tif", images, "2")[1].number == 1
    assert choose_image("a.tif", images, "left")[1].number == 2
    assert choose_image("a.tif", images, "1")[1].number == 1
    assert "as was asked for" in choose_image("a.tif", images, "1")[2][0]


def test_a_name_that_is_none_or_several_is_refused_with_the_list() -> None:
    images = (FileImage(1, "scan", Size(31, 17)), FileImage(2, "scan", Size(97, 53)))
    with pytest.raises(UsageError, match=r'no image \'9\'.*1 "scan" \(31x17 px\); 2 "scan"'):
        choose_image("a.tif", images, "9")
    with pytest.raises(UsageError, match="2 of its images are called 'scan'"):
        choose_image("a.tif", images, "scan")


def test_an_overview_is_called_macro_and_a_slide_nothing() -> None:
    assert associated_name("Overview of all") == "macro"
    assert associated_name("LABEL") == "label"
    assert associated_name("MacroImage") == "macro"
    assert associated_name("slide 3") is None
    assert associated_name("Macrophages, CD68 labelled") is None


def test_of_many_pictures_some_are_named() -> None:
    images = [FileImage(number, "", Size(100 + number, 97)) for number in range(1, 38)]
    (reading,) = choose_image("a.tif", images, None)[2]
    assert "24 (124x97 px); and 12 more." in reading


def test_a_files_volumes_are_called_by_number_from_0_and_by_name() -> None:
    assert file_volumes(1, 0, ["only"]) == ()
    first, second, third = file_volumes(3, 1, ["", "b=1000"])
    assert [str(one) for one in (first, second, third)] == ["0", "1 (b=1000)", "2"]
    assert [one.chosen for one in (first, second, third)] == [False, True, False]
    assert second.is_called("1")
    assert second.is_called("B=1000")
    assert not second.is_called(None)
    assert first.is_called(None)
