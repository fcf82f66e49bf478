"""Nobody comes in without the token, by another name, or with more than is allowed.

Everybody is told why.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.server.punctual import PunctualProtocol
from slidecam.store import RunStore
from stopping import PATIENCE, gate_before

from .conftest import LIMITS, NAMES, finished, picture, running_server

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


@pytest.mark.parametrize("name", NAMES)
def test_a_tunnel_or_proxy_that_was_named_may_call_it_by_its_name(
    client: httpx.Client, name: str
) -> None:
    for path in ("/", "/v1/status"):
        assert client.get(path, headers={"Host": name}).status_code == 200
    ours = {"Host": name, "Origin": f"http://{name}"}
    assert client.get("/v1/status", headers=ours).status_code == 200
    assert_told(client.get("/v1/status", headers={"Host": f"{name}.example"}), 421)


def test_a_proxy_that_was_named_may_speak_https_and_this_machine_may_not(
    client: httpx.Client, server: Running
) -> None:
    named = {"Origin": "https://viewer.example.org"}
    assert client.get("/v1/status", headers=named).status_code == 200
    plain = {"Origin": server.url.replace("http:", "https:")}
    assert_told(client.get("/v1/status", headers=plain), 403)


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/v1/status", "/openapi.json", "/v1/no"])
def test_head_is_answered_as_get_without_the_body(client: httpx.Client, path: str) -> None:
    head, whole = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    for name in ("content-type", "content-length", "content-security-policy"):
        assert head.headers[name] == whole.headers[name]


def test_head_of_what_goes_on_for_ever_ends(client: httpx.Client, server: Running) -> None:
    order = {"slides": [str(server.root / "small.tif")], "options": {"heatmap": "none"}}
    with gate_before(RunStore, "commit", 1) as gate:
        job = client.post("/v1/jobs", json=order).json()
        gate.wait_reached()
        assert client.head(job["events"]).status_code == 200
        gate.open()
    finished(client, job)


def test_a_request_whose_head_never_ends_is_not_waited_for(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PunctualProtocol, "head_seconds", 0.2)
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
        line.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x")
        assert received(line).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
        assert received(line).startswith(b"HTTP/1.1 408")
    whole = f"GET / HTTP/1.1\r\nHost: {server.url[7:]}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
        line.sendall(whole)
        answer = b""
        while not answer.endswith(b"</html>\n"):
            answer += line.recv(65_536)
        line.sendall(whole[:30])  # a second one is not waited for either
        assert received(line).startswith(b"HTTP/1.1 408")


def received(line: socket.socket) -> bytes:
    """Return all that comes until the other end closes."""
    parts = []
    while part := line.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def test_what_takes_long_is_not_cut_off_by_the_wait_for_heads(
    client: httpx.Client, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PunctualProtocol, "head_seconds", 0.2)
    order = {"slides": [str(server.root / "small.tif")], "options": {"heatmap": "none"}}
    with gate_before(RunStore, "commit", 1) as gate:
        job = client.post("/v1/jobs", json=order).json()
        gate.wait_reached()
        with client.stream("GET", job["events"]) as answer:
            time.sleep(0.6)
            gate.open()
            events = [json.loads(line) for line in answer.iter_lines() if line]
    assert events[-1]["event"] == "JobEnded"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/slides?folder={}/" + "a" * 300,
        "/v1/slides/open?path={}/" + "a" * 300 + ".tif",
        "/v1/slides/open?path={}/" + "a/" * 1500,
    ],
)
def test_a_name_that_no_file_can_have_is_refused_in_words(
    client: httpx.Client, server: Running, path: str
) -> None:
    answer = client.get(path.format(server.root))
    assert answer.status_code in {400, 404}
    assert len(answer.json()["error"]) < 500


def test_its_own_page_may_call(client: httpx.Client, server: Running) -> None:
    assert client.get("/v1/status", headers={"Origin": server.url}).status_code == 200


def test_a_length_of_twenty_digits_is_too_large(server: Running) -> None:
    head = (
        f"POST /v1/image HTTP/1.1\r\nHost: {server.url[7:]}\r\nAuthorization: Bearer"
        f" {server.token}\r\n"
    )
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
        line.sendall(f"{head}Content-Length: {'9' * 20}\r\n\r\nabc".encode())
        answer = line.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 413")


def test_a_body_that_is_too_large_is_refused_by_its_length_before_it_is_read(
    client: httpx.Client,
) -> None:
    assert_told(client.post("/v1/image", content=bytes(LIMITS.body_bytes + 1)), 413)
    assert_told(client.post("/v1/jobs", content=bytes(LIMITS.json_bytes + 1)), 413)
    assert_told(client.post("/session", content=bytes(LIMITS.json_bytes + 1)), 413)


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
