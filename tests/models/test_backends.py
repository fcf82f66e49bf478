"""Every backend and precision: the network's own logits, maps and gradients, or words."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.errors import DeviceError
from slidecam.models import classifier_for
from slidecam.models.backends import BACKENDS
from slidecam.models.compiled import openvino_here
from slidecam.models.contract import BackendCase, BackendContract
from slidecam.models.ensemble import Ensemble
from slidecam.models.trial import trials_here
from small_networks import Small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slidecam.models import Classifier
    from slidecam.models.graphs import Runner
    from slidecam.models.splits import Precision
    from slidecam.models.variants import Variant

CPU = torch.device("cpu")
NEEDS_OPENVINO = pytest.mark.skipif(
    find_spec("openvino") is None,
    reason="OpenVINO is not installed: pip install slidecam[openvino]",
)

NETWORKS = {
    "pocket": Small("slidecam/pocket_resnet", "stages", args=(("widths", (8, 12)),)),
    "resnet18": Small("timm/resnet18", "layer4", edge=64),
    "mobilenetv2": Small("timm/mobilenetv2_050", "", edge=64),
    "vit": Small("timm/test_vit", "", args=(("img_size", 32), ("patch_size", 8))),
    "densenet": Small("timm/densenet121", "", edge=32, args=(("block_config", (2, 2)),)),
}


def has_bf16() -> bool:
    return find_spec("openvino") is not None and "BF16" in openvino_here()


def case_of(backend: str, name: str, precision: Precision = "fp32") -> BackendCase:
    small = NETWORKS[name]
    return BackendCase(backend, small.network(), small.card, precision)


class TestFolded(BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        return case_of("folded", "pocket")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles by a C++ compiler")
def test_a_compiled_network_computes_the_same_for_batches_of_any_size() -> None:
    small = NETWORKS["pocket"]
    plain = classifier_for(small.network(), small.card, CPU, backend="eager")
    found = classifier_for(small.network(), small.card, CPU, backend="compiled")
    assert found.backend == "torch, compiled (6 batch norms folded, channels last), fp32"
    for count in (1, 3, 5):
        passed = found.run(small.tiles(count), gradients=True)
        expected = plain.run(small.tiles(count), gradients=True)
        torch.testing.assert_close(passed.logits, expected.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(passed.activation, expected.activation, rtol=1e-4, atol=1e-5)


@NEEDS_OPENVINO
class TestOpenVino(BackendContract):
    @pytest.fixture(scope="class", params=["pocket", "resnet18", "mobilenetv2", "vit", "densenet"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> BackendCase:
        return case_of("openvino", request.param)


@NEEDS_OPENVINO
@pytest.mark.skipif(not has_bf16(), reason="this processor computes nothing in bf16")
class TestOpenVinoInBf16(BackendContract):
    @pytest.fixture(scope="class", params=["pocket", "vit"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> BackendCase:
        return case_of("openvino", request.param, "bf16")


@NEEDS_OPENVINO
def test_the_words_say_what_runs_the_network() -> None:
    case = case_of("openvino", "pocket")
    assert case.found.backend == "OpenVINO, head in torch, fp32"
    assert "OpenVINO 20" in openvino_here()


@NEEDS_OPENVINO
def test_openvino_is_imported_without_what_sends_word_of_it() -> None:
    assert case_of("openvino", "pocket").found.backend.startswith("OpenVINO")
    assert "openvino_telemetry" not in sys.modules
    used = import_module("openvino.tools.ovc.telemetry_utils").tm.__name__
    assert used == "openvino.tools.ovc.telemetry_stub"


@NEEDS_OPENVINO
def test_an_ensembles_members_are_each_converted() -> None:
    small = NETWORKS["pocket"]
    members = [small.network(), small.network()]
    [*members[1].parameters()][-1].data.mul_(-0.3)
    both, tiles = Ensemble(members, [1.0, 2.0]).eval(), small.tiles(3)
    args = {"member": small.architecture, "temperatures": [1.0, 2.0]}
    card = replace(small.card, architecture="slidecam/ensemble", architecture_args=args)
    plain = classifier_for(both, card, CPU, backend="eager").run(tiles, gradients=True)
    found = classifier_for(both, card, CPU, backend="openvino")
    assert found.backend.startswith("OpenVINO")
    passed = found.run(tiles, gradients=True)
    assert passed.members is not None
    torch.testing.assert_close(passed.members, plain.members, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(passed.activation, plain.activation, rtol=1e-4, atol=1e-4)


@NEEDS_OPENVINO
def test_a_network_cut_at_a_layer_outside_blocks_runs_in_torch_and_says_so() -> None:
    small = Small("sequential", "4", split=True)
    classifier = classifier_for(small.network(), small.card, CPU, backend="openvino")
    assert classifier.backend.startswith("torch, ")
    (note,) = classifier.notes
    assert note.startswith("Left out: backend openvino: the network is cut at 4, which is in no")


@pytest.mark.parametrize(
    ("runner", "cause"),
    [
        (lambda front, _: lambda pixels: front(pixels) * 1.001, "its logits are others than"),
        (lambda front, _: lambda pixels: front(pixels) * (1 + (len(pixels) == 1)), "one tile"),
        (lambda front, _: lambda pixels: front(pixels) - 0.01 * front(pixels).mean(), "its "),
    ],
)
def test_a_backend_that_computes_something_else_is_left_out_in_words(
    monkeypatch: pytest.MonkeyPatch, runner: Runner, cause: str
) -> None:
    def variants(eager: Variant, _probe: torch.Tensor) -> Iterator[Variant]:
        yield replace(eager, words="off", runner=runner)

    changed = replace(BACKENDS["folded"], variants=variants)
    monkeypatch.setattr(BACKENDS, "_entries", {**BACKENDS, "folded": changed})
    small = NETWORKS["pocket"]
    classifier = classifier_for(small.network(), small.card, CPU, backend="folded")
    assert classifier.backend == "torch, eager, fp32"
    (note,) = classifier.notes
    assert note.startswith("Left out: backend folded: ")
    assert cause in note
    assert note.endswith(" The network runs as it is.")


def test_a_backend_whose_packages_are_absent_is_refused_with_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    small = NETWORKS["pocket"]
    words = r'^Backend openvino cannot be used: openvino is not.*"slidecam\[openvino\]"'
    with pytest.raises(DeviceError, match=words):
        classifier_for(small.network(), small.card, CPU, backend="openvino")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where trials are remembered, and try nothing but what torch alone runs."""
    monkeypatch.setenv("SLIDECAM_CACHE", str(tmp_path))
    only = {name: BACKENDS[name] for name in ("auto", "folded", "eager")}
    monkeypatch.setattr(BACKENDS, "_entries", only)
    return tmp_path / "networks"


def rates_of(cache: Path) -> dict[str, float]:
    (path,) = cache.glob("trial-*.json")
    rates: dict[str, float] = json.loads(path.read_text())["tiles a second"]
    return rates


def remember(cache: Path, **rates: float) -> None:
    (path,) = cache.glob("trial-*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "tiles a second": rates}))


def automatic(precision: Precision = "fp32") -> Classifier:
    small = NETWORKS["pocket"]
    return classifier_for(small.network(), small.card, CPU, precision, "auto")


def test_auto_takes_the_fastest_of_a_trial_that_is_made_once(cache: Path) -> None:
    first = automatic()
    assert rates_of(cache).keys() == {"folded", "eager"}
    remember(cache, eager=41.5, folded=12.25)
    again = automatic()
    assert again.backend == "torch, eager, fp32"
    (note,) = again.notes
    assert note.startswith("Backend eager of eager 41.5, folded 12.2 tiles a second (8 at once, ")
    assert note.endswith("--backend names another.")
    assert len(first.notes) == 1


def test_auto_keeps_to_what_needs_no_trial_unless_another_is_clearly_faster(cache: Path) -> None:
    automatic()
    remember(cache, eager=12.5, folded=12.25)
    assert automatic().backend.startswith("torch, 6 batch norms folded")


def test_each_precision_and_size_of_tiles_has_a_trial_of_its_own(cache: Path) -> None:
    automatic()
    automatic("bf16")
    assert len([*cache.glob("trial-*.json")]) == 2


@pytest.mark.parametrize("damage", ["", "{}", '{"tiles a second": {"lost-backend": 3.5}}', "[7]"])
def test_a_damaged_trial_is_made_anew(cache: Path, damage: str) -> None:
    automatic()
    (path,) = cache.glob("trial-*.json")
    path.write_text(damage)
    automatic()
    assert rates_of(cache).keys() == {"folded", "eager"}
    (trial,) = trials_here()
    assert trial.network == "slidecam/pocket_resnet at 32 px"


def test_a_backend_that_no_longer_agrees_is_left_out_of_what_a_trial_chose(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    automatic()
    remember(cache, eager=41.5, folded=12.25)

    def off(eager: Variant, _probe: torch.Tensor) -> Iterator[Variant]:
        yield replace(eager, words="off", runner=lambda front, _: lambda pixels: -front(pixels))

    entries = {**BACKENDS, "eager": replace(BACKENDS["eager"], variants=off)}
    monkeypatch.setattr(BACKENDS, "_entries", entries)
    classifier = automatic()
    assert classifier.backend == "torch, eager, fp32"
    assert any(note.startswith("Left out: backend eager: its ") for note in classifier.notes)
