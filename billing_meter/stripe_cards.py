"""Validating a card with Stripe: Checkout in setup mode, where nothing is charged.

Stripe asks the bank, with its customer if the bank wants that, and tells the card's fingerprint,
which is the same for the same number whoever brings it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from billing_meter import stripe_objects as objects
from billing_meter.card_checks import CardCheck, CheckResult
from billing_meter.providers import Declined, DeclineReason, ProviderUnavailable, Redirect
from billing_meter.stripe_line import (
    CHECKOUT_ASK_S,
    CHECKOUT_LIFE_S,
    KeyMoved,
    Refused,
    StripeLine,
)
from billing_meter.stripe_objects import SetupSession

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

_EXPAND: Final = "setup_intent.payment_method"

log = logging.getLogger(__name__)


class StripeCardChecker:
    """`site_url` is where members come back to."""

    name = "stripe"
    redirects = True

    def __init__(self, line: StripeLine, site_url: Callable[[], str]) -> None:
        self._line = line
        self._site_url = site_url

    async def check_card(self, check: CardCheck) -> CheckResult:
        """Open the page, or look what became of it."""
        try:
            if check.reference is not None:
                return self._result(await self._look(check.reference))
            if self._line.now_s() - check.created_at_ms // 1_000 > CHECKOUT_ASK_S:
                return Declined(DeclineReason.NOT_PAID)  # no page's address reached the member
            return self._result(await self._open(check))
        except Refused as refused:
            log.error("Stripe refused a card check: %s", refused)
            return Declined(DeclineReason.OTHER)
        except KeyMoved:
            return Declined(DeclineReason.NOT_PAID)  # asked for under other settings

    async def _open(self, check: CardCheck) -> SetupSession:
        back = f"{self._site_url()}/wallet?free=1"
        params: SessionCreateParams = {
            "mode": "setup",
            "allowed_payment_method_types": ["card"],
            "success_url": back,
            "cancel_url": f"{back}&cancelled=1",
            "client_reference_id": check.check_id,
            "metadata": {"site": objects.SITE, "attempt": check.check_id, "way": objects.CHECK},
            "expires_at": check.created_at_ms // 1_000 + CHECKOUT_LIFE_S,
            "expand": [_EXPAND],
        }
        sessions = self._line.client.v1.checkout.sessions
        create = sessions.create_async(params, {"idempotency_key": check.check_id})
        session, replayed = await self._line.ask(create, SetupSession)
        # The first answer again, however long ago that was.
        return await self._look(session.id) if replayed else session

    async def _look(self, reference: str) -> SetupSession:
        sessions = self._line.client.v1.checkout.sessions
        asked = sessions.retrieve_async(reference, {"expand": [_EXPAND]})
        session, _ = await self._line.ask(asked, SetupSession)
        return session

    def _result(self, session: SetupSession) -> CheckResult:
        result = objects.setup_result(session)
        if isinstance(result, Redirect) and not self._line.is_page(result.url):
            log.error("Stripe named a page that is not at https: %s", session.id)
            raise ProviderUnavailable("no page to validate a card on")
        return result
