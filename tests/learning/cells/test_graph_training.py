"""From pictures of cells to a bundle with a graph in it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from slidecam.errors import DataSetError, RecipeError, RunExistsError, UsageError
from slidecam.learning.cells.graphs import INDUCTIVE, TRANSDUCTIVE
from slidecam.learning.cells.protocols import LINEAR, MEANINGS, SVM, Protocols, write_protocols
from slidecam.learning.cells.training import GraphTrained, train_graph_bundle
from slidecam.learning.data.pictures import PictureSet, read_picture_set
from slidecam.learning.data.pixels import load_pixels
from slidecam.learning.recipes.recipe import read_recipe
from slidecam.learning.training.setup import TrainingCall
from slidecam.learning.training.training import train
from slidecam.models import open_bundle
from slidecam.models.cell_graph import CellGraph
from slidecam.steps import result_of

if TYPE_CHECKING:
    from slidecam.learning.recipes.tables import Recipe

RECIPE = """
[model]
architecture = "slidecam/cell_graph"
architecture_args = { backbone = "test_resnet" }
[data]
input_px = 32
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[graph]
neighbours = 3
hidden = 8
epochs = 25
lr = 0.02
[train]
seed = 1
"""

COUNTS = {"train": 8, "val": 3, "test": 5}
COLORS = {"all": (170, 60, 160), "hem": (60, 150, 90), "other": (40, 60, 170)}


def recipe_of(folder: Path, *overrides: str) -> Recipe:
    path = folder / "cells.toml"
    path.write_text(RECIPE)
    return read_recipe(path, overrides)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return folders of cells whose classes differ in colour."""
    folder, lot = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    for part, count in COUNTS.items():
        for name, color in COLORS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(color) + lot.normal(0, 25, (40, 40, 3)), 0, 255).astype(
                    np.uint8
                )
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(data: Path) -> PictureSet:
    return read_picture_set(data)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, pictures: PictureSet
) -> tuple[Path, GraphTrained]:
    folder = tmp_path_factory.mktemp("graph")
    recipe = recipe_of(folder)
    assert recipe.graph is not None
    work = train_graph_bundle(
        recipe, recipe.graph, pictures, TrainingCall(folder / "out", device="cpu")
    )
    return folder / "out", result_of(work)


def test_the_bundle_says_of_new_cells_what_the_inductive_protocol_measured(
    trained: tuple[Path, GraphTrained], pictures: PictureSet
) -> None:
    out, made = trained
    bundle = open_bundle(out / "bundle")
    assert made.bundle == bundle
    tested = pictures.part("test")
    pixels = torch.from_numpy(np.stack([load_pixels(path, 32) for path in tested.paths]))
    classifier = bundle.classifier()
    found = classifier.run(pixels, gradients=False).logits.numpy()
    predictions = made.protocols[INDUCTIVE].predictions
    np.testing.assert_allclose(found, predictions.logits, rtol=0, atol=1e-4)
    assert predictions.temperature == bundle.card.temperature
    shown = classifier.probabilities(torch.from_numpy(found)).numpy()
    np.testing.assert_allclose(shown, predictions.probabilities, atol=1e-4)


def test_the_bundle_holds_the_training_cells_by_name_and_class(
    trained: tuple[Path, GraphTrained], pictures: PictureSet
) -> None:
    network = open_bundle(trained[0] / "bundle").network()
    assert isinstance(network, CellGraph)
    learned = pictures.part("train")
    assert network.labels.tolist() == learned.labels.tolist()
    assert tuple(network.node_name(index) for index in range(len(learned))) == learned.names
    assert network.neighbours.shape == (24, 3)


def test_the_card_says_how_it_was_made(trained: tuple[Path, GraphTrained]) -> None:
    card = trained[1].bundle.card
    assert card.architecture == "slidecam/cell_graph"
    assert card.architecture_args == {
        "backbone": "test_resnet", "nodes": 24, "neighbours": 3, "hidden": 8, "dropout": 0.5,
    }  # fmt: skip
    assert card.class_names == ("all", "hem", "other")
    assert (card.spacing, card.input_px) == (None, 32)
    assert card.provenance["seed"] == 1
    assert "torch_geometric" in card.provenance["with"]  # type: ignore[operator]
    assert card.provenance["data"]["counts"]["train"] == {"all": 8, "hem": 8, "other": 8}  # type: ignore[index]


def test_every_protocol_and_baseline_is_measured_on_the_test_cells_and_named(
    trained: tuple[Path, GraphTrained], pictures: PictureSet
) -> None:
    made = trained[1]
    assert list(made.protocols) == [INDUCTIVE, TRANSDUCTIVE, LINEAR, SVM] == list(MEANINGS)
    for evaluation in made.protocols.values():
        assert evaluation.predictions.names == pictures.part("test").names
        accuracy = evaluation.figures["accuracy"]
        assert accuracy.value is not None
        assert accuracy.value > 0.85
        assert accuracy.interval is not None


def test_a_picture_that_is_left_out_is_told(
    trained: tuple[Path, GraphTrained], tmp_path: Path
) -> None:
    made = trained[1]
    write_protocols(
        tmp_path, Protocols(made.bundle.card, "test", made.protocols, {"embeddings": None})
    )
    assert "No t-SNE of the embeddings" in (tmp_path / "protocols.html").read_text(encoding="utf-8")


def test_what_was_measured_is_written_for_people_and_programs(
    trained: tuple[Path, GraphTrained],
) -> None:
    out = trained[0]
    record = json.loads((out / "protocols" / "protocols.json").read_text())
    assert (
        record[INDUCTIVE]["accuracy"]["value"]
        == trained[1].protocols[INDUCTIVE].figures["accuracy"].value
    )
    assert "by itself" in record[INDUCTIVE]["meaning"]
    assert "does not compare with a CNN" in record[TRANSDUCTIVE]["meaning"]
    page = (out / "protocols" / "protocols.html").read_text()
    assert all(name in page for name in MEANINGS)
    figures = sorted(path.name for path in (out / "protocols" / "figures").iterdir())
    assert [name for name in figures if name.startswith("t-sne")] == [
        "t-sne-embeddings.png",
        "t-sne-hidden-states.png",
    ]
    assert len(figures) == 10
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert len(rows) == 25
    assert min(rows, key=lambda row: float(row["val_loss"]))["epoch"] == str(trained[1].best_epoch)
    assert {path.name for path in out.iterdir()} == {
        "bundle", "history.csv", "pictures.csv", "protocols", "recipe.toml", "split.json",
    }  # fmt: skip


def test_equal_recipes_make_equal_weights(
    trained: tuple[Path, GraphTrained], pictures: PictureSet, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path)
    assert recipe.graph is not None
    call = TrainingCall(tmp_path / "again", device="cpu")
    again = result_of(train_graph_bundle(recipe, recipe.graph, pictures, call))
    assert again.bundle.card.weights_sha256 == trained[1].bundle.card.weights_sha256


def test_without_test_cells_the_validation_cells_are_measured_and_without_both_nothing(
    pictures: PictureSet, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path, "graph.epochs=2")
    assert recipe.graph is not None
    some = pictures.part("train", "val")
    made = result_of(
        train_graph_bundle(recipe, recipe.graph, some, TrainingCall(tmp_path / "val", device="cpu"))
    )
    assert list(made.protocols) == [INDUCTIVE, LINEAR, SVM]
    assert made.protocols[INDUCTIVE].predictions.names == pictures.part("val").names
    few = pictures.part("train")
    made = result_of(
        train_graph_bundle(recipe, recipe.graph, few, TrainingCall(tmp_path / "none", device="cpu"))
    )
    assert made.protocols == {}
    assert made.bundle.card.temperature == 1


def test_nothing_is_left_where_it_cannot_train(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = TrainingCall(tmp_path / "out", device="cpu")
    for many in (24, 30):
        recipe = recipe_of(tmp_path, f"graph.neighbours={many}")
        assert recipe.graph is not None
        with pytest.raises(DataSetError, match=rf"24 training cells .* {many} neighbours"):
            result_of(train_graph_bundle(recipe, recipe.graph, pictures, call))
        assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    recipe = recipe_of(tmp_path)
    assert recipe.graph is not None
    with pytest.raises(UsageError, match="torch_geometric is not installed"):
        result_of(train_graph_bundle(recipe, recipe.graph, pictures, call))
    assert not (tmp_path / "out").exists()


def test_a_finished_training_is_not_overwritten_unasked(
    trained: tuple[Path, GraphTrained], pictures: PictureSet, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path)
    assert recipe.graph is not None
    with pytest.raises(RunExistsError, match="--overwrite"):
        result_of(
            train_graph_bundle(
                recipe, recipe.graph, pictures, TrainingCall(trained[0], device="cpu")
            )
        )


def test_a_recipe_with_a_graph_is_trained_like_any_other(data: Path, tmp_path: Path) -> None:
    made = result_of(
        train(
            recipe_of(tmp_path, "graph.epochs=3"),
            data,
            TrainingCall(tmp_path / "out", device="cpu"),
        )
    )
    assert isinstance(made.bundle.network(), CellGraph)
    assert made.bundle == open_bundle(tmp_path / "out" / "bundle")
    assert len(made.history) == 3
    record = json.loads((tmp_path / "out" / "protocols" / "protocols.json").read_text())
    accuracy = made.evaluations["test"].figures["accuracy"].value
    assert accuracy == record[INDUCTIVE]["accuracy"]["value"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.architecture=resnet18", r"resnet18.*has no graph"),
        ("train.epochs=3", r"train\.epochs has no meaning beside \[graph\]"),
        ("augment.hflip=0.5", r"\[augment\] has no meaning"),
        ("features.cut=blocks.4", r"\[features\] has no meaning"),
        ("model.architecture_args.nodes=7", r"architecture_args\.nodes is decided elsewhere"),
        ("graph.neighbours=0", r"graph\.neighbours"),
        ("graph.neighbors=3", r"neighbours"),
        ("graph.keep=first", r"graph\.keep"),
    ],
)
def test_a_recipe_that_contradicts_its_graph_is_told(
    override: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe_of(tmp_path, override)


def test_a_graphs_architecture_needs_a_graph(tmp_path: Path) -> None:
    path = tmp_path / "cells.toml"
    path.write_text('[model]\narchitecture = "slidecam/resnet18_gcn"\n')
    with pytest.raises(RecipeError, match=r"\[graph\] is missing"):
        read_recipe(path)


def test_the_studys_recipe_is_the_studys() -> None:
    recipe = read_recipe(Path(__file__).parents[3] / "training" / "cells-resnet18-gcn.toml")
    assert recipe.graph is not None
    assert (recipe.model.architecture, recipe.data.input_px) == ("slidecam/resnet18_gcn", 128)
    graph = recipe.graph
    assert (graph.hidden, graph.dropout, graph.epochs, graph.lr, graph.balance) == (
        128,
        0.5,
        400,
        1e-3,
        "weights",
    )


@pytest.mark.shared_data
def test_the_studys_recipe_reads_the_studys_cells(shared_data: Path) -> None:
    recipe = read_recipe(Path(__file__).parents[3] / "training" / "cells-resnet18-gcn.toml")
    cells = read_picture_set(shared_data / "small_samples" / "cnmc_examples", recipe.data.reading)
    assert cells.class_names == ("all", "hem")
    assert cells.counts() == {"all": 3, "hem": 2}
    assert cells.groups == ("1", "2", "53", "H10", "h3")


def test_a_bundle_holds_pictures_of_its_training_cells_where_the_recipe_says_so(
    tmp_path: Path, pictures: PictureSet
) -> None:
    recipe = recipe_of(tmp_path, "graph.thumbnail_px=12", "graph.epochs=2")
    assert recipe.graph is not None
    call = TrainingCall(tmp_path / "out", device="cpu")
    result_of(train_graph_bundle(recipe, recipe.graph, pictures, call))
    network = open_bundle(tmp_path / "out" / "bundle").network()
    assert isinstance(network, CellGraph)
    learned = pictures.part("train")
    for index in (0, 9, 23):
        with Image.open(learned.paths[index]) as whole:
            mean = np.asarray(whole.convert("RGB"), float).mean(axis=(0, 1))
        seen = network.node_picture(index)
        assert seen is not None
        assert seen.shape == (12, 12, 3)
        assert np.abs(seen.mean(axis=(0, 1)) - mean).max() < 4
