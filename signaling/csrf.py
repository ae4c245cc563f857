"""Cross-site requests: refused before any handler runs, by what browsers say about themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import web
from yarl import URL

from signaling.config import Config, host_port, is_loopback
from signaling.identity import bearer_token
from signaling.problem import Problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Origins:
    """The exact list of origins that may change things and open WebSockets."""

    def __init__(self, configured: Sequence[str]) -> None:
        self._allowed = set(configured)

    def add(self, origins: Sequence[str]) -> None:
        """Add the origins of the address that was really bound."""
        self._allowed.update(origins)

    def allows(self, origin: str | None) -> bool:
        """Whether the Origin header is one of ours, to the letter."""
        return origin is not None and origin in self._allowed

    def __contains__(self, origin: object) -> bool:
        """As `allows`."""
        return origin in self._allowed

    def __iter__(self) -> Iterator[str]:
        """In a stable order."""
        return iter(sorted(self._allowed))


def origins_of(config: Config) -> Origins:
    """The configured origins, and that of the public URL."""
    server = config.server
    return Origins([*server.origins, *([server.public_url] if server.public_url else [])])


def bound_origins(config: Config, port: int, local_names: Sequence[str]) -> list[str]:
    """Origins under which a development server is reached directly: loopback, or every local name.

    In production only what is configured counts.
    """
    if config.production:
        return []
    scheme = "https" if config.serves_tls else "http"
    host, _ = host_port(config.server.http, "server.http")
    if is_loopback(host):
        names: Sequence[str] = LOOPBACK_NAMES
    elif host in ("0.0.0.0", "::"):
        names = [*LOOPBACK_NAMES, *(bracketed(name) for name in local_names)]
    else:
        names = [bracketed(host)]
    return [str(URL(f"{scheme}://{name}:{port}").origin()) for name in names]


def bracketed(host: str) -> str:
    """An IPv6 address as URLs write it."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def check_same_site(request: web.Request, origins: Origins) -> None:
    """Refuse an unsafe request that a foreign page made a browser send.

    `Sec-Fetch-Site` cannot be forged by a page; without it the exact Origin decides. A request
    with neither is no browser's, and no page can make one (all browsers send Origin with POST).
    Requests with a bearer token need no check: a foreign page does not have it.
    """
    if request.method in SAFE_METHODS or bearer_token(request) is not None:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    same = site == "same-origin" if site is not None else origin is None
    if origin is not None:
        same = origins.allows(origin) and site in (None, "same-origin")
    if not same:
        raise Problem(403, "cross_site", "This must come from Parlour's own pages.")
