"""Clients find the server by one file, which nobody else can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from slidecam.server.serving import (
    Endpoint,
    endpoint_path,
    read_endpoint,
    remove_endpoint,
    write_endpoint,
)

HERE = Endpoint("http://127.0.0.1:1234", "secret", 7, "0.1.0", "2026-11-21T16:40:00+00:00")


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({"SLIDECAM_SERVER_FILE": "/tmp/s.json"}, "linux", "/tmp/s.json"),  # noqa: S108  (nothing is written there)
        ({"XDG_STATE_HOME": "/state"}, "linux", "/state/slidecam/server.json"),
        ({"XDG_STATE_HOME": ""}, "linux", "~/.local/state/slidecam/server.json"),
        ({}, "darwin", "~/Library/Application Support/slidecam/server.json"),
        ({"LOCALAPPDATA": "/local"}, "win32", "/local/slidecam/server.json"),
        ({}, "win32", "~/AppData/Local/slidecam/server.json"),
    ],
)
def test_the_file_lies_where_the_contract_says(
    environment: dict[str, str], platform: str, expected: str
) -> None:
    assert endpoint_path(environment, platform) == Path(expected).expanduser()


def test_what_is_written_is_read_and_only_its_owner_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "server.json"
    write_endpoint(path, HERE)
    assert read_endpoint(path) == HERE
    remove_endpoint(path, Endpoint(HERE.url, "another", 8, "0.1.0", HERE.started))
    assert path.exists()
    remove_endpoint(path, HERE)
    assert not path.exists()


@pytest.mark.skipif(
    os.name != "posix", reason="Windows keeps others out of the user's profile instead"
)
def test_others_may_not_read_it_though_an_older_file_was_open_to_all(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_endpoint(path, HERE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "slidecam-server", "version": 2}', "\x00"]
)
def test_a_file_of_something_else_is_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert read_endpoint(tmp_path / "server.json") is None
    assert read_endpoint(tmp_path / "missing.json") is None
