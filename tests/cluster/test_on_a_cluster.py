"""The same run on a cluster of worker processes: the same bytes, whoever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from socket import gethostname
from threading import Timer
from typing import TYPE_CHECKING, Any

import cloudpickle
import dask
import numpy as np
import pytest
from distributed import Client, Scheduler, SpecCluster, Worker, WorkerPlugin

from run_files import files_of
from slidecam import (
    PredictSpec,
    TilingSpec,
    find_foreground,
    lay_grid,
    open_source,
    predict,
    settle_spacing,
    tile_array,
)
from slidecam.cluster import working
from slidecam.cluster.connecting import workers_of
from slidecam.cluster.messages import Call, Lost, SlideJob, SlidePlanned
from slidecam.cluster.running import _end_left_calls, is_busy
from slidecam.cluster.working import Residence, Resident, plan_slide, residence
from slidecam.errors import SourceError, UsageError
from slidecam.events import (
    BatchDone,
    Finished,
    Planned,
    SlideFailed,
    SlideFinished,
    TileFailed,
    Warned,
)
from slidecam.models import open_bundle
from slidecam.models.backends import BACKENDS
from slidecam.objects import begun
from slidecam.prediction.model import RunsBy
from slidecam.runs import Run
from slidecam.sources.names import FoundSlide
from slidecam.sources.volume import VolumeSource
from slidecam.store import RunStore, lock_run, read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from slidecam.events import Event

SPEC = PredictSpec(batch=8, workers=2, overlap=0.5)
LEAN = replace(SPEC, outputs=("tiles.csv",))


def last(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def test_two_workers_write_the_bytes_of_the_local_run(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path, client: Client
) -> None:
    list(predict(several_parts, tiny_bundle, tmp_path / "here", SPEC))
    events = list(predict(several_parts, tiny_bundle, tmp_path / "there", SPEC, cluster=client))
    assert last(events).exit_code == 0
    planned = next(event for event in events if isinstance(event, Planned))
    parts = [event for event in events if isinstance(event, BatchDone)]
    assert len(parts) == -(-planned.tiles // 256) >= 4
    assert parts[-1].done == planned.tiles
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    assert not list((tmp_path / "there").glob(".cluster-*"))


def test_a_volume_on_workers_has_the_bytes_of_the_local_run(
    tmp_path: Path, sample_data: Path, client: Client
) -> None:
    brain, bundle = sample_data / "brain.nii.gz", sample_data / "mri-bundle"
    list(predict(brain, bundle, tmp_path / "here"))
    assert last(list(predict(brain, bundle, tmp_path / "there", cluster=client))).exit_code == 0
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


def test_a_cohort_has_its_failures_said_and_its_other_slides_done(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], client: Client
) -> None:
    folder, out = tmp_path / "slides", tmp_path / "out"
    folder.mkdir()
    for number in range(3):
        write_slide(folder / f"s{number}.tif", seed=number)
    (folder / "broken.tif").write_bytes((folder / "s0.tif").read_bytes()[:900])
    held = lock_run(out / "s2")
    events = list(predict(folder, tiny_bundle, out, LEAN, cluster=client))
    held.release()
    fates = {e.slide: e.status for e in events if isinstance(e, SlideFinished)}
    assert fates == {"s0": "done", "s1": "done", "s2": "claimed"}
    assert [event.slide for event in events if isinstance(event, SlideFailed)] == ["broken"]
    assert last(events).exit_code == 3
    assert not (out / "broken").exists()
    again = list(
        predict(folder, tiny_bundle, out, replace(LEAN, existing="resume"), cluster=client)
    )
    fates = {e.slide: e.status for e in again if isinstance(e, SlideFinished)}
    assert fates == {"s0": "done", "s1": "done", "s2": "done"}
    rows = json.loads((out / "manifest.json").read_text())["slides"]
    assert {row["slide"]: row["status"] for row in rows} == {**fates, "broken": "failed"}


def test_a_users_own_client_computes_tiles_levels_volumes_and_results(
    tmp_path: Path, several_parts: Path, here: Path, sample_data: Path, client: Client
) -> None:
    run = Run.open(here / "wide")
    with open_source(several_parts) as slide, open_source(sample_data / "brain.nii.gz") as brain:
        assert isinstance(brain, VolumeSource)
        spacing = settle_spacing(slide.facts).spacing
        tissue = find_foreground(slide, spacing)
        tiling = TilingSpec(tile_px=64, spacing=0.5, input_px=64, overlap=0.5)
        grid = lay_grid(slide.facts, spacing, tissue, tiling)
        arrays = [
            tile_array(slide, grid),
            tile_array(several_parts, grid),
            slide.level_array(0)[100:700, 50:900],
            brain.array()[3:9],
            run.to_dask()["maps"],
        ]
        with dask.config.set(scheduler="synchronous"):
            expected = [np.asarray(array) for array in arrays]
        for found, right in zip(client.gather(client.compute(arrays)), expected, strict=True):
            assert np.array_equal(found, right)
        cut = tmp_path / "cut.tif"
        cut.write_bytes(several_parts.read_bytes()[:5000])
        with pytest.raises(SourceError, match=r"cut\.tif"):
            client.compute(tile_array(cut, grid)[:1]).result()


def test_tiles_that_cannot_be_read_are_said_and_tried_again_by_a_resumed_call(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path, client: Client
) -> None:
    whole = several_parts.read_bytes()
    middle, slide = len(whole) // 3, tmp_path / "damaged.tif"
    slide.write_bytes(whole[:middle] + bytes(9000) + whole[middle + 9000 :])
    out = tmp_path / "out"
    events = list(predict(slide, tiny_bundle, out, LEAN, cluster=client))
    failed = [event for event in events if isinstance(event, TileFailed)]
    assert failed
    ended = next(event for event in events if isinstance(event, SlideFinished))
    assert (ended.status, ended.failed) == ("partly", len(failed))
    assert last(events).exit_code == 3
    again = replace(LEAN, existing="resume")
    events = list(predict(slide, tiny_bundle, out, again, cluster=client))
    assert len([event for event in events if isinstance(event, TileFailed)]) == len(failed)
    assert last(events).exit_code == 3


def test_a_stopped_run_lets_the_slides_go_and_is_resumed_by_this_process(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path, here: Path, client: Client
) -> None:
    out = tmp_path / "out"
    run = predict(several_parts, tiny_bundle, out, LEAN, cluster=client)
    next(event for event in run if isinstance(event, BatchDone))
    run.close()
    assert (read_run(out / "wide") or {})["status"] == "running"
    left = len(RunStore.open(out / "wide").pending_batches())
    # Whoever comes next finds no lock, no mark and nobody at work.
    assert not list(out.glob(".cluster-*"))
    resumed = predict(several_parts, tiny_bundle, out, replace(LEAN, existing="resume"))
    assert len([event for event in resumed if isinstance(event, BatchDone)]) == left
    assert files_of(out / "wide" / "run.zarr") == files_of(here / "wide" / "run.zarr")


def test_a_task_that_is_begun_again_on_another_worker_goes_on_with_its_run(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path, client: Client
) -> None:
    bundle = open_bundle(tiny_bundle)
    out = tmp_path / "out"
    call = Call("again", version("slidecam"), str(bundle.path), bundle.digest, out, LEAN)
    out.mkdir()
    call.mark.touch()
    job = SlideJob(FoundSlide("wide", str(several_parts)), 1, 1, {}, {})
    client.register_plugin(Resident())
    first, second = (
        client.submit(plan_slide, call, job, pure=False, workers=[worker]).result()
        for worker in sorted(client.scheduler_info(n_workers=-1)["workers"])
    )
    assert isinstance(first, SlidePlanned)
    assert isinstance(second, SlidePlanned)
    assert first.parts == second.parts
    assert len(first.parts) >= 4


@pytest.mark.parametrize("cluster", ["", "nowhere", "local:0", "local:x"])
def test_what_is_no_cluster_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], cluster: str
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    with pytest.raises(UsageError, match=r"local:N|no workers"):
        list(predict(slide, tiny_bundle, tmp_path / "out", LEAN, cluster=cluster))
    assert not (tmp_path / "out").exists()


def test_results_at_a_url_are_refused_with_what_else_there_is(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    with pytest.raises(UsageError) as refused:
        list(predict(slide, tiny_bundle, "s3://a:b@bucket/out", LEAN, cluster="local:1"))
    assert "s3://bucket/out" in refused.value.problem
    assert "--shard" in refused.value.remedy


def marked(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / f".cluster-{name}").write_text(text)


def marks_in(folder: Path) -> set[str]:
    return {path.name.removeprefix(".cluster-") for path in folder.iterdir()}


def ended_process() -> str:
    """Return this process as it would be, had it begun when the machine did."""
    return begun(os.getpid()).rpartition(" ")[0] + " 1"


def test_the_marks_of_ended_clients_are_removed_and_no_others(
    tmp_path: Path, own_workers: Client
) -> None:
    host, ours = gethostname(), begun(os.getpid())
    marks = {"ended": f"{host}\n{ended_process()}\nClient-1\n", "ours": f"{host}\n{ours}\n"}
    marks |= {"elsewhere": f"another\n{ours}\nClient-2\n", "old": "A cluster is at work.\n"}
    marked(tmp_path, marks)
    _end_left_calls(own_workers, tmp_path)
    assert marks_in(tmp_path) == {"ours", "elsewhere", "old"}


@pytest.mark.parametrize("host", ["", "another"])
def test_a_call_waits_for_the_workers_of_a_killed_client(
    tmp_path: Path, own_workers: Client, host: str
) -> None:
    own_workers.register_plugin(Resident())
    call = Call("gone", version("slidecam"), "", "", tmp_path, LEAN)
    owner = f"{host or gethostname()}\n{ended_process()}\n"
    marked(tmp_path, {"gone": f"{owner}Client-1\n", "going": f"{owner}{own_workers.id}\n"})
    if not host:
        (tmp_path / ".cluster-going").unlink()
    own_workers.submit(_until_its_mark_is_gone, call, pure=False)
    while not (tmp_path / "going").exists():
        time.sleep(0.01)
    _end_left_calls(own_workers, tmp_path)
    assert [*own_workers.run(is_busy, "gone").values()] == [False]
    assert marks_in(tmp_path) == ({"going"} if host else set())


def _until_its_mark_is_gone(call: Call) -> None:
    """Be at work on a call, and for a moment longer than it is wanted."""
    with residence().at_work(call):
        (call.out / "going").touch()
        while call.mark.exists():
            time.sleep(0.01)
        time.sleep(0.3)
        (call.out / "going").unlink()


def test_a_worker_that_came_late_and_cannot_take_part_gives_its_task_to_others(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path, own_workers: Client
) -> None:
    own_workers.register_plugin(Resident())
    bundle = open_bundle(tiny_bundle)
    call = Call("late", version("slidecam"), str(bundle.path), "other", tmp_path, LEAN)
    job = SlideJob(FoundSlide("wide", str(several_parts)), 1, 1, {}, {})
    for unlike, words in ((call, "does not see the output"), (call, "another bundle")):
        lost = own_workers.submit(plan_slide, unlike, job, pure=False).result()
        assert isinstance(lost, Lost)
        assert not lost.final
        assert words in lost.failure.event.problem
        call.mark.touch()


def test_a_worker_runs_the_network_by_what_was_settled_for_all(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIDECAM_CACHE", str(tmp_path / "cache"))
    bundle, notes = open_bundle(tiny_bundle), ("Backend eager of eager 41.5 tiles a second.",)
    spec = replace(LEAN, backend="auto")
    call = Call("one", version("slidecam"), str(bundle.path), bundle.digest, tmp_path, spec)
    call.mark.touch()
    settled = replace(call, runs_by=RunsBy("eager", "torch, eager, fp32", notes))
    used = Residence("tcp://one").model(settled).classifier
    assert (used.backend, used.notes) == ("torch, eager, fp32", notes)
    assert not list((tmp_path / "cache").rglob("trial-*")), "no trial of its own"
    other = replace(settled, runs_by=RunsBy("eager", "OpenVINO, head in torch, fp32", notes))
    with pytest.raises(UsageError, match="runs the network by torch, eager, fp32, and this"):
        Residence("tcp://two").model(other)


def test_auto_comes_to_one_backend_for_all_and_the_record_says_which(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    own_workers: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slide = write_slide(tmp_path / "one.tif", 331, 277)
    monkeypatch.setenv("SLIDECAM_CACHE", str(tmp_path / "cache"))
    only = {name: BACKENDS[name] for name in ("auto", "folded", "eager")}
    monkeypatch.setattr(BACKENDS, "_entries", only)
    spec = replace(LEAN, backend="auto", heatmap="none")
    events = list(predict(slide, tiny_bundle, tmp_path / "out", spec, cluster=own_workers))
    of_all = [event.message for event in events if isinstance(event, Warned) and not event.slide]
    (why,) = [message for message in of_all if message.startswith("Backend ")]
    (run,) = (tmp_path / "out").glob("*/run.json")
    assert json.loads(run.read_text())["machine"]["backend"] == why
    assert last(events).exit_code == 0


def test_a_cluster_that_adapts_begins_without_a_worker(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "cluster: distributed.LocalCluster\n"
        "arguments: {n_workers: 0, processes: false, dashboard_address: '127.0.0.1:0'}\n"
        "adapt: {maximum: 1, interval: 100ms}\n"
    )
    slide = write_slide(tmp_path / "one.tif")
    events = list(predict(slide, tiny_bundle, tmp_path / "out", LEAN, cluster=file))
    assert last(events).exit_code == 0


def test_where_workers_have_gpus_no_other_worker_gets_a_batch(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slides = [write_slide(tmp_path / f"s{number}.tif", 300, 260) for number in range(3)]
    workers: dict[str, Any] = {}
    for name, resources in (("plain", {}), ("gpu", {"GPU": 1})):
        options = {"nthreads": 1, "resources": resources, "name": name}
        workers[name] = {"cls": Worker, "options": options}
    nowhere = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "protocol": "inproc://"}
    scheduler = {"cls": Scheduler, "options": nowhere}
    with (
        SpecCluster(workers=workers, scheduler=scheduler) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        events = list(predict(slides, tiny_bundle, tmp_path / "out", LEAN, cluster=client))
        classified = client.run(_loaded_bundles)
        names = {each["id"]: address for address, each in workers_of(client).items()}
    assert last(events).exit_code == 0
    assert classified == {names["plain"]: 0, names["gpu"]: 1}


def _loaded_bundles(dask_worker: Worker) -> int:
    plugin = dask_worker.plugins["slidecam"]
    assert isinstance(plugin, Resident)
    return len(plugin.residence._warm._kept)


# The last two of this file end workers of the cluster that the others use: new ones come.


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_no_tile(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path, here: Path, client: Client
) -> None:
    draw = random.Random(16)  # noqa: S311  (nothing secret)
    killed = draw.choice(sorted(client.run(os.getpid).values()))
    events: list[Event] = []
    for event in predict(several_parts, tiny_bundle, tmp_path / "there", LEAN, cluster=client):
        events.append(event)
        if isinstance(event, Planned):
            Timer(draw.uniform(0.05, 0.5), os.kill, (killed, signal.SIGKILL)).start()
    assert last(events).exit_code == 0
    assert files_of(here) == files_of(tmp_path / "there")


class Poison(WorkerPlugin):
    """Ends the process of a worker that classifies a slide of one name, also of workers to come."""

    name = "poison"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002  (dask's signature)
        room = vars(working)
        classified = room["_classified"]

        def poisoned(here: Residence, call: Call, job: SlideJob, part: tuple[int, int]) -> Any:
            if job.name == "poison":
                os._exit(9)
            return classified(here, call, job, part)

        room["_classified"] = poisoned


def _suspect_soon(dask_scheduler: Scheduler) -> None:
    """Let a scheduler say of a task that it ends workers after two, and not after four."""
    dask_scheduler.allowed_failures = 1


@pytest.mark.slow
def test_a_slide_that_kills_its_workers_fails_by_name_and_the_others_are_done(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], client: Client
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    slides = [write_slide(tmp_path / f"{name}.tif", 300, 260) for name in ("good", "poison")]
    client.run_on_scheduler(_suspect_soon)
    client.register_plugin(Poison())
    events = list(predict(slides, tiny_bundle, tmp_path / "out", LEAN, cluster=client))
    (failed,) = [event for event in events if isinstance(event, SlideFailed)]
    assert failed.slide == "poison"
    assert "workers" in failed.problem
    (done,) = [event for event in events if isinstance(event, SlideFinished)]
    assert (done.slide, done.status) == ("good", "done")
    assert last(events).exit_code == 3
