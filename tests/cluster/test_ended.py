"""What ends in the middle: workers that a slide kills, and a client that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest
from distributed import Client, LocalCluster, Worker, WorkerPlugin

from run_files import files_of
from slidecam import PredictSpec, predict
from slidecam.cluster import working
from slidecam.events import Finished, SlideFailed, SlideFinished

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = PredictSpec(batch=8, workers=2, overlap=0.5, outputs=("tiles.csv",))

PATIENCE = 240
"""Seconds until a test that waits for what never comes is given up."""


class Poison(WorkerPlugin):
    """Ends the process of a worker that classifies a slide of one name, also of workers to come."""

    name = "poison"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002  (dask's signature)
        room = vars(working)
        score = room["score"]

        def poisoned(name: str, *others: Any) -> Any:
            if name == "poison":
                os._exit(9)
            return score(name, *others)

        room["score"] = poisoned


@pytest.mark.slow
def test_a_slide_that_kills_its_workers_fails_by_name_and_the_others_are_done(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    slides = [write_slide(tmp_path / f"{name}.tif", 300, 260) for name in ("good", "poison")]
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        # The scheduler says so after fewer dead workers than by default, which is four.
        client.run_on_scheduler(_suspect_soon)
        client.register_plugin(Poison())
        events = list(predict(slides, tiny_bundle, tmp_path / "out", SPEC, cluster=client))
    (failed,) = [event for event in events if isinstance(event, SlideFailed)]
    assert failed.slide == "poison"
    assert "workers" in failed.problem
    (done,) = [event for event in events if isinstance(event, SlideFinished)]
    assert (done.slide, done.status) == ("good", "done")
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == 3


def _suspect_soon(dask_scheduler: Any) -> None:
    dask_scheduler.allowed_failures = 1


@pytest.mark.slow
def test_an_interrupted_client_leaves_nobody_at_work_and_is_resumed(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path
) -> None:
    out = tmp_path / "out"
    call = [sys.executable, "-m", "slidecam", "predict", several_parts, "-m", tiny_bundle]
    call += ["-o", out, "--batch", "8", "--workers", "2", "--overlap", "0.5", "--json"]
    call += ["--outputs", "tiles.csv", "--cluster", "local:2"]
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        list(map(str, call)), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("event") == "BatchDone":
                break
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        said = [json.loads(line) for line in process.stdout]
        assert process.wait(PATIENCE) == 3
    assert any("--resume" in str(record) for record in said)
    end = time.monotonic() + PATIENCE
    while any(map(psutil.Process.is_running, children)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(psutil.Process.is_running, children))
    assert not list(out.glob(".cluster-*"))
    list(predict(several_parts, tiny_bundle, out, replace(SPEC, existing="resume")))
    list(predict(several_parts, tiny_bundle, tmp_path / "whole", SPEC))
    assert files_of(out / "wide/run.zarr") == files_of(tmp_path / "whole/wide/run.zarr")
