"""A bundle that takes the place of the server's is another bundle: its own names, or a refusal."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.errors import BundleError
from slidecam.runs import Run
from slidecam.server.served_bundle import ServedBundle
from slidecam.store import RunStore
from stopping import gate_before

from .conftest import finished, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Running


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle of its own."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def served(folder: Path, slides: Path, tmp_path: Path) -> Iterator[Running]:
    """Return a server of it."""
    with running_server(folder, slides, tmp_path / "home") as running:
        yield running


def rename_classes(folder: Path, names: str) -> None:
    """Put the same weights under other names."""
    path = folder / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "class_names": list(names)}))


def test_the_page_is_given_the_names_of_the_bundle_that_classified(
    served: Running, folder: Path
) -> None:
    order = {"slides": [str(served.root / "small.tif")], "options": {"heatmap": "none"}}
    with served.client() as client:
        before = client.get("/v1/status").json()["model"]
        rename_classes(folder, "CAB")
        job = client.post("/v1/jobs", json=order).json()
        finished(client, job)
        told = client.get(f"/v1/jobs/{job['id']}/slides/small/tiles").json()
        now = client.get("/v1/status").json()["model"]
        assert job["model_digest"] == now["digest"] != before["digest"]
        assert [one["name"] for one in now["classes"]] == list("CAB")
    run = Run.open(Path(job["out"]) / "small")
    names = [one["name"] for one in told["classes"]]
    values = np.frombuffer(base64.b64decode(told["probabilities"]), "<f4").reshape(-1, 3)
    assert tuple(names) == run.tiles.class_names == tuple("CAB")
    np.testing.assert_array_equal(values, run.tiles.probabilities)


def test_a_job_that_waited_while_its_bundle_was_replaced_says_so(
    served: Running, folder: Path
) -> None:
    order = {"slides": [str(served.root / "small.tif")], "options": {"heatmap": "none"}}
    with served.client() as client, gate_before(RunStore, "commit", 1) as gate:
        first = client.post("/v1/jobs", json=order).json()
        gate.wait_reached()
        second = client.post("/v1/jobs", json=order).json()
        rename_classes(folder, "CAB")
        gate.open()
        assert finished(client, first)[-1]["status"] == "done"
        assert finished(client, second)[-1]["status"] == "failed"
        error: dict[str, Any] = client.get(f"/v1/jobs/{second['id']}").json()["error"]
        named = client.get(f"/v1/jobs/{first['id']}/slides/small/tiles").json()["classes"]
    assert "another one than when the job was sent" in error["error"]
    assert "Send the job again" in error["remedy"]
    assert [one["name"] for one in named] == list("ABC")


def test_a_bundle_is_opened_again_once_it_is_whole(folder: Path) -> None:
    served = ServedBundle(folder, trust=False)
    first = served.current()
    assert served.current() is first
    card = (folder / "card.json").read_text()
    (folder / "card.json").write_text(card[:40])
    with pytest.raises(BundleError):
        served.current()
    (folder / "card.json").write_text(card)
    assert served.current().digest == first.digest
