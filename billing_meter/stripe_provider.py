"""The Stripe adapter: Checkout on Stripe's own page, stored cards, refunds, signed webhooks.

The official library speaks HTTP; what its answers mean is decided in `stripe_objects`. Every
request that moves money carries an idempotency key made of the attempt, and all its parameters
come from the attempt's rows, so that asking again after an unknown outcome is the same request.
Nothing is sent at import or construction. Secrets are in no log and no text of an exception.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import msgspec
import stripe
from msgspec import Struct

from billing_meter import stripe_objects as objects
from billing_meter.providers import (
    Charge,
    ChargeResult,
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
from billing_meter.stripe_objects import Intent, Session
from billing_meter.stripe_signature import signature_fault
from billing_meter.units import credits_text

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams
    from stripe.params.checkout import SessionCreateParams

ANSWER_S = 20.0
"""Stripe says it may take this long with banks behind it; then the outcome is unknown."""
CHECKOUT_LIFE_S = 3_600
"""How long the page takes payments; Stripe allows 30 minutes to 24 hours."""
CHECKOUT_ASK_S = 1_500
"""Until when an unanswered page is asked for again: it must still have its 30 minutes."""
EXPIRY_GRACE_S = 60
"""Stripe closes pages a little late; after this we close them."""
KEY_LIFE_S = 20 * 3_600
"""Stripe forgets idempotency keys after 24 hours; then asking again would charge again."""
SEARCH_INTENTS = 100
"""How many of a customer's payments are looked through for one whose answer was lost."""
_SESSION_EXPAND = "payment_intent.latest_charge"
_INTENT_EXPAND = "latest_charge"

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Struct)


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """What an account needs. `descriptor_prefix` is the account's prefix for card payments.

    Without one, cards are charged under the account's own descriptor, which must be `descriptor`;
    with one, statements say "PREFIX* DESCRIPTOR".
    """

    secret_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    descriptor: str
    descriptor_prefix: str = ""
    api_base: str = ""


class _Refused(Exception):
    """Stripe understood the request and will not do it; nothing happened."""

    def __init__(self, code: str, param: str) -> None:
        super().__init__(f"{code} {param}")
        self.code, self.param = code, param


class _KeyMoved(Exception):
    """The idempotency key belongs to a request with other parameters."""


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
        logging.getLogger("stripe").setLevel(logging.WARNING)  # it would log bodies of requests
        self._settings = settings
        self._site_url = site_url
        self._utc_now = utc_now
        prefix = settings.descriptor_prefix
        self.descriptor = f"{prefix}* {settings.descriptor}" if prefix else settings.descriptor
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        self._client = stripe.StripeClient(
            settings.secret_key,
            http_client=self._http,
            max_network_retries=0,  # orders ask again themselves, and remember that they must
            base_addresses={"api": settings.api_base} if settings.api_base else None,
        )
        self._asked = False

    async def close(self) -> None:
        """Close the connections to Stripe."""
        if self._asked:
            await self._http.close_async()  # type: ignore[no-untyped-call]

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
            except _Refused as refused:
                if refused.param != "customer" or charge.customer is None:
                    raise
                # Somebody removed the customer at Stripe: the member becomes a new one there.
                return await self._open_page(charge, None, f"{charge.attempt_id}-anew")
        except _Refused as refused:
            log.error("Stripe refused a checkout: %s", refused)
            return Declined(DeclineReason.OTHER)
        except _KeyMoved:
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
        late = session.expires_at + EXPIRY_GRACE_S < self._now_s()
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
            expire = self._client.v1.checkout.sessions.expire_async(
                charge.reference, {"expand": [_SESSION_EXPAND]}
            )
            session, _ = await self._ask(expire, Session)
        except _Refused:  # it is not open any more
            session = await self._known_session(charge.reference)
        return self._session_result(session)

    async def refund(self, charge: Charge, price_minor: int, key: str) -> None:
        """Give money back to the card it came from."""
        if charge.reference is None:
            raise RefundRefused("nothing was paid")
        intent = await self._intent_of(charge.reference)
        try:
            await self._ask(
                self._client.v1.refunds.create_async(
                    {"payment_intent": intent.id, "amount": price_minor},
                    {"idempotency_key": key},
                ),
                objects.AnyObject,
            )
        except (_Refused, _KeyMoved) as refused:
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
        fault = signature_fault(body, signature, secret, self._now_s())
        if fault is not None:
            raise EventRefused(fault)
        event = objects.read_event(body)
        if event is None:
            raise EventRefused("event_invalid")
        return event

    async def news(self, event: ProviderEvent) -> News | None:
        """What Stripe says now of the object; the event's own copy may be old."""
        try:
            return await self._news(event)
        except _Refused:
            raise EventRefused("object_unknown") from None

    async def _news(self, event: ProviderEvent) -> News | None:
        disputed: Disputed | None = None
        if event.kind in objects.SESSION_EVENTS:
            session = await self._session(event.object_id)
            return _told(session.metadata, self._session_result(session))
        if event.kind in objects.INTENT_EVENTS:
            intent = await self._intent(event.object_id)
            if intent.metadata.way != "stored":
                return None  # the page's session tells, and it may still be open
            return _told(intent.metadata, objects.intent_result(intent))
        if event.kind in objects.CHARGE_EVENTS:
            asked = self._client.v1.charges.retrieve_async(event.object_id)
            charge, _ = await self._ask(asked, objects.ChargeObject)
            payment = charge.payment_intent
        elif event.kind in objects.DISPUTE_EVENTS:
            told = self._client.v1.disputes.retrieve_async(event.object_id)
            dispute, _ = await self._ask(told, objects.Dispute)
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
        create = self._client.v1.checkout.sessions.create_async(params, {"idempotency_key": key})
        session, replayed = await self._ask(create, Session)
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
        intents = self._client.v1.payment_intents
        try:
            create = intents.create_async(params, {"idempotency_key": charge.attempt_id})
            intent, replayed = await self._ask(create, Intent)
        except stripe.CardError as declined:
            return Declined(_reason(declined))
        except _Refused as refused:
            log.error("Stripe refused a stored card: %s", refused)
            return Declined(DeclineReason.OTHER)
        except _KeyMoved:
            return await self._search(charge)
        if replayed:
            intent = await self._known_intent(intent.id)
        if intent.status == "requires_action":
            # Nobody is there to act, and it must not be completed later behind our back.
            try:
                await self._ask(intents.cancel_async(intent.id), objects.AnyObject)
            except _Refused:
                intent = await self._known_intent(intent.id)
        return objects.intent_result(intent)

    async def _search(self, charge: Charge) -> ChargeResult:
        """Find a stored card's payment without its name, when its key is too old to repeat."""
        customer, _ = objects.token_parts(charge.token)
        listed = self._client.v1.payment_intents.list_async(
            {
                "customer": customer,
                "created": {"gte": charge.created_at_ms // 1_000 - EXPIRY_GRACE_S},
                "limit": SEARCH_INTENTS,
                "expand": [f"data.{_INTENT_EXPAND}"],
            }
        )
        try:
            page, _ = await self._ask(listed, objects.IntentPage)
        except _Refused:
            return Declined(DeclineReason.OTHER)
        for intent in page.data:
            if intent.metadata.attempt == charge.attempt_id:
                return objects.intent_result(intent)
        if page.has_more:
            raise ProviderUnavailable("too many payments to look through")
        return Declined(DeclineReason.OTHER)

    async def _session(self, reference: str) -> Session:
        asked = self._client.v1.checkout.sessions.retrieve_async(
            reference, {"expand": [_SESSION_EXPAND]}
        )
        session, _ = await self._ask(asked, Session)
        self._compare_descriptor(session.payment_intent)
        return session

    async def _intent(self, reference: str) -> Intent:
        asked = self._client.v1.payment_intents.retrieve_async(
            reference, {"expand": [_INTENT_EXPAND]}
        )
        intent, _ = await self._ask(asked, Intent)
        self._compare_descriptor(intent)
        return intent

    async def _known_session(self, reference: str) -> Session:
        """One of ours; if Stripe does not know it, the account is another one."""
        try:
            return await self._session(reference)
        except _Refused as refused:
            raise _lost(reference, refused) from None

    async def _known_intent(self, reference: str) -> Intent:
        try:
            return await self._intent(reference)
        except _Refused as refused:
            raise _lost(reference, refused) from None

    async def _intent_of(self, reference: str) -> Intent:
        if not _is_session(reference):
            return await self._known_intent(reference)
        intent = (await self._known_session(reference)).payment_intent
        if intent is None:
            raise RefundRefused("nothing was paid")
        return intent

    async def _ask(self, request: Awaitable[stripe.StripeObject], kind: type[T]) -> tuple[T, bool]:
        """The answer, and whether it is an earlier one repeated for its idempotency key.

        CardError passes; other refusals become _Refused or _KeyMoved; all the rest is an unknown
        outcome.
        """
        self._asked = True
        try:
            answer = await request
            response = answer.last_response
            assert response is not None
            content = msgspec.json.decode(response.body, type=kind)
        except stripe.CardError:
            raise
        except stripe.IdempotencyError:
            raise _KeyMoved from None
        except stripe.InvalidRequestError as error:
            raise _Refused(str(error.code), str(error.param)) from None
        except stripe.StripeError as error:
            # Its text may repeat what was sent (a wrong key is named in part).
            text = f"{type(error).__name__}, status {error.http_status}, request {error.request_id}"
            log.warning("Stripe gave no answer: %s", text)
            raise ProviderUnavailable(text) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderUnavailable(type(error).__name__) from None
        except msgspec.MsgspecError as error:
            log.error("an answer of Stripe cannot be read: %s", error)
            raise ProviderUnavailable("unreadable answer") from None
        return content, response.headers.get("idempotent-replayed") == "true"

    def _session_result(self, session: Session) -> ChargeResult:
        result = objects.session_result(session)
        if isinstance(result, Redirect) and not self._is_page(result.url):
            log.error("Stripe named a page that is not at https: %s", session.id)
            raise ProviderUnavailable("no page to pay on")
        return result

    def _is_page(self, url: str) -> bool:
        base = self._settings.api_base
        return url.startswith("https://") or (bool(base) and url.startswith(base))

    def _compare_descriptor(self, intent: Intent | None) -> None:
        charge = intent and intent.latest_charge
        says = charge.calculated_statement_descriptor if charge else None
        if says is not None and says.upper() != self.descriptor.upper():
            log.warning("statements say %r, members were told %r", says, self.descriptor)

    def _age_s(self, charge: Charge) -> int:
        return self._now_s() - charge.created_at_ms // 1_000

    def _now_s(self) -> int:
        return int(self._utc_now().timestamp())


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


def _lost(reference: str, refused: _Refused) -> ProviderUnavailable:
    log.error("Stripe does not know %s (%s): is this another account's key?", reference, refused)
    return ProviderUnavailable("unknown reference")


def _reason(declined: stripe.CardError) -> DeclineReason:
    try:
        body = msgspec.json.decode(declined.http_body or "", type=objects.ErrorReply).error
    except msgspec.MsgspecError:
        return DeclineReason.OTHER
    return objects.reason_of(objects.PaymentError(body.code, body.decline_code))
