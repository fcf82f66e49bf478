"""New cells on a graph of training cells, against dense matrices and plain loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.models import Card, open_bundle, save_bundle
from slidecam.models.cell_graph import (
    NAME_BYTES,
    CellGraph,
    nearest_by_cosine,
    packed_names,
    resnet18_gcn,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

NODES, NEIGHBOURS, HIDDEN, CLASSES = 30, 4, 6, 3


@pytest.fixture
def network() -> CellGraph:
    """Return a small network whose buffers hold a random graph with uneven degrees."""
    torch.manual_seed(0)
    made = CellGraph(CLASSES, "test_resnet", NODES, NEIGHBOURS, HIDDEN).eval()
    made.embeddings.normal_()
    made.hidden.normal_().relu_()
    made.degrees.copy_(torch.randint(2, 9, (NODES,)))
    made.neighbours.copy_(
        nearest_by_cosine(made.embeddings, made.embeddings, NEIGHBOURS, themselves=False)[0]
    )
    made.labels.random_(0, CLASSES)
    made.names.copy_(packed_names([f"cell {index}" for index in range(NODES)]))
    return made


def by_dense_matrices(network: CellGraph, query: Tensor) -> Tensor:
    """Return logits of one cell by the whole graph's normalised adjacency, written out by entry."""
    cosines = torch.stack(
        [torch.cosine_similarity(query, node, dim=0) for node in network.embeddings]
    )
    chosen = cosines.argsort(descending=True)[:NEIGHBOURS].tolist()
    degrees = [*network.degrees.tolist(), NEIGHBOURS + 1]
    row = torch.zeros(NODES + 1)
    for index in [*chosen, NODES]:
        row[index] = 1 / (degrees[index] * degrees[NODES]) ** 0.5
    state = torch.relu(network.first(row @ torch.cat([network.embeddings, query[None]])))
    logits: Tensor = network.second(row @ torch.cat([network.hidden, state[None]]))
    return logits


def test_a_cell_gets_what_the_normalised_adjacency_gives_it(network: CellGraph) -> None:
    queries = torch.randn(5, network.embeddings.shape[1])
    with torch.no_grad():
        found = network.graph_logits(queries)
        expected = torch.stack([by_dense_matrices(network, query) for query in queries])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_cell_has_one_answer_whoever_else_is_there(network: CellGraph) -> None:
    queries = torch.randn(7, network.embeddings.shape[1])
    with torch.no_grad():
        together = network.graph_logits(queries)
        alone = torch.cat([network.graph_logits(query[None]) for query in queries])
        shuffled = network.graph_logits(queries.flip(0)).flip(0)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(together, shuffled, rtol=0, atol=1e-6)


def test_classifying_changes_no_buffer(network: CellGraph) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_the_gradient_of_a_logit_is_its_slope_while_the_neighbours_stay(network: CellGraph) -> None:
    network = network.double()
    query = torch.randn(1, network.embeddings.shape[1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network.graph_logits(query)[0, 1], query)
    for dimension in range(0, query.shape[1], 5):
        step = torch.zeros_like(query)
        step[0, dimension] = 1e-6
        with torch.no_grad():
            up, down = query + step, query - step
            assert torch.equal(network.attach(up).indices, network.attach(down).indices)
            slope = (network.graph_logits(up) - network.graph_logits(down))[0, 1] / 2e-6
        torch.testing.assert_close(slope, gradient[0, dimension], rtol=1e-4, atol=1e-9)


def test_the_choice_of_neighbours_has_no_gradient(network: CellGraph) -> None:
    query = torch.randn(2, network.embeddings.shape[1], requires_grad=True)
    edges = network.attach(query)
    assert not edges.similarities.requires_grad
    assert not edges.weights.requires_grad


@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize("themselves", [True, False])
def test_the_nearest_are_those_that_a_full_sort_finds(at_once: int, themselves: bool) -> None:  # noqa: FBT001  (a parameter)
    nodes = torch.randn(NODES, 8, generator=torch.Generator().manual_seed(1))
    indices, similarities = nearest_by_cosine(
        nodes, nodes, 5, themselves=themselves, at_once=at_once
    )
    for row, node in enumerate(nodes):
        cosines = torch.cosine_similarity(node[None], nodes)
        order = [
            index
            for index in cosines.argsort(descending=True).tolist()
            if themselves or index != row
        ]
        assert indices[row].tolist() == order[:5]
        torch.testing.assert_close(similarities[row], cosines[order[:5]])


def test_cells_that_are_equal_are_neighbours_and_a_cell_is_not_its_own() -> None:
    nodes = torch.ones(3, 4)
    indices, similarities = nearest_by_cosine(nodes, nodes, 2, themselves=False)
    assert [sorted(row) for row in indices.tolist()] == [[1, 2], [0, 2], [0, 1]]
    torch.testing.assert_close(similarities, torch.ones(3, 2))


def test_a_vector_of_zeros_is_like_nothing_and_no_accident() -> None:
    _indices, similarities = nearest_by_cosine(torch.zeros(1, 4), torch.randn(3, 4), 2)
    assert similarities.tolist() == [[0, 0]]


def test_names_are_kept_and_of_long_ones_the_end(network: CellGraph) -> None:
    assert network.node_name(7) == "cell 7"
    long = "patient/" * 20 + "cell_é.bmp"
    network.names[0] = packed_names([long])[0]
    assert network.node_name(0) == long.encode()[-NAME_BYTES:].decode()
    network.names[0] = packed_names([""])[0]
    assert network.node_name(0) == ""


def test_the_graph_travels_in_the_bundle(network: CellGraph, tmp_path: Path) -> None:
    card = Card(
        name="cells",
        architecture="slidecam/cell_graph",
        architecture_args={
            "backbone": "test_resnet",
            "nodes": NODES,
            "neighbours": NEIGHBOURS,
            "hidden": HIDDEN,
        },
        class_names=("ALL", "HEM", "other"),
        activation="softmax",
        tile_px=32,
        spacing=None,
        input_px=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    save_bundle(tmp_path / "cells", card, network)
    classifier = open_bundle(tmp_path / "cells").classifier()
    assert classifier.has_map
    assert "batch norms folded" in classifier.backend
    pixels = torch.randint(
        0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    normalised = (pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = network(normalised)
    passed = classifier.run(pixels, gradients=True)
    torch.testing.assert_close(passed.logits.detach(), expected, rtol=0, atol=1e-5)
    assert passed.activation is not None
    (gradient,) = torch.autograd.grad(passed.logits[:, 0].sum(), passed.activation)
    assert gradient.abs().amax((1, 2, 3)).min() > 0


def test_the_studys_network_is_a_resnet18_with_its_two_convolutions() -> None:
    with torch.device("meta"):
        network = resnet18_gcn(2, nodes=100)
    assert network.embeddings.shape == (100, 512)
    assert (network.first.in_features, network.first.out_features) == (512, 128)
    assert (network.second.in_features, network.second.out_features) == (128, 2)
    assert network.dropout.p == 0.5


def test_small_pictures_of_training_cells_travel_with_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = CellGraph(CLASSES, "test_resnet", 7, 3, HIDDEN, thumbnail_px=11)
    assert made.thumbnails is not None
    made.thumbnails.random_(0, 256)
    made.degrees.fill_(4.0)
    arguments = {
        "backbone": "test_resnet",
        "nodes": 7,
        "neighbours": 3,
        "hidden": HIDDEN,
        "thumbnail_px": 11,
    }
    names = tuple(f"class {index}" for index in range(CLASSES))
    card = Card(
        "cells", "slidecam/cell_graph", names, "softmax", 32, None, 32, (0.5,) * 3, (0.5,) * 3,
        architecture_args=arguments,
    )  # fmt: skip
    network = save_bundle(tmp_path / "bundle", card, made).network()
    assert isinstance(network, CellGraph)
    picture = network.node_picture(5)
    assert picture is not None
    assert (picture == made.thumbnails[5].numpy()).all()


def test_a_graph_without_pictures_has_no_tensor_of_them(network: CellGraph) -> None:
    assert network.node_picture(2) is None
    assert "thumbnails" not in network.state_dict()


@pytest.mark.parametrize("edge", [-1, 257])
def test_pictures_of_no_size_of_use_are_refused(edge: int) -> None:
    with pytest.raises(ValueError, match="thumbnail_px is"):
        CellGraph(CLASSES, "test_resnet", NODES, NEIGHBOURS, HIDDEN, thumbnail_px=edge)
