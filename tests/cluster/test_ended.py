"""A client that is interrupted in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from run_files import files_of
from slidecam import PredictSpec, predict

if TYPE_CHECKING:
    from pathlib import Path

SPEC = PredictSpec(batch=8, workers=2, overlap=0.75, outputs=("tiles.csv",))
"""More than a dozen parts, where the other tests have four: it is stopped in the midst of them."""

PATIENCE = 240
"""Seconds until a test that waits for what never comes is given up."""


@pytest.mark.slow
def test_an_interrupted_client_leaves_nobody_at_work_and_is_resumed(
    tmp_path: Path, tiny_bundle: Path, several_parts: Path
) -> None:
    out = tmp_path / "out"
    call = [sys.executable, "-m", "slidecam", "predict", several_parts, "-m", tiny_bundle]
    call += ["-o", out, "--batch", "8", "--workers", "2", "--overlap", "0.75", "--json"]
    call += ["--outputs", "tiles.csv", "--cluster", "local:1"]
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        list(map(str, call)), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        # Before its first part is done: nothing that this test does afterwards races its last one.
        for line in process.stdout:
            if json.loads(line).get("event") == "Planned":
                break
        children = psutil.Process(process.pid).children(recursive=True)
        # No SIGINT: what a shell has put in the background ignores it, and so do its children.
        process.send_signal(signal.SIGTERM)
        said = [json.loads(line) for line in process.stdout]
        assert process.wait(PATIENCE) == 3
    assert any("--resume" in str(record) for record in said)
    end = time.monotonic() + PATIENCE
    while any(map(psutil.Process.is_running, children)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(psutil.Process.is_running, children))
    assert not list(out.glob(".cluster-*"))
    list(predict(several_parts, tiny_bundle, out, replace(SPEC, existing="resume")))
    list(predict(several_parts, tiny_bundle, tmp_path / "here", SPEC))
    assert files_of(out / "wide/run.zarr") == files_of(tmp_path / "here/wide/run.zarr")
