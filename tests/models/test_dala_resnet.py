"""The attention of DALAResNet50, against its equation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slidecam.models.dala_resnet import ChannelAttention, DALAResNet50


@pytest.mark.parametrize(("fusion", "shares"), [("sum", 1.0), ("product", 0.0)])
def test_each_channel_is_weighed_by_a_gate_that_sees_the_averages_of_all(
    fusion: str, shares: float
) -> None:
    torch.manual_seed(0)
    attention = ChannelAttention(4, fusion)  # type: ignore[arg-type]
    features = torch.randn(2, 4, 3, 5)
    with torch.no_grad():
        attended = attention(features)
    weight, bias = (parameter.detach() for parameter in attention.linear.parameters())
    for tile in range(2):
        averages = torch.stack([features[tile, channel].mean() for channel in range(4)])
        for channel in range(4):
            gate = 1 / (1 + torch.exp(-(weight[channel] @ averages + bias[channel])))
            expected = features[tile, channel] * gate + shares * features[tile, channel]
            torch.testing.assert_close(attended[tile, channel], expected)


def test_the_head_is_dropout_and_two_full_layers_with_leaky_relu_then_relu() -> None:
    with torch.device("meta"):
        network = DALAResNet50(2)
    kinds = [type(layer) for layer in network.head]
    assert kinds == [nn.Dropout, nn.Linear, nn.LeakyReLU, nn.Linear, nn.ReLU, nn.Linear]
    dropout, leaky = network.head[0], network.head[2]
    assert isinstance(dropout, nn.Dropout)
    assert isinstance(leaky, nn.LeakyReLU)
    assert (dropout.p, leaky.negative_slope) == (0.25, 0.01)


def test_the_explained_map_is_the_attended_one() -> None:
    torch.manual_seed(0)
    network = DALAResNet50(2, hidden=(8, 4)).eval()
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        plain = network.backbone.forward_features(pixels)  # type: ignore[operator]
        assert torch.equal(network.forward_features(pixels), network.attention(plain))
        assert not torch.equal(network.forward_features(pixels), plain)
