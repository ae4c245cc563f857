"""A door on a real store: the whole HTTP application without media ports and child processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientWebSocketResponse
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from billing_meter.tariff import Tariff
from billing_meter.till import Opened, SessionOrder, Till
from rooms.directory import ExpertDetails
from signaling import compose, migrate, staff, wire
from signaling.accounts import Account, NewAccount
from signaling.app import make_app
from signaling.config import Config, load
from signaling.passwords import Passwords
from signaling.services import Services
from signaling.store import opened_store
from signaling.tokens import Grant, Tokens, secret_of
from tests.billing_meter.fake_stripe import KEY, SECRET, FakeStripe
from tests.signaling.mail_server import mail_server
from tests.signaling.post_office import Post
from tests.turns import turn

PASSWORD = "correct-horse-9"
DETAILS = ExpertDetails(
    display_name="Luna Hart",
    headline="Tarot",
    about="About Luna",
    categories=("tarot",),
    languages=("en",),
    tariff=Tariff(299, 100, 50),
    cam2cam=True,
    two_way_audio=True,
)


@dataclass
class Door:
    """The running application, with shortcuts for making and being people."""

    config: Config
    services: Services
    server: TestServer
    clients: list[TestClient] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """The one origin that may change things."""
        return f"http://127.0.0.1:{self.server.port}"

    def client(self) -> TestClient:
        """A browser of its own: fresh cookies."""
        client = TestClient(self.server)
        self.clients.append(client)
        return client

    async def member(self, name: str = "mia", *, credits_units: int = 0) -> Account:
        """A member account."""
        account = await self.services.accounts.add(NewAccount("member", name, PASSWORD))
        assert isinstance(account, Account)
        if credits_units:
            await self.services.wallet.grant_promo(
                account.account_id, credits_units, f"test:{name}", "test"
            )
        return account

    async def expert(self, name: str = "luna") -> tuple[Account, str]:
        """An expert account and its stream key."""
        added = await self.services.experts.add(name, PASSWORD, DETAILS)
        assert isinstance(added, tuple)
        return added

    async def staff(self, name: str = "sam") -> Account:
        """A member account with the role of staff."""
        account = await self.member(name)
        async with self.services.database.write() as connection:
            assert await staff.give(connection, account.account_id, "test", 1)
        return account

    async def ended_session(self, name: str, member: Account, expert: Account) -> None:
        """A private session that cost nothing: it was opened and closed."""
        till = Till(self.services.database, self.services.wallet, on_event=lambda *_: None)
        await till.recover()
        order = SessionOrder(name, member.account_id, expert.account_id, Tariff())
        assert isinstance(await till.open(order), Opened)
        await till.close(name, "member_left")

    async def signed_in(self, name: str) -> TestClient:
        """A browser in which this account is signed in."""
        client = self.client()
        reply = await client.post("/api/v1/login", json={"username": name, "password": PASSWORD})
        assert reply.status == 200, await reply.text()
        return client

    async def socket(self, client: TestClient) -> ClientWebSocketResponse:
        """The WebSocket of a browser's page, after its welcome."""
        ticket = (await (await client.post("/api/v1/ws-ticket", json={})).json())["ticket"]
        socket = await client.ws_connect(
            "/ws", protocols=(wire.SUBPROTOCOL_JSON,), headers={"Origin": self.origin}
        )
        await socket.send_json({"type": "hello", "ticket": ticket, "language": "en"})
        assert (await socket.receive_json(timeout=5))["type"] == "welcome"
        return socket

    def token(self, account: Account) -> str:
        """A bearer token for the account."""
        secret = secret_of(self.config.auth.secret, self.config.data_dir)
        tokens = Tokens(secret, lambda: dt.datetime.now(dt.UTC))
        return tokens.issue(Grant(sub=account.account_id, role=account.kind, name=account.username))


@pytest.fixture
def flags() -> dict[str, dict[str, object]]:
    """Configuration of the door; a test may override the fixture."""
    return {}


@pytest.fixture
async def stripe() -> AsyncIterator[FakeStripe]:
    """Stripe, as far as a door can see it."""
    made = FakeStripe(lambda: int(time.time()))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def stripe_flags(stripe: FakeStripe) -> dict[str, dict[str, object]]:
    """A door that has it behind it: for a test's own `flags`."""
    return {
        "money": {"provider": "stripe"},
        "stripe": {"secret_key": KEY, "webhook_secret": SECRET, "api_base": stripe.url},
    }


@pytest.fixture(scope="session")
def migrated(tmp_path_factory) -> Path:
    """An empty store at the newest revision; migrating anew for each test would take longer."""
    folder = tmp_path_factory.mktemp("migrated")
    asyncio.run(migrate.upgrade(f"sqlite+aiosqlite:///{folder}/parlour.db"))
    return folder / "parlour.db"


@pytest.fixture
async def door(
    request: pytest.FixtureRequest,
    quick_dir: Path,
    migrated: Path,
    flags: dict[str, dict[str, object]],
) -> AsyncIterator[Door]:
    """The application on a fresh store."""
    if request.node.get_closest_marker("threads") is None:
        request.getfixturevalue("no_threads")
    data = quick_dir / "data"
    data.mkdir()
    shutil.copy(migrated, data)
    layers = {name: dict(values) for name, values in flags.items()}
    layers.setdefault("server", {})["data"] = str(data)
    layers.setdefault("media", {})["listen"] = "127.0.0.1:0"
    config = load(None, {}, layers)
    hasher = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with opened_store(config) as database:
        services, till = compose.build(config, database, hasher)
        async with compose.running(services, till):
            server = TestServer(make_app(services))
            await server.start_server()
            made = Door(config, services, server)
            services.origins.add([made.origin])
            services.public_url = services.local_url = made.origin
            yield made
            # First all that they hold open: the close of one of them ends the server of all.
            for client in made.clients:
                await client.session.close()
            for client in made.clients:
                await client.close()
            await server.close()
    hasher.close()
    await turn()


async def problem_of(reply: ClientResponse) -> tuple[int, str]:
    """Status and code of a refusal, after checking that it is a proper problem document."""
    assert reply.content_type == "application/problem+json", await reply.text()
    document = await reply.json(content_type=None)
    assert document["status"] == reply.status
    assert document["type"] == f"urn:parlour:problem:{document['code']}"
    assert document["title"]
    assert document["detail"]
    return reply.status, document["code"]


@pytest.fixture
def problem():
    """`problem_of`, for tests in files that cannot import this one."""
    return problem_of


@pytest.fixture
async def post(door: Door) -> AsyncIterator[Post]:
    """A post office behind the door."""
    async with mail_server() as server:
        yield Post(door, server)
