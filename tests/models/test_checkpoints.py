"""Checkpoints as training programs, Hugging Face and people leave them."""

from __future__ import annotations

import json
import zipfile
from argparse import Namespace
from collections import defaultdict
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from timm import utils
from timm.models import save_for_hf
from torch import nn

from slidecam.errors import CardError, MissingBundleError, UntrustedCodeError, WeightsError
from slidecam.models import BundleSpec, make_bundle, open_bundle
from slidecam.models.architectures import build_network
from slidecam.models.bundle_maker import READINGS
from slidecam.models.checkpoints import read_checkpoint
from slidecam.models.fitting import DENSE_LAYERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from slidecam.models import Bundle

CLASSES = ("tumour", "stroma", "other")
PIXELS = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(11))


@pytest.fixture
def network(lively: Callable[[nn.Module], nn.Module], tmp_path: Path) -> nn.Module:
    return lively(build_network("timm/test_resnet", {}, 3, tmp_path))


def wish(weights: Path, **changes: Any) -> BundleSpec:
    values: dict[str, Any] = {
        "architecture": "test_resnet",
        "class_names": CLASSES,
        "spacing": 0.5,
        "tile_px": 64,
        "trust": True,
    }
    return BundleSpec(weights=weights, **{**values, **changes})


def unsaid(weights: Path, **changes: Any) -> BundleSpec:
    return wish(weights, **{"architecture": "", "class_names": (), **changes})


def readings(bundle: Bundle) -> str:
    sentences = bundle.card.provenance.get(READINGS, [])
    assert isinstance(sentences, list)
    for sentence in sentences:
        assert sentence[0] == sentence[0].upper()
        assert sentence.endswith(".")
    return "\n".join(sentences)


def logits(network: nn.Module) -> Tensor:
    with torch.no_grad():
        given: Tensor = network.eval()(PIXELS)
    return given


def assert_computes_as(bundle: Bundle, network: nn.Module) -> None:
    torch.testing.assert_close(logits(bundle.network()), logits(network), rtol=0, atol=1e-6)


def saved(folder: Path, content: object, name: str = "weights.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def under(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


def moved(network: nn.Module) -> nn.Module:
    """Return the same network with other weights in its last layer."""
    other = timm.create_model("test_resnet", num_classes=3)
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        other.get_parameter("fc.weight").add_(torch.linspace(-0.31, 0.47, 3)[:, None])
    return other


def test_a_lightning_checkpoint_says_its_network_and_its_classes(
    tmp_path: Path, network: nn.Module
) -> None:
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {**under("net.", network), "criterion.weight": torch.tensor([0.7, 1.9, 2.3])},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"kth_value": torch.tensor(0.37)}},
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "arch": "test_resnet",
            "class_names": ["tumour", "stroma", "other"],
            "mean": [0.71, 0.52, 0.68],
            "std": [0.17, 0.22, 0.19],
            "lr": 1e-3,
        },
    }
    bundle = make_bundle(unsaid(saved(tmp_path, content, "last.ckpt")), tmp_path / "made")
    assert_computes_as(bundle, network)
    card = bundle.card
    assert card.class_names == CLASSES
    assert (card.mean, card.std) == ((0.71, 0.52, 0.68), (0.17, 0.22, 0.19))
    assert card.provenance["weights_left_out"] == ["state_dict.criterion.weight"]
    assert "hyper_parameters); --classes says otherwise" in readings(bundle)


def test_a_checkpoint_of_timms_own_training_gives_its_average_and_says_so(
    tmp_path: Path, network: nn.Module
) -> None:
    training: Any = utils
    ema = training.ModelEmaV2(network)
    ema.module.load_state_dict(moved(network).state_dict())
    args = Namespace(model="test_resnet", std=[0.21, 0.33, 0.4], output=PurePosixPath("runs"))
    saver = training.CheckpointSaver(
        network,
        torch.optim.SGD(network.parameters(), lr=0.1),
        args=args,
        model_ema=ema,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(0, metric=np.float64(0.625))
    weights = tmp_path / "last.pth.tar"
    averaged = make_bundle(unsaid(weights, class_names=CLASSES), tmp_path / "averaged")
    assert_computes_as(averaged, ema.module)
    assert averaged.card.std == (0.21, 0.33, 0.4)
    assert "2 times, under 'state_dict.', 'state_dict_ema.'" in readings(averaged)
    asked = unsaid(weights, class_names=CLASSES, weights_prefix="state_dict.")
    assert_computes_as(make_bundle(asked, tmp_path / "plain"), network)


@pytest.mark.parametrize("names", [("model", "model_ema"), ("net", "ema"), ("model", "swa_model")])
def test_of_a_network_and_its_average_the_average_is_taken_in_words(
    tmp_path: Path, network: nn.Module, names: tuple[str, str]
) -> None:
    content = {names[0]: network.state_dict(), names[1]: moved(network).state_dict()}
    bundle = make_bundle(wish(saved(tmp_path, content)), tmp_path / "made")
    assert_computes_as(bundle, moved(network))
    assert f"the average, '{names[1]}.', was taken" in readings(bundle)


def test_a_teacher_and_a_student_are_a_choice_of_the_person(
    tmp_path: Path, network: nn.Module
) -> None:
    content = {
        "student": under("module.backbone.", network),
        "teacher": under("backbone.", moved(network)),
    }
    asked = wish(saved(tmp_path, content))
    with pytest.raises(WeightsError, match=r"'student\.module\.backbone\.', 'teacher\.backbone\.'"):
        make_bundle(asked, tmp_path / "made")
    named = wish(asked.weights, weights_prefix="teacher.backbone.")
    assert_computes_as(make_bundle(named, tmp_path / "made"), moved(network))


def test_of_two_networks_the_one_whose_shapes_fit_is_meant(
    tmp_path: Path, network: nn.Module, lively: Callable[[nn.Module], nn.Module]
) -> None:
    other = lively(build_network("timm/test_resnet", {}, 7, tmp_path))
    content = {**under("seven.", other), **under("three.", network)}
    bundle = make_bundle(wish(saved(tmp_path, content)), tmp_path / "made")
    assert_computes_as(bundle, network)
    assert bundle.card.provenance["weights_prefix"] == "three."


class Headed(nn.Module):
    """A backbone of timm's with a head of its own, as people write it."""

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = timm.create_model("test_resnet", num_classes=0)
        own = self.backbone.state_dict()
        self.backbone.load_state_dict({name: network.state_dict()[name] for name in own})
        self.head = head

    def forward(self, pixels: Tensor) -> Tensor:
        given: Tensor = self.head(self.backbone(pixels))
        return given


def dense(activation: nn.Module) -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Dropout(0.2), nn.Linear(96, 13), activation, nn.Linear(13, 3))


def test_a_linear_head_by_another_name_is_the_classifier(
    tmp_path: Path, network: nn.Module
) -> None:
    whole = Headed(network, nn.Linear(96, 3))
    bundle = make_bundle(wish(saved(tmp_path, whole.state_dict())), tmp_path / "made")
    assert_computes_as(bundle, whole)
    assert bundle.card.architecture == "timm/test_resnet"
    assert "The classifier is 'head' in the file" in readings(bundle)


def test_a_head_with_a_hidden_layer_is_a_dense_head(tmp_path: Path, network: nn.Module) -> None:
    whole = Headed(network, dense(nn.ReLU()))
    weights = saved(tmp_path, {"state_dict": whole.state_dict()})
    bundle = make_bundle(wish(weights), tmp_path / "relu")
    assert_computes_as(bundle, whole)
    assert bundle.card.mean == (0.5, 0.5, 0.5)
    assert "ReLU is assumed; --head-activation says otherwise." in readings(bundle)
    bundle = make_bundle(wish(weights, head_activation="gelu"), tmp_path / "gelu")
    assert_computes_as(bundle, Headed(network, dense(nn.GELU())))
    assert set(DENSE_LAYERS) < {
        f"{name.rpartition('.')[0]}." for name in bundle.network().state_dict()
    }


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.Linear(96, 13), nn.BatchNorm1d(13), nn.ReLU(), nn.Linear(13, 3)),
        nn.Sequential(nn.Linear(96, 13), nn.ReLU(), nn.Linear(13, 9), nn.ReLU(), nn.Linear(9, 3)),
        nn.Sequential(nn.Linear(96, 13), nn.ReLU(), nn.Linear(13, 5)),
    ],
)
def test_a_head_of_another_kind_is_refused_with_its_layers(
    tmp_path: Path, network: nn.Module, head: nn.Module
) -> None:
    weights = saved(tmp_path, Headed(network, head).state_dict())
    with pytest.raises(WeightsError, match=r"a head of no kind here: head\.0\.weight \(13 x 96\)"):
        make_bundle(wish(weights), tmp_path / "made")


def test_what_no_file_holds_is_never_made_up(tmp_path: Path, network: nn.Module) -> None:
    headless = Headed(network, nn.Identity())
    with pytest.raises(WeightsError, match=r"fc\.weight is missing.*holds no classifier"):
        make_bundle(wish(saved(tmp_path, headless.state_dict())), tmp_path / "made")
    foreign = {"blocks.0.weight": torch.zeros(9, 3, 7, 7), "classifier.weight": torch.zeros(3, 9)}
    with pytest.raises(WeightsError, match=r"blocks\.0\.weight is not in.*Check the architecture"):
        make_bundle(wish(saved(tmp_path, foreign)), tmp_path / "made")
    lacking = network.state_dict()
    del lacking["layer3.0.conv2.weight"]
    with pytest.raises(WeightsError, match=r"layer3\.0\.conv2\.weight is missing"):
        make_bundle(wish(saved(tmp_path, lacking)), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def shards(folder: Path, network: nn.Module, ending: str = ".safetensors") -> Path:
    tensors = network.state_dict()
    names = sorted(tensors)
    stem = {".safetensors": "model", ".bin": "pytorch_model"}[ending]
    listed: dict[str, str] = {}
    for number in (1, 2):
        shard = f"{stem}-0000{number}-of-00002{ending}"
        part = {name: tensors[name].clone() for name in names[number - 1 :: 2]}
        listed |= dict.fromkeys(part, shard)
        if ending == ".bin":
            torch.save(part, folder / shard)
        else:
            safetensors.torch.save_file(part, folder / shard)
    index = folder / f"{stem}{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return index


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
@pytest.mark.parametrize("named", ["", "index", "shard"])
def test_shards_are_read_by_their_list(
    tmp_path: Path, network: nn.Module, ending: str, named: str
) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    index = shards(folder, network, ending)
    shard = next(path for path in folder.iterdir() if "00002-of" in path.name)
    asked = {"": folder, "index": index, "shard": shard}[named]
    bundle = make_bundle(wish(asked), tmp_path / "made")
    assert_computes_as(bundle, network)
    assert ("is a shard of" in readings(bundle)) == (named == "shard")


def edited(index: Path, change: Callable[[dict[str, Any]], object]) -> None:
    table = json.loads(index.read_text())
    change(table)
    index.write_text(json.dumps(table))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table["weight_map"].update({"fc.scale": SHARD}), r"hold: fc\.scale"),
        (lambda table: table["weight_map"].update({"fc.bias": "../x.safetensors"}), "fc.bias lies"),
        (lambda table: table["weight_map"].update({"fc.bias": 5}), "fc.bias lies in 5"),
        (
            lambda table: table["weight_map"].update({"fc.bias": "gone.safetensors"}),
            "gone.*missing",
        ),
        (lambda table: table.update({"weight_map": []}), "no weight_map"),
        (lambda table: table["weight_map"].pop("fc.bias"), r"fc\.bias is missing"),
    ],
)
def test_a_wrong_list_of_shards_is_refused_by_what_is_wrong_in_it(
    tmp_path: Path, network: nn.Module, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    index = shards(tmp_path, network)
    edited(index, change)
    with pytest.raises(WeightsError, match=said):
        make_bundle(wish(index), tmp_path / "made")


SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture
def hub(tmp_path: Path, network: nn.Module) -> Path:
    """Return a folder as timm's ``push_to_hf_hub`` makes it."""
    save_for_hf(
        network,
        str(tmp_path / "hub"),
        model_config={"label_names": list(CLASSES), "pretrained_cfg": {"mean": (0.71, 0.52, 0.68)}},
        data_config={
            "std": (0.17, 0.22, 0.19),
            "mean": (0.71, 0.52, 0.68),
            "interpolation": "bicubic",
        },
        safe_serialization=True,
    )
    return tmp_path / "hub"


def test_a_folder_of_timms_on_hugging_face_is_taken_as_it_is(
    tmp_path: Path, network: nn.Module, hub: Path
) -> None:
    bundle = make_bundle(unsaid(hub, tile_px=None), tmp_path / "made")
    assert_computes_as(bundle, network)
    card, stated = bundle.card, network.pretrained_cfg
    assert isinstance(stated, dict)
    assert card.class_names == CLASSES
    assert (card.mean, card.std) == ((0.71, 0.52, 0.68), (0.17, 0.22, 0.19))
    assert (card.tile_px, card.input_px) == (160, 160) == tuple(stated["input_size"][1:])
    assert card.interpolation == "bicubic"
    assert "Mean: 0.71, 0.52, 0.68 (from config.json); --mean says otherwise." in readings(bundle)


def test_an_option_that_contradicts_a_configuration_wins_in_words(
    tmp_path: Path, hub: Path
) -> None:
    asked = unsaid(hub, class_names=("other", "stroma", "tumour"), mean=(0.1, 0.2, 0.3))
    bundle = make_bundle(asked, tmp_path / "made")
    assert bundle.card.class_names == ("other", "stroma", "tumour")
    assert "--classes other, stroma, tumour was taken, against tumour, stroma" in readings(bundle)
    assert "--mean 0.1, 0.2, 0.3 was taken, against 0.71, 0.52, 0.68" in readings(bundle)


def lie(hub: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edited(hub / "config.json", change)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda table: table.update(num_classes=4), CardError, "is 4, and 3 classes are named"),
        (lambda table: table.update(architecture="resnet81"), CardError, "resnet81.*timm does not"),
        (lambda table: table.update(architecture="test_vit"), WeightsError, "do not fit"),
        (
            lambda table: table["pretrained_cfg"].update(mean="dark"),
            CardError,
            "pretrained_cfg.mean",
        ),
        (
            lambda table: table["pretrained_cfg"].update(input_size=[3, 10**6, 10**6]),
            CardError,
            "pretrained_cfg.input_size",
        ),
        (
            lambda table: table["pretrained_cfg"].update(std=[0, 0, 0]),
            CardError,
            "pretrained_cfg.std",
        ),
        (
            lambda table: table["pretrained_cfg"].update(interpolation="lanczos"),
            CardError,
            "lanczos.*bilinear, bicubic",
        ),
        (
            lambda table: table["model_args"].update(checkpoint_path="/etc/passwd"),
            CardError,
            "checkpoint_path",
        ),
    ],
)
def test_a_configuration_that_lies_is_refused(
    tmp_path: Path,
    hub: Path,
    change: Callable[[dict[str, Any]], object],
    error: type[Exception],
    said: str,
) -> None:
    lie(hub, change)
    with pytest.raises(error, match=said):
        make_bundle(unsaid(hub), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_transformers_names_of_classes_and_scaling_are_heeded(
    tmp_path: Path, network: nn.Module
) -> None:
    folder = tmp_path / "wrapped"
    folder.mkdir()
    safetensors.torch.save_file(under("timm_model.", network), folder / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "architectures": ["TimmWrapperForImageClassification"],
        "id2label": {"2": "c", "10": "late", "0": "a", "1": "b"},
    }
    config["id2label"] = {"2": "other", "0": "tumour", "1": "stroma"}
    (folder / "config.json").write_text(json.dumps(config))
    scaling = {"image_mean": [0.31, 0.42, 0.53], "image_std": [0.2, 0.3, 0.4], "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    bundle = make_bundle(unsaid(folder, tile_px=64), tmp_path / "made")
    assert_computes_as(bundle, network)
    card = bundle.card
    assert card.class_names == CLASSES
    assert (card.mean, card.interpolation) == ((0.31, 0.42, 0.53), "bicubic")


def test_what_is_said_nowhere_is_asked_for_by_its_option(
    tmp_path: Path, network: nn.Module
) -> None:
    weights = saved(tmp_path, network.state_dict())
    for change, option in (
        ({"architecture": ""}, "--arch"),
        ({"class_names": ()}, "--classes"),
        ({"tile_px": None}, "--tile"),
    ):
        with pytest.raises(CardError, match=option):
            make_bundle(wish(weights, **change), tmp_path / "made")


def test_a_folder_of_hugging_faces_is_no_model_yet_and_says_how_it_becomes_one(hub: Path) -> None:
    with pytest.raises(MissingBundleError, match=r"Make one: slidecam bundle .*hub --out"):
        open_bundle(hub)


class KimiaNet(nn.Module):
    """The network of KimiaNet's own script (Riasatian et al., 2021), of torchvision's DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        features = torchvision.models.densenet121(weights=None).features
        self.model = nn.Sequential(features, nn.AdaptiveAvgPool2d((1, 1)))
        self.fc_4 = nn.Linear(1024, 30)

    def forward(self, pixels: Tensor) -> Tensor:
        given: Tensor = self.fc_4(torch.flatten(self.model(pixels), 1))
        return given


def test_names_of_another_program_are_refused_with_the_option_that_reads_them(
    tmp_path: Path, lively: Callable[[nn.Module], nn.Module]
) -> None:
    theirs = lively(KimiaNet())
    classes = tuple(f"diagnosis {number}" for number in range(30))
    asked = wish(
        saved(tmp_path, theirs.state_dict()), architecture="densenet121", class_names=classes
    )
    with pytest.raises(WeightsError, match="--weights-format kimianet"):
        make_bundle(asked, tmp_path / "refused")
    asked = replace(asked, weights_format="kimianet")
    other = make_bundle(asked, tmp_path / "other")
    assert "its own logits are those of --arch slidecam/kimianet." in readings(other)
    assert not torch.allclose(logits(other.network()), logits(theirs), atol=0.01)
    own = make_bundle(replace(asked, architecture="slidecam/kimianet"), tmp_path / "own")
    assert_computes_as(own, theirs)
    tiles = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    eager = own.classifier(backend="eager").run(tiles, gradients=False).logits
    folded = own.classifier(backend="folded").run(tiles, gradients=False).logits
    torch.testing.assert_close(eager, folded, rtol=0, atol=1e-4)


class Explosive:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code ran')",)


class ExplosiveSettings(Namespace):
    """Would run code of a package that settings are of."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.savetxt, (str(Path("exploded")), np.ones(3))


def test_no_object_in_a_pickle_runs_code(
    tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = saved(tmp_path, {"state_dict": network.state_dict(), "args": Explosive()})
    with pytest.raises(WeightsError, match=r"objects of builtins\.exec.*weights_only=False"):
        read_checkpoint(bomb, trust=True)
    inert = saved(tmp_path, {"state_dict": network.state_dict(), "args": ExplosiveSettings()})
    assert read_checkpoint(inert, trust=True).facts["args"] == {}
    assert not Path("exploded").exists()


def test_a_pickle_of_a_whole_network_is_refused_with_lines_that_make_weights_of_it(
    tmp_path: Path, network: nn.Module
) -> None:
    whole = Headed(network, nn.Linear(96, 3)).eval()
    weights = saved(tmp_path, whole)
    with pytest.raises(WeightsError, match=r"torch\.nn.*safetensors\.torch\.save_model"):
        make_bundle(wish(weights), tmp_path / "made")
    loaded = torch.load(weights, weights_only=False)
    safetensors.torch.save_model(loaded, str(tmp_path / "weights.safetensors"))
    assert_computes_as(
        make_bundle(wish(tmp_path / "weights.safetensors"), tmp_path / "made"), whole
    )


def test_nested_tables_without_end_are_refused_and_not_followed(tmp_path: Path) -> None:
    inner: dict[str, object] = {"weight": torch.ones(2, 3)}
    for _level in range(40):
        inner = {"a": inner, "b": inner}
    with pytest.raises(WeightsError, match="tables in tables without end"):
        read_checkpoint(saved(tmp_path, inner), trust=True)
    laughs: list[object] = ["ha"]
    for _level in range(40):
        laughs = [laughs] * 40
    content = {"net": {"weight": torch.ones(2, 3)}, "args": {"classes": laughs}}
    assert "args" in read_checkpoint(saved(tmp_path, content), trust=True).facts


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_file_that_is_cut_off_is_damaged_and_nothing_else(
    tmp_path: Path, network: nn.Module, name: str, share: float
) -> None:
    weights = tmp_path / name
    if name.endswith("pt"):
        torch.save(network.state_dict(), weights)
    else:
        safetensors.torch.save_file(network.state_dict(), weights)
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(weights, trust=True)


@pytest.mark.parametrize(
    ("mark", "place", "value"),
    [(b"PK\x01\x02", 6, b"\xff\xff"), (b"PK\x06\x07", 16, b"\x09\0\0\0")],
)
def test_an_archive_of_no_version_or_of_several_disks_is_damaged(
    tmp_path: Path, network: nn.Module, mark: bytes, place: int, value: bytes
) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(network.state_dict(), weights)
    content = bytearray(weights.read_bytes())
    begin = content.find(mark)
    assert begin > 0
    content[begin + place : begin + place + len(value)] = value
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(weights, trust=True)


def test_any_damage_within_a_pickle_is_an_error_of_ours(tmp_path: Path, network: nn.Module) -> None:
    whole = saved(tmp_path, {"state_dict": network.state_dict(), "args": Namespace(model="x")})
    with zipfile.ZipFile(whole) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (pickle,) = [name for name in parts if name.endswith("data.pkl")]
    draw = np.random.default_rng(3)
    for _trial in range(150):
        damaged = bytearray(parts[pickle])
        for place in draw.integers(2, len(damaged), 3):
            damaged[place] = int(draw.integers(0, 256))
        path = tmp_path / "damaged.pt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, content in parts.items():
                archive.writestr(name, bytes(damaged) if name == pickle else content)
        try:
            read_checkpoint(path, trust=True)
        except WeightsError as error:
            assert "\x1b" not in str(error)  # noqa: PT017  (either is right)


def test_a_checkpoint_of_the_old_format_is_read_and_its_objects_are_named(
    tmp_path: Path, network: nn.Module
) -> None:
    path = tmp_path / "old.pth"
    content: dict[str, object] = {
        "state_dict": under("module.", network),
        "args": Namespace(model="test_resnet"),
    }
    torch.save(content, path, _use_new_zipfile_serialization=False)
    made = make_bundle(unsaid(path, class_names=CLASSES), tmp_path / "made")
    assert_computes_as(made, network)
    content["bomb"] = Explosive()
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"holds objects of [\w.]*exec"):
        read_checkpoint(path, trust=True)


def test_tables_that_fill_themselves_are_tables(tmp_path: Path, network: nn.Module) -> None:
    counted = defaultdict(list, {"class_names": list(CLASSES)})
    content = {"state_dict": network.state_dict(), "hyper_parameters": counted}
    # Other packages let torch make some classes, as torch_geometric does: nothing hangs on them.
    allowed: list[Any] = [defaultdict, list]
    for others in ([], allowed):
        with torch.serialization.safe_globals(others):
            wanted = wish(saved(tmp_path, content), class_names=())
            bundle = make_bundle(wanted, tmp_path / f"made-{len(others)}")
            assert set(torch.serialization.get_safe_globals()) >= set(others)
        assert bundle.card.class_names == CLASSES


@pytest.mark.parametrize("kind", ["F4", "F8_E8M0", "XX", "F32"])
def test_numbers_of_a_kind_that_torch_has_not_are_damage(tmp_path: Path, kind: str) -> None:
    head = json.dumps({"a": {"dtype": kind, "shape": [8], "data_offsets": [0, 4]}}).encode()
    if kind == "F8_E8M0":
        head = head.replace(b"4]", b"8]")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(8 if b"8]}" in head else 4))
    with pytest.raises(WeightsError, match="not readable as safetensors"):
        read_checkpoint(path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]"])
def test_a_configuration_that_is_no_json_is_refused_and_not_passed_over(
    tmp_path: Path, hub: Path, text: str
) -> None:
    (hub / "config.json").write_text(text)
    with pytest.raises(CardError, match=r"JSON|object"):
        make_bundle(wish(hub), tmp_path / "made")


def test_pickles_are_behind_trust_wherever_they_lie(tmp_path: Path, network: nn.Module) -> None:
    with pytest.raises(UntrustedCodeError, match="--trust"):
        make_bundle(wish(shards(tmp_path, network, ".bin"), trust=False), tmp_path / "made")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.onnx", r"ONNX graph.*import safetensors.*save_model\(network"),
        ("export.pkl", r"fastai.*load_learner.*torch\.jit\.trace"),
        (
            "bundle/configs/metadata.json",
            r"bundle of MONAI.*bundle\.ConfigParser.*torch\.jit\.trace",
        ),
    ],
)
def test_another_programs_model_is_refused_with_the_python_that_converts_it(
    tmp_path: Path, name: str, said: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")
    asked = wish(tmp_path / name.partition("/")[0])
    with pytest.raises(WeightsError, match=said):
        make_bundle(asked, tmp_path / "made")


def test_torchscript_is_refused_with_lines_that_make_weights_of_it(
    tmp_path: Path, network: nn.Module
) -> None:
    weights = tmp_path / "program.pt"
    program: Any = torch.jit
    with pytest.warns(match="torch.jit"):
        program.trace(network, PIXELS).save(str(weights))
    with pytest.raises(WeightsError, match=r"torch\.jit\.load.*state_dict.*save_file"):
        make_bundle(wish(weights), tmp_path / "made")
    with pytest.warns(match="torch.jit"):
        tensors = program.load(str(weights)).state_dict()
    safetensors.torch.save_file(tensors, tmp_path / "weights.safetensors")
    made = make_bundle(wish(tmp_path / "weights.safetensors"), tmp_path / "made")
    assert_computes_as(made, network)
