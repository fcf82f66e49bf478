"""Graphs of cells: against PyTorch Geometric, and against plain loops."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from slidecam.errors import DataSetError, UsageError
from slidecam.learning.cells.graphs import (
    INDUCTIVE,
    TRANSDUCTIVE,
    Cells,
    GraphNetwork,
    GraphResult,
    NodeGraph,
    graph_network,
    graph_of,
    train_graph,
)
from slidecam.learning.recipes.tables import GraphSpec
from slidecam.models.cell_graph import CellGraph
from slidecam.steps import Step, result_of

LENGTH, CLASSES = 96, 3
"""test_resnet's embeddings are as long."""

SPEC = GraphSpec(neighbours=4, hidden=8, epochs=30, lr=0.02)


def cells(count: int, seed: int, spread: float = 1.0) -> Cells:
    """Return cells whose classes lie apart, along an axis each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    embeddings = spread * torch.randn(count, LENGTH, generator=generator)
    embeddings[torch.arange(count), labels] += 4
    return Cells(embeddings.abs(), labels, tuple(f"cell {seed}-{index}" for index in range(count)))


@pytest.fixture(scope="module")
def parts() -> tuple[Cells, Cells, Cells]:
    return cells(30, 0), cells(12, 1), cells(15, 2)


@pytest.fixture(scope="module", params=[False, True], ids=["directed", "symmetric"])
def result(parts: tuple[Cells, Cells, Cells], request: pytest.FixtureRequest) -> GraphResult:
    return result_of(train_graph(parts, CLASSES, replace(SPEC, symmetric=request.param)))


def network_of(result: GraphResult) -> CellGraph:
    network = CellGraph(CLASSES, "test_resnet", 30, SPEC.neighbours, SPEC.hidden).eval()
    missing = network.load_state_dict(result.state, strict=False)
    assert all(name.startswith("backbone.") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    return network


def geometric(result: GraphResult) -> GraphNetwork:
    """Return PyTorch Geometric's convolutions with the weights that were exported."""
    network = graph_network(LENGTH, CLASSES, SPEC, seed=99)
    names = {"first.lin.weight": "first.weight", "first.bias": "first.bias"}
    names |= {"second.lin.weight": "second.weight", "second.bias": "second.bias"}
    network.load_state_dict({theirs: result.state[ours] for theirs, ours in names.items()})
    return network


def edges_of(result: GraphResult) -> torch.Tensor:
    """Return the training graph's edges, told from the exported neighbours by a loop."""
    pairs = {(int(j), i) for i, row in enumerate(result.state["neighbours"]) for j in row}
    if len(set(result.state["degrees"].tolist())) > 1:
        pairs |= {(i, j) for j, i in pairs}
    return torch.tensor(sorted(pairs)).T


def test_our_inference_is_pytorch_geometrics_on_the_training_graph_and_the_attached_cell(
    result: GraphResult,
) -> None:
    network, theirs = network_of(result), geometric(result)
    queries = torch.randn(6, LENGTH, generator=torch.Generator().manual_seed(5))
    edges = edges_of(result)
    with torch.no_grad():
        found = network.graph_logits(queries)
        for row, query in enumerate(queries):
            cosines = torch.cosine_similarity(query[None], result.state["embeddings"])
            nearest = cosines.argsort(descending=True)[: SPEC.neighbours]
            attached = torch.stack([nearest, torch.full_like(nearest, 30)])
            graph = NodeGraph(
                torch.cat([result.state["embeddings"], query[None]]),
                torch.cat([edges, attached], 1),
            )
            torch.testing.assert_close(found[row], theirs(graph)[30], rtol=0, atol=1e-5)


def test_attaching_a_cell_changes_no_training_cells_state(result: GraphResult) -> None:
    theirs = geometric(result)
    graph = NodeGraph(result.state["embeddings"], edges_of(result))
    queries = torch.randn(3, LENGTH)
    with torch.no_grad():
        torch.testing.assert_close(theirs.states(graph), result.state["hidden"], rtol=0, atol=1e-5)
        attached = theirs.states(graph.with_queries(queries, SPEC.neighbours))[:30]
        torch.testing.assert_close(attached, result.state["hidden"], rtol=0, atol=1e-5)


def test_the_inductive_figures_are_those_of_the_exported_network(
    result: GraphResult, parts: tuple[Cells, Cells, Cells]
) -> None:
    network = network_of(result)
    for part, given in (("val", parts[1]), ("test", parts[2])):
        (scored,) = (each for each in result.scores if (each.name, each.part) == (INDUCTIVE, part))
        with torch.no_grad():
            expected = network.graph_logits(given.embeddings).numpy()
        np.testing.assert_allclose(scored.logits, expected, atol=1e-5)
        assert np.array_equal(scored.labels, given.labels.numpy())


def test_the_bundle_remembers_whose_cells_it_holds(
    result: GraphResult, parts: tuple[Cells, Cells, Cells]
) -> None:
    network = network_of(result)
    assert torch.equal(network.labels, parts[0].labels)
    assert network.node_name(7) == "cell 0-7"


def test_both_protocols_are_measured_and_named(result: GraphResult) -> None:
    found = [(each.name, each.part) for each in result.scores]
    assert found == [
        (INDUCTIVE, "val"),
        (INDUCTIVE, "test"),
        (TRANSDUCTIVE, "val"),
        (TRANSDUCTIVE, "test"),
    ]


def test_classes_that_lie_apart_are_learned(result: GraphResult) -> None:
    for scored in result.scores:
        assert (scored.logits.argmax(1) == scored.labels).mean() > 0.85


def test_inductive_answers_do_not_depend_on_the_other_test_cells(
    parts: tuple[Cells, Cells, Cells],
) -> None:
    spec = replace(SPEC, transductive=False, epochs=3)
    few = Cells(parts[2].embeddings[:4], parts[2].labels[:4])
    whole, some = (
        result_of(train_graph((parts[0], parts[1], test), CLASSES, spec))
        for test in (parts[2], few)
    )
    np.testing.assert_allclose(whole.scores[1].logits[:4], some.scores[1].logits, atol=1e-6)


def test_transductive_answers_do(parts: tuple[Cells, Cells, Cells]) -> None:
    few = Cells(parts[2].embeddings[:6], parts[2].labels[:6])
    spec = replace(SPEC, epochs=3)
    whole, some = (
        result_of(train_graph((parts[0], parts[1], test), CLASSES, spec))
        for test in (parts[2], few)
    )
    assert np.abs(whole.scores[3].logits[:6] - some.scores[3].logits).max() > 1e-4


def test_equal_seeds_give_equal_bits_and_others_do_not(parts: tuple[Cells, Cells, Cells]) -> None:
    spec = replace(SPEC, epochs=5)
    once, again = (result_of(train_graph(parts, CLASSES, spec, seed=3)) for _time in range(2))
    other = result_of(train_graph(parts, CLASSES, spec, seed=4))
    assert all(torch.equal(once.state[name], again.state[name]) for name in once.state)
    assert not torch.equal(once.state["first.weight"], other.state["first.weight"])


def test_training_leaves_the_random_state_as_it_was_and_does_not_heed_it(
    parts: tuple[Cells, Cells, Cells],
) -> None:
    spec = replace(SPEC, epochs=3, transductive=False)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    quiet = result_of(train_graph(parts, CLASSES, spec))
    assert torch.equal(torch.get_rng_state(), state)
    work = train_graph(parts, CLASSES, spec)
    disturbed = None
    while disturbed is None:
        torch.rand(3)  # whoever shows the steps may draw numbers too
        try:
            next(work)
        except StopIteration as end:
            disturbed = end.value
    assert torch.equal(quiet.state["first.weight"], disturbed.state["first.weight"])


def test_the_epoch_that_does_best_on_validation_is_kept(parts: tuple[Cells, Cells, Cells]) -> None:
    steps: list[Step] = []
    work = train_graph(parts, CLASSES, replace(SPEC, lr=0.5, transductive=False))
    result: GraphResult | None = None
    while result is None:
        try:
            steps.append(next(work))
        except StopIteration as end:
            result = end.value
    losses = [epoch.val_loss for epoch in result.curve]
    assert result.kept == int(np.argmin(losses)) != len(losses) - 1
    assert [step.done for step in steps] == list(range(1, 31))
    assert steps[result.kept].figures["validation loss"] == min(losses)
    scored = result.scores[0]
    weights = torch.from_numpy(len(scored.labels) / (3 * np.bincount(scored.labels)))
    logits = torch.from_numpy(scored.logits).double()
    found = torch.nn.functional.cross_entropy(logits, torch.from_numpy(scored.labels), weights)
    assert float(found) == pytest.approx(min(losses), rel=1e-4)


def test_without_validation_the_last_epoch_is_kept(parts: tuple[Cells, Cells, Cells]) -> None:
    nobody = Cells(torch.zeros(0, LENGTH), torch.zeros(0, dtype=torch.int64))
    result = result_of(train_graph((parts[0], nobody, nobody), CLASSES, SPEC))
    assert result.kept == SPEC.epochs - 1
    assert result.scores == ()
    assert len(result.hidden) == 0
    assert np.isnan(result.curve[0].val_loss)


def test_rare_classes_weigh_more(parts: tuple[Cells, Cells, Cells]) -> None:
    train = Cells(cells(40, 0, spread=3).embeddings, torch.tensor([0] * 36 + [1, 2] * 2))
    spec = replace(SPEC, epochs=40, transductive=False, keep="last")
    leads = []
    for balance in ("weights", "none"):
        result = result_of(
            train_graph((train, parts[1], parts[2]), CLASSES, replace(spec, balance=balance))
        )
        leads.append((result.scores[1].logits[:, 0] - result.scores[1].logits[:, 1:].max(1)).mean())
    assert leads[0] < leads[1] - 0.5


def test_dropout_leaves_out_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    network = graph_network(LENGTH, CLASSES, replace(SPEC, hidden=2000, dropout=0.25), seed=0)
    graph = graph_of(cells(20, 3).embeddings, 4)
    seen = []
    network.second.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(graph)
        network(graph, torch.Generator().manual_seed(0))
    plain, dropped = seen
    lively = plain > 0
    assert float((dropped[lively] == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(dropped[dropped > 0], (plain / 0.75)[dropped > 0])


def test_edges_lead_from_the_nearest_to_each_cell() -> None:
    embeddings = cells(25, 4).embeddings
    graph = graph_of(embeddings, 5)
    _distances, theirs = (
        NearestNeighbors(n_neighbors=6, metric="cosine").fit(embeddings).kneighbors(embeddings)
    )
    for cell, nearest in enumerate(theirs):
        found = graph.edges[0][graph.edges[1] == cell].tolist()
        assert sorted(found) == sorted(set(nearest.tolist()) - {cell})
    assert graph.degrees().tolist() == [6.0] * 25


def test_a_symmetric_graph_has_every_pair_once_in_both_directions() -> None:
    graph = graph_of(cells(25, 4).embeddings, 3, symmetric=True)
    pairs = [tuple(pair) for pair in graph.edges.T.tolist()]
    assert len(set(pairs)) == len(pairs) > 25 * 3
    assert {(j, i) for i, j in pairs} == set(pairs)


def test_too_few_cells_are_told_with_what_to_change() -> None:
    with pytest.raises(DataSetError, match=r"4 training cells .* 4 neighbours.*graph\.neighbours"):
        graph_of(torch.randn(4, 3), 4)


def test_without_pytorch_geometric_it_says_what_to_install(
    parts: tuple[Cells, Cells, Cells], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(UsageError, match=r'pip install "slidecam\[train\]"'):
        result_of(train_graph(parts, CLASSES, SPEC))
