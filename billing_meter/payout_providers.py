"""Payout providers: the protocol that one must speak, and a fake one for demo and tests.

`payout_id` is the provider's idempotency key: asked twice with the same one, it sends money once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from billing_meter.payout_rules import Payout
from billing_meter.providers import ProviderUnavailable, Unknown

__all__ = [
    "FakePayoutProvider",
    "PayoutProvider",
    "PayoutResult",
    "ProviderUnavailable",
    "Rejected",
    "Sent",
    "Transferred",
    "Unknown",
]

SLOW_LOOKUPS = 2
"""A slow fake payout arrives at this look-up."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """The money is with the expert. A provider that says how much is held to it."""

    reference: str
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """On its way; ask again."""

    reference: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """It will never be, for this payout; `reason` is a word of ours."""

    reason: str


PayoutResult = Transferred | Sent | Rejected


class PayoutProvider(Protocol):
    """Sends money to bank accounts."""

    name: str

    async def send(self, payout: Payout) -> PayoutResult:
        """Send once per payout id; raises ProviderUnavailable when the outcome is unknown."""

    async def lookup(self, payout: Payout) -> PayoutResult | Unknown:
        """What became of a payout; raises ProviderUnavailable."""

    async def close(self) -> None:
        """Close connections, if there are any."""


class FakePayoutProvider:
    """Sends nothing. The holder's last name decides: `Slow`, `Refused`, `Silent`, else at once."""

    name = "fake"

    def __init__(self) -> None:
        self._results: dict[str, PayoutResult] = {}
        self._lookups: dict[str, int] = {}
        self.sent: list[Payout] = []
        """Payouts that really went out, once each."""

    async def send(self, payout: Payout) -> PayoutResult:
        """The same payout gets the same answer."""
        known = self._results.get(payout.payout_id)
        if known is not None:
            return known
        reference = f"fake-{payout.payout_id}"
        result: PayoutResult
        match payout.holder.rpartition(" ")[2].lower():
            case "refused":
                result = Rejected("account_closed")
            case "slow":
                result = Sent(reference)
            case "silent":
                self.sent.append(payout)
                self._results[payout.payout_id] = Transferred(reference, payout.amount_minor)
                raise ProviderUnavailable("sent, but the answer was lost")
            case _:
                result = Transferred(reference, payout.amount_minor)
        if not isinstance(result, Rejected):
            self.sent.append(payout)
        self._results[payout.payout_id] = result
        return result

    async def lookup(self, payout: Payout) -> PayoutResult | Unknown:
        """What is on its way arrives at its second look-up."""
        payout_id = payout.payout_id
        result = self._results.get(payout_id)
        if result is None:
            return Unknown()
        if isinstance(result, Sent):
            self._lookups[payout_id] = self._lookups.get(payout_id, 0) + 1
            if self._lookups[payout_id] >= SLOW_LOOKUPS:
                result = Transferred(result.reference, payout.amount_minor)
                self._results[payout_id] = result
        return result

    async def close(self) -> None:
        """Nothing is open."""
