"""The application: routes, errors in one form, and the guard before all of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi import FastAPI

from slidecam.server.guard import Guard
from slidecam.server.http_errors import handle_faults
from slidecam.server.routes import router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slidecam.server.service import Service

ABOUT = (
    "Whole slides and pictures, classified and explained by one warm model. Research use only, not"
    " for diagnosis."
)


def make_app(service: Service, token: str, hosts: frozenset[str]) -> Guard:
    """Return the ASGI application.

    Parameters
    ----------
    service
        What stands behind the routes; it is closed when the server stops.
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
    handle_faults(app)
    return Guard(app, token, hosts, service.limits)
