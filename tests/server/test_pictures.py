"""An uploaded picture gets the classifier's own numbers; what is none, or too much, a reason."""

from __future__ import annotations

import base64
import io
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from slidecam.explain.activation_maps import plan_maps
from slidecam.models import Card, Classifier, open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.models.cell_graph import CellGraph, packed_names
from slidecam.server import service
from slidecam.server.callers import Caller, CallerLeftError
from slidecam.server.devices import FairLock
from slidecam.server.guard import Limits, RequestError
from slidecam.server.pictures import PictureRequest, explain_picture
from stopping import PATIENCE

from .conftest import LIMITS, picture, running_server

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from .conftest import Running


def test_numbers_are_those_of_the_classifier(client: httpx.Client, tiny_bundle: Path) -> None:
    content = picture()
    told: dict[str, Any] = client.post(
        "/v1/image?methods=gradcam%2B%2B,score-cam", content=content
    ).json()
    classifier = open_bundle(tiny_bundle).classifier()
    pixels = torch.from_numpy(np.asarray(Image.open(io.BytesIO(content))).copy()[None])
    passed = classifier.run(pixels, gradients=True)
    probabilities = classifier.probabilities(passed.logits.detach())[0]
    np.testing.assert_allclose(
        [one["probability"] for one in told["classes"]], probabilities, atol=1e-5
    )
    assert told["predicted"] == classifier.card.class_names[int(probabilities.argmax())]
    expected = plan_maps(classifier, ["gradcam++"], [0, 1, 2])(passed)[0, 0].detach().numpy()
    np.testing.assert_allclose(told["maps"][0]["values"], expected, atol=1e-4 * expected.max())
    assert [one["method"] for one in told["maps"]] == ["gradcam++", "score-cam"]
    assert told["maps"][0]["classes"] == ["A", "B", "C"]
    assert told["neighbours"] is None


def test_classes_and_methods_are_chosen(client: httpx.Client) -> None:
    told = client.post("/v1/image?methods=cam&classes=C,A", content=picture()).json()
    assert told["maps"][0]["classes"] == ["C", "A"]
    plain = client.post("/v1/image?methods=gradcam++, cam", content=picture()).json()
    assert [one["method"] for one in plain["maps"]] == ["gradcam++", "cam"]
    assert client.post("/v1/image?methods=none", content=picture()).json()["maps"] == []


@pytest.mark.parametrize(
    "query", ["methods=magic", "classes=bone", "methods=gradcam&classes=A,bone"]
)
def test_what_is_not_known_is_named(client: httpx.Client, query: str) -> None:
    answer = client.post(f"/v1/image?{query}", content=picture())
    assert answer.status_code == 400
    assert "bone" in answer.json()["error"] or "magic" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
def test_usual_formats_are_read(client: httpx.Client, kind: str) -> None:
    answer = client.post("/v1/image?methods=none", content=picture(80, 50, kind))
    assert answer.json()["size"] == [80, 50]
    assert any("stretched" in note for note in answer.json()["notes"])


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_a_copy_of_what_the_classifier_saw_comes_along_where_it_is_asked_for(
    client: httpx.Client, kind: str
) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((300, 90), 40_000, np.uint16)).save(file, kind)
    told = client.post("/v1/image?methods=none&shown=100", content=file.getvalue()).json()
    head, _comma, packed = told["shown"].partition(",")
    assert head == "data:image/jpeg;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(packed)))
    assert shown.size == (30, 100)
    assert np.abs(np.asarray(shown).astype(int) - 156).max() <= 2
    assert client.post("/v1/image?methods=none", content=picture()).json()["shown"] is None


def test_a_picture_that_would_be_black_is_shown_through_a_stated_window(
    client: httpx.Client,
) -> None:
    file = io.BytesIO()
    Image.fromarray(np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)).save(
        file, "PNG"
    )
    notes = client.post("/v1/image?methods=none", content=file.getvalue()).json()["notes"]
    assert any("Window 512" in note and "--window" in note for note in notes)
    bright = client.post("/v1/image?methods=none", content=picture()).json()["notes"]
    assert not any("Window" in note for note in bright)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_several_frames_the_one_that_is_classified_is_said(
    client: httpx.Client, kind: str
) -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("#b03060", "#3060b0", "#60b030")]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    notes = client.post("/v1/image?methods=none", content=file.getvalue()).json()["notes"]
    assert "Plane 1 of 3, its frames, is read; --plane reads another." in notes
    single = client.post("/v1/image?methods=none", content=picture(40, 40, kind)).json()["notes"]
    assert not any("frame" in note for note in single)


def pages(*sizes: int) -> bytes:
    """Return a TIFF of pages, each so wide and of one colour: the first of red 40, the next 80."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for number, size in enumerate(sizes, 1):
            colour = np.full((40, size, 3), (40 * number, 0, 0), np.uint8)
            tiff.write(colour, photometric="rgb", contiguous=False)
    return file.getvalue()


def shown_red(answer: httpx.Response) -> int:
    content = base64.b64decode(answer.json()["shown"].partition(",")[2])
    return int(np.asarray(Image.open(io.BytesIO(content)))[..., 0].mean())


@pytest.mark.parametrize(("sizes", "by"), [((40, 41, 44), "image"), ((40, 40, 40), "plane")])
def test_another_page_of_an_uploaded_tiff_is_chosen_as_of_a_file(
    client: httpx.Client, sizes: tuple[int, ...], by: str
) -> None:
    content = pages(*sizes)
    plain = client.post("/v1/image?methods=none&shown=50", content=content)
    assert plain.json()["choices"] == [by]
    second = client.post(f"/v1/image?methods=none&shown=50&{by}=2", content=content)
    assert second.json()["choices"] == [by]
    assert abs(shown_red(second) - 80) < 4
    assert any(f"{by.capitalize()} 2 of 3" in note for note in second.json()["notes"])
    if by == "plane":  # which of them is meant nobody says
        assert plain.status_code == 422
        assert "--plane N (1 to 3)" in plain.json()["remedy"]
    else:
        assert abs(shown_red(plain) - 120) < 4
    beyond = client.post(f"/v1/image?methods=none&{by}=9", content=content)
    assert beyond.status_code == 422
    assert client.post("/v1/image?methods=none&plane=0", content=content).status_code == 400


def test_a_file_of_one_picture_leaves_nothing_to_choose(client: httpx.Client) -> None:
    assert client.post("/v1/image?methods=none", content=picture()).json()["choices"] == []
    assert client.post("/v1/image?methods=none&image=2", content=picture()).status_code == 422


@pytest.mark.parametrize(("bias", "predicted"), [(2.0, "lesion"), (-2.0, None)])
def test_the_only_class_is_not_predicted_where_it_is_less_likely_than_not(
    tmp_path: Path, bias: float, predicted: str | None
) -> None:
    classifier = open_bundle(yes_or_no(tmp_path / "lesion", bias)).classifier()
    told = explain_picture(picture(), classifier, PictureRequest((), ()), Limits(), FairLock())
    assert told["predicted"] == predicted
    assert told["classes"][0]["logit"] == pytest.approx(bias, abs=1e-4)


def yes_or_no(folder: Path, bias: float) -> Path:
    """Return a bundle with one output, which is ``bias`` whatever it sees."""
    arguments = {"widths": [4, 8]}
    network = build_network("slidecam/pocket_resnet", arguments, 1, Path("lesion"))
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(bias)
    card = Card(
        name="lesion",
        architecture="slidecam/pocket_resnet",
        architecture_args=arguments,
        class_names=("lesion",),
        activation="sigmoid",
        tile_px=32,
        spacing=None,
        input_px=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return save_bundle(folder, card, network).path


def bomb(edge: int) -> bytes:
    """Return a PNG whose header promises edge² pixels, in some bytes."""
    header = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"hello", 415),
        (b"%PDF-1.7 no picture", 415),
        (picture()[:2000], 422),
        (bomb(500), 413),
        (bomb(12_000), 413),
        (bomb(60_000), 413),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 415),
    ],
)
def test_what_is_no_sound_picture_is_refused_with_a_reason(
    client: httpx.Client, content: bytes, status: int
) -> None:
    answer = client.post("/v1/image", content=content)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "remedy"}


def test_a_form_is_told_to_be_none(client: httpx.Client) -> None:
    answer = client.post("/v1/image", files={"file": ("a.png", picture())})
    assert answer.status_code == 415
    assert "body" in answer.json()["remedy"]


def test_an_explanation_that_takes_too_long_is_stopped_and_leaves_no_trace(
    tiny_bundle: Path,
) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    before = [len(module._forward_hooks) for module in classifier.network.modules()]
    asked = PictureRequest(("lime",), ())
    with pytest.raises(RequestError) as refusal:
        explain_picture(picture(), classifier, asked, Limits(image_seconds=0.0), FairLock())
    assert refusal.value.status == 504
    assert [len(module._forward_hooks) for module in classifier.network.modules()] == before


def test_memory_that_does_not_suffice_is_said_of_a_picture_and_of_a_place_with_what_to_do(
    client: httpx.Client, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: Any, **_how: Any) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    server.service.classifier()  # which is loaded, and proven by a run
    monkeypatch.setattr(Classifier, "run", full)
    query = {"x": 320, "y": 240, "methods": "cam"}
    place: dict[str, Any] = {"path": str(server.root / "small.tif"), **query}
    sent = client.post("/v1/image?methods=none", content=picture())
    for answer, what in ((sent, "picture"), (client.get("/v1/explain", params=place), "place")):
        assert answer.status_code == 400
        assert answer.json()["error"] == f"One {what} does not fit into the GPU's memory."
        assert "--device cpu" in answer.json()["remedy"]


def test_a_picture_whose_sender_has_left_is_not_worked_at(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    before = [len(module._forward_hooks) for module in classifier.network.modules()]
    caller, asked = Caller(), PictureRequest(("lime",), ())
    caller.leave()
    with pytest.raises(CallerLeftError):
        explain_picture(picture(), classifier, asked, Limits(), FairLock(), caller)
    assert [len(module._forward_hooks) for module in classifier.network.modules()] == before


def test_pictures_whose_senders_have_left_free_their_places_at_once(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, going, worked = Event(), Event(), []

    def explain_slowly(content: bytes, *how: Any) -> dict[str, Any]:
        worked.append(content)
        begun.set()
        assert going.wait(PATIENCE)
        return explain_picture(content, *how)

    monkeypatch.setattr(service, "explain_picture", explain_slowly)
    kind = f"Host: {server.url[7:]}\r\nAuthorization: Bearer {server.token}\r\n"
    head = f"POST /v1/image?methods=none HTTP/1.1\r\n{kind}Content-Length: "
    content = picture()
    lines = []
    for _place in range(LIMITS.waiting_images):
        address = "127.0.0.1", int(server.url.rpartition(":")[2])
        lines.append(socket.create_connection(address, PATIENCE))
        lines[-1].sendall(f"{head}{len(content)}\r\n\r\n".encode() + content)
    assert begun.wait(PATIENCE)
    with server.client() as client, ThreadPoolExecutor(1) as thread:
        wait_until(lambda: server.service.admitted._value == 0)
        for line in lines:
            line.close()
        honest = picture(seed=9)

        def ask() -> httpx.Response:
            while True:
                answer = client.post("/v1/image?methods=none", content=honest)
                if answer.status_code != 503:
                    return answer
                time.sleep(0.05)

        waiting = thread.submit(ask)
        wait_until(lambda: server.service.admitted._value == LIMITS.waiting_images - 1)
        going.set()  # only now does the first one end: its place was free before
        assert waiting.result().status_code == 200
    assert worked == [content, honest]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_ensemble_says_how_far_its_members_disagree_and_a_network_says_nothing(
    pair_bundle: Path, tiny_bundle: Path
) -> None:
    answers = [
        explain_picture(
            picture(),
            open_bundle(folder).classifier(),
            PictureRequest(("gradcam",), ()),
            Limits(),
            FairLock(),
        )
        for folder in (pair_bundle, tiny_bundle)
    ]
    assert 0 < answers[0]["disagreement"] < 1
    assert answers[1]["disagreement"] is None


def test_a_graph_classifier_tells_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    places = cells(tmp_path / "cells"), tmp_path / "root", tmp_path / "home"
    with running_server(*places) as running, running.client() as client:
        told = client.post("/v1/image?methods=none", content=picture(40, 40)).json()
        assert client.get("/v1/status").json()["model"]["has_neighbours"] is True
    account = told["neighbours"]["accounts"][0]
    assert [one["class"] for one in told["neighbours"]["accounts"]] == ["ALL", "HEM"]
    assert len(account["neighbours"]) == 4
    assert told["neighbours"]["pictures"] == {}
    parts = (
        account["own picture"]
        + account["bias"]
        + sum(one["contribution"] for one in account["neighbours"])
    )
    assert parts == pytest.approx(account["logit"], abs=1e-4)
    likeness = [one["similarity"] for one in account["neighbours"]]
    assert likeness == sorted(likeness, reverse=True)
    assert "calibrated (T = 1.4)" in told["probabilities"]


def test_neighbours_are_seen_where_the_bundle_holds_their_pictures(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    places = cells(tmp_path / "cells", 24), tmp_path / "root", tmp_path / "home"
    with running_server(*places) as running, running.client() as client:
        told = client.post("/v1/image?methods=none", content=picture(40, 40)).json()
    indices = [one["index"] for one in told["neighbours"]["accounts"][0]["neighbours"]]
    assert sorted(told["neighbours"]["pictures"], key=int) == sorted(map(str, indices), key=int)
    for index, url in told["neighbours"]["pictures"].items():
        encoded = url.removeprefix("data:image/jpeg;base64,")
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as shown:
            assert shown.size == (24, 24)
            assert np.abs(np.asarray(shown, int) - 12 * int(index)).max() <= 2


def cells(folder: Path, thumbnail_px: int = 0) -> Path:
    """Return a bundle of the smallest graph of cells, each of a grey of its own if it is seen."""
    arguments = {"backbone": "test_resnet", "nodes": 20, "neighbours": 4, "hidden": 8}
    if thumbnail_px:
        arguments["thumbnail_px"] = thumbnail_px
    card = Card(
        name="cells",
        architecture="slidecam/cell_graph",
        architecture_args=arguments,
        class_names=("ALL", "HEM"),
        activation="softmax",
        tile_px=32,
        spacing=None,
        input_px=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        temperature=1.4,
    )
    torch.manual_seed(0)
    network = build_network(card.architecture, arguments, 2, Path("cells"))
    assert isinstance(network, CellGraph)
    with torch.no_grad():
        network.embeddings.copy_(
            network.embedding(network.forward_features(torch.randn(20, 3, 32, 32)))
        )
    network.hidden.normal_().relu_()
    network.labels.copy_(torch.arange(20) % 2)
    network.names.copy_(packed_names([f"cell {index}.bmp" for index in range(20)]))
    if network.thumbnails is not None:
        network.thumbnails.copy_(12 * torch.arange(20)[:, None, None, None])
    return save_bundle(folder, card, network).path
