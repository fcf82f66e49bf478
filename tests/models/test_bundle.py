"""Bundles on disk: whole or refused."""

from __future__ import annotations

import json
import random
import socket
from typing import TYPE_CHECKING, Never

import pytest
import safetensors.torch
import torch

from slidecam.errors import (
    BundleError,
    CardError,
    MissingBundleError,
    UntrustedCodeError,
    WeightsError,
)
from slidecam.models import Bundle, find_bundles, open_bundle, save_bundle
from slidecam.models.weights import file_digest

if TYPE_CHECKING:
    from pathlib import Path

    from models.conftest import MakeBundle, MakeCard, MakeZoo


def reseal(bundle: Bundle, tensors: dict[str, torch.Tensor]) -> Bundle:
    return save_bundle(bundle.path, bundle.card, tensors, overwrite=True)


def test_a_bundle_is_a_card_and_safetensors(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    assert sorted(path.name for path in bundle.path.iterdir()) == ["card.json", "model.safetensors"]
    assert bundle.kind == "slidecam"
    assert len(bundle.digest) == 64


def test_the_folder_or_its_card_can_be_named(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    assert open_bundle(str(bundle.path)) == open_bundle(bundle.path / "card.json") == bundle


def test_a_folder_without_a_card_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingBundleError, match=r"card\.json"):
        open_bundle(tmp_path)
    with pytest.raises(FileNotFoundError, match="not a folder"):
        open_bundle(tmp_path / "nowhere")


def test_one_changed_byte_of_the_weights_is_found_on_opening(make_saved: MakeBundle) -> None:
    weights = make_saved().path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        open_bundle(weights.parent)


def test_weights_that_change_after_opening_are_not_loaded(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    weights = bundle.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="SHA-256"):
        bundle.classifier()


def test_missing_weights_are_said(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    (bundle.path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        open_bundle(bundle.path)


def test_a_missing_key_is_named(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    tensors = bundle.network().state_dict()
    del tensors["fc.bias"]
    with pytest.raises(WeightsError, match=r"fc\.bias is missing"):
        reseal(bundle, tensors).network()


def test_a_key_too_many_is_named(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    with pytest.raises(WeightsError, match="extra is not in the network"):
        reseal(bundle, bundle.network().state_dict() | {"extra": torch.zeros(1)}).network()


def test_a_wrong_shape_is_named_with_both(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    with pytest.raises(WeightsError, match=r"fc\.weight is 7 x 12, the network's is 3 x 12"):
        reseal(bundle, bundle.network().state_dict() | {"fc.weight": torch.zeros(7, 12)}).network()


def test_whole_numbers_are_no_weights(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    with pytest.raises(WeightsError, match="int64"):
        reseal(
            bundle, bundle.network().state_dict() | {"fc.bias": torch.zeros(3, dtype=torch.int64)}
        ).network()


def test_only_the_first_few_of_many_are_listed(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    with pytest.raises(WeightsError, match=r"and \d+ more") as caught:
        reseal(bundle, {"fc.bias": torch.zeros(3)}).network()
    assert len(str(caught.value)) < 500


def test_weights_stored_in_half_precision_load_as_float32(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    tensors = bundle.network().state_dict()
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    loaded = reseal(bundle, halves).network().state_dict()
    assert loaded["fc.weight"].dtype == torch.float32
    assert torch.equal(loaded["fc.weight"], tensors["fc.weight"].half().float())


def test_a_file_that_is_no_safetensors_is_refused(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    weights = bundle.path / "model.safetensors"
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    card = json.loads((bundle.path / "card.json").read_text())
    card["weights"]["sha256"] = file_digest(weights)
    (bundle.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="not readable as safetensors"):
        open_bundle(bundle.path).network()


def test_a_card_cannot_name_a_pickle_as_its_weights(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    card = json.loads((bundle.path / "card.json").read_text())
    card["weights"]["file"] = "model.pt"
    (bundle.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(CardError, match="safetensors"):
        open_bundle(bundle.path)


@pytest.mark.parametrize(
    "name", ["timm/resnet51", "resnet51", "hf-hub:somebody/model", "slidecam/pocket_resnt"]
)
def test_an_unknown_architecture_is_refused_with_names_like_it(
    make_saved: MakeBundle, make_card: MakeCard, name: str
) -> None:
    bundle = make_saved()
    unknown = save_bundle(
        bundle.path, make_card(architecture=name), bundle.network(), overwrite=True
    )
    with pytest.raises(CardError, match="not known") as caught:
        unknown.network()
    if "resn" in name:
        assert "resnet5" in caught.value.remedy or "pocket_resnet" in caught.value.remedy


@pytest.mark.parametrize(
    "args", [{"widths": "many"}, {"depht": 2}, {"pretrained": True}, {"checkpoint_path": "evil.pt"}]
)
def test_arguments_that_do_not_fit_the_architecture_are_refused(
    make_saved: MakeBundle, make_card: MakeCard, args: dict[str, object]
) -> None:
    bundle = make_saved()
    wrong = save_bundle(
        bundle.path, make_card(architecture_args=args), bundle.network(), overwrite=True
    )
    with pytest.raises(CardError, match=next(iter(args))):
        wrong.network()


def test_loading_uses_no_network_and_no_random_numbers(
    make_saved: MakeBundle, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_args: object) -> Never:
        raise AssertionError("something wanted the network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    bundle = make_saved(make_card(architecture="timm/test_resnet", architecture_args={}))
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    bundle.classifier()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


def test_equal_digests_mean_equal_card_and_weights(
    make_saved: MakeBundle, make_card: MakeCard
) -> None:
    bundle = make_saved()
    same = save_bundle(bundle.path.parent / "other", bundle.card, bundle.network())
    assert same.digest == bundle.digest
    assert make_saved(make_card(spacing=0.25)).digest != bundle.digest
    changed = bundle.network().state_dict()
    changed["fc.bias"] = changed["fc.bias"] + 1
    assert reseal(bundle, changed).digest != bundle.digest


def test_a_folder_that_is_not_empty_is_not_written_into(
    tmp_path: Path, make_saved: MakeBundle
) -> None:
    bundle = make_saved()
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(bundle.path, bundle.card, bundle.network())
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(tmp_path / "notes", bundle.card, bundle.network())


def test_an_empty_folder_is_filled(tmp_path: Path, make_saved: MakeBundle) -> None:
    bundle = make_saved()
    (tmp_path / "empty").mkdir()
    assert save_bundle(tmp_path / "empty", bundle.card, bundle.network()).card == bundle.card


def test_overwriting_leaves_other_files_alone(make_saved: MakeBundle) -> None:
    bundle = make_saved()
    (bundle.path / "README.md").write_text("mine")
    reseal(bundle, bundle.network().state_dict())
    assert (bundle.path / "README.md").read_text() == "mine"


def test_a_save_that_fails_leaves_nothing(
    tmp_path: Path, make_saved: MakeBundle, make_card: MakeCard
) -> None:
    bundle = make_saved()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CardError, match="JSON"):
        save_bundle(tmp_path / "new", make_card(provenance={"made": object()}), bundle.network())
    with pytest.raises(CardError, match="tile_px"):
        save_bundle(tmp_path / "new", make_card(tile_px=0), bundle.network())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_tied_weights_can_be_saved(tmp_path: Path, make_saved: MakeBundle) -> None:
    bundle = make_saved()
    tensors = bundle.network().state_dict()
    tensors["stem.1.running_mean"] = tensors["stem.1.bias"]
    save_bundle(tmp_path / "tied", bundle.card, tensors).network()


def test_bundles_are_found_in_a_folder_and_right_below(
    tmp_path: Path, make_saved: MakeBundle, make_zoo: MakeZoo
) -> None:
    make_saved()
    make_zoo()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{")
    (tmp_path / "pictures").mkdir()
    broken, bundle, zoo = find_bundles([tmp_path])
    assert isinstance(broken, CardError)
    assert isinstance(bundle, Bundle)
    assert isinstance(zoo, Bundle)
    assert [bundle.kind, zoo.kind] == ["slidecam", "wsinfer"]
    assert find_bundles([tmp_path / "bundle"]) == [bundle]
    assert find_bundles([tmp_path / "pictures"]) == []
    assert isinstance(find_bundles([tmp_path / "nowhere"])[0], MissingBundleError)


def test_torchscript_without_trust_is_listed_as_such(make_zoo: MakeZoo) -> None:
    folder = make_zoo(script=True)
    assert isinstance(find_bundles([folder])[0], UntrustedCodeError)
    assert isinstance(find_bundles([folder], trust=True)[0], Bundle)


def test_a_bundle_of_other_files_is_not_touched_by_tensors_of_another_kind(
    make_saved: MakeBundle,
) -> None:
    bundle = make_saved()
    stored = safetensors.torch.load_file(bundle.path / "model.safetensors")
    assert set(stored) == set(bundle.network().state_dict())
