"""What we read of Stripe's JSON, and what it means for an attempt (pure; no library, no network).

Only the fields named here are looked at; everything else may change. References: Stripe API,
Checkout Sessions, PaymentIntents, Charges, Disputes, Events, and its list of decline codes.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from billing_meter.card_checks import CardFound, CheckResult
from billing_meter.providers import (
    Card,
    ChargeResult,
    Declined,
    DeclineReason,
    Disputed,
    DisputeState,
    Pending,
    ProviderEvent,
    Redirect,
    Settled,
)

ID_CHARS_MAX = 200
TOKEN_SEPARATOR = ":"
"""A stored card is `customer:payment method`; our own page cannot make such a token."""
SITE = "parlour"
"""Metadata that tells our objects from those of other shops of the same Stripe account."""

CHECK = "check"

SESSION_EVENTS = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
    }
)
INTENT_EVENTS = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.processing",
    }
)
CHARGE_EVENTS = frozenset({"charge.refunded"})
DISPUTE_EVENTS = frozenset(
    {
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
        "charge.dispute.updated",
    }
)
DISPUTE_ENDS = {"won": DisputeState.WON, "lost": DisputeState.LOST}
INQUIRY_PREFIX = "warning_"
"""A dispute in such a state is an inquiry: nothing was taken."""

FUNDS_CODES = frozenset(
    {"insufficient_funds", "withdrawal_count_limit_exceeded", "card_velocity_exceeded"}
)
EXPIRED_CODES = frozenset({"expired_card", "invalid_expiry_month", "invalid_expiry_year"})
BLOCKED_CODES = frozenset(
    {
        "approve_with_id",
        "call_issuer",
        "card_not_supported",
        "do_not_honor",
        "do_not_try_again",
        "duplicate_transaction",
        "fraudulent",
        "generic_decline",
        "issuer_not_available",
        "no_action_taken",
        "not_permitted",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "service_not_allowed",
        "stop_payment_order",
        "transaction_not_allowed",
        "try_again_later",
    }
)
"""The bank does not want this payment, whatever the card could pay."""
ACTION_CODES = frozenset(
    {
        "authentication_required",
        "authentication_not_handled",
        "payment_intent_authentication_failure",
    }
)


class Metadata(Struct, frozen=True):
    """What we wrote on our objects."""

    site: str = ""
    order: str = ""
    attempt: str = ""
    way: str = ""
    """`checkout` or `stored`: a page's session tells of it, or the payment itself; `check`: no
    payment, a card check."""


class PaymentError(Struct, frozen=True):
    """Why a payment failed: Stripe's own code, and the bank's word if there is one."""

    code: str | None = None
    decline_code: str | None = None


class CardDetails(Struct, frozen=True):
    """Of a card, without its number."""

    fingerprint: str | None = None
    brand: str | None = None
    last4: str | None = None


class PaymentMethodDetails(Struct, frozen=True):
    """How a charge was paid."""

    card: CardDetails | None = None


class ChargeObject(Struct, frozen=True):
    """`charge`."""

    id: str
    payment_intent: str | None = None
    amount_refunded: int = 0
    calculated_statement_descriptor: str | None = None
    payment_method_details: PaymentMethodDetails | None = None


class Intent(Struct, frozen=True):
    """`payment_intent`, its `latest_charge` expanded."""

    id: str
    status: str
    amount: int
    currency: str
    created: int = 0
    customer: str | None = None
    payment_method: str | None = None
    latest_charge: ChargeObject | None = None
    last_payment_error: PaymentError | None = None
    metadata: Metadata = Metadata()


class PaymentMethod(Struct, frozen=True):
    """`payment_method`."""

    id: str
    card: CardDetails | None = None


class SetupIntent(Struct, frozen=True):
    """`setup_intent`, its `payment_method` expanded."""

    id: str
    status: str
    payment_method: PaymentMethod | None = None
    last_setup_error: PaymentError | None = None


class SetupSession(Struct, frozen=True):
    """`checkout.session` of mode `setup`: a card is validated, nothing is paid."""

    id: str
    status: Literal["open", "complete", "expired"]
    expires_at: int
    url: str | None = None
    setup_intent: SetupIntent | None = None


class Session(Struct, frozen=True):
    """`checkout.session`, its `payment_intent` and that one's charge expanded."""

    id: str
    status: Literal["open", "complete", "expired"]
    payment_status: str
    expires_at: int
    url: str | None = None
    amount_total: int | None = None
    currency: str | None = None
    customer: str | None = None
    payment_intent: Intent | None = None
    metadata: Metadata = Metadata()


class Dispute(Struct, frozen=True):
    """`dispute`."""

    id: str
    status: str
    amount: int
    payment_intent: str | None = None


class IntentPage(Struct, frozen=True):
    """A list of payments, newest first."""

    data: list[Intent]
    has_more: bool = False


class AnyObject(Struct, frozen=True):
    """An answer of which only that it came counts."""

    id: str


class ErrorReply(Struct, frozen=True):
    """The body of a declined request."""

    error: PaymentError


class _Object(Struct, frozen=True):
    id: str = ""


class _Data(Struct, frozen=True):
    object: _Object


class _Event(Struct, frozen=True):
    id: str
    type: str
    data: _Data


def read_event(body: bytes) -> ProviderEvent | None:
    """A webhook's body; None when it is not an event."""
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    subject = event.data.object.id
    if not 0 < len(event.id) <= ID_CHARS_MAX or len(subject) > ID_CHARS_MAX:
        return None
    return ProviderEvent(event.id, event.type, subject)


def reason_of(error: PaymentError | None) -> DeclineReason:
    """The cause that a member can act on; the decline code says more than the error code."""
    codes = () if error is None else (error.decline_code, error.code)
    for code in codes:
        if code in FUNDS_CODES:
            return DeclineReason.FUNDS
        if code in EXPIRED_CODES:
            return DeclineReason.CARD_EXPIRED
        if code in ACTION_CODES:
            return DeclineReason.NEEDS_ACTION
        if code in BLOCKED_CODES:
            return DeclineReason.BANK_BLOCKED
    return DeclineReason.OTHER


def session_result(session: Session) -> ChargeResult:
    """What a Checkout Session means. A declined card leaves it open: the member tries another."""
    match session.status:
        case "complete":
            if session.payment_status != "unpaid":
                return _settled(
                    session.id, session.payment_intent, session.amount_total, session.currency
                )
            if session.payment_intent is not None and session.payment_intent.status in (
                "requires_payment_method",
                "canceled",
            ):
                return Declined(reason_of(session.payment_intent.last_payment_error))
            return Pending(session.id)
        case "expired":
            error = session.payment_intent and session.payment_intent.last_payment_error
            return Declined(reason_of(error) if error else DeclineReason.NOT_PAID)
        case "open":
            return Redirect(session.id, session.url or "", session.expires_at * 1_000)


def setup_result(session: SetupSession) -> CheckResult:
    """What a page that validates a card means. Without a fingerprint nobody can be told apart."""
    intent = session.setup_intent
    match session.status:
        case "open":
            return Redirect(session.id, session.url or "", session.expires_at * 1_000)
        case "complete" if intent is not None and intent.status == "succeeded":
            method = intent.payment_method
            found = None if method is None else method.card
            if found is None or not found.fingerprint:
                return Declined(DeclineReason.OTHER)
            return CardFound(found.fingerprint)
        case "complete" if intent is not None and intent.status == "processing":
            return Pending(session.id)
        case "complete" | "expired":
            error = intent and intent.last_setup_error
            return Declined(reason_of(error) if error else DeclineReason.NOT_PAID)


def intent_result(intent: Intent) -> ChargeResult:
    """What a payment with a stored card means: the member is not there to do anything."""
    match intent.status:
        case "succeeded":
            return _settled(intent.id, intent, intent.amount, intent.currency)
        case "processing" | "requires_capture" | "requires_confirmation":
            return Pending(intent.id)
        case "requires_action":
            return Declined(DeclineReason.NEEDS_ACTION)
        case _:
            return Declined(reason_of(intent.last_payment_error))


def refunded_minor(intent: Intent) -> int:
    """How much of a payment was given back in all."""
    return intent.latest_charge.amount_refunded if intent.latest_charge else 0


def disputed(dispute: Dispute) -> Disputed:
    """Whose the money is now; in a state that is not known here it is not ours."""
    state = DISPUTE_ENDS.get(dispute.status, DisputeState.OPEN)
    if dispute.status.startswith(INQUIRY_PREFIX):
        state = DisputeState.INQUIRY
    return Disputed(dispute.id, dispute.amount, state)


def token_parts(token: str) -> tuple[str, str]:
    """A stored card's customer and payment method."""
    customer, _, method = token.partition(TOKEN_SEPARATOR)
    return customer, method


def _settled(
    reference: str, intent: Intent | None, amount: int | None, currency: str | None
) -> Settled:
    card = None
    if intent is not None and intent.customer and intent.payment_method:
        paid_by = intent.latest_charge and intent.latest_charge.payment_method_details
        details = (paid_by.card if paid_by else None) or CardDetails()
        card = Card(
            token=f"{intent.customer}{TOKEN_SEPARATOR}{intent.payment_method}",
            customer=intent.customer,
            fingerprint=details.fingerprint,
            brand=details.brand,
            last4=details.last4,
        )
    return Settled(reference, amount, (currency or "").upper(), card)
