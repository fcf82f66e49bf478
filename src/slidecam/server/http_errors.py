"""From errors to answers: a status, and a body that says what is wrong and what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from slidecam.errors import SlidecamError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

SEE = "Correct the request; /openapi.json describes it."
UNFORESEEN = "slidecam did not foresee this; please report it with what the server printed."


class RequestError(SlidecamError):
    """A request that is refused; ``status`` is HTTP's, ``headers`` go with the answer."""

    def __init__(
        self,
        status: int,
        problem: str,
        remedy: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(problem, remedy)
        self.status = status
        self.headers = dict(headers or {})


def busy(status: int, problem: str, seconds: int) -> RequestError:
    """Return the fault of a server that has enough to do: 429 or 503, and when to come again."""
    again = "Try again in a second."
    if seconds > 1:
        again = f"Try again in {seconds} s."
    return RequestError(status, problem, again, {"Retry-After": str(seconds)})


def body_of(error: SlidecamError) -> dict[str, str]:
    """Return the body of every refusal."""
    return {"error": error.problem, "remedy": error.remedy}


def encoded(error: SlidecamError) -> bytes:
    """Return that body as bytes."""
    return json.dumps(body_of(error), ensure_ascii=False).encode()


def handle_errors(app: FastAPI) -> None:
    """Let ``app`` answer every error in the same form."""
    app.add_exception_handler(SlidecamError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unforeseen)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SlidecamError)  # noqa: S101  (for the type checker: it was registered so)
    headers = None
    if isinstance(error, RequestError):
        headers = error.headers
    return JSONResponse(body_of(error), error.status, headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (for the type checker: it was registered so)
    complaints = "; ".join(_complaint(each) for each in error.errors()[:5])
    return JSONResponse({"error": f"{complaints}.", "remedy": SEE}, 400)


def _complaint(detail: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"] if part not in {"body", "query", "path"})
    if place:
        return f"{place}: {detail['msg']}"
    return str(detail["msg"])


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  (for the type checker: it was registered so)
    known = {
        404: (
            f"There is nothing at {request.url.path}.",
            "See /openapi.json for what there is.",
        ),
        405: (
            f"{request.url.path} does not take {request.method}.",
            "See /openapi.json for what it takes.",
        ),
    }
    problem, remedy = known.get(error.status_code, (f"{error.detail}.", "Correct the request."))
    return JSONResponse({"error": problem, "remedy": remedy}, error.status_code, error.headers)


async def _left(_request: Request, _error: Exception) -> JSONResponse:
    # Nobody is there to read it, unless the guard cut the body off: then it says why in its own
    # words.
    return JSONResponse(
        {"error": "The request ended in the middle.", "remedy": "Send it again."}, 400
    )


async def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"{type(error).__name__}: {error}.", "remedy": UNFORESEEN}, 500)
