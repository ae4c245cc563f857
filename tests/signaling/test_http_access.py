"""Who may call what: every route against every kind of caller and every kind of origin."""

from __future__ import annotations

import pytest

from signaling.app import ROUTES
from signaling.routing import Access, Route

UNSAFE = {"POST", "PUT", "DELETE", "PATCH"}
COOKIELESS = {Access.STREAM_KEY, Access.RESOURCE, Access.PROVIDER, Access.OPERATOR}
FILLED = {
    "{span}": "day",
    "{expert}": "luna",
    "{resource}": "no-such-resource",
    "{order}": "no-such-order",
    "{session}": "no-such-session",
    "{payout}": "no-such-payout",
    "{purchase}": "4711",
    "{file:.+}": "js/main.js",
}
ALLOWED = {
    Access.PUBLIC: {"guest", "member", "expert", "staff"},
    Access.ACCOUNT: {"member", "expert", "staff"},
    Access.MEMBER: {"member", "staff"},
    Access.EXPERT: {"expert"},
    Access.STAFF: {"staff"},
    Access.STREAM_KEY: set(),
    Access.RESOURCE: {"guest", "member", "expert", "staff"},
    Access.PROVIDER: {"guest", "member", "expert", "staff"},
    Access.OPERATOR: {"guest", "member", "expert", "staff"},
}
"""OPERATOR goes by address: the tests call from 127.0.0.1. `staff` is a member with the role."""
DENIALS = {
    (401, "not_signed_in"),
    (403, "members_only"),
    (403, "experts_only"),
    (403, "staff_only"),
}


def path_of(route: Route) -> str:
    path = route.path
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


async def test_every_route_against_every_caller(door, problem) -> None:
    await door.member("mia")
    await door.expert("luna")
    await door.staff("sam")
    clients = {
        "guest": door.client(),
        "member": await door.signed_in("mia"),
        "expert": await door.signed_in("luna"),
        "staff": await door.signed_in("sam"),
    }
    guarded = 0
    for caller, client in clients.items():
        for route in ROUTES:
            if route.path in ("/ws", "/api/v1/logout", "/api/v1/reset"):
                continue
            reply = await client.request(route.method, path_of(route), json={})
            if route.access is Access.STREAM_KEY:
                assert await problem(reply) == (401, "stream_key_missing")
            elif caller in ALLOWED[route.access]:
                if reply.content_type == "application/problem+json":
                    assert await problem(reply) not in DENIALS, (caller, route)
            else:
                assert await problem(reply) in DENIALS, (caller, route)
                guarded += 1
    assert guarded >= 15


def test_no_route_is_without_a_decision() -> None:
    """Public ones are listed by hand: a new route is a conscious choice or a failing test."""
    public = {(route.method, route.path) for route in ROUTES if route.access is Access.PUBLIC}
    assert public == {
        ("GET", "/"),
        ("GET", "/room/{expert}"),
        ("GET", "/studio"),
        ("GET", "/earnings"),
        ("GET", "/wallet"),
        ("GET", "/staff"),
        ("GET", "/sign-in"),
        ("GET", "/sign-up"),
        ("GET", "/help/camera"),
        ("GET", "/static/{file:.+}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/api/v1/me"),
        ("GET", "/api/v1/experts"),
        ("GET", "/api/v1/experts/{expert}"),
        ("GET", "/api/v1/experts/{expert}/thumbnail"),
        ("GET", "/api/v1/ice-servers"),
        ("GET", "/api/v1/wallet/packages"),
        ("GET", "/api/v1/openapi.json"),
        ("POST", "/api/v1/accounts"),
        ("POST", "/api/v1/login"),
        ("POST", "/api/v1/logout"),
        ("POST", "/api/v1/reset"),
        ("POST", "/api/v1/ws-ticket"),
    }
    # Programs on any origin: no account is looked at, and what one may do hangs on a key or on a
    # URL that nobody can guess.
    resources = {(route.method, route.path) for route in ROUTES if route.access is Access.RESOURCE}
    assert resources == {
        ("GET", "/ws"),  # the ticket in its first message says who it is
        ("OPTIONS", "/whip/{expert}"),
        ("OPTIONS", "/whip/{expert}/{resource}"),
        ("POST", "/whep/{expert}"),
        ("OPTIONS", "/whep/{expert}"),
        ("OPTIONS", "/whep/{expert}/{resource}"),
        ("PATCH", "/whep/{expert}/{resource}"),
        ("DELETE", "/whep/{expert}/{resource}"),
    }


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "OURS"},
]


async def test_no_unsafe_route_takes_a_foreign_origin(door, problem) -> None:
    await door.member("mia")
    client = await door.signed_in("mia")
    routes = [r for r in ROUTES if r.method in UNSAFE and r.access not in COOKIELESS]
    assert len(routes) >= 9
    for route in routes:
        for headers in FOREIGN:
            sent = {name: value.replace("OURS", door.origin) for name, value in headers.items()}
            reply = await client.request(route.method, path_of(route), json={}, headers=sent)
            assert await problem(reply) == (403, "cross_site"), (route, headers)
    assert (await (await client.get("/api/v1/me")).json())["you"] is not None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "OURS"},
        {"Origin": "OURS", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_our_own_pages_and_programs_are_let_in(door, headers: dict[str, str]) -> None:
    sent = {name: value.replace("OURS", door.origin) for name, value in headers.items()}
    assert (await door.client().post("/api/v1/ws-ticket", headers=sent)).status == 200


async def test_a_form_of_another_site_cannot_speak_json(door, problem) -> None:
    """What a page may send without asking first: forms and plain text."""
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        reply = await door.client().post(
            "/api/v1/login",
            data='{"username":"a","password":"b"}',
            headers={"Content-Type": content_type},
        )
        assert await problem(reply) == (415, "wrong_content_type")


async def test_reading_changes_nothing(door) -> None:
    await door.member("mia")
    client = await door.signed_in("mia")
    for route in ROUTES:
        if route.method == "GET" and route.path not in ("/ws",):
            await client.get(path_of(route))
    assert (await (await client.get("/api/v1/me")).json())["you"]["name"] == "mia"


async def test_websocket_origins(door) -> None:
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        (f"{door.origin}.evil.example", 403),
        (door.origin.replace("http://", "https://"), 403),
        (door.origin, 101),
    ):
        reply = await door.client().get(
            "/ws",
            headers={
                "Origin": origin,
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
            },
        )
        assert reply.status == status, origin
        reply.close()


class TestMetricsElsewhere:
    """From a network that the configuration does not name."""

    @pytest.fixture
    def flags(self) -> dict[str, dict[str, object]]:
        return {"metrics": {"allow": ["192.0.2.0/24"]}}

    async def test_metrics_are_for_operators(self, door, problem) -> None:
        reply = await door.client().get("/metrics")
        assert await problem(reply) == (403, "not_operator")
        spoofed = {"X-Forwarded-For": "192.0.2.1"}
        reply = await door.client().get("/metrics", headers=spoofed)
        assert await problem(reply) == (403, "not_operator")
