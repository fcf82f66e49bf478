"""Nobody comes in without the token, by another name, or with more than is allowed.

Everybody is told why.
"""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stopping import PATIENCE

from .conftest import LIMITS, picture, running_server

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from .conftest import Running


def assert_told(answer: httpx.Response, status: int) -> None:
    told = answer.json()
    assert (answer.status_code, set(told)) == (status, {"error", "remedy"})
    assert told["error"]
    assert told["remedy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Basic {}", "bearer", "Bearer é"])
def test_without_the_token_nothing_is_told(server: Running, token: str) -> None:
    raw = [(b"authorization", token.format(server.token).encode())]
    with server.client() as client:
        del client.headers["authorization"]
        answer = client.get("/v1/status", headers=raw)
    assert_told(answer, 401)
    assert server.token not in answer.text


def test_the_page_and_the_description_hold_no_token_and_need_none(server: Running) -> None:
    with server.client() as client:
        del client.headers["authorization"]
        for path in ("/", "/page/app.js", "/openapi.json"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert server.token not in answer.text
        assert "default-src 'none'" in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
def test_a_web_page_that_points_its_domain_here_gets_nothing(
    client: httpx.Client, server: Running, host: str
) -> None:
    port = server.url.rpartition(":")[2]
    for path in ("/", "/v1/status"):
        assert_told(client.get(path, headers={"Host": host.format(port=port)}), 421)
    assert client.get("/v1/status", headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1"])
def test_pages_from_elsewhere_are_refused_and_no_header_invites_them(
    client: httpx.Client, origin: str
) -> None:
    assert_told(client.get("/v1/status", headers={"Origin": origin}), 403)
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/jobs", headers=asked)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_page_may_call(client: httpx.Client, server: Running) -> None:
    assert client.get("/v1/status", headers={"Origin": server.url}).status_code == 200


def test_a_body_that_is_too_large_is_refused_by_its_length_before_it_is_read(
    client: httpx.Client,
) -> None:
    assert_told(client.post("/v1/image", content=bytes(LIMITS.body_bytes + 1)), 413)


def test_a_body_that_says_no_length_is_counted(client: httpx.Client) -> None:
    pieces = (bytes(50_000) for _piece in range(12))
    assert_told(client.post("/v1/image", content=pieces), 413)
    assert_told(client.post("/v1/jobs", content=(b" " * 50_000 for _piece in range(12))), 413)


def test_a_body_that_never_ends_is_not_waited_for(
    tiny_bundle: Path, slides: Path, tmp_path: Path
) -> None:
    hasty = replace(LIMITS, body_seconds=0.3)
    with running_server(tiny_bundle, slides, tmp_path, hasty) as server:
        head = (
            f"POST /v1/image HTTP/1.1\r\nHost: {server.url[7:]}\r\nAuthorization: Bearer"
            f" {server.token}\r\n"
        )
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
            line.sendall(f"{head}Content-Length: 1000\r\n\r\nabc".encode())
            answer = line.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 408")


def test_a_client_that_leaves_in_the_middle_of_a_body_frees_its_place(server: Running) -> None:
    head = (
        f"POST /v1/image HTTP/1.1\r\nHost: {server.url[7:]}\r\nAuthorization: Bearer"
        f" {server.token}\r\n"
    )
    for _time in range(2 * LIMITS.waiting_images):
        with socket.create_connection(
            ("127.0.0.1", int(server.url.rpartition(":")[2])), PATIENCE
        ) as line:
            line.sendall(f"{head}Content-Length: 1000\r\n\r\nabc".encode())
    with server.client() as client:
        answers = [client.post("/v1/image?methods=none", content=picture()) for _time in range(20)]
    assert answers[-1].status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/jobs", None, 405),
        ("GET", "/v1/jobs/none", None, 404),
        ("GET", "/v1/jobs/none/events", None, 404),
        ("DELETE", "/v1/jobs/none", None, 404),
        ("GET", "/results/none/report.html", None, 404),
        ("GET", "/page/../app.py", None, 404),
        ("GET", "/page/nothing.js", None, 404),
        ("GET", "/v1/slides/0000_files/0/0_0.jpeg", None, 404),
        ("GET", "/v1/slides/0000_files/x/0_0.jpeg", None, 400),
        ("GET", "/v1/slides/open", None, 400),
        ("POST", "/v1/jobs", b"", 400),
        ("POST", "/v1/jobs", b"{", 400),
        ("POST", "/v1/jobs", b"[]", 400),
        ("POST", "/v1/jobs", b"\xff\xfe", 400),
        ("POST", "/v1/jobs", b'{"slides": []}', 400),
        ("POST", "/v1/jobs", b'{"slides": "/a.tif"}', 400),
        ("POST", "/v1/jobs", b'{"slides": ["/a.tif"]}', 403),
        ("POST", "/v1/jobs", b'{"slides": ["/a.tif"], "speed": 3}', 400),
        ("POST", "/v1/jobs", b'{"slides": ["/a.tif"], "options": {"overlap": NaN}}', 400),
        ("POST", "/v1/jobs", b'{"slides": ["/a.tif"], "options": {"trust": true}}', 400),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    client: httpx.Client, method: str, path: str, body: bytes | None, status: int
) -> None:
    headers = {} if body is None else {"content-type": "application/json"}
    assert_told(client.request(method, path, content=body, headers=headers), status)


def test_the_description_names_every_route(client: httpx.Client) -> None:
    described: dict[str, Any] = json.loads(client.get("/openapi.json").text)
    assert {"/v1/image", "/v1/jobs", "/v1/jobs/{name}/events", "/v1/slides/open"} <= set(
        described["paths"]
    )
