"""A conversion is kept on disk: the same bits with it and without, and none that is damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import torch

from slidecam.models import classifier_for, compiled
from slidecam.models.compiled import KeptGraph, openvino_here
from small_networks import Small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slidecam.models import Classifier
    from slidecam.models.splits import Precision

CPU = torch.device("cpu")
NEEDS_OPENVINO = pytest.mark.skipif(
    find_spec("openvino") is None,
    reason="OpenVINO is not installed: pip install slidecam[openvino]",
)
POCKET = Small("slidecam/pocket_resnet", "stages", args=(("widths", (8, 12)),))
VIT = Small("timm/test_vit", "", args=(("img_size", 32), ("patch_size", 8)))


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder in which conversions are kept."""
    monkeypatch.setenv("SLIDECAM_CACHE", str(tmp_path))
    return tmp_path / "networks"


def converted(small: Small = POCKET, precision: Precision = "fp32") -> Classifier:
    return classifier_for(small.network(), small.card, CPU, precision, "openvino")


def kept_in(cache: Path) -> Path:
    (path,) = cache.glob("graph-*")
    return path


def refuse_to_convert(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_given: Any) -> Any:
        raise AssertionError("converted, though a conversion is kept")

    monkeypatch.setattr(compiled, "_converted", never)


def assert_same_bits(found: Classifier, expected: Classifier, small: Small = POCKET) -> None:
    for count in (1, 3):
        one = found.run(small.tiles(count), gradients=True)
        other = expected.run(small.tiles(count), gradients=True)
        assert torch.equal(one.logits, other.logits)
        assert one.activation is not None
        assert other.activation is not None
        assert torch.equal(one.activation, other.activation)


@NEEDS_OPENVINO
@pytest.mark.parametrize("small", [POCKET, VIT], ids=["pocket", "vit"])
def test_what_is_kept_gives_the_bits_of_what_was_made(
    cache: Path, monkeypatch: pytest.MonkeyPatch, small: Small
) -> None:
    made = converted(small)
    assert kept_in(cache).stat().st_size > 1000
    refuse_to_convert(monkeypatch)
    kept = converted(small)
    assert (kept.backend, kept.notes) == (made.backend, ())
    assert_same_bits(kept, made, small)
    assert "; 1 converted networks kept, 0.0 of 4 GB" in openvino_here()


@NEEDS_OPENVINO
def test_other_weights_and_other_formats_have_conversions_of_their_own(cache: Path) -> None:
    network = POCKET.network()
    classifier_for(network, POCKET.card, CPU, backend="openvino")
    first = network.get_parameter("stem.0.weight")
    first.data.mul_(1.01)
    classifier_for(network, POCKET.card, CPU, backend="openvino")
    assert len([*cache.glob("graph-*")]) == 2


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@NEEDS_OPENVINO
@pytest.mark.parametrize("damage", [cut_short, flipped, lambda content: content[:20]])
def test_a_damaged_conversion_is_made_anew_in_words(
    cache: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    made = converted()
    path = kept_in(cache)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = converted()
    assert again.backend == made.backend
    (note,) = again.notes
    assert note.startswith("The conversion for OpenVINO that was kept is of no use (it is ")
    assert note.endswith(f"and the network was converted anew: {path}.")
    refuse_to_convert(monkeypatch)
    assert_same_bits(converted(), made)


@NEEDS_OPENVINO
def test_a_file_that_was_never_slidecams_is_left_as_it_is(cache: Path) -> None:
    converted()
    path = kept_in(cache)
    path.write_bytes(b"somebody's notes")
    again = converted()
    assert "it is no such file; remove it" in again.notes[0]
    assert again.backend.startswith("OpenVINO")
    assert path.read_bytes() == b"somebody's notes"


@NEEDS_OPENVINO
def test_the_conversion_of_another_network_is_found_out_and_made_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = converted()
    path = kept_in(cache)
    head = path.read_bytes()[: len(b"slidecam graph 1\n") + 65]
    path.unlink()
    network = POCKET.network()
    first = network.get_parameter("stem.0.weight")
    first.data.mul_(1.5)
    classifier_for(network, POCKET.card, CPU, backend="openvino")
    other = KeptGraph(kept_in(cache), kept_in(cache).read_bytes()[: len(head)]).read()
    assert other is not None
    KeptGraph(path, head).write(other)
    again = converted()
    (note,) = again.notes
    assert "of no use (it does not agree with the network)" in note
    assert_same_bits(again, made)
    refuse_to_convert(monkeypatch)
    assert converted().notes == ()


def test_conversions_used_longest_ago_are_let_go_of(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "KEPT_GB", 5e-6)
    graphs = [KeptGraph.of({"network": number}) for number in range(3)]
    graphs[0].write(bytes(2000))
    graphs[1].write(bytes(2000))
    assert graphs[0].read() == bytes(2000)
    graphs[2].write(bytes(2000))
    assert [graph.path.exists() for graph in graphs] == [True, False, True]
    KeptGraph.of({"network": "large"}).write(bytes(6000))
    assert len([*cache.iterdir()]) == 2, "what is too large takes no room"


def test_readers_beside_a_writer_find_a_whole_conversion_or_none(cache: Path) -> None:
    graph, content = KeptGraph.of({"network": "one"}), bytes(300_000)

    def read(_number: int) -> bytes | None:
        return graph.read()

    with ThreadPoolExecutor(4) as threads:
        found = threads.map(read, range(200))
        for _time in range(20):
            graph.write(content)
        assert {None if each is None else len(each) for each in found} <= {None, len(content)}
    assert graph.read() == content
    assert [path.name for path in cache.iterdir()] == [graph.path.name]


def test_what_cannot_be_kept_is_converted_all_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")

    def refuse(_graph: KeptGraph, _content: bytes) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(KeptGraph, "write", refuse)
    assert converted().notes == ()
    assert not list(cache.glob("*graph-*"))
