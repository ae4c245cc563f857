"""Validating a card without charging it: what a provider must be able to do, and a fake one.

A check is an authorisation of zero that is voided at once. It tells the card's fingerprint, which
is the same for the same card number, whoever brings it and however often.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from billing_meter.providers import FAKE_DECLINES, Declined, DeclineReason, Pending, Redirect


@dataclass(frozen=True, slots=True)
class CardCheck:
    """What the provider is asked. `check_id` is its idempotency key.

    `token` is empty where the provider has a page of its own; `reference` is its name for that.
    """

    check_id: str
    member_id: str
    token: str
    created_at_ms: int = 0
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class CardFound:
    """The card is good. `fingerprint` is the provider's, never made of the number by us."""

    fingerprint: str


CheckResult = CardFound | Declined | Pending | Redirect


class CardChecker(Protocol):
    """A provider that can validate cards."""

    name: str
    redirects: bool
    """Members bring their card to the provider's page; tokens from our own page are refused."""

    async def check_card(self, check: CardCheck) -> CheckResult:
        """Ask, or ask again: the same check gets the same answer, or a later one.

        Raises ProviderUnavailable when there is no answer.
        """


class FakeCardChecker:
    """Cards are told by their token: `tok_ok` and `tok_ok_…` are good ones, each a card of its
    own; `tok_slow` is found at the second look; the rest are declined by their name."""

    name = "fake"
    redirects = False

    def __init__(self) -> None:
        self._results: dict[str, CheckResult] = {}
        self.checked: list[CardCheck] = []
        """Checks that really went to a bank, once each."""

    async def check_card(self, check: CardCheck) -> CheckResult:
        """Validate once per check."""
        known = self._results.get(check.check_id)
        result: CheckResult
        if known is not None and not isinstance(known, Pending):
            return known
        if known is None:
            self.checked.append(check)
        fingerprint = hashlib.sha256(f"fake card {check.token}".encode()).hexdigest()[:16]
        if check.token == "tok_slow" and known is None:
            result = Pending(f"fake-{check.check_id}")
        elif check.token in ("tok_ok", "tok_slow") or check.token.startswith("tok_ok_"):
            result = CardFound(fingerprint)
        else:
            result = Declined(FAKE_DECLINES.get(check.token, DeclineReason.OTHER))
        self._results[check.check_id] = result
        return result
