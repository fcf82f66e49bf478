"""The service's routes.

Each parses a request, asks a room below and answers; no logic lives here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from slidecam.classes import listed_names
from slidecam.server.folders import folder_told, result_file, result_told
from slidecam.server.guard import drained
from slidecam.server.http_errors import RequestError
from slidecam.server.pictures import PictureRequest
from slidecam.server.schemas import read_request, request_schema
from slidecam.server.service import Service
from slidecam.server.static import VIEWER, static_files
from slidecam.server.views import heatmap_values, heatmaps_told, slide_folder, tiles_told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

router = APIRouter()

RESULT_POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; img-src 'self' data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""A report names files by what they are called: it gets an origin of its own, without a token."""

EVENT_STREAM, JSON_LINES = "text/event-stream", "application/x-ndjson"
NONE = "none"
TILE_SECONDS = 3600


def service(request: Request) -> Service:
    """Return what stands behind the routes."""
    found: Service = request.app.state.service
    return found


Behind = Annotated[Service, Depends(service)]
Plane = Annotated[int, Query(ge=0)]


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Return the page."""
    return await page_file("index.html")


@router.get("/page/{name:path}", include_in_schema=False)
async def page_file(name: str) -> Response:
    """Return a file of the page."""
    found = static_files().get(name)
    if found is None:
        raise RequestError(404, f"the page has no file {name!r}.", "Install slidecam again.")
    return Response(
        found.content, media_type=found.media_type, headers={"cache-control": "no-cache"}
    )


@router.get("/v1/status")
def status(behind: Behind) -> dict[str, Any]:
    """Tell the model, the device, the limits and how busy the server is."""
    return {**behind.told(), "deep_zoom": f"{VIEWER}/openseadragon.min.js" in static_files()}


@router.post(
    "/v1/image", openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}}
)
async def image(
    request: Request,
    behind: Behind,
    methods: Annotated[str | None, Query(max_length=500)] = None,
    classes: Annotated[str | None, Query(max_length=10_000)] = None,
    shown: Annotated[int, Query(ge=0, le=4096)] = 0,
) -> dict[str, Any]:
    """Classify one picture, whose bytes are the body, and explain it by some methods (or ``none``).

    ``shown`` asks for a copy of what the classifier saw, so large at most, as a data URL.
    """
    asked = PictureRequest(
        behind.methods if methods is None else _methods(methods),
        tuple(filter(None, listed_names(classes or ""))),
        shown,
    )
    try:
        behind.admit()
    except RequestError:
        await drained(request.receive)
        raise
    try:
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise RequestError(
                415, "the body is a form.", "Send the picture's bytes themselves as the body."
            )
        return await behind.explain(await request.body(), asked)
    finally:
        behind.admitted.release()


def _methods(text: str) -> tuple[str, ...]:
    # In a query a plus is a space, and people write gradcam++ as it is; no method's name has a
    # space in it.
    return _names(",".join(name.lstrip().replace(" ", "+") for name in text.split(",")))


def _names(text: str) -> tuple[str, ...]:
    names = (name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name and name != NONE))


@router.post(
    "/v1/jobs",
    status_code=202,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": request_schema()}}}},
)
def submit(body: Annotated[object, Body()], behind: Behind) -> JSONResponse:
    """Put slides in line to be classified."""
    job = behind.desk.submit(behind.orders.order(read_request(body)))
    return JSONResponse(job.told(), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("/v1/jobs")
def jobs(behind: Behind) -> dict[str, Any]:
    """List the jobs that are remembered, the newest first."""
    return {"jobs": [job.told() for job in behind.desk.jobs()]}


@router.get("/v1/jobs/{name}")
def job(name: str, behind: Behind) -> dict[str, Any]:
    """Tell how a job stands."""
    return behind.desk.job(name).told()


@router.delete("/v1/jobs/{name}")
def cancel(name: str, behind: Behind) -> JSONResponse:
    """Stop a job: at once if it waits, else after the batch at work.

    What was classified is kept.
    """
    found = behind.desk.job(name)
    ended = found.has_ended
    found.cancel()
    return JSONResponse(found.told(), 200 if ended else 202)


@router.get("/v1/jobs/{name}/events")
async def events(
    name: str,
    behind: Behind,
    accept: Annotated[str, Header()] = JSON_LINES,
    last_event_id: Annotated[str, Header()] = "",
    after: Annotated[int, Query(ge=0)] = 0,
) -> StreamingResponse:
    """Tell a job's events from the first (or ``after`` one), then follow it to its end.

    JSON lines, or SSE.
    """
    journal = behind.desk.job(name).journal
    first = max(after, int(last_event_id) if last_event_id.isdecimal() else 0)
    streamed = EVENT_STREAM in accept
    lines = _sent(journal.follow(first), streamed=streamed)
    return StreamingResponse(lines, media_type=EVENT_STREAM if streamed else JSON_LINES)


async def _sent(
    lines: AsyncIterator[tuple[int, str] | None], *, streamed: bool
) -> AsyncIterator[str]:
    async for line in lines:
        if line is None:
            yield ": nothing new\n\n" if streamed else "\n"
        else:
            yield f"id: {line[0]}\ndata: {line[1]}\n\n" if streamed else f"{line[1]}\n"


@router.get("/v1/jobs/{name}/result")
def result(name: str, behind: Behind) -> dict[str, Any]:
    """Tell what came of a job, with the paths of its files."""
    found = behind.desk.job(name)
    if not found.has_ended:
        problem = f"job {name} is {found.status}."
        raise RequestError(
            409, problem, "Follow its events to the end first.", {"Retry-After": "2"}
        )
    return result_told(found)


@router.get("/v1/jobs/{name}/files/{inner:path}")
def file(name: str, inner: str, behind: Behind) -> FileResponse:
    """Return one file of a job's results."""
    return FileResponse(result_file(behind.desk.job(name), inner))


@router.get("/results/{key}/{inner:path}", include_in_schema=False)
def linked_file(key: str, inner: str, behind: Behind) -> FileResponse:
    """Return one file of a job's results to whoever has the link, which nobody can guess."""
    path = result_file(behind.desk.by_key(key), inner)
    return FileResponse(path, headers={"content-security-policy": RESULT_POLICY})


@router.get("/v1/jobs/{name}/slides/{slide}/tiles")
def tiles(name: str, slide: str, behind: Behind) -> dict[str, Any]:
    """Return a slide's classified tiles as arrays, while it is at work too."""
    return tiles_told(behind.desk.job(name), slide)


@router.get("/v1/jobs/{name}/slides/{slide}/heatmaps")
def heatmaps(name: str, slide: str, behind: Behind) -> dict[str, Any]:
    """List a finished slide's heatmaps."""
    return {"heatmaps": heatmaps_told(behind.desk.job(name), slide)}


@router.get("/v1/jobs/{name}/slides/{slide}/heatmaps/{heatmap}/{index}")
def heatmap(
    name: str, slide: str, heatmap: str, index: int, behind: Behind, plane: Plane = 0
) -> Response:
    """Return one class of a heatmap as int16; of a volume, one plane of it."""
    values = heatmap_values(behind.desk.job(name), slide, heatmap, (index, plane))
    return Response(values, media_type="application/octet-stream")


@router.get("/v1/slides")
def folder(behind: Behind, folder: Annotated[str, Query(max_length=4096)] = "") -> dict[str, Any]:
    """List the slides and folders in a folder.

    Without one, the folders that the server may read.
    """
    return folder_told(behind.orders.roots, folder)


@router.get("/v1/slides/open")
def open_slide(
    path: Annotated[str, Query(max_length=4096)],
    behind: Behind,
    job: str = "",
    slide: Annotated[str, Query(max_length=4096)] = "",
) -> dict[str, Any]:
    """Open a slide for viewing.

    With a ``job`` and a ``slide`` of it, only if that is the one that was classified.
    """
    place = behind.orders.roots.existing(path)
    if not job:
        return behind.shelf.open(place)
    return behind.shelf.open_of_run(place, slide_folder(behind.desk.job(job), slide))


@router.get("/v1/slides/{name}.dzi")
def description(name: str, behind: Behind) -> Response:
    """Return a slide's Deep Zoom description."""
    return Response(behind.shelf.description(name), media_type="application/xml")


@router.get("/v1/slides/{name}_files/{level}/{column}_{row}.jpeg")
def tile(
    name: str, level: int, column: int, row: int, behind: Behind, plane: Plane = 0
) -> Response:
    """Return one Deep Zoom tile; of a volume, of one plane."""
    headers = {"cache-control": f"private, max-age={TILE_SECONDS}"}
    return Response(
        behind.shelf.tile(name, level, column, row, plane), media_type="image/jpeg", headers=headers
    )
