"""What a card may say, and what a wrong one is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.drawing.style import PALETTE, default_colors
from slidecam.errors import CardError
from slidecam.models.card import (
    card_object,
    card_text,
    check_card,
    read_card,
)

if TYPE_CHECKING:
    from pathlib import Path

    from models.conftest import MakeCard

SHA = "0123456789abcdef" * 4


@pytest.fixture
def written(tmp_path: Path, make_card: MakeCard) -> Path:
    path = tmp_path / "card.json"
    path.write_text(card_text(make_card(weights_sha256=SHA, split="stages.1")), encoding="utf-8")
    return path


def change(path: Path, key: str, value: object) -> None:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    place = content
    *sections, last = key.split(".")
    for section in sections:
        place = place[section]
    place[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def remove(path: Path, key: str) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[key]
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_card_that_was_written_reads_back_equal(written: Path, make_card: MakeCard) -> None:
    assert read_card(written) == make_card(weights_sha256=SHA, split="stages.1")


def test_the_keys_are_the_contracts(written: Path) -> None:
    assert list(json.loads(written.read_text(encoding="utf-8"))) == [
        "format", "version", "name", "architecture", "architecture_args", "class_names",
        "class_colors",
        "activation", "tile_px", "spacing_um_px", "resize", "mean", "std", "split", "licence",
        "provenance",
        "weights",
    ]  # fmt: skip


def test_keys_that_are_not_known_are_kept_and_written_back(written: Path) -> None:
    change(written, "calibration", {"temperature": 1.5})
    card = read_card(written)
    assert card.extra == {"calibration": {"temperature": 1.5}}
    assert card_object(card)["calibration"] == {"temperature": 1.5}


@pytest.mark.parametrize(
    "key",
    ["format", "version", "name", "architecture", "class_names", "activation", "tile_px",
     "spacing_um_px",
     "resize", "mean", "std", "licence", "weights"],
)  # fmt: skip
def test_a_missing_key_is_named_with_the_file(written: Path, key: str) -> None:
    remove(written, key)
    with pytest.raises(CardError, match=f'"{key}" is missing') as caught:
        read_card(written)
    assert str(written) in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("key", ["architecture_args", "class_colors", "split", "provenance"])
def test_some_keys_may_be_left_out(written: Path, key: str) -> None:
    remove(written, key)
    read_card(written)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "onnx", "'onnx', not 'slidecam-bundle'"),
        ("version", 2, "is 2, and this slidecam reads 1"),
        ("name", " ", '"name" is empty'),
        ("name", 3, "3, not a string"),
        ("class_names", [], "empty"),
        ("class_names", "tumour", '"tumour", not a list'),
        ("class_names", ["a", 2, "c"], "not a list of strings"),
        ("class_names", ["a", "b", "a"], "names 'a' twice"),
        ("class_names", ["only"], "colours for 1 classes"),
        ("class_colors", [[1, 2, 3]], "1 colours for 3 classes"),
        ("class_colors", [[1, 2], [1, 2, 3], [1, 2, 3]], r"\[1, 2\], not a colour"),
        ("class_colors", [[1, 2, 256], [1, 2, 3], [1, 2, 3]], r"holds \[1, 2, 256\]"),
        ("class_colors", [[1, 2, 0.5], [1, 2, 3], [1, 2, 3]], "not a colour"),
        ("activation", "relu", "'relu'"),
        ("tile_px", 0, "is 0"),
        ("tile_px", 1.5, "not a whole number"),
        ("tile_px", True, "true, not a whole number"),
        ("spacing_um_px", 264.58, "264.58 µm per pixel"),
        ("spacing_um_px", 0, "0 µm per pixel"),
        ("spacing_um_px", "0.5", '"0.5", not a number'),
        ("resize", 224, "224, not an object"),
        ("resize.size", -1, r"resize\.size\" is -1"),
        ("resize.interpolation", "lanczos", "'lanczos'"),
        ("mean", [0.5, 0.5], "not three numbers"),
        ("std", [0.2, 0.0, 0.2], "std"),
        ("std", 0.5, "not a list"),
        ("split", 4, "4, not a string"),
        ("weights.file", "../model.safetensors", "beside the card"),
        ("weights.file", "..\\model.safetensors", "beside the card"),
        ("weights.sha256", "abc", "not 64 hexadecimal digits"),
    ],
)
def test_an_impossible_value_is_refused_and_shown(
    written: Path, key: str, value: object, said: str
) -> None:
    change(written, key, value)
    with pytest.raises(CardError, match=said) as caught:
        read_card(written)
    assert str(written) in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["{", "[1]", "\ufeff{}"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match=r"card\.json"):
        read_card(path)


def test_a_softmax_of_one_class_is_refused(tmp_path: Path, make_card: MakeCard) -> None:
    with pytest.raises(CardError, match="always 1"):
        check_card(make_card(1, activation="softmax"), tmp_path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, make_card: MakeCard) -> None:
    with pytest.raises(CardError, match="mean"):
        check_card(make_card(mean=(float("nan"), 0.5, 0.5)), tmp_path)
    with pytest.raises(CardError, match="spacing"):
        check_card(make_card(spacing=float("nan")), tmp_path)


def test_a_card_without_colours_gets_the_palette(make_card: MakeCard) -> None:
    assert make_card().class_colors == PALETTE[:3]


def test_there_are_different_colours_for_many_classes() -> None:
    colors = default_colors(40)
    assert len(set(colors)) == 40
    assert all(0 <= part <= 255 for color in colors for part in color)


def test_a_card_keeps_letters_of_every_language(tmp_path: Path, make_card: MakeCard) -> None:
    path = tmp_path / "card.json"
    card = make_card(name="Gewebe µ 组织", weights_sha256=SHA)
    path.write_text(card_text(card), encoding="utf-8")
    assert read_card(path).name == "Gewebe µ 组织"
    assert "组织" in path.read_text(encoding="utf-8")


def test_thresholds_are_read_and_written_back(written: Path) -> None:
    change(written, "activation", "sigmoid")
    change(written, "thresholds", [0.31, 0.5, 0.87])
    card = read_card(written)
    assert card.thresholds == card.classes.thresholds == (0.31, 0.5, 0.87)
    assert card_object(card)["thresholds"] == [0.31, 0.5, 0.87]
    assert "thresholds" not in card.extra


@pytest.mark.parametrize(
    ("activation", "value", "problem"),
    [
        ("sigmoid", [0.3, 0.5], "holds 2 numbers for 3 classes"),
        ("sigmoid", [0.3, 0.5, 1.2], "a probability is from 0 to 1"),
        ("sigmoid", [0.3, 0.5, "half"], "not a list of numbers"),
        ("sigmoid", 0.3, "not a list"),
        ("softmax", [0.3, 0.5, 0.2], "whose largest is called"),
        ("none", [0.3, 0.5, 0.2], "whose largest is called"),
    ],
)
def test_thresholds_that_part_nothing_are_refused(
    written: Path, activation: str, value: object, problem: str
) -> None:
    change(written, "activation", activation)
    change(written, "thresholds", value)
    with pytest.raises(CardError, match=problem):
        read_card(written)


def test_a_name_in_two_spellings_is_a_name_twice(written: Path) -> None:
    change(written, "class_names", ["Caf\u00e9", "b", "Cafe\u0301"])
    with pytest.raises(CardError, match="twice"):
        read_card(written)
