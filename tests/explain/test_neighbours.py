"""What neighbours add to a logit, against the graph network itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slidecam.errors import ExplanationError
from slidecam.explain.neighbours import (
    EXPLAINED,
    NeighbourAccount,
    has_neighbours,
    neighbour_accounts,
)
from slidecam.models import Card, Classifier, classifier_for
from slidecam.models.architectures import build_network
from slidecam.models.cell_graph import CellGraph, packed_names

NODES, NEIGHBOURS = 30, 4
ARGS = {"backbone": "test_resnet", "nodes": NODES, "neighbours": NEIGHBOURS, "hidden": 16}

CARD = Card(
    name="cells",
    architecture="slidecam/cell_graph",
    architecture_args=ARGS,
    class_names=("ALL", "HEM", "other"),
    activation="softmax",
    tile_px=32,
    spacing=None,
    input_px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


@pytest.fixture(scope="module")
def network() -> CellGraph:
    torch.manual_seed(0)
    made = build_network(CARD.architecture, ARGS, 3, Path("cells"))
    assert isinstance(made, CellGraph)
    with torch.no_grad():
        made.embeddings.copy_(made.embedding(made.forward_features(torch.randn(NODES, 3, 32, 32))))
    made.hidden.normal_().relu_()
    made.degrees.copy_(torch.randint(2, 9, (NODES,)))
    made.labels.copy_(torch.arange(NODES) % 3)
    made.names.copy_(packed_names([f"cell {index}" for index in range(NODES)]))
    return made


@pytest.fixture(scope="module")
def classifier(network: CellGraph) -> Classifier:
    return classifier_for(network, CARD, torch.device("cpu"))


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(
        0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def total(account: NeighbourAccount) -> float:
    return (
        account.own + account.bias + sum(neighbour.contribution for neighbour in account.neighbours)
    )


def embedding_of(network: CellGraph, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.embedding(
            network.forward_features((pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
        )


def test_the_terms_add_up_to_the_logit_that_is_predicted(
    classifier: Classifier, pixels: torch.Tensor
) -> None:
    assert has_neighbours(classifier)
    logits = classifier.run(pixels, gradients=False).logits
    accounts = neighbour_accounts(classifier, pixels, (2, 0))
    assert [[account.class_index for account in cell] for cell in accounts] == [[2, 0]] * 3
    for cell, row in zip(accounts, logits, strict=True):
        for account in cell:
            assert account.logit == pytest.approx(float(row[account.class_index]), abs=1e-5)
            assert total(account) == pytest.approx(account.logit, abs=1e-5)


def test_a_neighbour_is_told_with_its_name_label_and_likeness(
    classifier: Classifier, network: CellGraph, pixels: torch.Tensor
) -> None:
    embedding = embedding_of(network, pixels)
    for cell, accounts in enumerate(neighbour_accounts(classifier, pixels, (0,))):
        cosines = torch.cosine_similarity(embedding[cell][None], network.embeddings)
        order = cosines.argsort(descending=True)[:NEIGHBOURS].tolist()
        neighbours = accounts[0].neighbours
        assert [neighbour.index for neighbour in neighbours] == order
        for neighbour in neighbours:
            assert neighbour.name == f"cell {neighbour.index}"
            assert (
                neighbour.class_name
                == CARD.class_names[neighbour.label]
                == CARD.class_names[neighbour.index % 3]
            )
            assert neighbour.similarity == pytest.approx(float(cosines[neighbour.index]), abs=1e-5)


def test_a_neighbours_term_is_what_the_logit_loses_with_it_while_the_hidden_units_stay_as_they_are(
    classifier: Classifier, network: CellGraph, pixels: torch.Tensor
) -> None:
    """Take a neighbour's embedding and state away, in a network whose ReLU keeps its old mask."""
    embedding = embedding_of(network, pixels[:1])
    edges = network.attach(embedding)
    mask = network.first(edges.gathered(embedding, network.embeddings)) > 0

    def logit(weights: torch.Tensor, own: float) -> float:
        loose = replace(edges, weights=weights)
        inputs = (
            torch.einsum("bk,bkd->bd", weights, network.embeddings[loose.indices]) + own * embedding
        )
        states = network.first(inputs) * mask
        gathered = (
            torch.einsum("bk,bkd->bd", weights, network.hidden[loose.indices]) + edges.own * states
        )
        return float(network.second(gathered).detach()[0, 1])

    ((account,),) = neighbour_accounts(classifier, pixels[:1], (1,))
    whole = logit(edges.weights, edges.own)
    for place, neighbour in enumerate(account.neighbours):
        without = edges.weights.clone()
        without[0, place] = 0
        assert neighbour.contribution == pytest.approx(whole - logit(without, edges.own), abs=1e-5)
    assert account.own == pytest.approx(whole - logit(edges.weights, 0.0), abs=1e-5)


def test_the_own_term_is_the_gradient_that_heatmaps_follow_times_the_embedding(
    classifier: Classifier, pixels: torch.Tensor
) -> None:
    passed = classifier.run(pixels, gradients=True)
    assert passed.activation is not None
    (gradient,) = torch.autograd.grad(passed.logits[:, 1].sum(), passed.activation)
    evidence = (gradient * passed.activation.detach()).sum((1, 2, 3))
    owns = [account.own for (account,) in neighbour_accounts(classifier, pixels, (1,))]
    torch.testing.assert_close(torch.tensor(owns), evidence, rtol=1e-4, atol=1e-6)


def test_an_account_is_told_in_json_and_in_a_line(
    classifier: Classifier, pixels: torch.Tensor
) -> None:
    ((account,),) = neighbour_accounts(classifier, pixels[:1], (1,))
    record = json.loads(json.dumps(account.record(CARD.class_names)))
    assert record["class"] == "HEM"
    terms = [
        record["own picture"],
        record["bias"],
        *(each["contribution"] for each in record["neighbours"]),
    ]
    assert sum(terms) == pytest.approx(record["logit"], abs=1e-5)
    assert [each["name"] for each in record["neighbours"]] == [
        each.name for each in account.neighbours
    ]
    names = ["ALL", "ALL", "other", "ALL"]
    told = replace(
        account,
        logit=1.2,
        own=-0.31,
        bias=0.51,
        neighbours=tuple(
            replace(each, class_name=name, contribution=0.25)
            for each, name in zip(account.neighbours, names, strict=True)
        ),
    )
    expected = "logit +1.20 = own picture -0.31, neighbours +1.00 (3 ALL, 1 other), bias +0.51"
    assert told.summary() == expected


def test_it_leaves_no_trace(classifier: Classifier, pixels: torch.Tensor) -> None:
    before = {name: value.clone() for name, value in classifier.network.state_dict().items()}
    state = torch.get_rng_state()
    neighbour_accounts(classifier, pixels, (0,))
    assert all(
        torch.equal(before[name], value) for name, value in classifier.network.state_dict().items()
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in classifier.network.parameters())


def test_a_network_without_a_graph_is_told_so(pixels: torch.Tensor) -> None:
    card = replace(CARD, architecture="timm/test_resnet", architecture_args={})
    plain = classifier_for(
        build_network(card.architecture, {}, 3, Path("plain")), card, torch.device("cpu")
    )
    assert not has_neighbours(plain)
    with pytest.raises(ExplanationError, match=r"timm/test_resnet.*no training cells"):
        neighbour_accounts(plain, pixels, (0,))


@pytest.mark.parametrize("classes", [(3,), (-1,), ()])
def test_a_class_that_is_not_there_is_refused(
    classifier: Classifier, pixels: torch.Tensor, classes: tuple[int, ...]
) -> None:
    with pytest.raises(ExplanationError, match="class"):
        neighbour_accounts(classifier, pixels, classes)


def test_it_says_what_it_explains() -> None:
    assert "graph and the choice of neighbours are taken as they are" in EXPLAINED
