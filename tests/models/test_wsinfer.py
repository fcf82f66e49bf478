"""The WSInfer zoo's folders, as the specification has them and as they should not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.errors import CardError, MissingBundleError, UntrustedCodeError, WeightsError
from slidecam.models import open_bundle

if TYPE_CHECKING:
    from models.conftest import MakeZoo

TO_TENSOR = {"name": "ToTensor"}


def test_a_configuration_becomes_a_card(make_zoo: MakeZoo) -> None:
    bundle = open_bundle(make_zoo())
    card = bundle.card
    assert (bundle.kind, card.name, card.architecture) == (
        "wsinfer",
        "zoo-model",
        "timm/test_resnet",
    )
    assert (card.tile_px, card.spacing, card.input_px, card.interpolation) == (
        350,
        0.25,
        64,
        "bilinear",
    )
    assert (card.mean, card.std) == ((0.7, 0.6, 0.7), (0.1, 0.2, 0.1))
    assert (card.class_names, card.activation) == (("stroma", "tumour"), "softmax")
    assert len(card.weights_sha256) == 64


def test_a_model_of_one_output_is_a_sigmoid(make_zoo: MakeZoo) -> None:
    bundle = open_bundle(make_zoo(classes=1))
    classifier = bundle.classifier()
    assert bundle.card.activation == "sigmoid"
    probabilities = classifier.probabilities(torch.tensor([[0.0], [-1.0]]))
    assert probabilities[0].item() == pytest.approx(0.5)
    assert probabilities[1].item() == pytest.approx(0.26894, abs=1e-5)


def test_without_resize_the_tile_is_what_the_network_sees(make_zoo: MakeZoo) -> None:
    card = open_bundle(make_zoo({"transform": [TO_TENSOR]})).card
    assert card.input_px == card.tile_px == 350


def test_without_normalize_pixels_are_only_scaled_to_one(make_zoo: MakeZoo) -> None:
    card = open_bundle(make_zoo({"transform": [TO_TENSOR]})).card
    assert (card.mean, card.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("value", "expected"), [("bicubic", "bicubic"), (3, "bicubic"), (0, "nearest"), (2, "bilinear")]
)
def test_an_interpolation_is_torchvisions_name_or_number(
    make_zoo: MakeZoo, value: object, expected: str
) -> None:
    resize = {
        "name": "Resize",
        "arguments": {"size": 64, "interpolation": value, "antialias": True},
    }
    assert open_bundle(make_zoo({"transform": [resize, TO_TENSOR]})).card.interpolation == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec_version": "2.0"}, "spec_version"),
        ({"num_classes": 3}, "class_names holds 2"),
        ({"spacing_um_px": 0}, "0 µm per pixel"),
        ({"patch_size_pixels": "350"}, "patch_size_pixels"),
        ({"transform": [{"name": "ColorJitter"}, TO_TENSOR]}, "ColorJitter"),
        (
            {
                "transform": [
                    {"name": "Resize", "arguments": {"size": 64, "max_size": 9}},
                    TO_TENSOR,
                ]
            },
            "max_size",
        ),
        ({"transform": [{"name": "Resize", "arguments": {"size": [64, 64]}}, TO_TENSOR]}, "size"),
        (
            {
                "transform": [
                    {"name": "Resize", "arguments": {"size": 64, "interpolation": 5}},
                    TO_TENSOR,
                ]
            },
            "5",
        ),
        ({"transform": []}, "empty"),
        ({"transform": ["ToTensor"]}, r'is \["ToTensor"\] .* Write a list, each an object'),
        ({"transform": [{"name": "Resize"}, TO_TENSOR]}, "arguments.size.* is missing"),
        ({"patch_size_pixels": 0}, "patch_size_pixels.* is 0"),
        ({"transform": [TO_TENSOR, TO_TENSOR]}, "each once"),
        (
            {
                "transform": [
                    {"name": "Normalize", "arguments": {"mean": [0, 0, 0], "std": [1, 1, 1]}},
                    TO_TENSOR,
                ]
            },
            "in this order",
        ),
        (
            {"transform": [TO_TENSOR, {"name": "Normalize", "arguments": {"mean": [0, 0, 0]}}]},
            "std",
        ),
        ({"architecture": "preactresnet34"}, "preactresnet34"),
    ],
)
def test_what_the_specification_or_we_do_not_know_is_refused(
    make_zoo: MakeZoo, changes: dict[str, object], said: str
) -> None:
    folder = make_zoo(changes)
    with pytest.raises(CardError, match=said) as caught:
        open_bundle(folder).network()
    assert "config.json" in str(caught.value)


def test_everything_that_is_wrong_with_a_configuration_is_said_at_once(make_zoo: MakeZoo) -> None:
    transform = [
        {"name": "Resize", "arguments": {"size": 0, "interpolation": 5, "max_size": 9}},
        {"name": "ColorJitter"},
    ]
    changes = {"num_classes": 3, "spacing_um_px": 0, "architecture": 50, "transform": transform}
    with pytest.raises(CardError) as caught:
        open_bundle(make_zoo(changes))
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert [line.split('"')[1] for line in lines] == [
        "architecture", "spacing_um_px", "num_classes", "transform[0].arguments.max_size",
        "transform[0].arguments.size", "transform[0].arguments.interpolation", "transform[1].name",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", r"^config\.json is not readable as JSON"), ("[]", r"^config\.json holds \[\], not a")],
)
def test_a_configuration_that_is_no_object_is_called_by_its_own_name(
    make_zoo: MakeZoo, text: str, said: str
) -> None:
    folder = make_zoo()
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match=said):
        open_bundle(folder)


def test_a_configuration_without_weights_is_missing_them(make_zoo: MakeZoo) -> None:
    folder = make_zoo()
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingBundleError, match="no weights"):
        open_bundle(folder)


def test_torchscript_needs_trust_and_says_why(make_zoo: MakeZoo) -> None:
    folder = make_zoo(script=True)
    with pytest.raises(UntrustedCodeError, match=r"program .* --trust"):
        open_bundle(folder)


def test_trusted_torchscript_predicts_as_its_safetensors_do_and_has_no_map(
    make_zoo: MakeZoo,
) -> None:
    folder = make_zoo(script=True)
    script = open_bundle(folder, trust=True)
    assert script.kind == "wsinfer-torchscript"
    script_classifier = script.classifier()
    assert not script_classifier.has_map
    assert script_classifier.backend == "torch, TorchScript, fp32"
    plain = open_bundle(make_zoo())
    assert plain.kind == "wsinfer"
    tiles = torch.randint(
        0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(
        script_classifier.run(tiles, gradients=False).logits,
        plain.classifier(backend="eager").run(tiles, gradients=False).logits,
        rtol=0,
        atol=1e-5,
    )


def test_an_architecture_that_timm_lacks_falls_back_on_torchscript(make_zoo: MakeZoo) -> None:
    make_zoo({"architecture": "preactresnet34"})
    folder = make_zoo({"architecture": "preactresnet34"}, script=True)
    assert (folder / "model.safetensors").is_file()
    assert open_bundle(folder, trust=True).kind == "wsinfer-torchscript"


def test_damaged_torchscript_is_said(make_zoo: MakeZoo) -> None:
    folder = make_zoo(script=True)
    (folder / "torchscript_model.pt").write_bytes(b"not a program")
    with pytest.raises(WeightsError, match="not readable as TorchScript"):
        open_bundle(folder, trust=True).network()


def test_a_folder_may_be_renamed_without_becoming_another_model(make_zoo: MakeZoo) -> None:
    folder = make_zoo()
    before = open_bundle(folder)
    after = open_bundle(folder.rename(folder.with_name("renamed")))
    assert after.card.name == "renamed"
    assert after.digest == before.digest
