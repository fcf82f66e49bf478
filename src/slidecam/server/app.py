"""The application: its routes, errors in one form, and the guard before all of it.

Each route parses a request, asks a room below and answers; no logic lives here.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from slidecam.parsing import ParseError, json_of, whole_number
from slidecam.server.callers import answered
from slidecam.server.explaining import CurrentService
from slidecam.server.explaining import router as explaining
from slidecam.server.folders import folder_listing, result_file, result_record
from slidecam.server.guard import SEE, Guard, RequestError, handle_errors
from slidecam.server.job_requests import request_schema
from slidecam.server.views import (
    VIEWER,
    comparison_record,
    heatmap_records,
    heatmap_values,
    slide_folder,
    static_files,
    tiles_record,
)
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slidecam.server.callers import Caller
    from slidecam.server.page_links import PageLinks
    from slidecam.server.service import Service

router = APIRouter()

RESULT_POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; img-src 'self' data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""A report names files by what they are called: it gets an origin of its own, without a token."""

EVENT_STREAM, JSON_LINES = "text/event-stream", "application/x-ndjson"
TILE_SECONDS = 3600


Plane = Annotated[int, Query(ge=0)]


# Routes are looked through in this order, and none is called for as often as the first.
@router.get("/v1/slides/{name}_files/{level}/{column}_{row}.jpeg")
async def tile(
    request: Request,
    name: str,
    level: int,
    column: int,
    row: int,
    service: CurrentService,
    plane: Plane = 0,
) -> Response:
    """Return one Deep Zoom tile; of a volume, of one plane."""

    def cut(caller: Caller) -> bytes:
        return service.slides.tile(name, level, column, row, plane, caller)

    return Response(
        await answered(request, service.tile_threads, cut),
        media_type="image/jpeg",
        headers={"cache-control": f"private, max-age={TILE_SECONDS}"},
    )


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


@router.post("/session")
def session(request: Request, authorization: Annotated[str, Header()] = "") -> dict[str, str]:
    """Exchange the code of a link (``Authorization: Code …``), which works once, for the token."""
    scheme, _space, code = authorization.partition(" ")
    if scheme.lower() != "code" or not request.app.state.links.redeem(code.strip()):
        raise RequestError(
            401,
            "This link was used before, or is of another start of the server.",
            "Open the file that slidecam serve names, or start slidecam serve --open.",
            {"WWW-Authenticate": "Code"},
        )
    return {"token": request.app.state.token}


@router.get("/v1/status")
def status(service: CurrentService) -> dict[str, Any]:
    """Tell the model, the device, the limits and how busy the server is."""
    return {
        **service.status(),
        "deep_zoom": f"{VIEWER}/openseadragon.min.js" in static_files(),
    }


@router.post(
    "/v1/jobs",
    status_code=202,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": request_schema()}}}},
)
async def submit(request: Request, service: CurrentService) -> JSONResponse:
    """Put slides in line to be classified."""
    content = await request.body()

    def put_in_line(caller: Caller) -> JSONResponse:
        # On a thread: megabytes of a mask hold up nobody's tiles.
        try:
            wanted = json_of(content)
        except ParseError as error:
            raise RequestError(400, f"The body is no JSON: {error}.", SEE) from error
        job = service.submit(wanted, caller)
        return JSONResponse(job.record(), 202, {"Location": f"/v1/jobs/{job.id}"})

    return await answered(request, service.opening_threads, put_in_line)


@router.get("/v1/jobs")
def jobs(service: CurrentService) -> dict[str, Any]:
    """List the jobs that are remembered, the newest first."""
    return {"jobs": [job.record() for job in service.jobs.all()]}


@router.get("/v1/runs")
def runs(service: CurrentService) -> dict[str, Any]:
    """List all runs that can be looked at, slide by slide: jobs, and what lies on disk."""
    return service.runs.listed()


@router.post("/v1/jobs/{name}/continue", status_code=202)
def go_on(name: str, service: CurrentService) -> JSONResponse:
    """Go on with a run that was stopped or failed, in its place and as it was begun."""
    found = service.go_on(name)
    return JSONResponse(found.record(), 202, {"Location": f"/v1/jobs/{found.id}"})


@router.get("/v1/jobs/{name}")
def job(name: str, service: CurrentService) -> dict[str, Any]:
    """Tell how a job stands."""
    return service.runs.run(name).record()


@router.delete("/v1/jobs/{name}")
def cancel(name: str, service: CurrentService) -> JSONResponse:
    """Stop a job: at once if it waits, else after the batch at work.

    What was classified is kept.
    """
    found = service.runs.run(name)
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
    journal = service.runs.run(name).journal
    first = max(after, whole_number(last_event_id) or 0)
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
    found = service.runs.run(name)
    if not found.has_ended:
        problem = f"Job {name} is {found.record()['status']}."
        raise RequestError(
            409, problem, "Follow its events to the end first.", {"Retry-After": "2"}
        )
    return result_record(found)


@router.get("/v1/jobs/{name}/files/{inner:path}")
def file(name: str, inner: str, service: CurrentService) -> FileResponse:
    """Return one file of a job's results."""
    return FileResponse(result_file(service.runs.run(name), inner))


@router.get("/results/{key}/{inner:path}", include_in_schema=False)
def linked_file(key: str, inner: str, service: CurrentService) -> FileResponse:
    """Return one file of a job's results to whoever has the link, which nobody can guess."""
    path = result_file(service.runs.by_key(key), inner)
    return FileResponse(path, headers={"content-security-policy": RESULT_POLICY})


@router.get("/v1/jobs/{name}/slides/{slide}/tiles")
def tiles(name: str, slide: str, service: CurrentService) -> dict[str, Any]:
    """Return a slide's classified tiles as arrays, while it is at work too."""
    return tiles_record(service.runs.run(name), slide)


@router.get("/v1/jobs/{name}/slides/{slide}/compared")
def compared(
    name: str,
    slide: str,
    service: CurrentService,
    before: Annotated[str, Query(max_length=200)],
    before_slide: Annotated[str, Query(max_length=4096)] = "",
) -> dict[str, Any]:
    """Hold a slide's run against an earlier one, ``before``, as ``slidecam compare`` does."""
    other = service.runs.run(before), before_slide or slide
    return comparison_record((service.runs.run(name), slide), other)


@router.get("/v1/jobs/{name}/slides/{slide}/heatmaps")
def heatmaps(name: str, slide: str, service: CurrentService) -> dict[str, Any]:
    """List a finished slide's heatmaps."""
    return {"heatmaps": heatmap_records(service.runs.run(name), slide)}


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
    values = heatmap_values(service.runs.run(name), slide, heatmap, (index, plane))
    return Response(values, media_type="application/octet-stream")


@router.get("/v1/slides")
async def folder(
    request: Request,
    service: CurrentService,
    folder: Annotated[str, Query(max_length=4096)] = "",
) -> dict[str, Any]:
    """List the slides and folders in a folder.

    Without one, the folders that the server may read.
    """

    def listed(_caller: Caller) -> dict[str, Any]:
        return folder_listing(service.defaults.roots, folder)

    return await answered(request, service.opening_threads, listed)


@router.get("/v1/slides/open")
async def open_slide(
    request: Request,
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

    def opened(_caller: Caller) -> dict[str, Any]:
        place = service.defaults.roots.existing(path)
        if not job:
            return service.slides.open(place, PictureView(image=image))
        found = service.runs.run(job)
        return service.slides.open_of_run(place, slide_folder(found, slide), found.standing(slide))

    return await answered(request, service.opening_threads, opened)


@router.get("/v1/slides/{name}.dzi")
def description(name: str, service: CurrentService) -> Response:
    """Return a slide's Deep Zoom description."""
    return Response(service.slides.description(name), media_type="application/xml")


router.include_router(explaining)

ABOUT = (
    "Whole slides and pictures, classified and explained by one warm model. Research use only, not"
    " for diagnosis."
)


def make_app(service: Service, token: str, hosts: frozenset[str], links: PageLinks) -> Guard:
    """Return the ASGI application.

    Parameters
    ----------
    service
        What stands service the routes; it is closed when the server stops.
    token, hosts
        See `Guard`.
    links
        Whose codes are exchanged for the token.
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
    app.state.service, app.state.token, app.state.links = service, token, links
    app.include_router(router)
    handle_errors(app)
    return Guard(app, token, hosts, service.limits)
