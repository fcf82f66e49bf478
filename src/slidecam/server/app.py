"""The application: its routes, errors in one form, and the guard before all of it.

Each route parses a request, asks a room below and answers; no logic lives here.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from slidecam.class_names import listed_names
from slidecam.server.folders import folder_listing, result_file, result_record
from slidecam.server.guard import Guard, RequestError, drained, handle_errors
from slidecam.server.job_requests import read_request, request_schema
from slidecam.server.pictures import PictureRequest
from slidecam.server.service import Service
from slidecam.server.views import (
    VIEWER,
    heatmap_records,
    heatmap_values,
    slide_folder,
    static_files,
    tiles_record,
)
from slidecam.viewing import PictureView

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


def service_of(request: Request) -> Service:
    """Return what stands service the routes."""
    found: Service = request.app.state.service
    return found


CurrentService = Annotated[Service, Depends(service_of)]
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
        raise RequestError(404, f"The page has no file {name!r}.", "Install slidecam again.")
    return Response(
        found.content, media_type=found.media_type, headers={"cache-control": "no-cache"}
    )


@router.get("/v1/status")
def status(service: CurrentService) -> dict[str, Any]:
    """Tell the model, the device, the limits and how busy the server is."""
    return {
        **service.status(),
        "deep_zoom": f"{VIEWER}/openseadragon.min.js" in static_files(),
    }


@router.post(
    "/v1/image",
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
)
async def image(
    request: Request,
    service: CurrentService,
    methods: Annotated[str | None, Query(max_length=500)] = None,
    classes: Annotated[str | None, Query(max_length=10_000)] = None,
    shown: Annotated[int, Query(ge=0, le=4096)] = 0,
) -> dict[str, Any]:
    """Classify one picture, whose bytes are the body, and explain it by some methods (or ``none``).

    ``shown`` asks for a copy of what the classifier saw, so large at most, as a data URL.
    """
    picture = PictureRequest(
        service.methods if methods is None else _methods(methods),
        tuple(filter(None, listed_names(classes or ""))),
        shown,
    )
    try:
        service.admit()
    except RequestError:
        await drained(request.receive)
        raise
    try:
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise RequestError(
                415,
                "The body is a form.",
                "Send the picture's bytes themselves as the body.",
            )
        return await service.explain(await request.body(), picture)
    finally:
        service.admitted.release()


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
def submit(body: Annotated[object, Body()], service: CurrentService) -> JSONResponse:
    """Put slides in line to be classified."""
    job = service.jobs.submit(service.defaults.job_of(read_request(body)))
    return JSONResponse(job.record(), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("/v1/jobs")
def jobs(service: CurrentService) -> dict[str, Any]:
    """List the jobs that are remembered, the newest first."""
    return {"jobs": [job.record() for job in service.jobs.all()]}


@router.get("/v1/jobs/{name}")
def job(name: str, service: CurrentService) -> dict[str, Any]:
    """Tell how a job stands."""
    return service.jobs.job(name).record()


@router.delete("/v1/jobs/{name}")
def cancel(name: str, service: CurrentService) -> JSONResponse:
    """Stop a job: at once if it waits, else after the batch at work.

    What was classified is kept.
    """
    found = service.jobs.job(name)
    ended = found.has_ended
    found.cancel()
    return JSONResponse(found.record(), 200 if ended else 202)


@router.get("/v1/jobs/{name}/events")
async def events(
    name: str,
    service: CurrentService,
    accept: Annotated[str, Header()] = JSON_LINES,
    last_event_id: Annotated[str, Header()] = "",
    after: Annotated[int, Query(ge=0)] = 0,
) -> StreamingResponse:
    """Tell a job's events from the first (or ``after`` one), then follow it to its end.

    JSON lines, or SSE.
    """
    journal = service.jobs.job(name).journal
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
def result(name: str, service: CurrentService) -> dict[str, Any]:
    """Tell what came of a job, with the paths of its files."""
    found = service.jobs.job(name)
    if not found.has_ended:
        problem = f"Job {name} is {found.status}."
        raise RequestError(
            409, problem, "Follow its events to the end first.", {"Retry-After": "2"}
        )
    return result_record(found)


@router.get("/v1/jobs/{name}/files/{inner:path}")
def file(name: str, inner: str, service: CurrentService) -> FileResponse:
    """Return one file of a job's results."""
    return FileResponse(result_file(service.jobs.job(name), inner))


@router.get("/results/{key}/{inner:path}", include_in_schema=False)
def linked_file(key: str, inner: str, service: CurrentService) -> FileResponse:
    """Return one file of a job's results to whoever has the link, which nobody can guess."""
    path = result_file(service.jobs.by_key(key), inner)
    return FileResponse(path, headers={"content-security-policy": RESULT_POLICY})


@router.get("/v1/jobs/{name}/slides/{slide}/tiles")
def tiles(name: str, slide: str, service: CurrentService) -> dict[str, Any]:
    """Return a slide's classified tiles as arrays, while it is at work too."""
    return tiles_record(service.jobs.job(name), slide)


@router.get("/v1/jobs/{name}/slides/{slide}/heatmaps")
def heatmaps(name: str, slide: str, service: CurrentService) -> dict[str, Any]:
    """List a finished slide's heatmaps."""
    return {"heatmaps": heatmap_records(service.jobs.job(name), slide)}


@router.get("/v1/jobs/{name}/slides/{slide}/heatmaps/{heatmap}/{index}")
def heatmap(
    name: str,
    slide: str,
    heatmap: str,
    index: int,
    service: CurrentService,
    plane: Plane = 0,
) -> Response:
    """Return one class of a heatmap as int16; of a volume, one plane of it."""
    values = heatmap_values(service.jobs.job(name), slide, heatmap, (index, plane))
    return Response(values, media_type="application/octet-stream")


@router.get("/v1/slides")
def folder(
    service: CurrentService, folder: Annotated[str, Query(max_length=4096)] = ""
) -> dict[str, Any]:
    """List the slides and folders in a folder.

    Without one, the folders that the server may read.
    """
    return folder_listing(service.defaults.roots, folder)


@router.get("/v1/slides/open")
def open_slide(
    path: Annotated[str, Query(max_length=4096)],
    service: CurrentService,
    job: str = "",
    slide: Annotated[str, Query(max_length=4096)] = "",
    image: Annotated[str | None, Query(max_length=4096)] = None,
) -> dict[str, Any]:
    """Open a slide for viewing.

    Of a file of several pictures, the ``image`` of that number (from 1) or name. With a ``job`` and
    a ``slide`` of it, the picture that was classified, only if it still lies there.
    """
    place = service.defaults.roots.existing(path)
    if not job:
        return service.slides.open(place, PictureView(image=image))
    return service.slides.open_of_run(place, slide_folder(service.jobs.job(job), slide))


@router.get("/v1/slides/{name}.dzi")
def description(name: str, service: CurrentService) -> Response:
    """Return a slide's Deep Zoom description."""
    return Response(service.slides.description(name), media_type="application/xml")


@router.get("/v1/slides/{name}_files/{level}/{column}_{row}.jpeg")
def tile(
    name: str,
    level: int,
    column: int,
    row: int,
    service: CurrentService,
    plane: Plane = 0,
) -> Response:
    """Return one Deep Zoom tile; of a volume, of one plane."""
    headers = {"cache-control": f"private, max-age={TILE_SECONDS}"}
    return Response(
        service.slides.tile(name, level, column, row, plane),
        media_type="image/jpeg",
        headers=headers,
    )


ABOUT = (
    "Whole slides and pictures, classified and explained by one warm model. Research use only, not"
    " for diagnosis."
)


def make_app(service: Service, token: str, hosts: frozenset[str]) -> Guard:
    """Return the ASGI application.

    Parameters
    ----------
    service
        What stands service the routes; it is closed when the server stops.
    token, hosts
        See `Guard`.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(service.close)

    # FastAPI's own documentation pages load scripts from the network; /openapi.json is enough for
    # programs.
    app = FastAPI(
        title="slidecam",
        description=ABOUT,
        version=version("slidecam"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(router)
    handle_errors(app)
    return Guard(app, token, hosts, service.limits)
