"""Bundles are compared on the same pictures, and their differences are what a slow count says."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score, f1_score
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.learning.evaluation.differences import differences_of, mcnemar
from slidecam.learning.evaluation.evaluation import evaluate_predictions
from slidecam.learning.intervals import IntervalSpec
from slidecam.learning.predictions import Predictions

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("a", "b", "c")


def predictions(seed: int, skill: float, groups: int = 0) -> Predictions:
    """Return predictions of the same 73 pictures, the better the more ``skill``."""
    labels = np.random.default_rng(1).integers(0, 3, 73)
    logits = np.random.default_rng(seed).normal(size=(73, 3)) + skill * np.eye(3)[labels]
    names = tuple(f"{row:03d}.png" for row in range(73))
    members = None
    if groups:
        members = tuple(f"P{row % groups}" for row in range(73))
    return Predictions(labels, logits, CLASSES, names, members)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (3, 0), (1, 9), (7, 7)])
def test_mcnemar_is_a_count_of_all_ways_that_coins_can_fall(one: int, other: int) -> None:
    total = one + other
    extreme = 0
    for falls in product((0, 1), repeat=total):
        extreme += min(sum(falls), total - sum(falls)) <= min(one, other)
    assert mcnemar(one, other) == pytest.approx(extreme / 2**total)
    assert mcnemar(one, other) == mcnemar(other, one)


def test_mcnemar_of_many_pictures_is_scipys_binomial_test() -> None:
    assert mcnemar(31, 57) == pytest.approx(binomtest(31, 88).pvalue)


@pytest.mark.parametrize("groups", [0, 11])
def test_differences_are_those_of_resamples_of_the_same_pictures(groups: int) -> None:
    named = {"x": predictions(5, 1.1, groups), "y": predictions(6, 1.9, groups)}
    evaluations = {name: evaluate_predictions(each) for name, each in named.items()}
    (found,) = differences_of(evaluations, IntervalSpec(resamples=300, seed=3))
    labels = named["x"].labels
    called = [each.logits.argmax(1) for each in named.values()]
    members = np.arange(73)
    if groups:
        _names, members = np.unique(named["x"].groups or (), return_inverse=True)
    units = members.max() + 1
    drawn = np.random.default_rng(3).integers(units, size=(300, units))
    expected: dict[str, list[float]] = {"balanced accuracy": [], "weighted F1": []}
    for units_drawn in drawn:
        rows = np.concatenate([np.flatnonzero(members == unit) for unit in units_drawn])
        first, second = called[0][rows], called[1][rows]
        true = labels[rows]
        scores = [balanced_accuracy_score(true, each) for each in (first, second)]
        expected["balanced accuracy"].append(scores[1] - scores[0])
        scores = [f1_score(true, each, average="weighted") for each in (first, second)]
        expected["weighted F1"].append(scores[1] - scores[0])
    for name, differences in expected.items():
        figure = found.figures[name]
        assert figure is not None
        value, interval = figure
        assert value == pytest.approx(
            (evaluations["y"].figures[name].value or 0)
            - (evaluations["x"].figures[name].value or 0)
        )
        assert interval is not None
        reach = student.ppf(0.975, units - 1) * np.std(differences, ddof=1)
        reach *= np.sqrt(units / (units - 1))
        assert interval.low == pytest.approx(value - reach)
        assert interval.high == pytest.approx(value + reach)
    right = [each == labels for each in called]
    assert found.only_first == sum(right[0] & ~right[1])
    assert found.only_second == sum(right[1] & ~right[0])


def test_a_paired_interval_is_narrower_than_that_of_strangers() -> None:
    one = predictions(5, 1.4)
    nudged = replace(one, logits=one.logits + np.random.default_rng(2).normal(0, 0.15, (73, 3)))
    pair = {name: evaluate_predictions(each) for name, each in {"x": one, "y": nudged}.items()}
    strangers = {**pair, "y": evaluate_predictions(predictions(8, 1.4))}
    widths: list[float] = []
    for evaluations in (pair, strangers):
        figure = differences_of(evaluations)[0].figures["accuracy"]
        assert figure is not None
        assert figure[1] is not None
        widths.append(figure[1].high - figure[1].low)
    assert widths[0] < widths[1] / 2


def test_pictures_that_one_could_not_classify_are_left_out_for_all() -> None:
    one, other = predictions(5, 1.1), predictions(6, 1.9)
    order = np.random.default_rng(4).permutation(73)[:50]
    fewer = replace(
        other,
        labels=other.labels[order],
        logits=other.logits[order],
        names=tuple(other.names[row] for row in order),
    )
    (found,) = differences_of(
        {name: evaluate_predictions(each) for name, each in {"x": one, "y": fewer}.items()}
    )
    right = [(each.logits.argmax(1) == each.labels)[order] for each in (one, other)]
    assert found.only_first == sum(right[0] & ~right[1])
    assert found.only_second == sum(right[1] & ~right[0])


RECIPE = """
[model]
architecture = "slidecam/pocket_resnet"
architecture_args = { widths = [4, 6] }
name = "%s"
[data]
input_px = 16
split_seed = %d
train = 0.4
val = 0.1
test = 0.5
[train]
epochs = 2
batch = 8
lr = 0.02
seed = %d
monitor = "last"
"""


def slidecam(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return data, and two bundles that were trained on different parts of them."""
    root = tmp_path_factory.mktemp("compared")
    for place, name in enumerate(("dark", "light")):
        (root / "data" / name).mkdir(parents=True)
        for number in range(18):
            random = np.random.default_rng(100 * place + number)
            pixels = random.integers(0, 120, (17, 17, 3)) + 60 * place
            Image.fromarray(pixels.astype(np.uint8)).save(root / "data" / name / f"{number}.png")
    for number in (1, 2):
        recipe = root / f"r{number}.toml"
        recipe.write_text(RECIPE % ("twin", number, number))
        code, said = slidecam(
            "train", recipe, "--data", root / "data", "--out", root / f"o{number}"
        )
        assert code == 0, said
    return root / "data", root / "o1" / "bundle", root / "o2" / "bundle"


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_bundles_are_set_side_by_side_on_pictures_that_are_new_to_all(
    bundles: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    data, one, other = bundles
    code, said = slidecam("evaluate", one, other, "--data", data, "--out", tmp_path)
    assert code == 0, said
    new: set[str] = set()
    for number, bundle in enumerate((one, other)):
        table = rows_of(bundle.parent / "pictures.csv")
        held = {"/".join(row["path"].split("/")[-2:]) for row in table if row["split"] == "test"}
        new = held if not number else new & held
    for number in (1, 2):
        measured = rows_of(tmp_path / f"bundle-{number}" / "predictions.csv")
        assert {row["path"] for row in measured} == new
    record: dict[str, Any] = json.loads((tmp_path / "comparison.json").read_text())
    assert set(record["bundles"]) == {f"twin ({one})", f"twin ({other})"}
    (difference,) = record["differences"]
    assert set(difference["McNemar"]) == {"only first right", "only second right", "p"}
    page = (tmp_path / "comparison.html").read_text()
    assert f"All are measured on the same {len(new)} pictures" in page
    assert (tmp_path / "figures" / "roc.png").is_file()


@pytest.mark.parametrize("more", [("--slides", "s"), ()])
def test_bundles_are_compared_on_pictures_alone(
    bundles: tuple[Path, Path, Path], more: tuple[str, ...]
) -> None:
    code, said = slidecam("evaluate", *bundles[1:], *more)
    assert code == 2
    assert "set side by side on pictures alone" in said


def test_what_cannot_be_compared_is_refused(
    bundles: tuple[Path, Path, Path], tiny_bundle: Path
) -> None:
    data, one, _other = bundles
    code, said = slidecam("evaluate", one, one, "--data", data)
    assert code == 2
    assert "named more than once" in " ".join(said.split())
    code, said = slidecam("evaluate", one, tiny_bundle, "--data", data)
    assert code == 2
    assert "of different classes" in said
