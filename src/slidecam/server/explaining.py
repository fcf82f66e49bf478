"""The routes that classify and explain while somebody waits: a picture, or a place of a slide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from slidecam.class_names import listed_names
from slidecam.server.callers import answered
from slidecam.server.guard import RequestError, drained
from slidecam.server.pictures import PictureRequest
from slidecam.server.places import SlidePlace
from slidecam.server.service import Service
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from slidecam.server.callers import Caller

router = APIRouter()

NONE = "none"


def service_of(request: Request) -> Service:
    """Return what stands behind the routes."""
    found: Service = request.app.state.service
    return found


CurrentService = Annotated[Service, Depends(service_of)]
Methods = Annotated[str | None, Query(max_length=500)]
Classes = Annotated[str | None, Query(max_length=10_000)]


@router.post(
    "/v1/image",
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
)
async def classify_picture(
    request: Request,
    service: CurrentService,
    methods: Methods = None,
    classes: Classes = None,
    shown: Annotated[int, Query(ge=0, le=4096)] = 0,
    image: Annotated[str | None, Query(max_length=4096)] = None,
    plane: Annotated[int | None, Query(ge=1, le=10_000_000)] = None,
) -> dict[str, Any]:
    """Classify one picture, whose bytes are the body, and explain it by some methods (or ``none``).

    ``shown`` asks for a copy of what the classifier saw, so large at most, as a data URL. Of a file
    of several, ``image`` or ``plane`` says which, as ``--image`` and ``--plane`` do; the answer's
    ``choices`` say by which of both another one is read.
    """
    seen = PictureView(image=image, plane=plane)
    picture = replace(_wanted(service, methods, classes), shown=shown, seen=seen)
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
        content = await request.body()

        def explain(caller: Caller) -> dict[str, Any]:
            return service.explain(content, picture, caller)

        return await answered(request, service.picture_thread, explain)
    finally:
        service.admitted.release()


def place_of(
    service: CurrentService,
    path: Annotated[str, Query(max_length=4096)],
    x: float | None = None,
    y: float | None = None,
    plane: Annotated[int | None, Query(ge=0)] = None,
    image: Annotated[str | None, Query(max_length=4096)] = None,
    mpp: Annotated[float | None, Query(gt=0)] = None,
) -> SlidePlace:
    """Return the place that a request names: ``x`` and ``y`` of a slide, or ``plane``."""
    at = None
    if x is not None and y is not None:
        at = (x, y)
    return SlidePlace(service.defaults.roots.existing(path), image, at, plane, mpp)


@router.get("/v1/explain")
async def explain_at(
    request: Request,
    service: CurrentService,
    place: Annotated[SlidePlace, Depends(place_of)],
    methods: Methods = None,
    classes: Classes = None,
) -> dict[str, Any]:
    """Explain one place of a slide by some methods, with how far to trust each map."""
    wanted = _wanted(service, methods, classes)
    service.admit()
    try:

        def explain(caller: Caller) -> dict[str, Any]:
            return service.explain_place(place, wanted, caller)

        return await answered(request, service.picture_thread, explain)
    finally:
        service.admitted.release()


def _wanted(service: Service, methods: str | None, classes: str | None) -> PictureRequest:
    named = service.methods() if methods is None else _methods(methods)
    return PictureRequest(named, tuple(filter(None, listed_names(classes or ""))))


def _methods(text: str) -> tuple[str, ...]:
    # In a query a plus is a space, and people write gradcam++ as it is; no method's name has a
    # space in it.
    return _names(",".join(name.lstrip().replace(" ", "+") for name in text.split(",")))


def _names(text: str) -> tuple[str, ...]:
    names = (name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name and name != NONE))
