"""One validator: strict about types, and all at once about mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Predicate, doc
from hypothesis import given
from hypothesis import strategies as st

from slidecam.errors import UsageError
from slidecam.settings import (
    Complaints,
    NotTakenError,
    check_all,
    from_text,
    read_fields,
    read_settings,
    read_values,
    taken,
    words_of,
)

Share = Annotated[float, Ge(0), Le(1)]
Layers = str | Annotated[int, Ge(1)] | tuple[str, ...]


@dataclass(frozen=True)
class Oven:
    heat: Annotated[float, Gt(0), Le(300)]
    racks: int = 2
    mode: Literal["fan", "grill"] = "fan"
    timer: float | None = None
    names: tuple[str, ...] = ()
    extra: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode == "grill" and self.racks > 1:
            raise UsageError("a grill heats one rack.", "Set racks = 1.")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("3", int), ("3", float), (True, int), (True, float), (1, bool), ("true", bool),
        (3.5, int), (3, str), (float("nan"), float), (float("inf"), float | None),
        (float("nan"), int), ("ab", tuple[str, ...]), ([1, 2, 3], tuple[float, float]),
        ([1, "2"], tuple[float, ...]), ({"a": "1"}, Mapping[str, float]), (1.25, Share),
        (0, Annotated[float, Gt(0)]), (0, Layers), ("oven", Literal["fan", "grill"]),
        (None, float),
    ],
)  # fmt: skip
def test_nothing_passes_for_what_it_is_not(value: object, kind: Any) -> None:
    with pytest.raises(NotTakenError):
        taken(value, kind)


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (3, float, 3.0), (224.0, int, 224), ([1, 2.5], tuple[float, float], (1.0, 2.5)),
        ({"cam": [0, 7]}, Mapping[str, tuple[float, float]], {"cam": (0.0, 7.0)}),
        (None, float | None, None), ("head", Layers, "head"), (3, Layers, 3),
        (["a"], Layers, ("a",)), (0.15, Share, 0.15),
    ],
)  # fmt: skip
def test_what_fits_becomes_the_fields_own_type(value: object, kind: Any, found: object) -> None:
    made = taken(value, kind)
    assert made == found
    assert type(made) is type(found)


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_numbers_and_texts_are_kept_as_they_are(whole: int, number: float, text: str) -> None:
    assert taken(whole, int) == whole
    assert taken(number, float) == number
    assert taken(text, str) == text


@given(
    st.integers(-(10**9), 10**9),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
)
def test_a_text_is_read_as_the_value_that_it_was_written_from(
    whole: int, numbers: list[float]
) -> None:
    assert from_text(str(whole), int) == whole
    assert from_text(",".join(map(repr, numbers)), tuple[float, ...]) == tuple(numbers)


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("none", float | None, None), ("none", str, "none"), ("TRUE", bool, True),
        ("false", bool, False), ("0.7", Literal["0.4", "0.7"], "0.7"), ("3", str, "3"),
        ("a, b", tuple[str, ...], ("a", "b")), ("1,2.5", tuple[float, float], (1.0, 2.5)),
        ("0.25", Share | None, 0.25), ("3", Literal[3, 7], 3),
    ],
)  # fmt: skip
def test_a_text_means_what_its_field_may_hold(text: str, kind: Any, found: object) -> None:
    assert from_text(text, kind) == found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("many", int), ("3.5", int), ("yes", bool), ("nan", float), ("1,2,3", tuple[float, float]),
        ("1,x", tuple[float, float]), ("7", Share), ("other", Literal["fan"]),
    ],
)  # fmt: skip
def test_a_text_that_means_nothing_to_its_field_is_refused(text: str, kind: Any) -> None:
    with pytest.raises(NotTakenError):
        from_text(text, kind)


def test_a_parser_of_its_owner_reads_a_type() -> None:
    assert from_text("a/b", Path | None, {Path: Path}) == Path("a/b")
    assert from_text("None", Path | None, {Path: Path}) is None


def test_everything_wrong_is_told_at_once_with_key_value_and_what_may_stand_there() -> None:
    complaints = Complaints()
    table = {"racks": "2", "mode": "steam", "timer": True, "name": [], "extra": {"a": [1]}}
    assert read_settings(Oven, table, "oven", complaints) is None
    assert sorted(complaints.lines) == [
        'oven.extra is {"a": [1]}. Write a table, each value a list of 2, each a number.',
        "oven.heat is missing. Write a number above 0 to 300.",
        'oven.mode is "steam". Write one of "fan", "grill".',
        "oven.name is not known. Did you mean names?",
        'oven.racks is "2". Write a whole number.',
        "oven.timer is true. Write a number.",
    ]


def test_what_only_several_keys_get_wrong_is_told_in_the_dataclasss_words() -> None:
    complaints = Complaints()
    assert read_settings(Oven, {"heat": 180, "mode": "grill"}, "oven", complaints) is None
    assert complaints.lines == ["oven contradicts itself: a grill heats one rack. Set racks = 1."]


@dataclass(frozen=True)
class Kitchen:
    oven: Oven
    spare: Oven | None = None
    door: Annotated[str, Predicate(str.islower), doc("the door's name, in small letters")] = "left"


def test_a_table_inside_a_table_is_read_by_its_own_dataclass() -> None:
    complaints = Complaints()
    alone = read_settings(Kitchen, {"oven": {"heat": 180}, "spare": None}, "", complaints)
    both = read_settings(Kitchen, {"oven": {"heat": 1}, "spare": {"heat": 2}}, "", complaints)
    assert complaints.lines == []
    assert (alone, both) == (Kitchen(Oven(180.0)), Kitchen(Oven(1.0), Oven(2.0)))


def test_what_is_wrong_inside_a_table_is_named_by_its_place() -> None:
    complaints = Complaints()
    table = {"oven": {"racks": "2", "spares": 1}, "spare": 3, "door": "Left"}
    assert read_settings(Kitchen, table, "kitchen", complaints) is None
    keys = '{"heat": …, "racks": …, "mode": …, "timer": …, "names": …, "extra": …}'
    assert complaints.lines == [
        "kitchen.oven.spares is not known. Known are heat, racks, mode, timer, names, extra.",
        'kitchen.oven.racks is "2". Write a whole number.',
        "kitchen.oven.heat is missing. Write a number above 0 to 300.",
        f"kitchen.spare is 3. Write {keys}.",
        'kitchen.door is "Left". Write the door\'s name, in small letters.',
    ]


@given(st.integers(0, 99))
def test_of_a_list_too_long_to_be_shown_the_wrong_item_is(number: int) -> None:
    numbers: list[object] = [0.125] * 100
    numbers[number] = "three"
    complaints = Complaints()
    read_values({"numbers": tuple[float, ...] | None}, {"numbers": numbers}, "", complaints)
    assert complaints.lines == [
        f'numbers holds "three" as number {number + 1}. Write a list, each a number.'
    ]


def test_of_a_long_list_that_is_none_the_beginning_is_shown() -> None:
    complaints = Complaints()
    read_values({"pair": tuple[float, float]}, {"pair": [0.125] * 100}, "", complaints)
    (line,) = complaints.lines
    assert line.startswith("pair is [0.125, 0.125, ")
    assert line.endswith("…. Write a list of 2, each a number.")


@given(st.dictionaries(st.text(min_size=1), st.integers()))
def test_keys_of_others_are_left_alone_where_they_may_stand(others: dict[str, int]) -> None:
    complaints = Complaints()
    read = read_fields(Oven, others | {"heat": 180, "racks": 3}, "", complaints, others=True)
    assert complaints.lines == []
    assert read == {"heat": 180.0, "racks": 3}
    read_fields(Oven, {"heat": 180, "wheels": 3}, "", complaints)
    assert [line.split(".")[0] for line in complaints.lines] == ["wheels is not known"]


def test_a_table_that_is_none_is_told() -> None:
    complaints = Complaints()
    assert read_settings(Oven, [3], "oven", complaints) is None
    assert complaints.lines == ["oven is [3], not a table. Write [oven] on a line of its own."]


def test_a_right_table_becomes_the_dataclass() -> None:
    table = {"heat": 187, "racks": 3.0, "extra": {"a": [1, 2]}, "names": ["x"]}
    assert read_settings(Oven, table, "oven", Complaints()) == Oven(
        187.0, 3, names=("x",), extra={"a": (1.0, 2.0)}
    )


def test_words_say_what_a_field_may_hold() -> None:
    assert words_of(Layers) == "a string, or a whole number from 1, or a list, each a string"
    assert words_of(tuple[Share, Share]) == "a list of 2, each a number from 0 to 1"
    assert words_of(float | None) == "a number"


def test_whatever_checks_refuse_is_said_at_once() -> None:
    def refuse(what: str) -> None:
        raise UsageError(f"{what} is gone.", f"Bring {what}.")

    check_all(iter([list, dict]))
    with pytest.raises(UsageError) as alone:
        check_all([list, partial(refuse, "the lamp")])
    assert (alone.value.problem, alone.value.remedy) == ("The lamp is gone.", "Bring the lamp.")
    with pytest.raises(UsageError, match=r"2 settings are wrong:\n  - The lamp .*\n  - The key "):
        check_all([partial(refuse, "the lamp"), list, partial(refuse, "the key")])
