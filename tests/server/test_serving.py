"""``slidecam serve`` as a process.

Found by its file, quiet while idle, one at a time, gone without a trace.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.errors import UsageError
from slidecam.server.serving import (
    Endpoint,
    ServeSpec,
    _refuse_second,
    read_endpoint,
    write_endpoint,
)
from stopping import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDLE_SECONDS = 1.0
WINDOWS = 40


@pytest.fixture(scope="module")
def process(
    tiny_bundle: Path, slides: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path]]:
    """Return a real server and the file that tells of it."""
    folder = tmp_path_factory.mktemp("served")
    file = folder / "state" / "server.json"
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        command(tiny_bundle, slides, folder),
        env=environment(file),
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        yield started, file
        if started.poll() is None:
            started.kill()


def command(bundle: Path, root: Path, out: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "slidecam",
        "serve",
        "-m",
        str(bundle),
        "--root",
        str(root),
        "-o",
        str(out),
        "--json",
    ]


def environment(file: Path) -> dict[str, str]:
    return {**os.environ, "SLIDECAM_SERVER_FILE": str(file)}


def test_a_server_is_found_by_its_file_used_and_stopped(
    process: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, file = process
    told = json.loads(started.stdout.readline())
    assert (told["event"], told["file"]) == ("Serving", str(file))
    endpoint = read_endpoint(file)
    assert endpoint is not None
    assert (endpoint.url, endpoint.pid) == (told["url"], started.pid)
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    status = httpx.get(f"{endpoint.url}/v1/status", headers=headers, trust_env=False).json()
    assert status["model"]["classes"][0]["name"] == "A"
    assert_idle(psutil.Process(started.pid))
    monkeypatch.setenv("SLIDECAM_SERVER_FILE", str(file))
    # Its model is nowhere: a second server that is let through ends as well, by another word.
    second = CliRunner().invoke(app, ["serve", "-m", str(tmp_path / "gone"), "--json"])
    assert second.exit_code == 2
    assert "runs already" in second.stdout
    assert read_endpoint(file) == endpoint
    page = file.with_suffix(".html")
    assert told["page"] == str(page)
    assert endpoint.token not in page.read_text()
    if os.name == "posix":
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE) == 0
        assert not file.exists()
        assert not page.exists()


def assert_idle(process: psutil.Process) -> None:
    """Nobody calls, so nothing runs, once all is settled that the last call began.

    A loop that looks ten times a second whether there is something to do leaves no window idle.
    """
    assert any(is_idle(process) for _window in range(WINDOWS))


def is_idle(process: psutil.Process) -> bool:
    used, switches = process.cpu_times(), process.num_ctx_switches().voluntary
    time.sleep(IDLE_SECONDS)
    after = process.cpu_times()
    seconds = after.user + after.system - used.user - used.system
    return seconds <= 0.01 and process.num_ctx_switches().voluntary - switches <= 4


def test_a_file_that_outlived_its_server_is_in_nobodys_way(tmp_path: Path) -> None:
    write_endpoint(
        tmp_path / "server.json", Endpoint("http://127.0.0.1:9", "x", 1, "0.1.0", "before")
    )
    _refuse_second(tmp_path / "server.json")


@pytest.mark.parametrize("name", ["", "a b", "http://a", "a/b", "a:", "a:1:2"])
def test_what_is_no_name_of_a_host_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no name of a host"):
        ServeSpec(model=__file__, host_names=(name,))  # type: ignore[arg-type]  # never looked at


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="70000"):
        ServeSpec(model=__file__, port=70_000)  # type: ignore[arg-type]  # never looked at
