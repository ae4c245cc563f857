"""Wiring of everything that sells or pays out: the configured providers, orders, auto-reload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from billing_meter.card_checks import CardChecker, FakeCardChecker
from billing_meter.database import Database
from billing_meter.ledger_store import LedgerStore
from billing_meter.order_refunds import OrderRefunds
from billing_meter.orders import Orders
from billing_meter.payout_providers import FakePayoutProvider
from billing_meter.payouts import Payouts
from billing_meter.providers import EventSource, FakeProvider, NoProvider, Provider
from billing_meter.reload import Reload
from billing_meter.units import UNITS_PER_CREDIT
from billing_meter.wallet import Wallet
from billing_meter.webhooks import Webhooks
from signaling.config import Config
from signaling.store import utc_now


@dataclass(frozen=True, slots=True)
class Payments:
    """The parts, each knowing the others; nothing runs yet."""

    provider: Provider
    checker: CardChecker | None
    """None where cards cannot be validated."""
    orders: Orders
    order_refunds: OrderRefunds
    webhooks: Webhooks | None
    """None where the provider tells nothing by itself."""
    reload: Reload


def payments(
    config: Config, database: Database, wallet: Wallet, site_url: Callable[[], str]
) -> Payments:
    """Make them; `site_url` is where members come back to, known once the door is bound."""
    provider = provider_of(config, site_url)
    where = config.money.countries_of_methods()
    orders = Orders(database, wallet, provider, method_countries=where, utc_now=utc_now)
    webhooks = None
    if isinstance(provider, EventSource):
        webhooks = Webhooks(database, wallet, orders, provider)
    refunds = OrderRefunds(database, wallet, provider)
    reload = Reload(database, wallet, orders, utc_now=utc_now)
    checker = _checker(provider, site_url)
    return Payments(provider, checker, orders, refunds, webhooks, reload)


def payouts(config: Config, store: LedgerStore) -> Payouts:
    """Payouts by the configured provider; without one staff pays by bank transfer."""
    provider = FakePayoutProvider() if config.money.pays_out_by == "fake" else None
    minimum_units = config.money.payout_minimum_credits * UNITS_PER_CREDIT
    return Payouts(store, provider, minimum_units=minimum_units)


def _checker(provider: Provider, site_url: Callable[[], str]) -> CardChecker | None:
    match provider.name:
        case "fake":
            return FakeCardChecker()
        case "stripe":
            from billing_meter.stripe_cards import StripeCardChecker
            from billing_meter.stripe_provider import StripeProvider

            assert isinstance(provider, StripeProvider)
            return StripeCardChecker(provider.line, site_url)
        case _:
            return None


def provider_of(config: Config, site_url: Callable[[], str]) -> Provider:
    """The configured one; whoever makes it closes it."""
    match config.money.provider:
        case "none":
            return NoProvider()
        case "fake":
            provider = FakeProvider()
            provider.descriptor = config.money.statement_descriptor
            return provider
        case "stripe":
            from billing_meter.stripe_line import StripeSettings
            from billing_meter.stripe_provider import StripeProvider

            chosen = config.stripe
            settings = StripeSettings(
                secret_key=chosen.secret_key,
                webhook_secret=chosen.webhook_secret,
                descriptor=config.money.statement_descriptor,
                descriptor_prefix=chosen.descriptor_prefix,
                api_base=chosen.api_base,
            )
            return StripeProvider(settings, site_url=site_url, utc_now=utc_now)
