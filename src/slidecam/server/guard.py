"""Who may come in, with how much, and what is answered where something is wrong.

The first thing that every request meets; an error becomes a status and a body that says what is
wrong and what to do.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from slidecam.errors import SlidecamError
from slidecam.parsing import whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SEE = "Correct the request; /openapi.json describes it."
UNFORESEEN = "slidecam did not foresee this; please report it with what the server printed."


class RequestError(SlidecamError):
    """A request that is refused; ``status`` is HTTP's, ``headers`` go with the answer.

    ``choices`` are the parameters by one of which it would be taken.
    """

    def __init__(
        self,
        status: int,
        problem: str,
        remedy: str,
        headers: Mapping[str, str] | None = None,
        choices: Sequence[str] = (),
    ) -> None:
        super().__init__(problem, remedy)
        self.status = status
        self.headers = dict(headers or {})
        self.choices = tuple(choices)


def busy(status: int, problem: str, seconds: int) -> RequestError:
    """Return the fault of a server that has enough to do: 429 or 503, and when to come again."""
    again = "Try again in a second."
    if seconds > 1:
        again = f"Try again in {seconds} s."
    return RequestError(status, problem, again, {"Retry-After": str(seconds)})


def body_of(error: SlidecamError) -> dict[str, Any]:
    """Return the body of every refusal."""
    words = {"error": error.problem, "remedy": error.remedy}
    # What a request holds that is no text in UTF-8 is repeated as the escape that JSON has for it.
    body: dict[str, Any] = {}
    for name, said in words.items():
        body[name] = said.encode(errors="backslashreplace").decode()
    if isinstance(error, RequestError) and error.choices:
        body["choices"] = list(error.choices)
    return body


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


@dataclass(frozen=True)
class Limits:
    """Bounds of requests; what lies beyond is refused with a remedy.

    Attributes
    ----------
    body_bytes, json_bytes
        Of an uploaded picture; and of a job with a mask in it, which is parsed whole.
    body_seconds
        Until a body has come in whole.
    pixels
        Of an uploaded picture, as its header says: a small file can hold a picture that fills the
        memory.
    image_seconds
        From the decoding of an uploaded picture to the last of its maps.
    waiting_images
        Pictures that are received, waiting or at work; each holds its bytes in memory.
    waiting_jobs
        Jobs that wait for a device.
    kept_jobs
        Jobs that are remembered after their end; their results stay on disk.
    kept_lines
        Events of a job that are remembered.
    open_slides, shelf_bytes
        Slides that stay open for viewers, and the bytes that are held for them.
    """

    body_bytes: int = 64_000_000
    json_bytes: int = 8_000_000
    body_seconds: float = 60.0
    pixels: int = 50_000_000
    image_seconds: float = 120.0
    waiting_images: int = 8
    waiting_jobs: int = 32
    kept_jobs: int = 200
    kept_lines: int = 50_000
    open_slides: int = 4
    shelf_bytes: int = 3_000_000_000

    def most_bytes(self, path: str) -> int:
        """Return how large a request to a path may be."""
        if path == PICTURES:
            return self.body_bytes
        return self.json_bytes


PICTURES = "/v1/image"
"""Where pictures are sent to; everything else is JSON."""

LOCAL = ("127.0.0.1", "localhost")
"""What this machine is called by itself, without a proxy between."""

PROTECTED = "/v1/"
"""What needs the token; the page itself and the description of the service hold no secret."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from elsewhere, and sends nothing there."""

SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": PAGE_POLICY,
    "cache-control": "no-store",
}

DRAINED_SECONDS = 2.0
"""How long a refused body is read and thrown away.

A client that is still sending would not see the answer.
"""


@dataclass(frozen=True)
class Guard:
    """An ASGI application that lets through what has the token, the right names and a bounded body.

    Attributes
    ----------
    app
        What lies behind it.
    token
        That clients must know.
    hosts
        Names by which the server may be called: ``127.0.0.1:PORT``, ``localhost:PORT``. Another one
        is a web page's that made its domain point to this machine.
    limits
        Of bodies.
    """

    app: ASGIApp
    token: str
    hosts: frozenset[str]
    limits: Limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # Answered as GET is; the server beneath sends no body.
            scope = {**scope, "method": "GET"}
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is not None:
            await _refuse(refusal, receive, send)
            return
        passage = _Passage(receive, send, self.limits, self.limits.most_bytes(scope["path"]))
        await self.app(scope, passage.receive, passage.send)

    def _refusal(self, scope: Scope, headers: Headers) -> RequestError | None:
        host = headers.get("host", "")
        if host not in self.hosts:
            return RequestError(
                421,
                f"This server is not called {host!r}.",
                "Call it by the url in its file.",
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin):
            return RequestError(
                403,
                f"Pages of {origin} may not call this server.",
                "Open the page it serves itself.",
            )
        if scope["path"].startswith(PROTECTED) and not self._knows_token(headers):
            remedy = (
                "Send Authorization: Bearer <token>, or open the page by the link that slidecam"
                " serve printed."
            )
            return RequestError(
                401,
                "The token is missing or wrong.",
                remedy,
                {"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        most = self.limits.most_bytes(scope["path"])
        size = whole_number(length)
        # Digits that are no number of use are a larger one.
        if length.isdecimal() and (size is None or size > most):
            return _too_large(most)
        return None

    def _is_own(self, origin: str) -> bool:
        """Whether a page is this server's: by http, or by https where a proxy has that name."""
        scheme, _colon, host = origin.partition("://")
        given = host.partition(":")[0] not in LOCAL
        return host in self.hosts and (scheme == "http" or (scheme == "https" and given))

    def _knows_token(self, headers: Headers) -> bool:
        scheme, _space, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode(), self.token.encode()
        )


def _too_large(most: int) -> RequestError:
    return RequestError(
        413,
        f"The request is larger than {most / 1e6:g} MB.",
        "Send a smaller picture; save a mask under a root, and name its path as options.mask.",
    )


async def _refuse(fault: SlidecamError, receive: Receive, send: Send) -> None:
    await drained(receive)
    content = encoded(fault)
    headers = {"content-type": "application/json", "content-length": str(len(content))}
    headers |= fault.headers if isinstance(fault, RequestError) else {}
    raw = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in (headers | SECURITY).items()
    ]
    await send({"type": "http.response.start", "status": fault.status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


async def drained(receive: Receive) -> None:
    """Read what is left of a body and throw it away, for a moment."""
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get(
                "more_body"
            ):
                pass
    except TimeoutError:
        return


class _Passage:
    """One request on its way in and out.

    Its body is counted, its answer gets the headers that all have.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits, most: int) -> None:
        self._receive, self._send, self._most = receive, send, most
        self._bytes = 0
        self._deadline = monotonic() + limits.body_seconds
        self._whole = False
        self._fault: RequestError | None = None
        self._answered = False

    async def receive(self) -> Message:
        """Return the next piece of the body.

        After too much or too long, what tells the application to give up.
        """
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - monotonic())):
                message = await self._receive()
        except TimeoutError:
            return self._given_up(
                RequestError(408, "The request took too long to come in.", "Send it again.")
            )
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._bytes > self._most:
            await drained(self._receive)
            return self._given_up(_too_large(self._most))
        return message

    def _given_up(self, fault: RequestError) -> Message:
        self._fault = fault
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on the answer, or say instead why the body was not taken."""
        if self._fault is not None:
            if not self._answered:
                self._answered = True
                await _refuse(self._fault, _nothing, self._send)
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
        await self._send(message)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
