"""Wiring: which part knows which, and in what order they start and stop."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog

from billing_meter.database import Database
from billing_meter.free_credits import FreeCredits
from billing_meter.group_watch import BEAT_PERIOD_S, GroupWatch
from billing_meter.groups import Groups
from billing_meter.ledger_store import utc_ms
from billing_meter.limits_store import SpendLimits
from billing_meter.rewards_store import Rewards
from billing_meter.seals import seal
from billing_meter.sweeper import SWEEP_PERIOD_S, Sweeper
from billing_meter.till import Till
from billing_meter.wallet import Wallet
from media.api import MediaConfig, MediaEvent
from media.server import MediaPlane
from media.still_decoder import StillDecoder
from rooms.directory import ExpertProfile
from rooms.house import House
from rooms.roles import VisitorKind
from signaling.accounts import Accounts
from signaling.client_address import TrustedProxies
from signaling.compose_payments import Payments, payments, payouts
from signaling.config import Config, ConfigError, host_port
from signaling.csrf import origins_of
from signaling.directory import AccountsDirectory
from signaling.experts import Experts
from signaling.hub import Hub
from signaling.identity import Identities
from signaling.mailer import Mailer
from signaling.metrics import LoopLag
from signaling.node import node_of
from signaling.passwords import Passwords
from signaling.refund_watch import WATCH_PERIOD_S, RefundWatch
from signaling.services import Limits, Services
from signaling.sessions import Sessions
from signaling.store import utc_now
from signaling.store_watch import watch_store
from signaling.tasks import background, every
from signaling.tickets import Tickets
from signaling.tokens import Tokens, secret_of

THUMBNAIL_STEP_S = 0.5
"""How often it is looked which thumbnails are due; nothing is done when nobody asked."""
ELIGIBILITY_FILE = "eligibility.secret"
SEAL_PERIOD_S = 60.0
"""How much of the journal a crash may leave unsealed; the next seal then covers it."""
PAYOUTS_PERIOD_S = 15.0
"""How soon a payout that was approved on the command line is sent."""
REFUNDS_PERIOD_S = 60.0
"""How often the provider is asked about refunds of purchases that it has not answered."""
REWARDS_PERIOD_S = 10.0
"""How soon a rank that was reached shows in chat; points in the wallet are of the last second."""
FORGOTTEN_PERIOD_S = 600.0
"""How often orders that nobody tried to pay are looked for."""

log = structlog.get_logger(__name__)


def build(config: Config, database: Database, hasher: Passwords) -> tuple[Services, Till]:
    """Make every part and tell each whom to call; nothing runs yet."""
    clock_ns = time.monotonic_ns
    accounts = Accounts(database, hasher, utc_now, shares=config.shares.of_new_experts)
    experts = Experts(database, accounts, utc_now)
    sessions = Sessions(database, utc_now, config.auth.session_days)
    tokens = Tokens(secret_of(config.auth.secret, config.data_dir), utc_now)
    wallet = Wallet(database, utc_now=utc_now)
    directory = AccountsDirectory(experts, wallet, Rewards(wallet))
    media = _media_plane(config, clock_ns, lambda event: house.on_media(event))
    node = node_of(config)
    till = Till(
        database,
        wallet,
        clock_ns=clock_ns,
        utc_now=utc_now,
        on_event=lambda session_id, event: house.on_meter(session_id, event),
        node=node,
    )
    house = House(media, till, wallet, directory, clock_ns=clock_ns, utc_now=utc_now)
    tickets = Tickets(clock_ns=clock_ns)
    hub = Hub(house, tickets)
    _follow_profiles(experts, house, hub)
    wallet.on_balance = house.on_balance
    wallet.on_standing = house.on_standing
    paying = payments(config, database, wallet, lambda: services.public_url)
    till.listen_spent(paying.reload.on_spent)
    services = Services(
        config=config,
        database=database,
        node=node,
        accounts=accounts,
        experts=experts,
        directory=directory,
        identities=Identities(config, accounts, sessions, tokens),
        tickets=tickets,
        wallet=wallet,
        provider=paying.provider,
        orders=paying.orders,
        order_refunds=paying.order_refunds,
        webhooks=paying.webhooks,
        reload=paying.reload,
        spend_limits=SpendLimits(database, wallet.ledger),
        free_credits=_free_credits(config, wallet, paying),
        payouts=payouts(config, wallet.ledger),
        house=house,
        hub=hub,
        rewards=directory.rewards,
        refund_watch=RefundWatch(wallet, house.floor, hub, utc_now),
        media=media,
        limits=Limits.of(config, clock_ns),
        origins=origins_of(config),
        proxies=TrustedProxies(config.server.trusted_proxies),
        lag=LoopLag(),
        utc_now=utc_now,
        operators=[ipaddress.ip_network(text) for text in config.metrics.allow],
    )
    return services, till


def _media_plane(
    config: Config, clock_ns: Callable[[], int], on_event: Callable[[MediaEvent], None]
) -> MediaPlane:
    host, port = host_port(config.media.listen, "media.listen")
    settings = MediaConfig(host, port, tuple(config.media.advertised))
    return MediaPlane(settings, clock_ns=clock_ns, utc_now=utc_now, on_event=on_event)


def _follow_profiles(experts: Experts, house: House, hub: Hub) -> None:
    """Rooms and open pages hear of experts who are new, changed or suspended."""

    def gone(profile: ExpertProfile) -> None:
        hub.send_away(VisitorKind.EXPERT, profile.expert_id)
        house.expert_gone(profile)

    experts.on_change, experts.on_gone = house.profile_changed, gone


@contextlib.asynccontextmanager
async def running(services: Services, till: Till) -> AsyncIterator[None]:
    """Settle what a crash left open, then start media, meter and rooms; stop them in reverse."""

    async def sealed() -> None:
        await seal(services.database, utc_ms(utc_now()))

    async def forgotten() -> None:
        await services.orders.close_forgotten()

    ledger, node = services.wallet.ledger, services.node
    sweeper, groups = Sweeper(ledger, node=node), Groups(ledger, node=node)
    group_watch = GroupWatch(ledger, groups, node=node)
    decoder = StillDecoder()

    async def thumbnails() -> None:
        await services.house.thumbnails.step(decoder)
        await decoder.rest()

    await services.experts.load()
    settled = await till.recover()
    if settled:
        log.info("sessions of the former run settled", sessions=settled)
    settled = await groups.recover()
    if settled:
        log.info("groups of the former run settled", groups=settled)
    try:
        await services.media.start()
    except OSError as error:
        raise ConfigError(_port_fault(services.config.media.listen, error)) from None
    await services.reload.load()
    services.orders.start()
    till.start()
    await services.house.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            for work in (
                watch_store(services.database, services.node),
                every(SEAL_PERIOD_S, "seal the journal", sealed),
                every(REWARDS_PERIOD_S, "count points", services.rewards.count),
                every(WATCH_PERIOD_S, "watch refunds", services.refund_watch.look),
                every(SWEEP_PERIOD_S, "sweep silent meters", sweeper.sweep),
                every(BEAT_PERIOD_S, "settle groups of silent owners", group_watch.look),
                every(THUMBNAIL_STEP_S, "thumbnails", thumbnails),
                every(FORGOTTEN_PERIOD_S, "close forgotten orders", forgotten),
                every(PAYOUTS_PERIOD_S, "payouts on their way", services.payouts.resume),
                every(REFUNDS_PERIOD_S, "refunds on their way", services.order_refunds.resume),
                *_mail(services),
            ):
                await stack.enter_async_context(background(work))
            yield
    finally:
        await services.house.close()
        await decoder.close()
        await till.stop()
        await services.orders.close()
        await services.reload.idle()
        await services.provider.close()
        await services.payouts.close()
        await services.media.close()


def _mail(services: Services) -> list[Coroutine[Any, Any, None]]:
    """The mailer's life, where mail is configured; elsewhere mails stay in the outbox."""
    settings = services.config.mail
    if not settings.smtp:
        return []
    mailer = Mailer(
        services.database,
        services.accounts,
        settings,
        utc_now=services.utc_now,
        counts=services.mail_counts,
    )
    return [mailer.run()]


def _free_credits(config: Config, wallet: Wallet, paying: Payments) -> FreeCredits:
    """Offered where the provider can validate cards; it hears of every card that paid, and from
    webhooks of checks."""
    secret = secret_of(config.money.eligibility_secret, config.data_dir, ELIGIBILITY_FILE)
    free = FreeCredits(wallet, paying.checker, secret)
    paying.orders.on_card = free.keep_paid_card
    if paying.webhooks is not None:
        paying.webhooks.on_check = free.look
    return free


def _port_fault(address: str, error: OSError) -> str:
    busy = error.errno == errno.EADDRINUSE
    reason = "is in use by another program" if busy else f"cannot be used: {error.strerror}"
    return f"media address {address} ({error.filename}) {reason}"
