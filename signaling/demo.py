"""`--demo`: fills an empty store with people, and lets the experts really stream.

The pictures come from our publisher over WHIP and the experts' answers from a program that signs
in like anybody: nothing of the demo knows a way around the public API. Credits are bought
through the fake payment provider. Keys and passwords of the demo are in `demo.json`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from billing_meter.ledger_store import utc_ms
from billing_meter.orders import OrderRefused
from billing_meter.tariff import Tariff
from rooms.directory import ExpertDetails
from signaling import staff
from signaling.accounts import NameTaken, NewAccount
from signaling.config import Config, ConfigError
from signaling.programs import Program, running
from signaling.services import Announce, Beside, Services

PASSWORD = "demo-parlour"
FILE = "demo.json"
FAKE_CARD = "tok_ok"


class DemoFile(Struct, kw_only=True):
    """What the next start must know: stream keys are stored as hashes only."""

    stream_keys: dict[str, str]


@dataclass(frozen=True, slots=True)
class DemoMember:
    """A member and the packages bought for them."""

    username: str
    packages: int
    about: str
    staff: bool = False


EXPERTS = {
    "luna": ExpertDetails(
        "Luna Hart",
        "Tarot with a clear head",
        "Twenty years at the table. I read what the cards say and tell you what they do not.",
        ("tarot", "clairvoyance"),
        ("en", "nb"),
        Tariff(299, 100, 50),
        cam2cam=True,
        two_way_audio=True,
    ),
    "orion": ExpertDetails(
        "Orion Vale",
        "Your chart, tonight's sky",
        "Natal charts and transits. Bring your hour of birth, if you know it.",
        ("astrology",),
        ("en",),
        Tariff(199, 75, 0),
        cam2cam=True,
        two_way_audio=False,
    ),
    "sunniva": ExpertDetails(
        "Sunniva",
        "Drømmer og stille stunder",
        "Drømmetydning og meditasjon på norsk og engelsk. Vi tar det i ditt tempo.",
        ("dream-interpretation", "meditation", "reiki"),
        ("nb", "en"),
        Tariff(349, 0, 50),
        cam2cam=False,
        two_way_audio=True,
    ),
}
MEMBERS = (
    DemoMember("mia", 2, "premium, with credits"),
    DemoMember("noah", 0, "basic, no credits yet"),
    DemoMember("sam", 0, "staff: decides on refunds, payouts and purchases, at /staff", staff=True),
)


def prepare(config: Config, announce: Announce) -> Beside:
    """Check that the demo may run here; gives what to run beside the server."""
    if config.production:
        raise ConfigError("not in production: --demo has accounts with known passwords")
    if config.money.provider != "fake":
        raise ConfigError('--demo buys credits and needs money.provider = "fake"')

    @contextlib.asynccontextmanager
    async def beside(services: Services) -> AsyncIterator[None]:
        keys = await _people(services)
        async with running([_cast(services, keys)]):
            announce(_greeting(services))
            yield

    return beside


async def _people(services: Services) -> dict[str, str]:
    """The demo's stream keys; makes its people if the store is empty."""
    file = services.config.data_dir / FILE
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=DemoFile).stream_keys
    if await services.accounts.count():
        raise ConfigError(
            f"--demo fills an empty data directory only, and {services.config.data_dir}"
            " has accounts; name another with --data"
        )
    keys = {name: await _expert(services, name, details) for name, details in EXPERTS.items()}
    for member in MEMBERS:
        await _member(services, member)
    _write_private(file, msgspec.json.encode(DemoFile(stream_keys=keys)))
    return keys


async def _expert(services: Services, name: str, details: ExpertDetails) -> str:
    added = await services.experts.add(name, PASSWORD, details)
    if isinstance(added, NameTaken):
        raise ConfigError(f"--demo: the name {name!r} is taken")
    return added[1]


async def _member(services: Services, member: DemoMember) -> None:
    new = NewAccount("member", member.username, PASSWORD, f"{member.username}@example.org")
    account = await services.accounts.add(new)
    if isinstance(account, NameTaken):
        raise ConfigError(f"--demo: the name {member.username!r} is taken")
    if member.staff:
        async with services.database.write() as connection:
            await staff.give(connection, account.account_id, "demo", utc_ms(services.utc_now()))
    package = next(p for p in await services.orders.packages() if p.preselected)
    for number in range(member.packages):
        order = await services.orders.create(
            account.account_id, package.id, "card", key=f"demo:{account.account_id}:{number}"
        )
        if isinstance(order, OrderRefused):
            raise ConfigError(f"--demo: buying credits was refused: {order.code}")
        await services.orders.pay(account.account_id, order.order_id, FAKE_CARD)


def _cast(services: Services, keys: dict[str, str]) -> Program:
    """All of the experts in one process; its job line is a `clients.demo_cast.Cast`."""
    job = {
        "server_url": services.local_url,
        "insecure": services.config.server.tls == "self-signed",
        "members": [
            {
                "expert": name,
                "stream_key": key,
                "username": name,
                "password": PASSWORD,
                "language": EXPERTS[name].languages[0],
            }
            for name, key in keys.items()
        ],
    }
    return Program("demo cast", "clients.demo_cast", msgspec.json.encode(job))


def _greeting(services: Services) -> str:
    lines = [
        "",
        f"  Parlour's demo is at {services.public_url}",
        f"  Every password is {PASSWORD}",
        *(f"    member  {member.username:8} {member.about}" for member in MEMBERS),
        *(f"    expert  {name:8} {details.headline}" for name, details in EXPERTS.items()),
        "  Ctrl-C ends it.",
        "",
    ]
    return "\n".join(lines)


def _write_private(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
