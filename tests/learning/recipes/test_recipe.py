"""What a recipe says, and what is said of a wrong one."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import RecipeError
from slidecam.learning.recipes.recipe import read_recipe, recipe_text
from slidecam.models.card_parts import Pooling, VolumeCard
from slidecam.viewing import Window

if TYPE_CHECKING:
    from pathlib import Path

FULL = """
[model]
architecture = "resnet18"
architecture_args = { drop_rate = 0.1, pad = [1, 2] }
weights = "file"

[data]
classes = ["b", "a"]
group_pattern = '^(?P<group>\\d+)_'
input_px = 96
mean = [0.5, 0.5, 0.5]
std = [0.1, 0.2, 0.3]

[augment]
rotation = 15
scale = [0.9, 1.1]

[features]
cut = "layer3"

[train]
epochs = 12
optimizer = "adamax"
lr = 1e-3
trainable = "head"

[[phase]]

[[phase]]
epochs = 8
lr = 1e-5
trainable = 30
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_table_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, FULL))
    assert recipe.name == "mine"
    assert recipe.model.architecture_args == {"drop_rate": 0.1, "pad": [1, 2]}
    assert recipe.data.classes == ("b", "a")
    assert recipe.data.reading.group_pattern == r"^(?P<group>\d+)_"
    assert recipe.data.std == (0.1, 0.2, 0.3)
    assert (recipe.augment.rotation, recipe.augment.scale) == (15.0, (0.9, 1.1))
    assert recipe.features is not None
    assert recipe.features.cut == "layer3"
    assert recipe.graph is None


def test_the_first_pattern_that_matches_says_how_often_a_picture_is_seen(tmp_path: Path) -> None:
    text = FULL.replace("input_px", "repeat = { '^rare/' = 5, 'r' = 2 }\ninput_px")
    data = read_recipe(write(tmp_path, text)).data
    assert data.times(["rare/1.png", "other/2.png", "a/3.png"]) == [5, 2, 1]


def test_what_a_recipe_says_of_volumes_is_what_its_card_will_say(tmp_path: Path) -> None:
    text = """
    [volume]
    axis = "coronal"
    window = { kind = "zscore" }
    pooling = { kind = "top-k", k = 3, negative = "a" }
    caveat = "Measured on 2 volumes."
    """
    recipe = read_recipe(write(tmp_path, FULL + text))
    pooling = Pooling("top-k", 3, "a")
    assert recipe.volume == VolumeCard(
        "coronal", 1, Window("zscore", -2, 2), pooling, "Measured on 2 volumes."
    )
    assert read_recipe(write(tmp_path, FULL)).volume is None


def test_a_phase_begins_from_the_common_table(tmp_path: Path) -> None:
    first, second = read_recipe(write(tmp_path, FULL)).phases
    assert (first.epochs, first.lr, first.trainable) == (12, 1e-3, "head")
    assert (second.epochs, second.lr, second.trainable) == (8, 1e-5, 30)
    assert first.optimizer == second.optimizer == "adamax"


def test_a_recipe_of_one_line_is_enough(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, '[model]\narchitecture = "timm/resnet18"\n'))
    assert len(recipe.phases) == 1
    assert recipe.features is None


def test_values_are_set_over_it(tmp_path: Path) -> None:
    pairs = [
        "train.epochs=2",
        "phase.1.lr=0.5",
        "model.weights=none",
        "augment.hflip=0.5",
        "data.classes=['x', 'y']",
    ]
    recipe = read_recipe(write(tmp_path, FULL), pairs)
    assert [phase.epochs for phase in recipe.phases] == [2, 8]
    assert recipe.phases[1].lr == 0.5
    assert recipe.model.weights == "none"
    assert recipe.augment.hflip == 0.5
    assert recipe.data.classes == ("x", "y")
    assert recipe.digest != read_recipe(write(tmp_path, FULL)).digest


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, FULL), ['model.name=a "quoted" \\ näme'])
    text = recipe_text(recipe.table)
    assert tomllib.loads(text) == recipe.table
    again = read_recipe(write(tmp_path, text))
    assert again == recipe
    assert again.digest == recipe.digest


WRONG = {
    "[model]\narchitecture = 'resnet5000'": ("model.architecture", "resnet50"),
    "[model]\nname = 'x'": ("model.architecture is missing", "string"),
    "[train]\nepochz = 3": ("train.epochz", "epochs"),
    "[train]\nepochs = 0": ("train.epochs is 0", "from 1"),
    "[train]\nepochs = true": ("train.epochs is true", "whole number"),
    "[train]\nlr = 0": ("train.lr is 0", "above 0"),
    "[train]\noptimizer = 'lion'": ('train.optimizer is "lion"', "adamw"),
    "[train]\ntrainable = 'layer4'": ("train.trainable", '["layer4"]'),
    "[train]\ntrainable = ['layer4', 3]": ("train.trainable", "list"),
    "train = 3": ("train is 3, not a table", "[train]"),
    "phase = 3": ("phase is 3", "[[phase]]"),
    '[train]\nmonitor = "last"\npatience = 3': ("train.patience is 3", "monitor = last"),
    "[[phase]]\nseed = 1\n[[phase]]\nseed = 2": ("phase.seed differs", "[train]"),
    "[[phase]]\nepoch = 1\n[[phase]]": ("phase.0.epoch", "epochs"),
    "[data]\nrepeat = { '(' = 2 }": ("data.repeat", "no regular expression"),
    "[data]\nrepeat = { 'a' = 0 }": ("data.repeat", "from 1"),
    '[volume]\npooling = { kind = "median" }': ("volume.pooling.kind", '"noisy-or"'),
    '[volume.pooling]\nkind = "max"\nnegative = "none"': ("negative", "(data.classes)"),
    "[augmant]\nrotation = 3": ("[augmant] is not known", "[augment]"),
    "[augment]\nrotation = 500": ("augment.rotation is 500", "to 180"),
    "[augment]\nscale = [1.1, 0.9]": ("augment", "smaller factor first"),
    "[augment]\nscale = [1.1]": ("augment.scale", "list of 2"),
    "[data]\ntrain = 0.9": ("data.train, val and test", "add up to 1"),
    "[data]\nclasses = ['a', 'a']": ("data.classes", "different names"),
    "[data]\nspacing = 0.5": ("data.spacing and tile_px", "both"),
    "[data]\ngroup_pattern = '('": ("group_pattern", "regular expression"),
    "[data]\ngroup_pattern = '[0-9]+'": ("group_pattern", "(?P<group>"),
    "[data]\nstd = [0.5, 0.5, 0]": ("data.std", "above 0"),
    "[features]\ncopies = 2": ("features.cut is missing", "string"),
    "[graph]": ("model.architecture", "no graph"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_recipe_is_refused_with_key_value_and_remedy(tmp_path: Path, text: str) -> None:
    model = "" if "[model]" in text else '[model]\narchitecture = "resnet18"\n'
    path = write(
        tmp_path, f"{text}\n{model}" if "=" in text.splitlines()[0] else f"{model}{text}\n"
    )
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    for words in WRONG[text]:
        assert words in str(caught.value)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = (
        "[model]\narchitecture = 'resnet18'\n[data]\ninput_px = 3\n[train]\nlr = 'fast'\nepochs ="
        " -1\n"
    )
    text += "[augment]\nhflipp = 1\n"
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text), ["epochs=3"])
    for key in ("data.input_px", "train.lr", "train.epochs", "augment.hflipp", "--set epochs=3"):
        assert key in caught.value.problem


def test_contradictions_between_tables_are_told_at_once_too(tmp_path: Path) -> None:
    text = "[model]\narchitecture = 'resnet5000'\n[data]\nval = 0.5\nspacing = 1\n"
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text))
    for key in ("model.architecture", "data.train, val and test", "data.spacing"):
        assert key in caught.value.problem


def test_a_table_that_is_wrong_hides_no_mistake_in_another(tmp_path: Path) -> None:
    text = (
        "[model]\narchitecture = 'resnet5000'\n[data]\ngroup_pattern = '('\n[train]\nepochs = -1\n"
    )
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text), ["phase.0.epochs=2"])
    for key in ("model.architecture", "group_pattern", "train.epochs", "no [[phase]]"):
        assert key in caught.value.problem


@pytest.mark.parametrize(
    ("content", "words"), [(b"[model\n", "line 1"), (b"\xff\xfe", "not UTF-8")]
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"bad\.toml") as caught:
        read_recipe(path)
    assert words in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "pair", ["train.epochs", "epochs=2", "phase.7.lr=1", "model.architecture.x=1"]
)
def test_a_setting_that_sets_nothing_is_refused(tmp_path: Path, pair: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        read_recipe(write(tmp_path, FULL), [pair])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[train]\nmomentum = 0.37", 'train.momentum: with optimizer = "adamw"'),
        ("[train]\nfocal_gamma = 1.3", 'train.focal_gamma: with loss = "cross-entropy"'),
        ("[train]\nbalance_strength = 0.37", 'train.balance_strength: with balance = "none"'),
        ("[train]\nmin_epochs = 3", "train.min_epochs: with patience = 0"),
        (
            '[augment]\nhflip = 0.5\nfill = "reflect"',
            "augment.fill: without rotation, shift, shear or scale",
        ),
        (
            "[augment]\nshift = 0.1\nfill_value = 7",
            'augment.fill_value: with fill = "nearest"',
        ),
        (
            '[train]\nschedule = "cosine"\n[[phase]]\n[[phase]]\nschedule_every = 4',
            'phase.1.schedule_every: with schedule = "cosine"',
        ),
    ],
)
def test_a_key_that_another_leaves_idle_is_named(tmp_path: Path, table: str, said: str) -> None:
    recipe = read_recipe(write(tmp_path, f'[model]\narchitecture = "resnet18"\n{table}'))
    key, _, reason = said.partition(": ")
    assert recipe.idle == (f"{key} has no effect {reason}.",)


def test_a_common_key_that_one_phase_heeds_is_not_idle(tmp_path: Path) -> None:
    phases = '[train]\nmomentum = 0.37\n[[phase]]\n[[phase]]\noptimizer = "sgd"'
    text = f'[model]\narchitecture = "resnet18"\n{phases}'
    assert not read_recipe(write(tmp_path, text)).idle
    assert not read_recipe(write(tmp_path, FULL)).idle


def test_what_others_reported_is_read_by_the_names_of_our_figures(tmp_path: Path) -> None:
    text = """
        [model]
        architecture = "resnet18"
        [published]
        source = "table 3"
        figures = { accuracy = 0.8137, "weighted F1" = 0.77 }
    """
    published = read_recipe(write(tmp_path, text)).published
    assert published is not None
    assert (published.title, published.shown("accuracy")) == ("published: table 3", "0.814")
    assert (published.shown("weighted F1"), published.shown("kappa")) == ("0.770", "")
    wrong = text.replace("accuracy =", '"acuracy" =').replace('source = "table 3"', "")
    with pytest.raises(RecipeError, match="2 wrong") as caught:
        read_recipe(write(tmp_path, wrong))
    assert "'acuracy', which is no figure. Names like it are accuracy" in str(caught.value)
    assert "published.source is missing" in str(caught.value)
