"""What a card may say, and what a wrong one is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slidecam.drawing.style import PALETTE, default_colors
from slidecam.errors import CardError
from slidecam.models.card import (
    CardKeys,
    card_object,
    card_text,
    check_card,
    read_card,
)
from slidecam.models.card_parts import MapEvidence, MapJudgement, Pooling, VolumeCard
from slidecam.models.stain import Stain
from slidecam.settings import hints_of

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
        ("name", " ", r'"name" is " " .* Write what the classifier is called'),
        ("name", 3, r'"name" is 3 .* a string'),
        ("class_names", [], r"is \[\] .* Write a list of at least 1, each a string"),
        ("class_names", ["a", " ", "b"], "with an empty name"),
        ("class_names", "tumour", r'is "tumour" .* Write a list'),
        ("class_names", ["a", 2, "c"], "Write a list of at least 1, each a string"),
        ("class_names", ["a", "b", "a"], "names 'a' twice"),
        ("class_names", ["only"], "colours for 1 classes"),
        ("class_colors", [[1, 2, 3]], "1 colours for 3 classes"),
        ("class_colors", [[1, 2], [1, 2, 3], [1, 2, 3]], r"is \[\[1, 2\], .* a list of 3, each"),
        (
            "class_colors",
            [[1, 2, 256], [1, 2, 3], [1, 2, 3]],
            r"is \[\[1, 2, 256\], .* from 0 to 255",
        ),
        ("class_colors", [[1, 2, 0.5], [1, 2, 3], [1, 2, 3]], "a whole number from 0 to 255"),
        ("activation", "relu", r'is "relu" .* one of "softmax", "sigmoid", "none"'),
        ("tile_px", 0, "is 0"),
        ("tile_px", 1.5, r"is 1\.5 .* Write a whole number from 1"),
        ("tile_px", True, r"is true .* Write a whole number from 1"),
        ("spacing_um_px", 264.58, "264.58 µm per pixel"),
        ("spacing_um_px", 0, "0 µm per pixel"),
        ("spacing_um_px", "0.5", r'is "0\.5" .* Write a number'),
        ("resize", 224, r'is 224 .* Write {"size": …, "interpolation": …}'),
        ("resize", {"size": 8, "interpolation": "nearest", "sise": 9}, "resize.sise.* mean size"),
        ("architecture_args", [], r"is \[\] .* Write an object"),
        ("temperature", 0, "Write a number above 0"),
        ("resize.size", -1, r"resize\.size\" is -1"),
        ("resize.interpolation", "lanczos", r'"resize\.interpolation" is "lanczos"'),
        ("mean", [0.5, 0.5], "Write a list of 3, each a number"),
        ("std", [0.2, 0.0, 0.2], "Write a list of 3, each a number above 0"),
        ("std", 0.5, r"is 0\.5 .* Write a list of 3"),
        ("split", 4, r"is 4 .* Write a string"),
        ("weights.file", "../model.safetensors", "beside the card"),
        ("weights.file", "..\\model.safetensors", "beside the card"),
        ("weights.file", "model.pt", "safetensors"),
        ("weights.sha256", "abc", r'is "abc" .* 64 hexadecimal digits'),
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


def lines_of(error: CardError) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.startswith("  - ")]


def test_everything_that_is_wrong_with_a_card_is_said_at_once(written: Path) -> None:
    remove(written, "name")
    for key, value in {
        "tile_px": "48",
        "std": [0.2, 0, 0.2],
        "resize.interpolation": "lanczos",
        "class_colors": [[1, 2, 3]],
        "spacing_um_px": 264.58,
        "thresholds": [0.5, 0.5],
        "volume": {"slices": 2, "window": {"kind": "fixed", "low": 5}},
        "weights.file": "model.pt",
        "house": "blue",
    }.items():
        change(written, key, value)
    with pytest.raises(CardError) as caught:
        read_card(written)
    assert lines_of(caught.value) == [
        '- "tile_px" is "48". Write a whole number from 1.',
        '- "resize.interpolation" is "lanczos". Write one of "bilinear", "bicubic", "nearest".',
        (
            '- "std" is [0.2, 0, 0.2]. Write a list of 3, each a number above 0, '
            "or a list of 1, each a number above 0."
        ),
        '- "volume.slices" is 2. Write an odd number of slices.',
        '- "volume.window.high" is missing. Write a number.',
        '- "name" is missing. Write what the classifier is called, a string.',
        (
            '- "class_colors" holds 1 colours for 3 classes. '
            "Write one colour for each class, or leave the key out."
        ),
        (
            '- "thresholds" holds 2 numbers for 3 classes. '
            "Write one number for each class, or leave the key out."
        ),
        (
            "- \"thresholds\" stands beside several classes of 'softmax', whose largest is called. "
            "Leave the key out."
        ),
        (
            '- "weights.file" is "model.pt", and a bundle\'s weights are safetensors. '
            "Make the bundle with slidecam bundle."
        ),
    ]
    assert str(caught.value).startswith("10 things are wrong in the card:\n")
    assert str(caught.value).endswith(f"\nAll in one file ({written}). Mend each of them.")


WRONG = {
    "name": 3,
    "activation": "relu",
    "tile_px": 0,
    "mean": [0.5, 0.5],
    "temperature": -1,
    "class_names": ["a", "a", "b"],
    "spacing_um_px": 99.0,
    "resize": {"size": 1.5, "interpolation": "nearest"},
    "weights": {"file": "../model.safetensors", "sha256": SHA},
}


@given(st.sets(st.sampled_from(sorted(WRONG)), min_size=2))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whichever_keys_are_wrong_each_has_its_line_and_no_other(
    tmp_path: Path, make_card: MakeCard, wrong: set[str]
) -> None:
    values = card_object(make_card(weights_sha256=SHA))
    path = tmp_path / "card.json"
    path.write_text(json.dumps(values | {key: WRONG[key] for key in wrong}), encoding="utf-8")
    with pytest.raises(CardError) as caught:
        read_card(path)
    found = [line.split('"')[1].split(".")[0] for line in lines_of(caught.value)]
    assert sorted(found) == sorted(wrong)


@pytest.mark.parametrize(("key", "value"), [("format", "onnx"), ("version", 2)])
def test_what_another_format_or_version_says_is_not_judged(
    written: Path, key: str, value: object
) -> None:
    change(written, key, value)
    change(written, "tile_px", "48")
    with pytest.raises(CardError, match=f'^"{key}" is') as caught:
        read_card(written)
    assert "tile_px" not in str(caught.value)


def test_a_card_is_written_by_the_rules_that_it_is_read_by(
    tmp_path: Path, make_card: MakeCard
) -> None:
    card = make_card(tile_px=0, std=(0.2, 0.0, 0.2), temperature=float("inf"), name=" ")
    with pytest.raises(CardError) as caught:
        check_card(card, tmp_path)
    assert [line.split('"')[1] for line in lines_of(caught.value)] == [
        "name", "tile_px", "std", "temperature"
    ]  # fmt: skip


def test_a_card_is_written_with_the_keys_that_are_read(make_card: MakeCard) -> None:
    full = make_card(
        activation="sigmoid",
        thresholds=(0.3, 0.5, 0.7),
        temperature=2.0,
        class_biases=(0.5, -0.25, -0.25),
        calibrated_on=40,
        color_profile="srgb",
        volume=VolumeCard(pooling=Pooling("top-k", 3)),
        channels=1,
        heatmap_evidence=MapEvidence("2 tiles", "class A", {"cam": MapJudgement(7, 6, 1)}),
        stain=Stain("reinhard"),
    )
    assert list(card_object(full)) == list(hints_of(CardKeys))


def test_the_profile_is_written_only_where_it_is_applied(
    written: Path, make_card: MakeCard
) -> None:
    assert "color_profile" not in card_object(make_card())
    assert read_card(written).color_profile == "ignore"
    change(written, "color_profile", "srgb")
    assert read_card(written).color_profile == "srgb"
    assert card_object(read_card(written))["color_profile"] == "srgb"
    change(written, "color_profile", "adobe")
    with pytest.raises(CardError, match='"color_profile" is "adobe"'):
        read_card(written)


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
        ("sigmoid", [0.3, 0.5, "half"], r'"half"\] .* Write a list, each a number'),
        ("sigmoid", 0.3, r"is 0\.3 .* Write a list"),
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
