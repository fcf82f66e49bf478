"""Jobs do what ``slidecam predict`` does, one after the other, and tell it while they go."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest

from slidecam.events import SlideFailed
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.server import jobs
from slidecam.store import RunStore
from stopping import gate_before

from .conftest import LIMITS, finished, running_server

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from .conftest import Running


@pytest.fixture(scope="module")
def done(server: Running) -> dict[str, Any]:
    """Return a job that has classified a slide, with its events."""
    with server.client() as client:
        answer = client.post("/v1/jobs", json={"slides": [str(server.root / "small.tif")]})
        assert answer.status_code == 202
        job: dict[str, Any] = answer.json()
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
        return {
            **job,
            "told": finished(client, job),
            "result_record": client.get(job["result"]).json(),
        }


def test_a_jobs_results_are_those_of_predict(
    done: dict[str, Any], server: Running, tiny_bundle: Path, tmp_path: Path
) -> None:
    list(predict(server.root / "small.tif", tiny_bundle, tmp_path, PredictSpec(device="cpu")))
    found = Path(done["result_record"]["slides"][0]["files"]["tiles.csv"])
    assert found.read_bytes() == (tmp_path / "small" / "tiles.csv").read_bytes()


def test_events_are_those_of_the_command_line_numbered_and_closed(done: dict[str, Any]) -> None:
    names = [event["event"] for event in done["told"]]
    assert names[:2] == ["Started", "Planned"]
    assert names[-3:] == ["SlideFinished", "Finished", "JobEnded"]
    assert [event["seq"] for event in done["told"]] == list(range(1, len(names) + 1))
    batches = [event for event in done["told"] if event["event"] == "BatchDone"]
    assert batches[-1]["done"] == batches[-1]["total"] == done["told"][1]["tiles"]
    assert done["told"][-1]["status"] == "done"


def test_events_are_told_again_from_any_place_and_as_a_stream(
    client: httpx.Client, done: dict[str, Any]
) -> None:
    last = done["told"][-1]
    assert (
        client.get(done["events"], params={"after": last["seq"] - 1}).text
        == json.dumps(last, ensure_ascii=False) + "\n"
    )
    stream = client.get(
        done["events"],
        headers={"Accept": "text/event-stream", "Last-Event-ID": str(last["seq"] - 2)},
    )
    assert stream.headers["content-type"].startswith("text/event-stream")
    records = stream.text.strip().split("\n\n")
    assert [record.split("\n")[0] for record in records] == [
        f"id: {last['seq'] - 1}",
        f"id: {last['seq']}",
    ]
    assert json.loads(records[-1].split("\n")[1].removeprefix("data: ")) == last


def test_a_result_tells_its_files_and_gives_them(
    client: httpx.Client, done: dict[str, Any], server: Running
) -> None:
    slide = done["result_record"]["slides"][0]
    assert {"tiles.csv", "tiles.geojson", "overview.png", "run.json", "heatmap.ome.zarr"} <= set(
        slide["files"]
    )
    assert str(server.home) in slide["folder"]
    answer = client.get(f"/v1/jobs/{done['id']}/files/small/tiles.geojson")
    assert answer.json()["type"] == "FeatureCollection"
    for name in ("../x", "small/../../x", ".lock", "small", "small/none.csv", "small/.lock"):
        assert client.get(f"/v1/jobs/{done['id']}/files/{name}").status_code == 404


def test_a_link_to_the_report_needs_no_token_and_no_one_can_guess_it(
    client: httpx.Client, done: dict[str, Any], server: Running
) -> None:
    link = client.get(f"/v1/jobs/{done['id']}").json()["report"]
    with server.client() as stranger:
        del stranger.headers["authorization"]
        answer = stranger.get(link)
        assert answer.status_code == 200
        assert "sandbox" in answer.headers["content-security-policy"]
        assert stranger.get(link.replace("/results/", "/results/x")).status_code == 404


def unpacked(text: str, dtype: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), dtype)


def test_a_viewers_numbers_are_the_stores(client: httpx.Client, done: dict[str, Any]) -> None:
    told = client.get(f"/v1/jobs/{done['id']}/slides/small/tiles").json()
    store = RunStore.open(Path(done["result_record"]["slides"][0]["folder"]))
    assert told["final"] is True
    np.testing.assert_array_equal(unpacked(told["boxes"], "<i4").reshape(-1, 4), store.boxes)
    np.testing.assert_array_equal(
        unpacked(told["probabilities"], "<f4").reshape(-1, 3), store.probabilities
    )
    np.testing.assert_array_equal(unpacked(told["winners"], "<i2"), store.probabilities.argmax(1))


def test_a_viewers_heatmap_is_the_written_one(client: httpx.Client, done: dict[str, Any]) -> None:
    base = f"/v1/jobs/{done['id']}/slides/small/heatmaps"
    told = client.get(base).json()["heatmaps"][0]
    values = np.frombuffer(client.get(f"{base}/{told['name']}/1").content, "<i2").reshape(
        told["height"], told["width"]
    )
    written = np.asarray(
        read_heatmap_ome_zarr(
            Path(done["result_record"]["slides"][0]["files"]["heatmap.ome.zarr"])
        ).levels[0][1]
    )
    shown = np.where(values == -32768, np.nan, values / 32767)
    np.testing.assert_allclose(shown, written, atol=2e-5)
    assert client.get(f"{base}/heatmap/9").status_code == 404
    assert client.get(f"{base}/..%2F..%2Fx/0").status_code == 404


def test_a_mask_may_be_sent_along(client: httpx.Client, server: Running) -> None:
    ring = [[100, 100], [300, 100], [300, 300], [100, 300], [100, 100]]
    mask = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        ],
    }
    path = str(server.root / "small.tif")
    job = client.post(
        "/v1/jobs", json={"slides": [path], "options": {"mask": mask, "heatmap": "none"}}
    ).json()
    planned = finished(client, job)[1]
    kept = server.service.jobs.job(job["id"])
    assert kept is not None
    assert kept.spec.mask == ""  # it is remembered without it
    whole = client.post("/v1/jobs", json={"slides": [path], "options": {"heatmap": "none"}}).json()
    assert 0 < planned["tiles"] < finished(client, whole)[1]["tiles"]
    two = {"slides": [path, str(server.root / "large.tif")], "options": {"mask": mask}}
    assert client.post("/v1/jobs", json=two).status_code == 400


class UnforeseenError(Exception):
    """Derives from nothing that any list of errors could name."""


def test_whatever_a_job_throws_ends_it_alone_and_is_told(
    client: httpx.Client,
    server: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def throwing(*_anything: object) -> NoReturn:
        raise UnforeseenError("nobody expected this")

    ask = {"slides": [str(server.root / "small.tif")]}
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "predict", throwing)
        ill = client.post("/v1/jobs", json=ask).json()
        *_, error, ended = finished(client, ill)
    assert error["problem"] == "UnforeseenError: nobody expected this."
    assert (ended["status"], ended["exit_code"]) == ("failed", 1)
    assert "Traceback" in caplog.text
    sound = client.post("/v1/jobs", json=ask).json()
    assert finished(client, sound)[-1]["status"] == "done"


def test_what_cannot_be_done_is_told_by_the_job(client: httpx.Client, server: Running) -> None:
    job = client.post("/v1/jobs", json={"slides": [str(server.root / "notes.txt")]}).json()
    assert finished(client, job)[-1] == {
        "seq": 4,
        "event": "JobEnded",
        "status": "failed",
        "exit_code": 1,
    }
    slide = client.get(job["result"]).json()["slides"][0]
    assert (slide["status"], slide["files"]) == (
        "failed",
        {"run.json": slide["files"]["run.json"]} if slide["files"] else {},
    )


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"out": "/elsewhere"}, 403),
        ({"model": "/models/x"}, 403),
        ({"options": {"mpp": 900}}, 400),
        ({"options": {"device": "toaster"}}, 400),
        ({"options": {"mask": "/etc/passwd"}}, 403),
        ({"options": {"reader": "none"}}, 400),
        ({"options": {"heatmap": "../x"}}, 400),
        ({"options": {"heatmap": "finer-cam", "heatmap_against": "magic"}}, 400),
        ({"options": {"heatmap": "cam", "heatmap_classes": ["magic"]}}, 400),
        ({"options": {"mask": {}}}, 400),
        ({"options": {"volume": "x"}}, 400),
        ({"options": {"plane": 3}}, 400),
        ({"options": {"mask": {"type": "FeatureCollection", "features": []}}}, 400),
    ],
)
def test_an_impossible_job_is_refused_before_it_waits(
    client: httpx.Client, server: Running, change: dict[str, Any], status: int
) -> None:
    before = len(client.get("/v1/jobs").json()["jobs"])
    answer = client.post("/v1/jobs", json={"slides": [str(server.root / "small.tif")], **change})
    assert answer.status_code == status
    assert len(client.get("/v1/jobs").json()["jobs"]) == before


def drawn(*corners: list[int]) -> dict[str, Any]:
    """Return an area as GeoJSON."""
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


def test_an_area_that_lies_off_the_slide_is_refused_when_it_is_sent_as_predict_refuses_it(
    client: httpx.Client, server: Running, tiny_bundle: Path, tmp_path: Path
) -> None:
    off = drawn([9000, 9000], [9900, 9000], [9900, 9900])
    path, mask = server.root / "small.tif", tmp_path / "options.mask"
    order = {"slides": [str(path)], "options": {"mask": off}}
    answer = client.post("/v1/jobs", json=order)
    assert answer.status_code == 400
    mask.write_text(json.dumps(off))
    spec = PredictSpec(device="cpu", mask=mask)
    failed = [
        event
        for event in predict(path, tiny_bundle, tmp_path / "out", spec)
        if isinstance(event, SlideFailed)
    ]
    assert "none lies on the slide of 700 x 500 px" in failed[0].problem
    assert answer.json()["error"] == failed[0].problem.replace(str(mask), "options.mask")
    assert answer.json()["remedy"] == failed[0].remedy


def test_what_many_slides_or_a_run_that_is_there_do_not_allow_is_refused_when_it_is_sent(
    client: httpx.Client, server: Running, tmp_path: Path
) -> None:
    both = [str(server.root / name) for name in ("small.tif", "large.tif")]
    mask = server.root / "one.geojson"
    mask.write_text(json.dumps(drawn([0, 0], [300, 0], [300, 300])))
    for given in (str(mask), json.loads(mask.read_text())):
        answer = client.post("/v1/jobs", json={"slides": both, "options": {"mask": given}})
        assert answer.status_code == 400
        assert "of 2 slides" in answer.json()["error"]
    mask.unlink()
    out = str(server.home / tmp_path.name)
    order = {"slides": both[:1], "out": out, "options": {"heatmap": "none"}}
    finished(client, client.post("/v1/jobs", json=order).json())
    again = client.post("/v1/jobs", json=order)
    assert again.status_code == 409
    assert "There is a run of small here already" in again.json()["error"]


def test_a_mask_on_this_machine_is_read_before_its_job_waits(
    client: httpx.Client, server: Running
) -> None:
    path = server.root / "drawn.geojson"
    order = {"slides": [str(server.root / "small.tif")], "options": {"mask": str(path)}}
    for content, words in (("{", "The JSON is damaged"), ("not a mask", "neither GeoJSON nor PNG")):
        path.write_text(content)
        answer = client.post("/v1/jobs", json=order)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
        assert answer.json()["remedy"]
    path.unlink()


def test_every_fault_of_a_job_is_named_at_once(client: httpx.Client) -> None:
    options = {
        "grid": "foo",
        "overlap": 1.7,
        "heatmap": "gradcan",
        "outputs": ["nope"],
        "batch": -1,
    }
    answer = client.post("/v1/jobs", json={"slides": ["/a.tif"], "options": options})
    assert answer.status_code == 400
    for word in ("options.grid", "overlap 1.7", "'gradcan'", "'nope'", "batch -1"):
        assert word in answer.json()["error"]


def test_a_project_or_a_link_that_leads_out_of_the_roots_is_refused(
    client: httpx.Client, server: Running, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    outside = write_slide(tmp_path / "outside.tif")
    builder = {"builderType": "uri", "uri": outside.as_uri(), "args": []}
    image = {"serverBuilder": builder, "entryID": 1, "imageName": "outside.tif"}
    folder = server.root / "project"
    folder.mkdir()
    project = folder / "project.qpproj"
    project.write_text(json.dumps({"version": "0.6.0", "images": [image]}))
    (folder / "linked.tif").symlink_to(outside)
    for path in (project, folder):
        assert client.post("/v1/jobs", json={"slides": [str(path)]}).status_code == 403
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_folder_that_was_swapped_for_a_link_is_not_followed_out_of_the_roots(
    tiny_bundle: Path, slides: Path, tmp_path: Path
) -> None:
    home, victim = tmp_path / "home", tmp_path / "victim"
    (home / "o").mkdir(parents=True)
    victim.mkdir()
    order = {"slides": [str(slides / "small.tif")], "options": {"heatmap": "none"}}
    with (
        running_server(tiny_bundle, slides, home) as running,
        running.client() as client,
        gate_before(RunStore, "commit", 1) as gate,
    ):
        first = client.post("/v1/jobs", json={**order, "out": str(home / "f" / "run")}).json()
        gate.wait_reached()
        second = client.post("/v1/jobs", json={**order, "out": str(home / "o" / "run")}).json()
        (home / "o").rename(home / "before")
        (home / "o").symlink_to(victim)
        gate.open()
        finished(client, first)
        error, ended = finished(client, second)
        assert ended["status"] == "failed"
        assert f"is a link to {victim}" in error["problem"]
        assert list(victim.iterdir()) == []
        # What a link leads to is not read for it either.
        report = client.get(f"/v1/jobs/{first['id']}").json()["report"]
        assert client.get(report).status_code == 200
        shutil.move(home / "f", victim / "f")
        (home / "f").symlink_to(victim / "f")
        assert client.get(report).status_code == 403
        assert client.get(first["result"]).status_code == 403
        assert client.get(f"/v1/jobs/{first['id']}").json()["report"] is None


def test_jobs_wait_in_line_are_bounded_and_can_be_cancelled(
    tiny_bundle: Path, slides: Path, tmp_path: Path
) -> None:
    options = {"overlap": 0.6, "batch": 2}
    order = {"slides": [str(slides / "large.tif")], "options": options}
    with (
        running_server(tiny_bundle, slides, tmp_path / "home") as running,
        running.client() as client,
        gate_before(RunStore, "commit", 6) as gate,
    ):
        first = client.post("/v1/jobs", json={**order, "out": str(tmp_path / "home/first")}).json()
        gate.wait_reached()
        assert client.get(f"/v1/jobs/{first['id']}").json()["status"] == "running"
        waiting = [
            client.post("/v1/jobs", json=order).json() for _job in range(LIMITS.waiting_jobs)
        ]
        full = client.post("/v1/jobs", json=order)
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) > 0
        assert client.get(first["result"]).status_code == 409
        assert client.delete(f"/v1/jobs/{waiting[0]['id']}").json()["status"] == "cancelled"
        # What is no picture is refused while the job is at work.
        assert (
            client.post("/v1/image", content=(slides / "small.tif").read_bytes()[:10]).status_code
            == 415
        )
        wait_for_event(client, first, "BatchDone")
        live = client.get(f"/v1/jobs/{first['id']}/slides/large/tiles").json()
        assert live["final"] is False
        assert live["tiles"] == 5 * 2
        assert client.delete(f"/v1/jobs/{first['id']}").status_code == 202
        gate.open()
        assert finished(client, first)[-1]["status"] == "cancelled"
        assert client.delete(f"/v1/jobs/{first['id']}").status_code == 200
        for job in waiting[1:]:
            client.delete(f"/v1/jobs/{job['id']}")
        assert finished(client, waiting[0])[-1] == {
            "seq": 1,
            "event": "JobEnded",
            "status": "cancelled",
            "exit_code": 3,
        }
        # What was classified is kept, and the rest is computed by the next job.
        kept = int((RunStore.open(tmp_path / "home/first/large").status == 1).sum())
        again = {
            **order,
            "out": str(tmp_path / "home/first"),
            "options": {**options, "existing": "resume"},
        }
        resumed = client.post("/v1/jobs", json=again).json()
        planned = wait_for_event(client, resumed, "Planned")
        assert 6 * 2 <= kept == planned["tiles"] - planned["pending"]


def wait_for_event(client: httpx.Client, job: dict[str, Any], name: str) -> dict[str, Any]:
    with client.stream("GET", job["events"]) as answer:
        events = (json.loads(line) for line in answer.iter_lines() if line)
        return next(event for event in events if event["event"] == name)


def test_a_listener_that_leaves_cancels_nothing(client: httpx.Client, server: Running) -> None:
    order = {"slides": [str(server.root / "small.tif")], "options": {"heatmap": "none"}}
    job = client.post("/v1/jobs", json=order).json()
    wait_for_event(client, job, "BatchDone")
    assert finished(client, job)[-1]["status"] == "done"


def test_the_model_stays_warm(server: Running) -> None:
    assert server.service.classifier() is server.service.classifier()
    assert len(server.service.warm._kept) == 1


def test_a_request_with_half_a_letter_is_refused_in_words(client: httpx.Client) -> None:
    body = b'{"slides": ["/\\ud800.tif"]}'
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert "remedy" in answer.json()
