from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from slidecam.models.networks import ChannelAttention, DALAResNet50, DenseHead


def test_its_defaults_are_the_brain_tumour_studys() -> None:
    with torch.device("meta"):
        network = DenseHead(4)
    assert [type(layer) for layer in network.head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    hidden, _relu, dropout, last = network.head
    assert isinstance(hidden, nn.Linear)
    assert isinstance(dropout, nn.Dropout)
    assert isinstance(last, nn.Linear)
    assert (hidden.in_features, hidden.out_features, dropout.p, last.out_features) == (
        1792,
        256,
        0.45,
        4,
    )


def test_it_computes_what_its_layers_compute_one_after_the_other() -> None:
    torch.manual_seed(0)
    network = DenseHead(3, "test_resnet", hidden=5).eval()
    pixels = torch.rand(2, 3, 64, 64)
    plain = timm.create_model("test_resnet", num_classes=0).eval()
    plain.load_state_dict(network.backbone.state_dict())
    first, last = network.head[0], network.head[3]
    with torch.no_grad():
        expected = last(torch.relu(first(plain(pixels))))
        torch.testing.assert_close(network(pixels), expected)


def test_backbones_that_widen_the_pooled_map_fit() -> None:
    """MobileNetV3's last convolution sits behind the pooling.

    576 channels of map, an embedding of 1024.
    """
    network = DenseHead(3, "mobilenetv3_small_050", hidden=5).eval()
    features = network.forward_features(torch.zeros(1, 3, 64, 64))
    assert features.shape[1] == network.num_features != network.head[0].in_features
    assert network.forward_head(features).shape == (1, 3)


def test_arguments_reach_the_backbone() -> None:
    same = DenseHead(3, "mobilenetv2_035", backbone_args={"pad_type": "same"})
    assert type(same.backbone.get_submodule("conv_stem")).__name__ == "Conv2dSame"


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
