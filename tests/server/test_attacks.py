"""Whatever a caller sends is answered by a status below 500, in words, and harms nobody else."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import finished, picture

if TYPE_CHECKING:
    import httpx

    from .conftest import Running

HUGE = "9" * 5000
"""More digits than Python makes a number of without being told so."""

NUMBERS = ("-1", "1e400", "nan", "0x10", "٣", HUGE, "99999999999999999999", "", "1;2", "%00")


def assert_refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    told = answer.json()
    assert told["error"]
    assert told["remedy"]


@pytest.fixture(scope="module")
def slide(server: Running) -> dict[str, Any]:
    """Return a slide that is open."""
    with server.client() as client:
        found: dict[str, Any] = client.get(
            "/v1/slides/open", params={"path": str(server.root / "small.tif")}
        ).json()
    return found


@pytest.fixture(scope="module")
def job(server: Running) -> str:
    """Return the path of a job that has ended."""
    with server.client() as client:
        order = {"slides": [str(server.root / "small.tif")], "options": {"heatmap": "cam"}}
        sent = client.post("/v1/jobs", json=order).json()
        finished(client, sent)
    return f"/v1/jobs/{sent['id']}"


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_are_none_or_beyond_all_are_refused(
    client: httpx.Client, slide: dict[str, Any], job: str, number: str
) -> None:
    path, tiles = slide["path"], f"/v1/slides/{slide['id']}_files"
    for place in (f"{number}/0_0", f"0/{number}_0", f"0/0_{number}"):
        assert_refused(client.get(f"{tiles}/{place}.jpeg"))
    asked = {"path": path, "x": number, "y": "5", "methods": "none"}
    if number != "-1":  # which is a place, if none on the slide
        assert_refused(client.get("/v1/explain", params=asked))
    assert_refused(client.get("/v1/explain", params={"path": path, "plane": number}))
    assert_refused(client.get("/v1/image", params={"plane": number}))
    assert_refused(client.post(f"/v1/image?plane={number}", content=picture()))
    assert_refused(client.post(f"/v1/image?shown={number}", content=picture()))
    heat = f"{job}/slides/small/heatmaps/heatmap"
    assert_refused(client.get(f"{heat}/{number}"))
    assert_refused(client.get(f"{heat}/0", params={"plane": number}))
    if number != "99999999999999999999":  # after which nothing comes
        assert_refused(client.get(f"{job}/events", params={"after": number}))


@pytest.mark.parametrize("number", [HUGE, "٣", "-1", "1e9", ""])
def test_a_last_event_that_is_no_number_begins_from_the_first(
    client: httpx.Client, job: str, number: str
) -> None:
    raw = [(b"last-event-id", number.encode())]
    answer = client.get(f"{job}/events", headers=raw)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"slides": ' + b"[" * 30_000,
        b'{"slides": ["\\ud800"]}',
        b'{"slides": ["/a\\u0000b"]}',
        b'{"slides": []}',
        b'{"slides": ["' + b"x" * 5000 + b'"]}',
        b'{"slides": "/", "slides": "/"}',
        b'{"slides": ["SLIDE"], "options": {"mpp": 1e400}}',
        b'{"slides": ["SLIDE"], "options": {"mpp": NaN}}',
        b'{"slides": ["SLIDE"], "options": {"batch": ' + HUGE.encode() + b"}}",
        b'{"slides": ["SLIDE"], "options": {"batch": 99999999999999999999999}}',
        b'{"slides": ["SLIDE"], "options": {"__class__": 1}}',
        b'{"slides": ["SLIDE"], "options": {"volume": "\\u202e"}}',
        b'{"slides": ["SLIDE"], "options": {"mask": {"type": "Polygon", "coordinates": 5}}}',
        b'{"slides": ["SLIDE"], "options": {"mask": "/etc/shadow"}}',
        b'{"slides": ["SLIDE"], "out": "/etc"}',
        b'{"slides": ["SLIDE"], "model": "https://example.org/x"}',
    ],
)
def test_no_body_of_a_job_is_a_fault_of_the_server(
    client: httpx.Client, slide: dict[str, Any], body: bytes
) -> None:
    content = body.replace(b"SLIDE", json.dumps(slide["path"])[1:-1].encode())
    assert_refused(client.post("/v1/jobs", content=content))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "ROOT/../../etc/passwd",
        "ROOT/%2e%2e/x",
        "ROOT/\0",
        "ROOT/" + "a" * 300,
        "ROOT/" + "a/" * 1500,
        "\\\\server\\share\\a.svs",
        "file:///etc/passwd",
        "s3://bucket/a.svs",
        "/proc/self/environ",
        "/dev/zero",
        "~/a.svs",
        "",
        "ROOT/small.tif/inner",
        "ROOT/leads-out.tif",
        "ROOT/leads-nowhere.tif",
        "ROOT/leads-to-itself.tif",
    ],
)
def test_no_path_leads_out_or_stops_the_server(
    client: httpx.Client, server: Running, tmp_path: Path, path: str
) -> None:
    links = {
        "leads-out": Path("/etc/passwd"),
        "leads-nowhere": tmp_path / "gone",
        "leads-to-itself": server.root / "leads-to-itself.tif",
    }
    made = [server.root / f"{name}.tif" for name in links]
    for link, target in zip(made, links.values(), strict=True):
        link.symlink_to(target)
    try:
        named = path.replace("ROOT", str(server.root))
        assert_refused(client.get("/v1/slides/open", params={"path": named}))
        assert_refused(client.get("/v1/explain", params={"path": named, "x": 1, "y": 1}))
        if named:
            assert_refused(client.get("/v1/slides", params={"folder": named}))
        assert_refused(client.post("/v1/jobs", json={"slides": [named]}))
        ours = str(server.root / "small.tif")
        assert_refused(client.post("/v1/jobs", json={"slides": [ours], "options": {"mask": named}}))
    finally:
        for link in made:
            link.unlink()


def test_every_route_but_the_page_asks_for_the_token(server: Running) -> None:
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        del client.headers["authorization"]
        asked = [(path, method) for path, methods in paths.items() for method in methods]
        guarded = [one for one in asked if one[0].startswith("/v1/")]
        assert len(guarded) > 15
        assert {one[0] for one in asked} - {one[0] for one in guarded} == {"/session"}
        for path, method in guarded:
            assert client.request(method, path).status_code == 401, path


def test_a_slide_that_many_open_at_once_is_opened_once(
    client: httpx.Client, server: Running, slide: dict[str, Any]
) -> None:
    def tile(number: int) -> int:
        other = server.root / ("large.tif" if number % 3 else "small.tif")
        opened = client.get("/v1/slides/open", params={"path": str(other)})
        name = opened.json()["id"]
        return client.get(f"/v1/slides/{name}_files/8/0_0.jpeg").status_code

    with ThreadPoolExecutor(12) as threads:
        assert set(threads.map(tile, range(36))) == {200}
    assert len(server.service.slides._open) <= server.service.limits.open_slides
    assert client.get(f"/v1/slides/{slide['id']}.dzi").status_code == 200
