"""Everything a handler may use, in one place; built by the composition root and by tests."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from billing_meter.database import Database
from billing_meter.free_credits import FreeCredits
from billing_meter.limits_store import SpendLimits
from billing_meter.order_refunds import OrderRefunds
from billing_meter.orders import Orders
from billing_meter.payouts import Payouts
from billing_meter.promotions import COUNTRY
from billing_meter.providers import Provider
from billing_meter.reload import Reload
from billing_meter.rewards_store import Rewards
from billing_meter.wallet import Wallet
from billing_meter.webhooks import Webhooks
from media.server import MediaPlane
from rooms.house import House
from signaling.accounts import Accounts
from signaling.buckets import Buckets
from signaling.client_address import TrustedProxies, address_key, in_networks
from signaling.config import Config
from signaling.csrf import Origins
from signaling.directory import AccountsDirectory
from signaling.experts import Experts
from signaling.hub import Hub
from signaling.identity import Identities
from signaling.mailer import MailCounts
from signaling.metrics import LoopLag
from signaling.problem import too_many
from signaling.refund_watch import RefundWatch
from signaling.routing import Route
from signaling.tickets import Tickets

NO_COUNTRY = frozenset({"XX", "ZZ"})
"""Reserved by ISO 3166 for users; proxies say "unknown" with them."""


@dataclass(slots=True)
class Limits:
    """Token buckets of the door; by account and address, so that nobody locks others out."""

    logins_by_address: Buckets
    logins_by_account_and_address: Buckets
    logins_by_account: Buckets
    sign_ups: Buckets
    guests: Buckets
    offers: Buckets
    fragments: Buckets
    purchases: Buckets
    decisions: Buckets
    exports: Buckets

    @classmethod
    def of(cls, config: Config, clock_ns: Callable[[], int]) -> Limits:
        """The limits that the configuration asks for."""
        auth = config.auth

        def buckets(burst: int, per_s: float) -> Buckets:
            return Buckets(burst=burst, per_s=per_s, clock_ns=clock_ns)

        return cls(
            logins_by_address=buckets(
                auth.logins_per_minute_per_address, auth.logins_per_minute_per_address / 60
            ),
            # Five mistakes, then one guess a minute.
            logins_by_account_and_address=buckets(5, 1 / 60),
            # A guesser with many addresses: still at most 1,440 guesses a day for one account.
            logins_by_account=buckets(60, 1 / 60),
            sign_ups=buckets(
                auth.sign_ups_per_hour_per_address, auth.sign_ups_per_hour_per_address / 3600
            ),
            guests=buckets(
                auth.guests_per_minute_per_address, auth.guests_per_minute_per_address / 60
            ),
            # A WHIP or WHEP offer and the join that follows cost 3 to 4 ms of CPU.
            offers=buckets(40, 4.0),
            # A page of candidates at a time, or each on its own, from several encoders at once.
            fragments=buckets(200, 10.0),
            purchases=buckets(20, 0.2),
            # Spend limits and breaks: each is a transaction of its own.
            decisions=buckets(30, 0.5),
            # A file may be the whole of somebody's ledger.
            exports=buckets(5, 1 / 60),
        )


@dataclass(slots=True)
class Services:
    """The wired application."""

    config: Config
    database: Database
    node: str
    """Under which this process owns its sessions in the store."""
    accounts: Accounts
    experts: Experts
    directory: AccountsDirectory
    identities: Identities
    tickets: Tickets
    wallet: Wallet
    provider: Provider
    orders: Orders
    order_refunds: OrderRefunds
    webhooks: Webhooks | None
    """None where the provider tells nothing by itself."""
    reload: Reload
    spend_limits: SpendLimits
    free_credits: FreeCredits
    payouts: Payouts
    house: House
    hub: Hub
    refund_watch: RefundWatch
    rewards: Rewards
    media: MediaPlane
    limits: Limits
    origins: Origins
    proxies: TrustedProxies
    lag: LoopLag
    utc_now: Callable[[], dt.datetime]
    operators: list[ipaddress.IPv4Network | ipaddress.IPv6Network]
    mail_counts: MailCounts = field(default_factory=MailCounts)
    routes: Sequence[Route] = ()
    draining: bool = False
    public_url: str = ""
    """Where people reach us; without one configured, the bound address."""
    local_url: str = ""
    """Where programs on this machine reach us."""

    def client_address(self, request: web.Request) -> str:
        """The client's address, X-Forwarded-For counting only from trusted proxies."""
        return self.proxies.client(request.remote or "", request.headers.get("X-Forwarded-For"))

    def country(self, request: web.Request) -> str | None:
        """The visitor's country, as a proxy of ours names it; else what is configured, if it is."""
        header = self.config.server.country_header
        if header and self.proxies.trusts(request.remote or ""):
            named = request.headers.get(header, "").strip().upper()
            if COUNTRY.fullmatch(named) and named not in NO_COUNTRY:
                return named
        return self.config.money.country or None

    def is_operator(self, address: str) -> bool:
        """Whether the address may read metrics."""
        return in_networks(address, self.operators)


Announce = Callable[[str], None]
Beside = Callable[[Services], contextlib.AbstractAsyncContextManager[None]]
"""What runs beside the server while it listens: the demo's programs."""


def take(buckets: Buckets, key: str, what: str) -> None:
    """Take one token or refuse with 429."""
    wait_s = buckets.take(key)
    if wait_s > 0:
        raise too_many(wait_s, what)


def take_for_address(buckets: Buckets, address: str, what: str) -> None:
    """Take one token of an address or refuse with 429."""
    take(buckets, address_key(address), what)
