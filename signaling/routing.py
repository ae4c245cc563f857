"""Routes as data: one table gives the handlers, the access rules, the OpenAPI file and the tests.

A handler gets a `Call` and returns a response or raises `Problem`. Who may call it is written in
its `Route` and checked here, before it runs.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from rooms.roles import Language
from signaling.csrf import check_same_site
from signaling.identity import Identity, language_of
from signaling.problem import Problem, not_signed_in

if TYPE_CHECKING:
    from signaling.services import Services

BODY_BYTES_MAX = 64 * 1024
"""The largest body is an SDP offer of about 8 KiB; the WebSocket has the same bound."""
BODY_TIMEOUT_S = 8.0
"""As long as OBS itself waits for an answer; a body that trickles in is cut (F9)."""

ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The only way for U+0000 to be in a JSON text; behind an even number of backslashes it is one."""
T = TypeVar("T", bound=Struct)


class Access(enum.StrEnum):
    """Who may call a route; the first check of every request."""

    PUBLIC = "public"
    ACCOUNT = "account"
    MEMBER = "member"
    EXPERT = "expert"
    STAFF = "staff"
    """Accounts of any kind with the role of staff, looked up at every request."""
    STREAM_KEY = "stream_key"
    """WHIP: the expert's key as bearer token, checked by the handler against that expert."""
    RESOURCE = "resource"
    """WHIP, WHEP and the WebSocket, for programs on any origin: no account is looked at. Whoever
    knows a resource's unguessable URL may change and end it; what is taken anybody may ask."""
    PROVIDER = "provider"
    """Payment providers: signed requests, checked by the handler over the raw bytes."""
    OPERATOR = "operator"
    """Networks that the configuration names."""


COOKIELESS = frozenset({Access.STREAM_KEY, Access.RESOURCE, Access.PROVIDER, Access.OPERATOR})
"""No cookie is looked at, so a foreign page cannot borrow one."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[web.StreamResponse]]
    summary: str
    access: Access = Access.PUBLIC
    body: type[Struct] | str | None = None
    """A struct for JSON, or a media type."""
    reply: type[Struct] | str | None = None
    status: int = 200
    refusals: tuple[str, ...] = ()
    """`status code` pairs as text, for the API description."""
    headers: tuple[str, ...] = ()
    """Required request headers of its own."""
    query: tuple[str, ...] = ()
    """Optional query parameters."""


@dataclass(slots=True)
class Call:
    """One request being answered."""

    request: web.Request
    services: Services
    identity: Identity | None
    address: str
    """The client's address, as seen through trusted proxies only."""
    path: dict[str, str] = field(default_factory=dict)

    @property
    def language(self) -> Language:
        """The caller's language."""
        return language_of(self.request, self.identity.account if self.identity else None)

    @property
    def signed_in(self) -> Identity:
        """The identity, on routes whose access rule demands one."""
        if self.identity is None:
            raise not_signed_in()
        return self.identity

    @property
    def account_id(self) -> str:
        """Whose account it is, on such routes."""
        return self.signed_in.account.account_id

    async def json(self, kind: type[T]) -> T:
        """The body as a struct; refusals name the field."""
        if self.request.content_type != "application/json":
            raise Problem(415, "wrong_content_type", "Send application/json.")
        raw = await self.body()
        if ESCAPED_NUL.search(raw):
            raise no_nul()
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as error:
            raise Problem(422, "invalid", str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, "bad_json", str(error)) from None

    async def body(self, bytes_max: int = BODY_BYTES_MAX) -> bytes:
        """The raw body, bounded in size and in time."""
        if self.request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
            raise Problem(415, "wrong_content_encoding", "Send the body uncompressed.")
        if (self.request.content_length or 0) > bytes_max:
            raise _too_large(bytes_max)
        content = self.request.content
        if content.is_eof():  # all of it came with the head, or right behind
            whole = content.read_nowait()
            if len(whole) > bytes_max:
                raise _too_large(bytes_max)
            return whole
        received = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in content.iter_any():
                    received += chunk
                    if len(received) > bytes_max:
                        raise _too_large(bytes_max)
        except TimeoutError:
            raise Problem(
                408,
                "body_too_slow",
                "The body did not arrive in time.",
                headers={"Connection": "close"},
            ) from None
        return bytes(received)


def no_nul() -> Problem:
    """Databases differ in whether they can keep it, and no text of ours has it."""
    return Problem(422, "invalid", "U+0000 is not a character of any text here.")


def _too_large(bytes_max: int) -> Problem:
    return Problem(
        413,
        "too_large",
        "The body is too large.",
        limit=bytes_max,
        headers={"Connection": "close"},
    )


def install(app: web.Application, services: Services, routes: Iterable[Route]) -> None:
    """Register the routes; every other method on their paths becomes 405."""
    services.routes = tuple(routes)
    for route in services.routes:
        app.router.add_route(route.method, route.path, _guarded(services, route))


def json_reply(content: Struct | dict[str, Any], status: int = 200) -> web.Response:
    """A JSON response that no cache keeps: nearly every one depends on who asks."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _guarded(
    services: Services, route: Route
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        address = services.client_address(request)
        if "\0" in request.path:
            raise Problem(404, "not_found", "There is nothing here.")
        if "\0" in request.query_string:
            raise no_nul()
        identity = None
        if route.access not in COOKIELESS:
            check_same_site(request, services.origins)
            identity = await services.identities.of(request)
        _check_access(route.access, identity, services, address)
        call = Call(request, services, identity, address, dict(request.match_info))
        return await route.handler(call)

    return handle


def _check_access(
    access: Access, identity: Identity | None, services: Services, address: str
) -> None:
    match access:
        case Access.PUBLIC | Access.STREAM_KEY | Access.RESOURCE | Access.PROVIDER:
            return
        case Access.OPERATOR:
            if not services.is_operator(address):
                raise Problem(403, "not_operator", "Not from this address.")
        case Access.ACCOUNT:
            if identity is None:
                raise not_signed_in()
        case Access.STAFF:
            if identity is None:
                raise not_signed_in()
            if not identity.account.staff:
                raise Problem(403, "staff_only", "Only for staff.")
        case Access.MEMBER | Access.EXPERT:
            if identity is None:
                raise not_signed_in()
            if identity.account.kind != access.value:
                raise Problem(403, f"{access.value}s_only", f"Only for {access.value}s.")
