"""Every money endpoint against bad input: refused with a stable code, and nothing moves.

The rows are made from the route table: each route of money by each kind of caller, each field of
its body by each wrong value, each id in its path by each that is not the caller's. What cannot be
derived (a body that is right, and another one) stands in `RIGHT`; a route without it fails here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientResponse
from msgspec import inspect

from billing_meter import schema
from billing_meter.ledger import Debit, Posted
from billing_meter.till_store import SESSION_CHARGE
from signaling.app import ROUTES
from signaling.buckets import Buckets
from signaling.idempotency import KEY_HEADER
from signaling.routing import Access, Route

MONEY = ("wallet", "orders", "webhooks", "sessions", "staff", "earnings", "payouts", "studio")
ELSE = ("accounts", "login", "logout", "reset", "me", "ws-ticket", "experts", "ice-servers")
ELSE += ("openapi",)
ROLES = {
    Access.MEMBER: {"owner", "member", "staff"},
    Access.EXPERT: {"expert"},
    Access.ACCOUNT: {"owner", "member", "staff", "expert"},
    Access.STAFF: {"staff"},
}
"""Callers whom a route lets in; `member` and `expert` own nothing of what is there."""
PRICES = {"private": 299, "cam2cam": 100, "two_way_audio": 50}
RIGHT: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "AutoReloadSettings": (
        {"enabled": True, "package": "credits-27", "daily_cap": 5},
        {"enabled": False, "package": "credits-27", "daily_cap": 5},
    ),
    "NewOrder": (
        {"package": "credits-27", "method": "card"},
        {"package": "credits-9", "method": "card"},
    ),
    "OrderPayment": ({}, {"token": "tok_ok"}),
    "NewLimit": ({"units": 600_000}, {"units": 700_000}),
    "NewBreak": ({"days": 1}, {"days": 7}),
    "RefundRequest": ({"complaint": "No sound."}, {"complaint": "No picture."}),
    "RefundDecision": ({"granted_units": 1}, {"granted_units": 2}),
    "OrderRefundRequest": ({"price_minor": 100}, {"price_minor": 200}),
    "PurchaseRefund": ({"granted_units": 100, "reason": "No."}, {}),
    "NewPayout": ({"units": 600_000}, {"units": 606_000}),
    "DestinationBody": (
        {"holder": "Luna Hart", "iban": "DE89370400440532013000"},
        {"holder": "Luna H.", "iban": "DE89370400440532013000"},
    ),
    "PayoutStep": ({"do": "approve"}, {"do": "deny"}),
    "StudioSettings": ({"prices": PRICES}, {"cam2cam": False}),
}
"""Body → one that is right, and another one for the same key."""
WRONG: dict[type, tuple[object, ...]] = {
    inspect.IntType: ("1", 1.5, True, [], {}, -1, 10**30, -(2**63) - 1),
    inspect.StrType: (1, True, [], {}, "x" * 10_000, "a\0b"),
    inspect.BoolType: (1, "true", [], {}),
}
UNLIKE = ([], "unlike", 2.5, 10**9)
"""For fields of other types: no value of these is right anywhere."""
WHOLE = (b"", b"{", b"[]", b'"x"', b"7", b"null", b"\xff", b"[" * 2_000, b'{"a":1,"a":2}')
STRANGE_IDS = ("no-such", "x" * 300, "%00", "..%2F..", "'%20or%201=1--", "%F0%9F%92%B0", "-1")
STRANGE_IDS += ("0", "9" * 18, "9" * 30, "%D9%A1", "1e3")
STRANGE_QUERIES = ("x", "-1", "9" * 40, "%00", "1e9", "%F0%9F%92%B0", "")
DENIED = {"not_signed_in", "members_only", "experts_only", "staff_only"}
EVERYWHERE = {"invalid", "bad_json", "wrong_content_type", "not_found", "too_large"}
MOVING = {"meter_owners", "meter_marks", "ledger_seals"}
"""Tables that the clock moves, whatever anybody sends."""
NOBODYS = "nobodys"
NAMES = ("order", "session", "payout", "purchase", "span")
"""What stands in a path."""


def first_word(route: Route) -> str:
    return re.split(r"[/.]", route.path)[3]


def money_routes() -> list[Route]:
    return [
        route
        for route in ROUTES
        if route.path.startswith("/api/v1/") and first_word(route) in MONEY
    ]


def test_every_route_is_of_money_or_not() -> None:
    """A new first word of a path, or a new body, is a conscious choice or a failing test."""
    words = {first_word(route) for route in ROUTES if route.path.startswith("/api/v1/")}
    assert words == {*MONEY, *ELSE}
    bodies = {route.body.__name__ for route in money_routes() if isinstance(route.body, type)}
    assert bodies == set(RIGHT)
    keyed = {route.body.__name__ for route in money_routes() if KEY_HEADER in route.headers}
    assert all(RIGHT[name][1] for name in keyed)


def bad_bodies(kind: type, right: dict[str, object]) -> Iterator[bytes]:
    """Each field wrong in each way, each missing, one too many, and what is no object at all."""
    for bad in bad_objects(inspect.type_info(kind), right):
        yield json.dumps(bad).encode()
    yield from WHOLE


def bad_objects(info: inspect.Type, right: dict[str, object]) -> Iterator[dict[str, object]]:
    """The same as objects; what is nested is made wrong from inside, too."""
    assert isinstance(info, inspect.StructType)
    for member in info.fields:
        name, kinds = member.encode_name, kinds_of(member.type)
        for one in kinds:
            for value in WRONG.get(type(one), UNLIKE):
                yield {**right, name: value}
            if isinstance(one, inspect.StructType):
                inner = right[name]
                assert isinstance(inner, dict)
                for value in bad_objects(one, inner):
                    yield {**right, name: value}
        if kinds == kinds_of(member.type, with_none=True):
            yield {**right, name: None}
        if member.required:
            yield {key: value for key, value in right.items() if key != name}
    yield {**right, "nobody_knows": 1}


def kinds_of(found: inspect.Type, *, with_none: bool = False) -> tuple[inspect.Type, ...]:
    """The types of a field that may have several."""
    kinds = found.types if isinstance(found, inspect.UnionType) else (found,)
    return tuple(one for one in kinds if with_none or not isinstance(one, inspect.NoneType))


@dataclass
class House:
    """The door, its people, and what went wrong so far."""

    door: Any
    clients: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    sent: int = 0

    def digest(self) -> str:
        """All that money is, in one number."""
        path = self.door.config.data_dir / "parlour.db"
        whole = hashlib.sha256()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            for table in schema.TABLES:
                if table.name not in MOVING:
                    for row in store.execute(f"SELECT * FROM {table.name}"):
                        whole.update(repr(row).encode())
        return whole.hexdigest()

    def path(self, route: Route, **other: str) -> str:
        names = {name: NOBODYS for name in NAMES} | {"span": "day"}
        path = route.path
        for name, value in (names | self.ids | other).items():
            path = path.replace(f"{{{name}}}", value)
        return path

    async def send(
        self, who: str, route: Route, path: str, body: bytes | None, **headers: str
    ) -> tuple[int, str]:
        """Status and code; what is no proper refusal and no success is a fault."""
        self.sent += 1
        sent = {"Content-Type": "application/json"} if body is not None else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if KEY_HEADER in route.headers and KEY_HEADER not in named:
            named[KEY_HEADER] = f"k{self.sent}"
        reply: ClientResponse = await self.clients[who].request(
            route.method, path, data=body, headers=sent | named
        )
        code = ""
        if reply.content_type == "application/problem+json":
            document = await reply.json(content_type=None)
            code = document["code"]
        known = {word.split()[1] for word in route.refusals} | DENIED | EVERYWHERE
        if reply.status >= 500 or (reply.status >= 400 and code not in known):
            self.fault(who, route, body, f"{reply.status} {code} {await reply.text()}"[:200])
        return reply.status, code

    def fault(self, who: str, route: Route, body: object, text: str) -> None:
        self.faults.append(f"{who}: {route.method} {route.path} {str(body)[:120]}: {text}")


@pytest.fixture
def flags(stripe_flags: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return stripe_flags


@pytest.fixture
async def house(door, stripe) -> House:
    """Olga has a paid order and a session with erik; nobody else has anything."""
    owner, (host, _) = await door.member("olga"), await door.expert("erik")
    await door.member("mona")
    await door.expert("nils")
    await door.staff("stan")
    made = House(door)
    names = {"owner": "olga", "member": "mona", "expert": "nils", "staff": "stan"}
    signed = await asyncio.gather(*(door.signed_in(name) for name in names.values()))
    made.clients = dict(zip(names, signed, strict=True)) | {"guest": door.client()}
    for name in ("purchases", "decisions", "exports"):
        unlimited = Buckets(burst=10**6, per_s=10**6, clock_ns=time.monotonic_ns)
        setattr(door.services.limits, name, unlimited)
    orders, ledger = door.services.orders, door.services.wallet.ledger
    order = await orders.create(owner.account_id, "credits-27", "card", "first")
    await orders.pay(owner.account_id, order.order_id)
    assert stripe.pay(stripe.session["id"])
    await orders.check(owner.account_id, order.order_id)
    await door.ended_session("s-1", owner, host)
    debit = Debit("d", owner.account_id, host.account_id, 2_990, SESSION_CHARGE, "session:s-1")
    assert isinstance(await ledger.execute(debit), Posted)
    made.ids = {"order": order.order_id, "session": "s-1"}
    return made


async def test_bad_input_moves_nothing(house: House) -> None:
    before = house.digest()
    for route in money_routes():
        if route.access is Access.PROVIDER:
            continue
        for who in house.clients:
            await (_refused if who not in _callers(route) else _tried)(house, who, route)
        after = house.digest()
        if after != before:
            house.fault("somebody", route, None, "money moved")
        before = after
    assert house.faults == []
    assert house.sent > 400


def _callers(route: Route) -> set[str]:
    return ROLES.get(route.access, {"guest", "owner", "member", "expert", "staff"})


def _first(route: Route) -> str:
    """Somebody who is let in and owns nothing."""
    return next(who for who in ("member", "expert", "staff") if who in _callers(route))


async def _refused(house: House, who: str, route: Route) -> None:
    """Not for them, whatever they send: the right body, the right id."""
    right = RIGHT[route.body.__name__][0] if isinstance(route.body, type) else None
    body = None if right is None else json.dumps(right).encode()
    status, code = await house.send(who, route, house.path(route), body)
    if status not in (401, 403) or code not in DENIED:
        house.fault(who, route, body, f"let in: {status} {code}")


async def _tried(house: House, who: str, route: Route) -> None:
    """For them, but wrong: bodies, ids that are not theirs, queries."""
    body = None
    if isinstance(route.body, type):
        right = RIGHT[route.body.__name__][0]
        body = json.dumps(right).encode()
        if who == _first(route):  # once is enough: bodies are read before anybody's standing
            for bad in bad_bodies(route.body, right):
                status, code = await house.send(who, route, house.path(route), bad)
                if not 400 <= status < 500:
                    house.fault(who, route, bad, f"taken: {status} {code}")
    if who == "owner":
        return
    strange = [name for name in NAMES if f"{{{name}}}" in route.path]
    for name in strange:
        theirs = [house.ids[name]] if name in house.ids and route.access is not Access.STAFF else []
        for value in (*STRANGE_IDS, *theirs):
            path = house.path(route, **{name: value})
            status, code = await house.send(who, route, path, body)
            if not 400 <= status < 500:
                house.fault(who, route, value, f"found: {status} {code}")
    for name in route.query:
        for value in STRANGE_QUERIES:
            await house.send(who, route, f"{house.path(route)}?{name}={value}", None)


async def test_replayed_and_edited_keys(house: House, stripe) -> None:
    """The same key and body is the same answer; with another body it is refused."""
    routes = [route for route in money_routes() if KEY_HEADER in route.headers]
    for route in routes:
        who = "owner" if route.access is Access.MEMBER else next(iter(ROLES[route.access]))
        assert isinstance(route.body, type)
        right, edited = (json.dumps(body).encode() for body in RIGHT[route.body.__name__])
        path = house.path(route)
        first = await house.send(who, route, path, right, Idempotency_Key="same")
        settled = house.digest()
        again = await house.send(who, route, path, right, Idempotency_Key="same")
        other = await house.send(who, route, path, edited, Idempotency_Key="same")
        if again != first or (first[0] < 300 and other != (409, "key_reused")):
            house.fault(who, route, edited, f"{first} {again} {other}")
        for bad in ("x" * 1_000, "\u00e9" * 121):
            status, _ = await house.send(who, route, path, right, Idempotency_Key=bad)
            if not 400 <= status < 500:
                house.fault(who, route, "a bad key", str(status))
        if house.digest() != settled:
            house.fault(who, route, edited, "money moved")
    assert house.faults == []
    assert len(routes) >= 3
    assert sum(charge["amount_refunded"] for charge in stripe.charges.values()) == 100


async def test_forged_and_replayed_webhooks(house: House, stripe) -> None:
    """Nothing moves without the secret, and with it once."""
    dispute = stripe.dispute(stripe.session["payment_intent"])
    genuine = stripe.event("charge.dispute.created", dispute["id"])
    body, signature = genuine
    other = body.replace(b"charge.dispute.created", b"charge.dispute.closed_")
    stale = stripe.event("charge.refunded", "ch_1", at_s=int(time.time()) - 3_600)
    forged = stripe.event("charge.refunded", "ch_1", secret="whsec_guessed")
    routes = [route for route in money_routes() if route.access is Access.PROVIDER]
    assert routes
    for route in routes:
        before = house.digest()
        for sent, header in (
            (body, ""),
            (body, "t=1,v1=00"),
            (body, signature.replace("v1=", "v0=")),
            (body + b" ", signature),
            (other, signature),
            (b"", signature),
            stale,
            forged,
            stripe.event("charge.refunded", "ch_unknown"),
            stripe.event("charge.refunded", "x" * 300),
            *((bad, "t=1,v1=" + "0" * 64) for bad in WHOLE),
        ):
            status, code = await house.send(
                "guest", route, route.path, sent, Stripe_Signature=header
            )
            if not 400 <= status < 500:
                house.fault("guest", route, sent, f"believed: {status} {code}")
        if house.digest() != before:
            house.fault("guest", route, None, "money moved")
        assert (await house.send("guest", route, route.path, body, Stripe_Signature=signature))[
            0
        ] == 200
        taken = house.digest()
        assert taken != before
        assert (await house.send("guest", route, route.path, body, Stripe_Signature=signature))[
            0
        ] == 200
        assert house.digest() == taken
    assert house.faults == []
