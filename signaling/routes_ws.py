"""The WebSocket's place in the route table; all of its behaviour is in `connection`."""

from __future__ import annotations

from aiohttp import web

from signaling.connection import Door
from signaling.routing import Access, Call, Route


async def websocket(call: Call) -> web.StreamResponse:
    """Upgrade. The one-time ticket in `hello` says who it is, no cookie and no address."""
    services = call.services
    return await Door(services.hub, services.origins).websocket_handler(call.request)


ROUTES = (
    Route(
        "GET",
        "/ws",
        websocket,
        "The WebSocket; its messages are described in the AsyncAPI file",
        access=Access.RESOURCE,
        status=101,
        refusals=("403 http_error",),
    ),
)
