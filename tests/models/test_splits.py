from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import torch

from slidecam.models.splits import ChannelsFirst, ChannelsLast, Tokens, inner_layout_of, layout_of

if TYPE_CHECKING:
    from torch import nn

    from slidecam.models.splits import ActivationLayout


def network(**says: object) -> nn.Module:
    return cast("nn.Module", SimpleNamespace(**says))


@pytest.mark.parametrize(("says", "shape", "layout"), [
    ({}, (2, 8, 4, 4), ChannelsFirst()),
    ({"num_features": 8}, (2, 8, 4, 4), ChannelsFirst()),
    ({"num_features": 8}, (2, 4, 4, 8), ChannelsLast()),
    ({"num_features": 8}, (2, 8, 4, 8), ChannelsFirst()),
    ({"output_fmt": "NHWC"}, (2, 4, 4, 8), ChannelsLast()),
    ({"output_fmt": SimpleNamespace(value="NHWC")}, (2, 4, 4, 8), ChannelsLast()),
    ({}, (2, 8), ChannelsFirst()),
    ({}, (2, 16, 8), ChannelsFirst()),
])  # fmt: skip
def test_the_networks_word_decides_and_then_its_number_of_channels(
    says: dict[str, object], shape: tuple[int, ...], layout: ActivationLayout
) -> None:
    assert layout_of(network(**says), torch.zeros(shape)) == layout


@pytest.mark.parametrize(("says", "tokens", "layout"), [
    ({}, 16, Tokens(0, (4, 4))),
    ({"num_prefix_tokens": 1}, 17, Tokens(1, (4, 4))),
    ({"num_prefix_tokens": 5}, 21, Tokens(5, (4, 4))),
    (
        {"num_prefix_tokens": 1, "patch_embed": SimpleNamespace(grid_size=(2, 6))},
        13, Tokens(1, (2, 6)),
    ),
    # dynamic_img_size: another tile than the network was made for, and square as tiles are
    (
        {"num_prefix_tokens": 1, "patch_embed": SimpleNamespace(grid_size=(2, 6))},
        17, Tokens(1, (4, 4)),
    ),
    # CaiT and XCiT: the class token joins later
    (
        {"num_prefix_tokens": 1, "patch_embed": SimpleNamespace(grid_size=(4, 4))},
        16, Tokens(0, (4, 4)),
    ),
    ({"num_prefix_tokens": 1}, 16, Tokens(0, (4, 4))),
    ({}, 7, ChannelsFirst()),
    (
        {"num_prefix_tokens": 1, "patch_embed": SimpleNamespace(grid_size=(2, 6))},
        18, ChannelsFirst(),
    ),
    ({"num_prefix_tokens": 1}, 1, Tokens(0, (1, 1))),
    ({"num_prefix_tokens": 4}, 3, ChannelsFirst()),
])  # fmt: skip
def test_tokens_lie_on_the_known_grid_or_a_square(
    says: dict[str, object], tokens: int, layout: ActivationLayout
) -> None:
    assert inner_layout_of(network(**says), torch.zeros(2, tokens, 8)) == layout


def test_inner_maps_are_read_as_outer_ones() -> None:
    assert inner_layout_of(network(num_features=8), torch.zeros(2, 4, 4, 8)) == ChannelsLast()


@pytest.mark.parametrize(("layout", "shape", "mapped"), [
    (ChannelsFirst(), (2, 8, 3, 5), (2, 8, 3, 5)),
    (ChannelsLast(), (2, 3, 5, 8), (2, 8, 3, 5)),
    (Tokens(2, (3, 5)), (2, 17, 8), (2, 8, 3, 5)),
])  # fmt: skip
def test_there_and_back_is_the_same(
    layout: ActivationLayout, shape: tuple[int, ...], mapped: tuple[int, ...]
) -> None:
    raw = torch.arange(torch.Size(shape).numel()).reshape(shape).float()
    activation = layout.map_of(raw)
    assert activation.shape == mapped
    assert torch.equal(layout.raw_of(activation, raw), raw)


def test_patches_go_by_rows_and_what_stands_before_them_is_kept() -> None:
    layout, raw = Tokens(1, (2, 3)), torch.arange(7.0).reshape(1, 7, 1)
    assert layout.map_of(raw)[0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert layout.raw_of(torch.zeros(1, 1, 2, 3), raw)[0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 0]
    assert layout.raw_of(torch.zeros(1, 1, 2, 3), raw + 9)[0, :, 0].tolist() == [
        9,
        0,
        0,
        0,
        0,
        0,
        0,
    ]
