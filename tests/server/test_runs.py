"""Runs are found again: those of this server, of one before it, of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.events import BatchDone
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.server import past_runs
from slidecam.server.kept_requests import FOLDER, KeptRequests
from slidecam.store import RunStore
from stopping import gate_before

from .conftest import finished, running_server

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

QUICK = {"heatmap": "none"}


@pytest.fixture
def root(tmp_path: Path, write_slide: Callable[..., Path], tiny_bundle: Path) -> Path:
    """Return a folder with two slides and the server's bundle."""
    folder = tmp_path / "root"
    folder.mkdir()
    write_slide(folder / "one.tif")
    write_slide(folder / "two.tif", width=1500, height=1300, seed=2)
    shutil.copytree(tiny_bundle, folder / "bundle")
    return folder


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    """Return the runs, searched for anew."""
    runs: list[dict[str, Any]] = client.get("/v1/runs").json()["runs"]
    return runs


def test_a_run_of_the_command_line_is_listed_and_looked_at_as_a_job_is(
    tiny_bundle: Path, root: Path, tmp_path: Path
) -> None:
    spec = PredictSpec(device="cpu", heatmap="cam")
    list(predict(root / "one.tif", tiny_bundle, root / "cohort" / "results", spec))
    with (
        running_server(tiny_bundle, root, tmp_path / "home") as running,
        running.client() as client,
    ):
        (row,) = listed(client)
        assert (row["slide"], row["status"], row["model"]) == ("one", "done", "tiny")
        assert row["path"] == str(root / "one.tif")
        assert not row["can_continue"]
        job = client.get(f"/v1/jobs/{row['id']}").json()
        planned, ended = finished(client, job)
        assert (planned["slide"], planned["spacing"]) == ("one", pytest.approx(0.5))
        assert ended["status"] == "done"
        told = client.get(f"/v1/jobs/{row['id']}/slides/one/tiles").json()
        assert told["tiles"] == planned["tiles"] > 0
        heat = client.get(f"/v1/jobs/{row['id']}/slides/one/heatmaps").json()["heatmaps"]
        assert [one["method"] for one in heat] == ["cam"]
        query = {"path": row["path"], "job": row["id"], "slide": "one"}
        assert client.get("/v1/slides/open", params=query).status_code == 200
        assert client.get(row["report"]).status_code == 200
        assert client.get(job["result"]).json()["slides"][0]["files"]["tiles.csv"]


def test_runs_are_there_after_a_restart_and_one_that_was_stopped_goes_on_as_it_was_begun(
    tiny_bundle: Path, root: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    ring = [[60, 60], [1300, 60], [1300, 1000], [60, 1000], [60, 60]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    mask = {"type": "Feature", "properties": {}, "geometry": shape}
    options = {**QUICK, "overlap": 0.5, "batch": 4, "mask": mask}
    order = {"slides": [str(root / "two.tif")], "options": options}
    with (
        running_server(tiny_bundle, root, home) as running,
        running.client() as client,
        gate_before(RunStore, "commit", 4) as gate,
    ):
        job = client.post("/v1/jobs", json=order).json()
        gate.wait_reached()
        (row,) = listed(client)
        assert (row["status"], row["can_cancel"], row["can_continue"]) == ("running", True, False)
        client.delete(f"/v1/jobs/{job['id']}")
        gate.open()
        finished(client, job)
    kept = int((RunStore.open(Path(job["out"]) / "two").status == 1).sum())
    assert kept > 0
    with running_server(tiny_bundle, root, home) as running, running.client() as client:
        (row,) = listed(client)
        assert (row["slide"], row["status"], row["can_continue"]) == ("two", "unfinished", True)
        answer = client.post(f"/v1/jobs/{row['id']}/continue")
        assert answer.status_code == 202
        events = finished(client, answer.json())
        planned = next(event for event in events if event["event"] == "Planned")
        assert planned["tiles"] - planned["pending"] == kept
        assert events[-1]["status"] == "done"
        (row,) = listed(client)  # the same folder is one run, not two
        assert (row["status"], row["out"]) == ("done", job["out"])
        whole = client.post("/v1/jobs", json={**order, "options": {**options, "mask": None}}).json()
        begun = next(one for one in finished(client, whole) if one["event"] == "Planned")
        assert planned["tiles"] < begun["tiles"]  # it went on within the mask that was sent


def test_a_run_of_the_command_line_that_was_stopped_goes_on_by_what_its_call_was_set_to(
    root: Path, tmp_path: Path
) -> None:
    bundle, out = root / "bundle", root / "results"
    spec = PredictSpec(device="cpu", heatmap="none", overlap=0.5, batch=4)
    run = predict(root / "two.tif", bundle, out, spec)
    for event in run:
        if isinstance(event, BatchDone) and event.done >= 12:
            break
    run.close()
    with running_server(bundle, root, tmp_path / "home") as running, running.client() as client:
        (row,) = listed(client)
        assert row["status"] == "unfinished"
        told = client.post(f"/v1/jobs/{row['id']}/continue").json()
        planned = next(one for one in finished(client, told) if one["event"] == "Planned")
        assert planned["pending"] < planned["tiles"]
        assert listed(client)[0]["status"] == "done"


def test_what_is_no_run_or_not_known_is_not_listed_and_said(
    tiny_bundle: Path, root: Path, tmp_path: Path
) -> None:
    (root / "damaged").mkdir()
    (root / "damaged" / "run.json").write_text("{")
    (root / "link").symlink_to(tmp_path)
    with (
        running_server(tiny_bundle, root, tmp_path / "home") as running,
        running.client() as client,
    ):
        assert listed(client) == []
        for path in ("", "/events", "/result", "/slides/one/tiles"):
            assert client.get(f"/v1/jobs/past-0123456789abcdef{path}").status_code == 404
        assert client.post("/v1/jobs/past-0123456789abcdef/continue").status_code == 404


def test_a_search_that_ends_early_says_so(
    tiny_bundle: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        running_server(tiny_bundle, root, tmp_path / "home") as running,
        running.client() as client,
    ):
        assert client.get("/v1/runs").json()["search_ended_early"] is False
        monkeypatch.setattr(past_runs, "EVERY_SECONDS", 0.0)
        monkeypatch.setattr(past_runs, "MOST_FOLDERS", 1)
        assert client.get("/v1/runs").json()["search_ended_early"] is True


def test_requests_are_kept_for_their_user_alone_and_the_oldest_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slidecam.server.kept_requests.MOST", 2)
    kept = KeptRequests(tmp_path)
    for number in range(4):
        kept.keep(f"2026-{number}", tmp_path / str(number), {"slides": ["/a.tif"], "n": number})
    files = sorted((tmp_path / FOLDER).iterdir())
    assert [file.name for file in files] == ["2026-2.json.gz", "2026-3.json.gz"]
    assert kept.find(tmp_path / "3", "/a.tif") == {
        "slides": ["/a.tif"],
        "n": 3,
        "out": str(tmp_path / "3"),
    }
    assert kept.find(tmp_path / "3", "/b.tif") is None
    assert kept.find(tmp_path / "0", "/a.tif") is None
    files[1].write_bytes(b"damaged")
    assert kept.find(tmp_path / "3", "/a.tif") is None
