"""Payment providers: the protocol that one must speak, and a fake one for demo and tests.

A provider sees tokens of its own making, never a card number. `attempt_id` is its idempotency
key: asking twice with the same one must charge once. A provider with a page of its own answers
`Redirect`, and the member pays there; what its webhooks tell comes in as `News`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class DeclineReason(enum.StrEnum):
    """The causes that a member can act on, and the rest."""

    FUNDS = "funds"
    CARD_EXPIRED = "card_expired"
    BANK_BLOCKED = "bank_blocked"
    NEEDS_ACTION = "needs_action"
    """The bank wants the member there; a payment without them will not go through."""
    NOT_PAID = "not_paid"
    """The member never paid: they cancelled, or the provider's page expired."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Method:
    """A way to pay."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Charge:
    """What the provider is asked to charge. `reference` is its own name for it, once known.

    `token` is a card that the provider stored, or one that its page made; empty where the member
    pays on the provider's page. `customer` is the provider's name for a member who paid before.
    """

    attempt_id: str
    member_id: str
    method: str
    token: str
    price_minor: int
    currency: str
    descriptor: str
    order_id: str
    credits_units: int
    created_at_ms: int
    reference: str | None = None
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A card that the provider keeps, and may charge without the member being there.

    `fingerprint` is the same for the same card number, whoever brings it.
    """

    token: str
    customer: str
    fingerprint: str | None = None
    brand: str | None = None
    last4: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The money is ours. A provider that says how much is held to it."""

    reference: str
    price_minor: int | None = None
    currency: str | None = None
    card: Card | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """It will never be, for this attempt."""

    reason: DeclineReason


@dataclass(frozen=True, slots=True)
class Pending:
    """Authorised, not settled yet."""

    reference: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """The member pays on the provider's page at `url`; nothing is authorised yet."""

    reference: str
    url: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider never heard of this attempt; it may be asked again with the same id."""


ChargeResult = Settled | Declined | Pending | Redirect


class ProviderUnavailable(Exception):
    """No answer: the charge may or may not have happened; ask again with the same attempt."""


class Provider(Protocol):
    """Speaks to one payment provider."""

    name: str
    methods: tuple[Method, ...]
    descriptor: str
    """What will stand on the member's statement; shown before paying."""
    redirects: bool
    """Members pay on the provider's page; tokens from our own page are refused."""
    default_token: str | None
    """A card that every member has; the fake's, None for real ones."""

    async def charge(self, charge: Charge) -> ChargeResult:
        """Charge once per attempt id; raises ProviderUnavailable when the outcome is unknown."""

    async def lookup(self, charge: Charge) -> ChargeResult | Unknown:
        """What became of an attempt; raises ProviderUnavailable."""

    async def cancel(self, charge: Charge) -> ChargeResult | Unknown:
        """Close what the member has not paid yet; tells what became of it in the end."""

    async def refund(self, charge: Charge, price_minor: int, key: str) -> None:
        """Give money back, once per key.

        Raises ProviderUnavailable (ask again with the same key) and RefundRefused.
        """

    async def refunded_total(self, charge: Charge) -> int:
        """All that was ever given back of this charge, by whomever; raises ProviderUnavailable."""

    async def close(self) -> None:
        """Close connections, if there are any."""


class RefundRefused(Exception):
    """The provider will not give this money back; its text says why."""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A webhook that proved to be the provider's: its permanent id, and what it is about."""

    event_id: str
    kind: str
    object_id: str


class DisputeState(enum.StrEnum):
    """How a dispute stands; it only goes on in this order, so what is told late is known as old."""

    INQUIRY = "inquiry"
    """The bank asks; nothing was taken."""
    OPEN = "open"
    """The money was taken until it is decided."""
    LOST = "lost"
    WON = "won"
    """The money is ours again, for good: another dispute of the payment is another one."""


@dataclass(frozen=True, slots=True)
class Disputed:
    """The member's bank wants `price_minor` back, or took it."""

    dispute_id: str
    price_minor: int
    state: DisputeState


@dataclass(frozen=True, slots=True)
class News:
    """What the provider now says of an attempt, whatever order its events come in.

    `order_id` and `attempt_id` are what we gave it when the attempt began. `refunded_minor` is all
    that was ever given back of the payment; a bank may dispute the same payment besides.
    """

    order_id: str
    attempt_id: str
    result: ChargeResult
    refunded_minor: int = 0
    dispute: Disputed | None = None


@dataclass(frozen=True, slots=True)
class CheckNews:
    """Something happened to a card check; whoever began it asks what."""

    check_id: str


class EventRefused(Exception):
    """A webhook that is not believed; `code` is stable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@runtime_checkable
class EventSource(Protocol):
    """A provider that tells by webhook."""

    name: str

    def open_event(self, body: bytes, signature: str) -> ProviderEvent:
        """Check the signature over the raw bytes and read the event; raises EventRefused."""

    async def news(self, event: ProviderEvent) -> News | CheckNews | None:
        """Ask the provider what it is about, since events come late and in any order.

        None when it does not concern us; raises ProviderUnavailable.
        """


class NoProvider:
    """Payments are not configured: nothing can be bought."""

    name = "none"
    methods: tuple[Method, ...] = ()
    descriptor = ""
    redirects = False
    default_token: str | None = None

    async def charge(self, charge: Charge) -> ChargeResult:
        """Decline."""
        return Declined(DeclineReason.OTHER)

    async def lookup(self, charge: Charge) -> ChargeResult | Unknown:
        """Nothing was ever charged."""
        return Unknown()

    async def cancel(self, charge: Charge) -> ChargeResult | Unknown:
        """Nothing is under way."""
        return Unknown()

    async def refund(self, charge: Charge, price_minor: int, key: str) -> None:
        """Refuse."""
        raise RefundRefused("payments are not configured")

    async def refunded_total(self, charge: Charge) -> int:
        """Nothing was ever charged."""
        return 0

    async def close(self) -> None:
        """Nothing is open."""


FAKE_DECLINES = {
    "tok_declined": DeclineReason.FUNDS,
    "tok_expired": DeclineReason.CARD_EXPIRED,
    "tok_blocked": DeclineReason.BANK_BLOCKED,
}
SLOW_LOOKUPS = 2
"""A slow fake payment settles at this look-up."""


class FakeProvider:
    """No money moves: `tok_ok` settles, `tok_slow` settles later, others decline by their name."""

    name = "fake"
    methods: tuple[Method, ...] = (
        Method("card", "Card"),
        Method("pay_by_phone", "Pay by phone"),
        Method("paysafecard", "Paysafecard"),
        Method("bitcoin", "Bitcoin"),
        Method("gift_card", "Gift card"),
    )
    descriptor = "PRLR SERVICES"
    redirects = False
    default_token: str | None = "tok_ok"

    def __init__(self) -> None:
        self._refunds: dict[str, dict[str, int]] = {}
        self._results: dict[str, ChargeResult] = {}
        self._lookups: dict[str, int] = {}
        self.charges: list[Charge] = []
        """Attempts that really charged, once each."""

    async def charge(self, charge: Charge) -> ChargeResult:
        """The token decides; the same attempt gets the same answer."""
        known = self._results.get(charge.attempt_id)
        if known is not None:
            return known
        self.charges.append(charge)
        reference = f"fake-{charge.attempt_id}"
        result: ChargeResult
        if charge.token == "tok_ok":
            result = self._settled(charge)
        elif charge.token == "tok_slow":
            result = Pending(reference)
        else:
            result = Declined(FAKE_DECLINES.get(charge.token, DeclineReason.OTHER))
        self._results[charge.attempt_id] = result
        return result

    async def lookup(self, charge: Charge) -> ChargeResult | Unknown:
        """A pending one settles at its second look-up."""
        attempt_id = charge.attempt_id
        result = self._results.get(attempt_id)
        if result is None:
            return Unknown()
        if isinstance(result, Pending):
            self._lookups[attempt_id] = self._lookups.get(attempt_id, 0) + 1
            if self._lookups[attempt_id] >= SLOW_LOOKUPS:
                result = self._results[attempt_id] = self._settled(charge)
        return result

    async def cancel(self, charge: Charge) -> ChargeResult | Unknown:
        """What is under way cannot be stopped."""
        return await self.lookup(charge)

    async def refund(self, charge: Charge, price_minor: int, key: str) -> None:
        """Up to what was charged, once per key."""
        given = self._refunds.setdefault(charge.attempt_id, {})
        if key not in given:
            if sum(given.values()) + price_minor > charge.price_minor:
                raise RefundRefused("more than was paid")
            given[key] = price_minor

    async def refunded_total(self, charge: Charge) -> int:
        """What this process gave back."""
        return sum(self._refunds.get(charge.attempt_id, {}).values())

    async def close(self) -> None:
        """Nothing is open."""

    def _settled(self, charge: Charge) -> Settled:
        reference = f"fake-{charge.attempt_id}"
        card = Card(
            charge.token, f"fake-{charge.member_id}", f"fake:{charge.token}", "test", "4242"
        )
        return Settled(reference, charge.price_minor, charge.currency, card)
