"""For operators and supervisors: alive, ready, metrics, and the API's description."""

from __future__ import annotations

import contextlib
import time

import sqlalchemy as sa
from aiohttp import web
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST

from billing_meter import outbox
from billing_meter.database import DatabaseUnavailable
from billing_meter.ledger_store import utc_ms
from billing_meter.store_health import Trouble
from media.api import BusyReason
from rooms.limits import BUSY_RETRY_S
from signaling import openapi
from signaling.metrics import exposition
from signaling.problem import Problem
from signaling.routing import Access, Call, Route, json_reply
from signaling.store_watch import TROUBLE_TEXTS

BUSY_TEXTS = {
    BusyReason.CPU: "cpu: the event loop has had next to no rest for seconds.",
    BusyReason.LAG: "lag: timers come too late; other programs may hold the processor.",
    BusyReason.DROPS: "drops: the kernel drops datagrams because a buffer is full.",
    BusyReason.PEERS: "peers: nearly as many peer connections as one process may have.",
}


class HealthReply(Struct, kw_only=True):
    """`ok`, always; a process that cannot say so gets no request answered."""

    status: str


async def healthz(call: Call) -> web.Response:
    """The process runs and its event loop turns."""
    return json_reply(HealthReply(status="ok"))


async def readyz(call: Call) -> web.Response:
    """New visitors are welcome: not draining, not overloaded, and the ledger takes writes."""
    if call.services.draining:
        raise Problem(503, "draining", "The server is about to stop.")
    busy = call.services.media.busy
    if busy is not None:
        headers = {"Retry-After": str(BUSY_RETRY_S)}
        raise Problem(503, "overloaded", BUSY_TEXTS[busy], headers=headers)
    trouble = call.services.database.health.trouble(time.monotonic_ns())
    if trouble is not None:
        raise Problem(503, "ledger_unavailable", TROUBLE_TEXTS[trouble])
    try:
        async with call.services.database.read() as connection:
            await connection.execute(sa.text("SELECT 1"))
    except DatabaseUnavailable:
        raise Problem(503, "ledger_unavailable", TROUBLE_TEXTS[Trouble.LOST]) from None
    return json_reply(HealthReply(status="ready"))


async def metrics(call: Call) -> web.Response:
    """Prometheus text; sums are made now, nothing is counted per packet for it."""
    services, mail = call.services, None
    with contextlib.suppress(DatabaseUnavailable):
        async with services.database.read() as connection:
            mail = await outbox.figures(connection, utc_ms(services.utc_now()))
    text = exposition(services, mail)
    response = web.Response(body=text, headers={"Cache-Control": "no-store"})
    response.headers["Content-Type"] = CONTENT_TYPE_LATEST
    return response


async def api_description(call: Call) -> web.Response:
    """This API as OpenAPI 3.1."""
    body = openapi.text(call.services.routes).encode()
    return web.Response(body=body, content_type="application/json")


ROUTES = (
    Route(
        "GET",
        "/api/v1/openapi.json",
        api_description,
        "This description",
        reply="application/json",
    ),
    Route("GET", "/healthz", healthz, "Alive", reply=HealthReply),
    Route(
        "GET",
        "/readyz",
        readyz,
        "Ready for visitors",
        reply=HealthReply,
        refusals=("503 draining", "503 ledger_unavailable", "503 overloaded"),
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        "Prometheus metrics",
        access=Access.OPERATOR,
        reply="text/plain",
        refusals=("403 not_operator",),
    ),
)
