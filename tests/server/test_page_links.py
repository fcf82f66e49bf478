"""The page's key goes by no line that another user or a list of visited places could show."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import httpx
import pytest
from typer.testing import CliRunner

from slidecam.cli import serving as command
from slidecam.cli.app import app
from slidecam.server.page_links import MOST_CODES, PageDoor, PageLinks
from slidecam.server.serving import Endpoint, ServeSpec

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.server.serving import Ready

    from .conftest import Running

URL = "http://127.0.0.1:49152"


def code_in(text: str) -> str:
    return str(re.findall(r"#code=([\w-]+)", text)[0])


def test_a_code_is_good_once_and_the_file_leads_on_every_time(tmp_path: Path) -> None:
    links = PageLinks(URL)
    door = links.keep(tmp_path / "state" / "server.html")
    for _time in range(3):
        code = code_in(door.file.read_text())
        assert links.redeem(code)
        assert not links.redeem(code)
    assert links.redeem(code_in(door.link))
    assert not links.redeem("")
    if os.name == "posix":
        assert stat.S_IMODE(door.file.stat().st_mode) == 0o600


def test_codes_that_nobody_uses_are_forgotten() -> None:
    links = PageLinks(URL)
    first, *others = [code_in(links.link()) for _code in range(MOST_CODES + 1)]
    assert not links.redeem(first)
    assert all(map(links.redeem, others))


def test_the_server_gives_its_token_for_a_code_and_for_nothing_else(server: Running) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as stranger:
        for words in ("", "Code", "Code wrong", "Bearer x", f"Bearer {server.token}"):
            refusal = stranger.post("/session", headers={"Authorization": words})
            assert refusal.status_code == 401
            assert "remedy" in refusal.json()
            assert server.token not in refusal.text
        code = code_in(server.links.link())
        headers = {"Authorization": f"Code {code}"}
        assert stranger.post("/session", headers={**headers, "Host": "x"}).status_code == 421
        assert stranger.post("/session", headers=headers).json() == {"token": server.token}
        assert stranger.post("/session", headers=headers).status_code == 401


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PageDoor:
    """Return where the page of a server is that only says so."""
    found = PageDoor(f"{URL}/#code={'code-' * 8}", tmp_path / "server.html")
    endpoint = Endpoint(URL, "token-" * 8, 1, "0.1.0", "now")

    def serve(_spec: ServeSpec, ready: Ready) -> None:
        ready(endpoint, tmp_path / "server.json", found)

    monkeypatch.setattr("slidecam.server.serve", serve)
    return found


def test_a_browser_is_started_with_a_file_and_not_with_the_key(
    door: PageDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr("typer.launch", started.append)
    CliRunner().invoke(app, ["serve", "-m", str(tmp_path), "--open"])
    assert started == [str(door.file)]


def test_what_is_said_into_a_file_holds_neither_key_nor_code(
    door: PageDoor, tmp_path: Path
) -> None:
    for more in ([], ["--json"]):
        said = CliRunner().invoke(app, ["serve", "-m", str(tmp_path), *more]).stdout
        assert str(door.file) in said
        assert "token-" not in said
        assert "code-" not in said


def test_on_a_terminal_the_pages_link_is_one_line_however_narrow_it_is(
    door: PageDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_is_seen", lambda: True)
    narrow = {"COLUMNS": "40"}
    said = CliRunner().invoke(app, ["serve", "-m", str(tmp_path)], env=narrow).stdout
    lines = said.splitlines()
    assert lines[0] == f"Loading {tmp_path} …"
    assert lines[2] == door.link
    assert lines[3].endswith(f"{door.file}")
    assert lines[4].endswith("server.json")
