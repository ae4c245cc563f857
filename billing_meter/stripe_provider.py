"""The Stripe adapter: Checkout on Stripe's own page, stored cards, refunds, signed webhooks.

The official library speaks HTTP; what its answers mean is decided in `stripe_objects`. Every
request that moves money carries an idempotency key made of the attempt, and all its parameters
come from the attempt's rows, so that asking again after an unknown outcome is the same request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import stripe

from billing_meter import stripe_objects as objects
from billing_meter.providers import (
    Charge,
    ChargeResult,
    CheckNews,
    Declined,
    DeclineReason,
    Disputed,
    EventRefused,
    Method,
    News,
    ProviderEvent,
    ProviderUnavailable,
    Redirect,
    RefundRefused,
    Unknown,
)
from billing_meter.stripe_line import (
    CHECKOUT_ASK_S,
    CHECKOUT_LIFE_S,
    KeyMoved,
    Refused,
    StripeLine,
    StripeSettings,
)
from billing_meter.stripe_objects import Intent, Session
from billing_meter.stripe_signature import signature_fault
from billing_meter.units import credits_text

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams
    from stripe.params.checkout import SessionCreateParams

EXPIRY_GRACE_S = 60
"""Stripe closes pages a little late; after this we close them."""
KEY_LIFE_S = 20 * 3_600
"""Stripe forgets idempotency keys after 24 hours; then asking again would charge again."""
SEARCH_INTENTS = 100
"""How many of a customer's payments are looked through for one whose answer was lost."""
_SESSION_EXPAND = "payment_intent.latest_charge"
_INTENT_EXPAND = "latest_charge"

log = logging.getLogger(__name__)


class StripeProvider:
    """`site_url` is where members come back to; it is asked at each payment."""

    name = "stripe"
    methods: tuple[Method, ...] = (Method("card", "Card"),)
    redirects = True
    default_token: str | None = None

    def __init__(
        self,
        settings: StripeSettings,
        *,
        site_url: Callable[[], str],
        utc_now: Callable[[], datetime],
    ) -> None:
        self.line = StripeLine(settings, utc_now)
        """For whoever else asks Stripe for this account."""
        self._settings = settings
        self._site_url = site_url
        prefix = settings.descriptor_prefix
        self.descriptor = f"{prefix}* {settings.descriptor}" if prefix else settings.descriptor

    async def close(self) -> None:
        """Close the connections to Stripe."""
        await self.line.close()

    # --- paying ---------------------------------------------------------------------------

    async def charge(self, charge: Charge) -> ChargeResult:
        """Open a page for the member to pay on, or charge a stored card."""
        if charge.token:
            return await self._charge_stored(charge)
        if self._age_s(charge) > CHECKOUT_ASK_S:
            return Declined(DeclineReason.NOT_PAID)  # no page's address ever reached the member
        try:
            try:
                return await self._open_page(charge, charge.customer, charge.attempt_id)
            except Refused as refused:
                if refused.param != "customer" or charge.customer is None:
                    raise
                # Somebody removed the customer at Stripe: the member becomes a new one there.
                return await self._open_page(charge, None, f"{charge.attempt_id}-anew")
        except Refused as refused:
            log.error("Stripe refused a checkout: %s", refused)
            return Declined(DeclineReason.OTHER)
        except KeyMoved:
            # The first page was asked for under other settings, and its address reached nobody.
            return Declined(DeclineReason.NOT_PAID)

    async def lookup(self, charge: Charge) -> ChargeResult | Unknown:
        """What became of it. A page past its time is closed on the way."""
        if charge.reference is None:
            if charge.token and self._age_s(charge) > KEY_LIFE_S:
                return await self._search(charge)
            return Unknown()
        if not _is_session(charge.reference):
            return objects.intent_result(await self._known_intent(charge.reference))
        session = await self._known_session(charge.reference)
        late = session.expires_at + EXPIRY_GRACE_S < self.line.now_s()
        if session.status == "open" and late:
            return await self.cancel(charge)
        return self._session_result(session)

    async def cancel(self, charge: Charge) -> ChargeResult | Unknown:
        """Close the member's page. What was paid in the meantime stays paid."""
        if charge.token:
            return await self.lookup(charge)
        if charge.reference is None:
            return Declined(DeclineReason.NOT_PAID)
        if not _is_session(charge.reference):
            return await self.lookup(charge)
        try:
            expire = self.line.client.v1.checkout.sessions.expire_async(
                charge.reference, {"expand": [_SESSION_EXPAND]}
            )
            session, _ = await self.line.ask(expire, Session)
        except Refused:  # it is not open any more
            session = await self._known_session(charge.reference)
        return self._session_result(session)

    async def refund(self, charge: Charge, price_minor: int, key: str) -> None:
        """Give money back to the card it came from."""
        if charge.reference is None:
            raise RefundRefused("nothing was paid")
        intent = await self._intent_of(charge.reference)
        try:
            await self.line.ask(
                self.line.client.v1.refunds.create_async(
                    {"payment_intent": intent.id, "amount": price_minor},
                    {"idempotency_key": key},
                ),
                objects.AnyObject,
            )
        except (Refused, KeyMoved) as refused:
            raise RefundRefused(str(refused)) from None

    async def refunded_total(self, charge: Charge) -> int:
        """As Stripe counts it, refunds from its dashboard too."""
        if charge.reference is None:
            return 0
        return objects.refunded_minor(await self._intent_of(charge.reference))

    # --- webhooks -------------------------------------------------------------------------

    def open_event(self, body: bytes, signature: str) -> ProviderEvent:
        """Check the signature, then read the event's id, type and object."""
        secret = self._settings.webhook_secret
        fault = signature_fault(body, signature, secret, self.line.now_s())
        if fault is not None:
            raise EventRefused(fault)
        event = objects.read_event(body)
        if event is None:
            raise EventRefused("event_invalid")
        return event

    async def news(self, event: ProviderEvent) -> News | CheckNews | None:
        """What Stripe says now of the object; the event's own copy may be old."""
        try:
            return await self._news(event)
        except Refused:
            raise EventRefused("object_unknown") from None

    async def _news(self, event: ProviderEvent) -> News | CheckNews | None:
        disputed: Disputed | None = None
        if event.kind in objects.SESSION_EVENTS:
            session = await self._session(event.object_id)
            if session.metadata.way == objects.CHECK:
                ours = session.metadata.site == objects.SITE
                return CheckNews(session.metadata.attempt) if ours else None
            return _told(session.metadata, self._session_result(session))
        if event.kind in objects.INTENT_EVENTS:
            intent = await self._intent(event.object_id)
            if intent.metadata.way != "stored":
                return None  # the page's session tells, and it may still be open
            return _told(intent.metadata, objects.intent_result(intent))
        if event.kind in objects.CHARGE_EVENTS:
            asked = self.line.client.v1.charges.retrieve_async(event.object_id)
            charge, _ = await self.line.ask(asked, objects.ChargeObject)
            payment = charge.payment_intent
        elif event.kind in objects.DISPUTE_EVENTS:
            told = self.line.client.v1.disputes.retrieve_async(event.object_id)
            dispute, _ = await self.line.ask(told, objects.Dispute)
            payment, disputed = dispute.payment_intent, objects.disputed(dispute)
        else:
            return None
        if payment is None:
            return None
        intent = await self._intent(payment)
        result, refunded = objects.intent_result(intent), objects.refunded_minor(intent)
        return _told(intent.metadata, result, refunded, disputed)

    # --- requests -------------------------------------------------------------------------

    async def _open_page(self, charge: Charge, customer: str | None, key: str) -> ChargeResult:
        site = self._site_url()
        back = f"{site}/wallet?order={charge.order_id}"
        notes = _notes(charge, "checkout")
        params: SessionCreateParams = {
            "mode": "payment",
            "allowed_payment_method_types": ["card"],
            "adaptive_pricing": {"enabled": False},  # the price shown here is the price there
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": charge.currency.lower(),
                        "unit_amount": charge.price_minor,
                        "product_data": {"name": f"{credits_text(charge.credits_units)} credits"},
                    },
                }
            ],
            "success_url": back,
            "cancel_url": f"{back}&cancelled=1",
            "client_reference_id": charge.order_id,
            "metadata": notes,
            "expires_at": charge.created_at_ms // 1_000 + CHECKOUT_LIFE_S,
            "payment_intent_data": {"metadata": notes, "setup_future_usage": "off_session"},
            "expand": [_SESSION_EXPAND],
        }
        if self._settings.descriptor_prefix:
            suffix = self._settings.descriptor
            params["payment_intent_data"]["statement_descriptor_suffix"] = suffix
        if customer is None:
            params["customer_creation"] = "always"
        else:
            params["customer"] = customer
        sessions = self.line.client.v1.checkout.sessions
        create = sessions.create_async(params, {"idempotency_key": key})
        session, replayed = await self.line.ask(create, Session)
        if replayed:  # the first answer again, however long ago that was
            session = await self._session(session.id)
        return self._session_result(session)

    async def _charge_stored(self, charge: Charge) -> ChargeResult:
        customer, method = objects.token_parts(charge.token)
        params: PaymentIntentCreateParams = {
            "amount": charge.price_minor,
            "currency": charge.currency.lower(),
            "customer": customer,
            "payment_method": method,
            "allowed_payment_method_types": ["card"],
            "off_session": True,
            "confirm": True,
            "metadata": _notes(charge, "stored"),
            "expand": [_INTENT_EXPAND],
        }
        if self._settings.descriptor_prefix:
            params["statement_descriptor_suffix"] = self._settings.descriptor
        intents = self.line.client.v1.payment_intents
        try:
            create = intents.create_async(params, {"idempotency_key": charge.attempt_id})
            intent, replayed = await self.line.ask(create, Intent)
        except stripe.CardError as declined:
            return Declined(_reason(declined))
        except Refused as refused:
            log.error("Stripe refused a stored card: %s", refused)
            return Declined(DeclineReason.OTHER)
        except KeyMoved:
            return await self._search(charge)
        if replayed:
            intent = await self._known_intent(intent.id)
        if intent.status == "requires_action":
            # Nobody is there to act, and it must not be completed later behind our back.
            try:
                await self.line.ask(intents.cancel_async(intent.id), objects.AnyObject)
            except Refused:
                intent = await self._known_intent(intent.id)
        return objects.intent_result(intent)

    async def _search(self, charge: Charge) -> ChargeResult:
        """Find a stored card's payment without its name, when its key is too old to repeat."""
        customer, _ = objects.token_parts(charge.token)
        listed = self.line.client.v1.payment_intents.list_async(
            {
                "customer": customer,
                "created": {"gte": charge.created_at_ms // 1_000 - EXPIRY_GRACE_S},
                "limit": SEARCH_INTENTS,
                "expand": [f"data.{_INTENT_EXPAND}"],
            }
        )
        try:
            page, _ = await self.line.ask(listed, objects.IntentPage)
        except Refused:
            return Declined(DeclineReason.OTHER)
        for intent in page.data:
            if intent.metadata.attempt == charge.attempt_id:
                return objects.intent_result(intent)
        if page.has_more:
            raise ProviderUnavailable("too many payments to look through")
        return Declined(DeclineReason.OTHER)

    async def _session(self, reference: str) -> Session:
        asked = self.line.client.v1.checkout.sessions.retrieve_async(
            reference, {"expand": [_SESSION_EXPAND]}
        )
        session, _ = await self.line.ask(asked, Session)
        self._compare_descriptor(session.payment_intent)
        return session

    async def _intent(self, reference: str) -> Intent:
        asked = self.line.client.v1.payment_intents.retrieve_async(
            reference, {"expand": [_INTENT_EXPAND]}
        )
        intent, _ = await self.line.ask(asked, Intent)
        self._compare_descriptor(intent)
        return intent

    async def _known_session(self, reference: str) -> Session:
        """One of ours; if Stripe does not know it, the account is another one."""
        try:
            return await self._session(reference)
        except Refused as refused:
            raise _lost(reference, refused) from None

    async def _known_intent(self, reference: str) -> Intent:
        try:
            return await self._intent(reference)
        except Refused as refused:
            raise _lost(reference, refused) from None

    async def _intent_of(self, reference: str) -> Intent:
        if not _is_session(reference):
            return await self._known_intent(reference)
        intent = (await self._known_session(reference)).payment_intent
        if intent is None:
            raise RefundRefused("nothing was paid")
        return intent

    def _session_result(self, session: Session) -> ChargeResult:
        result = objects.session_result(session)
        if isinstance(result, Redirect) and not self.line.is_page(result.url):
            log.error("Stripe named a page that is not at https: %s", session.id)
            raise ProviderUnavailable("no page to pay on")
        return result

    def _compare_descriptor(self, intent: Intent | None) -> None:
        charge = intent and intent.latest_charge
        says = charge.calculated_statement_descriptor if charge else None
        if says is not None and says.upper() != self.descriptor.upper():
            log.warning("statements say %r, members were told %r", says, self.descriptor)

    def _age_s(self, charge: Charge) -> int:
        return self.line.now_s() - charge.created_at_ms // 1_000


def _notes(charge: Charge, way: str) -> dict[str, str]:
    return {
        "site": objects.SITE,
        "order": charge.order_id,
        "attempt": charge.attempt_id,
        "way": way,
    }


def _told(
    notes: objects.Metadata,
    result: ChargeResult,
    refunded_minor: int = 0,
    disputed: Disputed | None = None,
) -> News | None:
    if notes.site != objects.SITE:
        return None
    return News(notes.order, notes.attempt, result, refunded_minor, disputed)


def _is_session(reference: str) -> bool:
    return reference.startswith("cs_")


def _lost(reference: str, refused: Refused) -> ProviderUnavailable:
    log.error("Stripe does not know %s (%s): is this another account's key?", reference, refused)
    return ProviderUnavailable("unknown reference")


def _reason(declined: stripe.CardError) -> DeclineReason:
    try:
        body = msgspec.json.decode(declined.http_body or "", type=objects.ErrorReply).error
    except msgspec.MsgspecError:
        return DeclineReason.OTHER
    return objects.reason_of(objects.PaymentError(body.code, body.decline_code))
