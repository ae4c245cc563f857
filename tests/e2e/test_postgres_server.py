"""The server on PostgreSQL: register, buy, a private session, kill -9, and the proofs after."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import aiohttp
import pytest

from signaling import wire
from tests.e2e.bare import Mouth, Visitor, accept, ask, meet
from tests.e2e.harness import PARLOUR, PASSWORD, REPO, Server
from tests.media.callers import Caller
from tests.postgres import Cluster
from tests.stores import PostgresStore

PRICE = ("--price", "2.99", "--cam2cam-price", "1.00", "--two-way-audio-price", "0.50")
RATE = 299
PACKAGE_UNITS = 167_940


async def registered(url: str) -> Visitor:
    """A new member, by the form's own request; the cookie says who they are."""
    visitor = Visitor(url)
    body = {"username": "mia", "email": "mia@example.org", "password": PASSWORD}
    async with visitor.http.post(f"{url}/api/v1/accounts", json=body) as reply:
        assert reply.status == 201, await reply.text()
    return visitor


async def posted(
    http: aiohttp.ClientSession, url: str, body: dict[str, str], **headers: str
) -> dict[str, str]:
    """The order in the answer."""
    async with http.post(url, json=body, headers=headers) as reply:
        text = await reply.text()
        assert reply.status in (200, 201), text
    order: dict[str, str] = json.loads(text)["order"]
    return order


async def buy(visitor: Visitor) -> None:
    """Order twice under one key, pay twice: one order, one credit."""
    api, body = f"{visitor.url}/api/v1", {"package": "credits-27", "method": "card"}
    key = {"Idempotency-Key": "first-purchase"}
    orders = [await posted(visitor.http, f"{api}/orders", body, **key) for _ in range(2)]
    assert orders[0]["id"] == orders[1]["id"]
    for _ in range(2):
        path = f"{api}/orders/{orders[0]['id']}/pay"
        assert (await posted(visitor.http, path, {"token": "tok_ok"}))["state"] == "settled"
    assert await credits_left(visitor) == PACKAGE_UNITS


async def credits_left(visitor: Visitor) -> int:
    async with visitor.http.get(f"{visitor.url}/api/v1/wallet") as reply:
        balance = (await reply.json())["balance"]
    return int(balance["available_units"]) + int(balance["held_units"])


async def private(expert: Visitor, member: Visitor, key: str) -> tuple[int, Mouth]:
    """On air, asked, accepted, three seconds paid; the units shown, and who still talks."""
    mouth, _ = await expert.streams("luna", key, b"priv")
    await meet("luna", expert, member)
    await accept(expert, await ask(expert, member))
    await member.watches()
    hud = await member.hears(wire.PrivateHud, lambda m: m.cost_units >= 3 * RATE)
    return hud.cost_units, mouth


@pytest.mark.slow
async def test_register_buy_talk_crash_and_prove(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(cluster)
    monkeypatch.setenv("PARLOUR__STORE__DATABASE_URL", await store.empty())
    server = Server(data=tmp_path / "data")
    try:
        key = server.expert("luna", *PRICE)
        await server.start()
        member = await registered(server.url)
        await buy(member)
        expert = Visitor(server.url, str(server.cli("token", "luna")["token"]))
        shown, mouth = await private(expert, member, key)
        await server.kill()
        await mouth.close()
        for visitor in (expert, member):
            await visitor.close()
        await Caller.all_vanish()
        await server.start()
        server.books_are_clean()
        made = server.cli("ledger", "statement", "mia")
        assert made["findings"] == []
        bought, talked = made["lines"]
        assert (bought["kind"], bought["units"]) == ("purchase", PACKAGE_UNITS)
        assert talked["kind"] == "session"
        assert -talked["units"] % RATE == 0
        assert shown <= -talked["units"] <= shown + 3 * RATE
        assert made["closing_units"] == PACKAGE_UNITS + talked["units"]
        earned = server.cli("ledger", "statement", "luna")
        assert earned["closing_units"] == -talked["units"] * 60 // 100
        assert not list(server.data.glob("*.db*")), "nothing of money lies beside the database"
        assert await server.stop() == 0
    finally:
        await server.stop()
        await store.close()


@pytest.mark.slow
async def test_a_server_that_cannot_be_used_is_one_line_and_exit_2(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://parlour:swordfish@127.0.0.1:1/parlour"
    done = subprocess.run(
        [*PARLOUR, "serve", "--http", "127.0.0.1:0", "--data", str(tmp_path / "data")],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PARLOUR__STORE__DATABASE_URL": url},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("parlour: database postgresql+asyncpg://parlour:***@127.0.0.1:1/parlour")
