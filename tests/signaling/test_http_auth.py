"""Accounts, sign-in, sessions, tickets, bearer tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3

import jwt
import pytest
from yarl import URL

from rooms.events import CardGone
from rooms.roles import Standing, Visitor, VisitorKind
from signaling.accounts import NewAccount
from signaling.passwords import NOBODYS
from signaling.tokens import Grant, Tokens

PASSWORD = "correct-horse-9"
SIGN_UP = {"username": "Mia.Berg", "email": "mia@example.org", "password": PASSWORD}


async def test_sign_up_signs_in_and_the_name_is_taken_in_every_form(door, problem) -> None:
    client = door.client()
    reply = await client.post("/api/v1/accounts", json=SIGN_UP)
    assert reply.status == 201
    you = (await reply.json())["you"]
    assert you == {
        "role": "member",
        "name": "Mia.Berg",
        "premium": False,
        "rank": "none",
        "language": "en",
        "locked": [],
    }
    me = await (await client.get("/api/v1/me")).json()
    assert me["you"]["name"] == "Mia.Berg"
    assert me["balance"]["available_units"] == 0
    for name in ("mia.berg", "MIA.BERG"):
        again = await door.client().post("/api/v1/accounts", json=SIGN_UP | {"username": name})
        assert await problem(again) == (409, "username_taken")


async def test_sign_up_refusals(door, problem) -> None:
    for change, refusal in (
        ({"username": "ab"}, (422, "bad_username")),
        ({"username": "a b c"}, (422, "bad_username")),
        ({"username": "ａｄｍｉｎ"}, (422, "bad_username")),
        ({"username": "Admin"}, (422, "bad_username")),
        ({"username": "<img src=x>"}, (422, "bad_username")),
        ({"email": "no at sign"}, (422, "bad_email")),
        ({"email": "a@b"}, (422, "bad_email")),
        ({"email": 'a"b@example.org'}, (422, "bad_email")),
        ({"password": "short"}, (422, "weak_password")),
        ({"password": "Passord123"}, (422, "weak_password")),
        ({"password": "xxMIA.BERGxx"}, (422, "weak_password")),
        ({"password": "x" * 200}, (422, "weak_password")),
        ({"role": "expert"}, (422, "invalid")),
        ({"email": "m\0a@example.org"}, (422, "invalid")),
        ({"username": None}, (422, "invalid")),
    ):
        reply = await door.client().post("/api/v1/accounts", json=SIGN_UP | change)
        assert await problem(reply) == refusal, change
    assert await door.services.accounts.count() == 0


async def test_a_nul_never_gets_as_far_as_the_database(door, problem) -> None:
    """PostgreSQL cannot keep it: what is a stranger's mistake would look like a broken store."""
    body = {"username": "mia\0", "password": "correct-horse-9"}
    reply = await door.client().post("/api/v1/login", json=body)
    assert await problem(reply) == (422, "invalid")
    for path in ("/api/v1/experts/lu%00na", "/api/v1/experts?a=%00", "/whep/lu%00na"):
        reply = await door.client().get(URL(path, encoded=True))
        assert reply.status in (404, 405, 422), path
    backslash = {"username": "mia", "password": "a backslash and u0000: \\u0000"}
    reply = await door.client().post("/api/v1/login", json=backslash)
    assert reply.status == 401


async def test_wrong_name_and_wrong_password_look_the_same(door) -> None:
    await door.member()
    texts = []
    for name, password in (("mia", "wrong-password"), ("nobody", PASSWORD)):
        body = {"username": name, "password": password}
        reply = await door.client().post("/api/v1/login", json=body)
        assert reply.status == 401
        texts.append(await reply.text())
    assert texts[0] == texts[1]


async def test_the_same_work_is_done_for_an_unknown_name(door, monkeypatch) -> None:
    """Not a stopwatch: the hasher itself is watched."""
    await door.member()
    hasher = door.services.accounts._passwords
    checked = []
    real = hasher._verify

    def watched(kept: str, password: str) -> bool:
        checked.append(kept)
        return real(kept, password)

    monkeypatch.setattr(hasher, "_verify", watched)
    for name in ("mia", "nobody"):
        await door.client().post("/api/v1/login", json={"username": name, "password": "wrong-one"})
    assert len(checked) == 2
    parameters = [kept.split("$")[1:4] for kept in checked]
    assert parameters[0] == parameters[1]


async def test_an_account_without_password_cannot_be_signed_in_to(door) -> None:
    """Not even with the text that stands in for a missing password."""
    await door.services.accounts.add(NewAccount("member", "mia", None))
    for password in (NOBODYS, "None", " "):
        body = {"username": "mia", "password": password}
        assert (await door.client().post("/api/v1/login", json=body)).status == 401


async def test_guesses_are_limited_per_account_and_address_and_do_not_lock_others_out(
    door, problem
) -> None:
    await door.member("mia")
    await door.member("noah")
    client = door.client()
    refusals = []
    for _ in range(8):
        body = {"username": "MIA", "password": "wrong-password"}
        refusals.append(await problem(await client.post("/api/v1/login", json=body)))
    assert refusals[:5] == [(401, "wrong_credentials")] * 5
    assert refusals[5:] == [(429, "rate_limited")] * 3
    limited = await client.post("/api/v1/login", json={"username": "mia", "password": PASSWORD})
    assert limited.status == 429
    assert int(limited.headers["Retry-After"]) >= 1
    await door.signed_in("noah")


async def test_an_address_with_many_names_is_limited(door) -> None:
    client = door.client()
    statuses = set()
    for number in range(25):
        body = {"username": f"name{number}", "password": "wrong-password"}
        statuses.add((await client.post("/api/v1/login", json=body)).status)
    assert statuses == {401, 429}


async def test_cookie_is_http_only_lax_and_stored_as_hash(door) -> None:
    await door.member()
    client = door.client()
    reply = await client.post("/api/v1/login", json={"username": "mia", "password": PASSWORD})
    header = reply.headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
    assert "Path=/" in header
    token = reply.cookies["parlour_session"].value
    with sqlite3.connect(door.config.data_dir / "parlour.db") as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert token not in dump
    assert PASSWORD not in dump
    assert "$argon2id$" in dump


async def test_login_gives_a_new_session_and_kills_the_presented_one(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    old = client.session.cookie_jar.filter_cookies(client.make_url("/"))["parlour_session"].value
    body = {"username": "mia", "password": PASSWORD}
    new = (await client.post("/api/v1/login", json=body)).cookies["parlour_session"].value
    assert new != old
    stale = await door.client().get("/api/v1/me", headers={"Cookie": f"parlour_session={old}"})
    assert (await stale.json())["you"] is None


async def test_a_session_planted_before_login_is_worth_nothing(door) -> None:
    await door.member()
    client = door.client()
    planted = {"Cookie": "parlour_session=ss_planted"}
    body = {"username": "mia", "password": PASSWORD}
    assert (await client.post("/api/v1/login", json=body, headers=planted)).status == 200
    me = await door.client().get("/api/v1/me", headers=planted)
    assert (await me.json())["you"] is None


async def test_logout_ends_the_session_and_its_tickets(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    cookie = client.session.cookie_jar.filter_cookies(client.make_url("/"))["parlour_session"].value
    ticket = (await (await client.post("/api/v1/ws-ticket")).json())["ticket"]
    assert (await client.post("/api/v1/logout")).status == 204
    assert (await (await client.get("/api/v1/me")).json())["you"] is None
    stale = await door.client().get("/api/v1/me", headers={"Cookie": f"parlour_session={cookie}"})
    assert (await stale.json())["you"] is None
    assert door.services.tickets.redeem(ticket) is None


async def test_reset_signs_out_and_clears_the_browser(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    reply = await client.post("/api/v1/reset")
    assert reply.status == 204
    assert reply.headers["Clear-Site-Data"] == '"cache", "cookies", "storage"'
    assert (await (await client.get("/api/v1/me")).json())["you"] is None


async def test_logout_closes_the_websocket(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    ticket = (await (await client.post("/api/v1/ws-ticket")).json())["ticket"]
    async with client.ws_connect("/ws", headers={"Origin": door.origin}) as socket:
        await socket.send_json({"type": "hello", "ticket": ticket})
        assert (await socket.receive_json())["type"] == "welcome"
        await client.post("/api/v1/logout")
        await asyncio.wait_for(socket.receive(), 5)
        assert socket.close_code == 4401


async def test_expired_session_is_nobody(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    sessions = door.services.identities._sessions
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=30, seconds=1)
    sessions._utc_now = lambda: later
    assert (await (await client.get("/api/v1/me")).json())["you"] is None


async def test_guest_gets_a_ticket_and_keeps_the_identity(door) -> None:
    client = door.client()
    visitors = []
    for _ in range(2):
        reply = await client.post("/api/v1/ws-ticket")
        assert reply.status == 200
        visitors.append(door.services.tickets.redeem((await reply.json())["ticket"]))
    assert visitors[0] == visitors[1]
    assert visitors[0].kind == "guest"
    other = await door.client().post("/api/v1/ws-ticket")
    assert door.services.tickets.redeem((await other.json())["ticket"]) != visitors[0]


async def test_guest_cookie_of_a_stranger_shape_is_replaced(door) -> None:
    reply = await door.client().post(
        "/api/v1/ws-ticket", headers={"Cookie": "parlour_guest=<script>"}
    )
    assert "parlour_guest" in reply.cookies


async def test_tickets_are_limited_per_address(door) -> None:
    client = door.client()
    statuses = [(await client.post("/api/v1/ws-ticket")).status for _ in range(65)]
    assert statuses[:60] == [200] * 60
    assert 429 in statuses[60:]


async def test_bearer_token_acts_as_its_account_without_cookies(door) -> None:
    account = await door.member(credits_units=6_000)
    headers = {"Authorization": f"Bearer {door.token(account)}"}
    me = await (await door.client().get("/api/v1/me", headers=headers)).json()
    assert me["you"]["name"] == "mia"
    assert me["balance"]["promo_units"] == 6_000
    reply = await door.client().post("/api/v1/ws-ticket", headers=headers)
    assert door.services.tickets.redeem((await reply.json())["ticket"]).name == "mia"


async def test_bearer_tokens_that_are_refused(door, problem) -> None:
    account = await door.member()
    utc = dt.datetime.now(dt.UTC)
    grant = Grant(sub=account.account_id, role="member", name="mia")
    good = door.token(account)
    claims = jwt.decode(good, options={"verify_signature": False})
    ours = door.services.identities._tokens._secret
    bad = {
        "garbage": "abc",
        "other secret": Tokens("x" * 64, lambda: utc).issue(grant),
        "expired": Tokens(ours, lambda: utc - dt.timedelta(hours=1)).issue(grant),
        "not yet": Tokens(ours, lambda: utc + dt.timedelta(hours=1)).issue(grant),
        "no algorithm": jwt.encode(claims, "", algorithm="none"),
        "other algorithm": jwt.encode(claims, ours, algorithm="HS512"),
        "other audience": jwt.encode(claims | {"aud": "else"}, ours, algorithm="HS256"),
        "other issuer": jwt.encode(claims | {"iss": "else"}, ours, algorithm="HS256"),
        "strange expiry": jwt.encode(claims | {"exp": "never"}, ours, algorithm="HS256"),
        "no such account": jwt.encode(claims | {"sub": "m_0"}, ours, algorithm="HS256"),
        "no role": jwt.encode(
            {k: v for k, v in claims.items() if k != "role"}, ours, algorithm="HS256"
        ),
    }
    for name, token in bad.items():
        for path in ("/api/v1/me", "/api/v1/wallet"):
            headers = {"Authorization": f"Bearer {token}"}
            reply = await door.client().get(path, headers=headers)
            assert await problem(reply) == (401, "bad_token"), name


async def test_guest_token_makes_a_guest_and_nothing_more(door, problem) -> None:
    tokens = door.services.identities._tokens
    token = tokens.issue(Grant(sub="bench-7", role="guest", name="Bench 7"))
    headers = {"Authorization": f"Bearer {token}"}
    reply = await door.client().post("/api/v1/ws-ticket", headers=headers)
    visitor = door.services.tickets.redeem((await reply.json())["ticket"])
    assert (visitor.kind, visitor.name) == ("guest", "Bench 7")
    assert await problem(await door.client().get("/api/v1/wallet", headers=headers)) == (
        401,
        "not_signed_in",
    )


async def test_suspended_account_is_nobody_at_once(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    async with door.services.database.write() as connection:
        await connection.exec_driver_sql("UPDATE accounts SET suspended = 1")
    assert (await (await client.get("/api/v1/me")).json())["you"] is None
    body = {"username": "mia", "password": PASSWORD}
    assert (await door.client().post("/api/v1/login", json=body)).status == 401


async def test_a_suspended_expert_leaves_list_grid_and_air_at_the_next_reading(door) -> None:
    account, _ = await door.expert("luna")
    services = door.services
    told: list[object] = []
    place = services.house.lobby.arrive(Visitor(VisitorKind.GUEST, "g", "g"), Standing())
    services.house.lobby.watch_grid(place)
    services.house.emit = lambda place_id, event: told.append(event)
    room = services.house.floor.room(account.account_id)
    room.presence.media(True)
    async with services.database.write() as connection:
        await connection.exec_driver_sql("UPDATE accounts SET suspended = 1")
    await services.experts.load()
    assert told[-1] == CardGone("luna")
    assert services.house.cards() == []
    assert not room.presence.media_fresh
    await services.experts.load()
    assert told.count(CardGone("luna")) == 1


async def test_signing_in_over_plain_http_from_elsewhere_is_refused(door, problem) -> None:
    await door.member()
    for path, body in (
        ("/api/v1/login", {"username": "mia", "password": PASSWORD}),
        ("/api/v1/accounts", SIGN_UP),
    ):
        reply = await door.client().post(path, json=body, headers={"Host": "192.0.2.1:8080"})
        assert await problem(reply) == (403, "https_required")


class TestBehindTls:
    """Behind a TLS proxy that is named in the configuration."""

    @pytest.fixture
    def flags(self) -> dict[str, dict[str, object]]:
        return {
            "server": {
                "public_url": "https://parlour.example",
                "trusted_proxies": ["127.0.0.1/32"],
            }
        }

    async def test_cookies_are_secure_and_host_bound(self, door) -> None:
        await door.member()
        body = {"username": "mia", "password": PASSWORD}
        reply = await door.client().post(
            "/api/v1/login", json=body, headers={"Host": "parlour.example"}
        )
        header = reply.headers["Set-Cookie"]
        assert header.startswith("__Host-parlour_session=")
        assert "Secure" in header

    async def test_limits_count_the_real_client(self, door) -> None:
        client = door.client()
        body = {"username": "mia", "password": "wrong-password"}
        for number in range(30):
            headers = {"X-Forwarded-For": f"6.6.6.6, 198.51.100.{number}"}
            reply = await client.post("/api/v1/login", json=body, headers=headers)
            assert reply.status == 401
        headers = {"X-Forwarded-For": "6.6.6.6, 198.51.100.1"}
        statuses = [
            (await client.post("/api/v1/login", json=body, headers=headers)).status
            for _ in range(6)
        ]
        assert statuses[-1] == 429


async def test_too_many_hashes_at_once_are_refused_and_none_is_lost(door, problem) -> None:
    hasher = door.services.accounts._passwords
    hasher._waiting = 32
    body = {"username": "mia", "password": PASSWORD}
    assert await problem(await door.client().post("/api/v1/login", json=body)) == (503, "busy")
    hasher._waiting = 0
    await door.member()
    await door.signed_in("mia")
