"""What happens around every handler: problems become documents, responses get safe headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from billing_meter.database import DatabaseUnavailable
from signaling.identity import language_of
from signaling.pages import HSTS, SECURITY_HEADERS, shell
from signaling.problem import Problem

log = structlog.get_logger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NOT_PAGES = ("/api/", "/whip/", "/whep/", "/static/", "/ws", "/healthz", "/readyz", "/metrics")
STORE_RETRY_S = 5
"""What a locked or full store may need; browsers' pages do not repeat by themselves."""
UNAVAILABLE = "Nothing can be saved right now; try again in a moment, purchases with the same key."
CODES = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    413: ("too_large", "The body is too large."),
}


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, aiohttp's own errors and faults into problem documents or a page."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        return _from_aiohttp(request, error)
    except DatabaseUnavailable as error:
        log.error("the store failed a request", route=_route_name(request), error=str(error))
        headers = {"Retry-After": str(STORE_RETRY_S)}
        return Problem(503, "ledger_unavailable", UNAVAILABLE, headers=headers).response()
    except Exception:
        # The text of an unexpected error stays in the log (ASVS 16.5.1).
        log.exception("request failed", method=request.method, route=_route_name(request))
        return Problem(500, "internal", "Something went wrong here; it was noted.").response()


def safe_headers(*, https: bool) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal handler that puts the security headers on every response, static files too."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        if https:
            response.headers.setdefault("Strict-Transport-Security", HSTS)
        response.headers.pop("Server", None)

    return add


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        return error
    wants_page = request.method in ("GET", "HEAD") and not request.path.startswith(NOT_PAGES)
    if error.status == 404 and wants_page:
        mode = "page"
        return web.Response(
            status=404,
            text=shell("not-found", language_of(request), mode=mode),
            content_type="text/html",
        )
    code, detail = CODES.get(error.status, ("http_error", error.reason))
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return Problem(error.status, code, detail, headers=headers).response()


def _route_name(request: web.Request) -> str:
    """The route's pattern and not its path: paths carry names and resource secrets."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(none)"
