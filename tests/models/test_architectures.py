"""Slidecam's own networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.models.architectures import ARCHITECTURES, build_network, full_name, is_known

if TYPE_CHECKING:
    from pathlib import Path


def test_bare_names_are_timms() -> None:
    assert full_name("resnet50") == "timm/resnet50"
    assert full_name("slidecam/pocket_resnet") == "slidecam/pocket_resnet"


@pytest.mark.parametrize("name", ["timm/resnet50", "timm/resnet50.a1_in1k", "slidecam/pocket_resnet"])
def test_known_names_are_known(name: str) -> None:
    assert is_known(name)


@pytest.mark.parametrize("name", ["resnet50", "timm/hf-hub:a/b", "timm/local-dir:/tmp", "slidecam/other", ""])
def test_other_names_are_not(name: str) -> None:
    assert not is_known(name)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_our_own_have_timms_two_halves(name: str, tmp_path: Path) -> None:
    network = build_network(name, {}, 4, tmp_path)
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network.forward_head(network.forward_features(pixels))  # type: ignore[operator]
        assert torch.equal(network(pixels), logits)
    assert logits.shape == (2, 4)


def test_the_pocket_resnet_fits_a_pocket_and_its_map_is_not_too_coarse(tmp_path: Path) -> None:
    network = build_network("slidecam/pocket_resnet", {}, 3, tmp_path)
    assert sum(parameter.numel() for parameter in network.parameters()) < 180_000
    with torch.no_grad():
        assert network.forward_features(torch.zeros(1, 3, 96, 96)).shape == (1, 96, 12, 12)  # type: ignore[operator]


def test_the_pocket_resnets_width_and_depth_are_the_cards(tmp_path: Path) -> None:
    small = build_network("slidecam/pocket_resnet", {"widths": [4, 6], "depth": 2}, 3, tmp_path)
    with torch.no_grad():
        assert small.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 6, 8, 8)  # type: ignore[operator]
    assert len(small.get_submodule("stages.0")) == 2  # type: ignore[arg-type]
