"""The server's life: bind, build, announce, serve until a signal, drain, take down in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import structlog
from aiohttp import web

from media.heap import collapse
from signaling import (
    compose,
    pages,
    routes_auth,
    routes_earnings,
    routes_experts,
    routes_free_credits,
    routes_ledger_export,
    routes_limits,
    routes_ops,
    routes_payouts,
    routes_refunds,
    routes_rewards,
    routes_sessions,
    routes_staff_orders,
    routes_staff_payouts,
    routes_staff_purchases,
    routes_staff_refunds,
    routes_studio,
    routes_transactions,
    routes_wallet,
    routes_webhooks,
    routes_whep,
    routes_whip,
    routes_ws,
    store,
    tls,
)
from signaling.config import Config, ConfigError, host_port
from signaling.csrf import bound_origins, bracketed
from signaling.middlewares import problems, safe_headers
from signaling.routing import BODY_BYTES_MAX, install
from signaling.sdp_http import any_origin
from signaling.services import Announce, Beside, Services
from signaling.tasks import background, every

log = structlog.get_logger(__name__)

KEEPALIVE_S = 30.0
"""aiohttp's default of an hour keeps silent and half-sent connections open (F9)."""
CLOSE_TIMEOUT_S = 5.0
"""How long a request in progress may take after the drain."""
EXPERTS_REFRESH_S = 3.0
"""How soon an expert added by the command line shows up in a running server."""
HTTP_BACKLOG = 1024
EXIT_FORCED = 130

ROUTES = (
    *pages.ROUTES,
    *routes_auth.ROUTES,
    *routes_experts.ROUTES,
    *routes_wallet.ROUTES,
    *routes_transactions.ROUTES,
    *routes_rewards.ROUTES,
    *routes_ledger_export.ROUTES,
    *routes_free_credits.ROUTES,
    *routes_webhooks.ROUTES,
    *routes_limits.ROUTES,
    *routes_sessions.ROUTES,
    *routes_refunds.ROUTES,
    *routes_staff_refunds.ROUTES,
    *routes_staff_purchases.ROUTES,
    *routes_staff_payouts.ROUTES,
    *routes_earnings.ROUTES,
    *routes_payouts.ROUTES,
    *routes_staff_orders.ROUTES,
    *routes_studio.ROUTES,
    *routes_whip.ROUTES,
    *routes_whep.ROUTES,
    *routes_ws.ROUTES,
    *routes_ops.ROUTES,
)


def make_app(services: Services) -> web.Application:
    """The web application over wired services; nothing here opens, starts or listens."""
    app = web.Application(middlewares=[problems], client_max_size=BODY_BYTES_MAX)
    app.on_response_prepare.append(safe_headers(https=services.config.production))
    app.on_response_prepare.append(any_origin)
    install(app, services, ROUTES)
    return app


async def serve(config: Config, announce: Announce, beside: Beside | None = None) -> int:
    """Run until SIGTERM or SIGINT and drain; gives the exit code. ConfigError before it listens."""
    raise_descriptor_limit()
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(bound_socket(config.server.http))
        store.prepare_data_dir(config.data_dir)
        stack.enter_context(only_server_of(config.data_dir))
        context = tls.server_context(config, store.utc_now())
        database = await stack.enter_async_context(store.opened_store(config))
        hasher = stack.enter_context(store.passwords())
        await hasher.warm()
        services, till = compose.build(config, database, hasher)
        _set_addresses(services, listener.getsockname()[1])
        await stack.enter_async_context(compose.running(services, till))
        await stack.enter_async_context(background(services.lag.run()))
        await stack.enter_async_context(
            background(every(EXPERTS_REFRESH_S, "read profiles", services.experts.load))
        )
        runner = web.AppRunner(
            make_app(services),
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=CLOSE_TIMEOUT_S,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stopping = _stop_signals()
        listener.listen(HTTP_BACKLOG)
        await web.SockSite(runner, listener, ssl_context=context).start()
        media_host, _ = host_port(config.media.listen, "media.listen")
        media = f"{bracketed(media_host)}:{services.media.port}"
        if beside is not None:
            await stack.enter_async_context(beside(services))
        _settle_memory()
        announce(f"READY {services.local_url} media udp {media}")
        await stopping.wait()
        await drain(services)
    return 0


async def drain(services: Services) -> None:
    """No new visitors, a notice, running sessions end cleanly, sockets close."""
    services.draining = True
    log.info("draining", sessions=len(services.house.desk.sessions))
    await services.house.drain(services.config.server.drain_s)
    services.hub.close_all()


def _settle_memory() -> None:
    """What was loaded so far stays for good: the collector need not walk it again.

    A full collection stops the loop for as long as it takes to look at every object, and packets
    wait: 60 ms for the modules alone, measured; next to nothing once they are left out.
    """
    gc.collect()
    gc.freeze()
    collapse()


def raise_descriptor_limit() -> None:
    """As many open sockets as this process may have: the usual soft limit is a crowded room's."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def only_server_of(data_dir: Path) -> Iterator[None]:
    """Hold the data directory: two servers under one name would settle each other's sessions."""
    with (data_dir / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another server already runs on {data_dir}") from None
        yield


@contextlib.contextmanager
def bound_socket(address: str) -> Iterator[socket.socket]:
    """Bind the door before anything else is touched, so that a busy port costs nothing."""
    host, port = host_port(address, "server.http")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            busy = error.errno == errno.EADDRINUSE
            reason = "is in use by another program" if busy else f"cannot be used: {error.strerror}"
            raise ConfigError(f"HTTP address {address} {reason}") from None
        listener.setblocking(False)
        yield listener


def _stop_signals() -> asyncio.Event:
    """Set by the first signal; a second one ends the process where it stands."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(EXIT_FORCED)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping


def _set_addresses(services: Services, port: int) -> None:
    """What can be known only after binding: our own origins and URL."""
    config = services.config
    services.origins.add(bound_origins(config, port, tls.local_names()))
    host, _ = host_port(config.server.http, "server.http")
    scheme = "https" if config.serves_tls else "http"
    shown = "127.0.0.1" if host in ("0.0.0.0", "localhost") else bracketed(host)
    services.local_url = f"{scheme}://{shown}:{port}"
    services.public_url = config.server.public_url or services.local_url
