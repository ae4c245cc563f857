"""Payment providers: the protocol that one must speak, and a fake one for demo and tests.

A provider sees tokens of its own making, never a card number. `attempt_id` is its idempotency
key: asking twice with the same one must charge once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class DeclineReason(enum.StrEnum):
    """The causes that a member can act on, and the rest."""

    FUNDS = "funds"
    CARD_EXPIRED = "card_expired"
    BANK_BLOCKED = "bank_blocked"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Method:
    """A way to pay."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Charge:
    """What the provider is asked to charge."""

    attempt_id: str
    member_id: str
    method: str
    token: str
    price_minor: int
    currency: str
    descriptor: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The money is ours."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """It will never be, for this attempt."""

    reason: DeclineReason


@dataclass(frozen=True, slots=True)
class Pending:
    """Authorised, not settled yet."""

    reference: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider never heard of this attempt; it may be asked again with the same id."""


ChargeResult = Settled | Declined | Pending


class ProviderUnavailable(Exception):
    """No answer: the charge may or may not have happened; ask again with the same attempt."""


class Provider(Protocol):
    """Speaks to one payment provider."""

    name: str
    methods: tuple[Method, ...]
    descriptor: str
    """What will stand on the member's statement; shown before paying."""

    async def charge(self, charge: Charge) -> ChargeResult:
        """Charge once per attempt id; raises ProviderUnavailable when the outcome is unknown."""

    async def lookup(self, attempt_id: str) -> ChargeResult | Unknown:
        """What became of an attempt; raises ProviderUnavailable."""

    def stored_token(self, member_id: str) -> str | None:
        """A token that may be charged without the member being there, if there is one."""


class NoProvider:
    """Payments are not configured: nothing can be bought."""

    name = "none"
    methods: tuple[Method, ...] = ()
    descriptor = ""

    async def charge(self, charge: Charge) -> ChargeResult:
        """Decline."""
        return Declined(DeclineReason.OTHER)

    async def lookup(self, attempt_id: str) -> ChargeResult | Unknown:
        """Nothing was ever charged."""
        return Unknown()

    def stored_token(self, member_id: str) -> str | None:
        """None."""
        return None


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

    def __init__(self, stored: Callable[[str], str | None] = lambda _member_id: "tok_ok") -> None:
        self._stored = stored
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
            result = Settled(reference)
        elif charge.token == "tok_slow":
            result = Pending(reference)
        else:
            result = Declined(FAKE_DECLINES.get(charge.token, DeclineReason.OTHER))
        self._results[charge.attempt_id] = result
        return result

    async def lookup(self, attempt_id: str) -> ChargeResult | Unknown:
        """A pending one settles at its second look-up."""
        result = self._results.get(attempt_id)
        if result is None:
            return Unknown()
        if isinstance(result, Pending):
            self._lookups[attempt_id] = self._lookups.get(attempt_id, 0) + 1
            if self._lookups[attempt_id] >= SLOW_LOOKUPS:
                result = self._results[attempt_id] = Settled(result.reference)
        return result

    def stored_token(self, member_id: str) -> str | None:
        """As the test says; by default every member has a good card."""
        return self._stored(member_id)
