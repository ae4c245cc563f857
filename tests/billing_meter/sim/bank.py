"""A payment provider outside the process: what it did stays done, whatever its callers hear.

It answers late, not at all, or after the fact; its webhooks come in any order, twice, days later.
What it charged and gave back is the truth that the orders are held to.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from billing_meter.card_checks import CardCheck, CardFound, CheckResult
from billing_meter.payout_providers import PayoutProvider, PayoutResult
from billing_meter.payout_rules import Payout
from billing_meter.providers import (
    Card,
    Charge,
    ChargeResult,
    Declined,
    DeclineReason,
    Disputed,
    DisputeState,
    EventRefused,
    Method,
    News,
    Pending,
    ProviderEvent,
    ProviderUnavailable,
    RefundRefused,
    Settled,
    Unknown,
)
from tests.billing_meter.sim.store import Point, Points

DECLINES = (DeclineReason.FUNDS, DeclineReason.CARD_EXPIRED, DeclineReason.BANK_BLOCKED)


@dataclass
class Payment:
    """One attempt, as the provider has it."""

    charge: Charge
    result: ChargeResult
    refunds: dict[str, int] = field(default_factory=dict)
    dispute: Disputed | None = None

    @property
    def paid(self) -> bool:
        return isinstance(self.result, Settled)

    @property
    def kept_units(self) -> int:
        """The credits that its money stands for in the end."""
        if not self.paid:
            return 0
        charge = self.charge
        back = sum(self.refunds.values())
        if self.dispute is not None and self.dispute.state is not DisputeState.WON:
            back += self.dispute.price_minor
        back = min(back, charge.price_minor)
        return charge.credits_units - charge.credits_units * back // charge.price_minor


class Bank:
    """The truth about money; survives every process. Chances come from the run's seed."""

    name = "bank"
    methods = (Method("card", "Card"), Method("paysafecard", "Paysafecard"))
    descriptor = "SIM SERVICES"
    redirects = False
    default_token: str | None = "tok_any"

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.calm = False
        """Nothing is lost and everything ends: for the last reconciliation."""
        self.generous = False
        """Every new payment is paid at once."""
        self.payments: dict[str, Payment] = {}
        self.events: list[tuple[str, str]] = []
        """(event id, attempt) not taken yet."""
        self._serial = 0
        self._cards: dict[str, tuple[str, str]] = {}

    def tell(self, attempt_id: str) -> None:
        """A webhook about an attempt sets out."""
        self._serial += 1
        self.events.append((f"ev{self._serial}", attempt_id))

    def open_event(self, body: bytes, signature: str) -> ProviderEvent:
        """Signatures are proven elsewhere."""
        if signature != "good":
            raise EventRefused("bad_signature")
        event_id, attempt_id = json.loads(body)
        return ProviderEvent(event_id, "changed", attempt_id)

    async def news(self, event: ProviderEvent) -> News | None:
        """What is true now, whatever it was when the event set out."""
        payment = self.payments[event.object_id]
        refunded_minor = sum(payment.refunds.values())
        order_id, dispute = payment.charge.order_id, payment.dispute
        return News(order_id, event.object_id, payment.result, refunded_minor, dispute)

    # --- what the process asks --------------------------------------------------------------

    def charge_once(self, charge: Charge) -> ChargeResult:
        """The same attempt gets the same answer."""
        known = self.payments.get(charge.attempt_id)
        if known is None:
            draw = 0.0 if self.generous else self._chance.random()
            if draw < 0.6:
                result: ChargeResult = _settled(charge)
            elif draw < 0.8:
                result = Pending(f"ref-{charge.attempt_id}")
            else:
                result = Declined(self._chance.choice(DECLINES))
            known = self.payments[charge.attempt_id] = Payment(charge, result)
            self.tell(charge.attempt_id)
        return known.result

    def look_up(self, charge: Charge) -> ChargeResult | Unknown:
        """What is pending may have ended meanwhile."""
        known = self.payments.get(charge.attempt_id)
        if known is None:
            return Unknown()
        if isinstance(known.result, Pending) and (self.calm or self._chance.random() < 0.4):
            self.end(known, paid=self._chance.random() < 0.7)
        return known.result

    def end(self, payment: Payment, *, paid: bool) -> None:
        """What was pending ends."""
        charge = payment.charge
        payment.result = _settled(charge) if paid else Declined(DeclineReason.FUNDS)
        self.tell(charge.attempt_id)

    def give_back(self, charge: Charge, price_minor: int, key: str) -> None:
        """Once per key."""
        payment = self.payments[charge.attempt_id]
        if key not in payment.refunds:
            left = charge.price_minor - sum(payment.refunds.values())
            if price_minor > left or payment.dispute is not None:
                raise RefundRefused("there is not so much to give back")
            payment.refunds[key] = price_minor
            self.tell(charge.attempt_id)

    def check(self, check: CardCheck) -> str:
        """The token of a check: the first one counts."""
        return self._cards.setdefault(check.check_id, (check.member_id, check.token))[1]

    def card_of(self, member_id: str) -> str:
        """The card that a member had checked last."""
        return [token for member, token in self._cards.values() if member == member_id][-1]

    def dispute(self, payment: Payment) -> None:
        """A member's bank takes money back; or it is ours after all."""
        charge, known = payment.charge, payment.dispute
        if known is None:
            taken = self._chance.choice((charge.price_minor, charge.price_minor // 2 + 1))
            payment.dispute = Disputed(f"dp-{charge.attempt_id}", taken, DisputeState.OPEN)
        else:
            payment.dispute = Disputed(known.dispute_id, known.price_minor, DisputeState.WON)
        self.tell(charge.attempt_id)


class PayoutLine:
    """One process's line to a provider of payouts, which outlives it."""

    def __init__(self, provider: PayoutProvider, points: Points) -> None:
        self.name = provider.name
        self._provider = provider
        self._points = points

    async def send(self, payout: Payout) -> PayoutResult:
        await _point(self._points, Point.BANK_ASKED)
        result = await self._provider.send(payout)
        await _point(self._points, Point.BANK_DONE)
        return result

    async def lookup(self, payout: Payout) -> PayoutResult | Unknown:
        await _point(self._points, Point.BANK_ASKED)
        return await self._provider.lookup(payout)

    async def close(self) -> None:
        """Nothing is open."""


class Line:
    """One process's line to the bank: it breaks before or after the bank has done its part."""

    name = Bank.name
    methods = Bank.methods
    descriptor = Bank.descriptor
    redirects = Bank.redirects
    default_token = Bank.default_token

    def __init__(self, bank: Bank, points: Points) -> None:
        self._bank = bank
        self._points = points
        self.open_event = bank.open_event

    async def charge(self, charge: Charge) -> ChargeResult:
        await _point(self._points, Point.BANK_ASKED)
        result = self._bank.charge_once(charge)
        await _point(self._points, Point.BANK_DONE)
        return result

    async def lookup(self, charge: Charge) -> ChargeResult | Unknown:
        await _point(self._points, Point.BANK_ASKED)
        return self._bank.look_up(charge)

    async def cancel(self, charge: Charge) -> ChargeResult | Unknown:
        await _point(self._points, Point.BANK_ASKED)
        known = self._bank.payments.get(charge.attempt_id)
        if known is not None and isinstance(known.result, Pending):
            self._bank.end(known, paid=False)
        await _point(self._points, Point.BANK_DONE)
        return Unknown() if known is None else known.result

    async def refund(self, charge: Charge, price_minor: int, key: str) -> None:
        await _point(self._points, Point.BANK_ASKED)
        self._bank.give_back(charge, price_minor, key)
        await _point(self._points, Point.BANK_DONE)

    async def refunded_total(self, charge: Charge) -> int:
        await _point(self._points, Point.BANK_ASKED)
        return sum(self._bank.payments[charge.attempt_id].refunds.values())

    async def news(self, event: ProviderEvent) -> News | None:
        await _point(self._points, Point.BANK_ASKED)
        return await self._bank.news(event)

    async def check_card(self, check: CardCheck) -> CheckResult:
        await _point(self._points, Point.BANK_ASKED)
        known = self._bank.check(check)
        await _point(self._points, Point.BANK_DONE)
        return CardFound(f"card {known}")

    async def close(self) -> None:
        """Nothing is open."""


async def _point(points: Points, point: Point) -> None:
    try:
        await points.at(point)
    except ConnectionError as error:
        raise ProviderUnavailable(str(error)) from error


def _settled(charge: Charge) -> Settled:
    card = Card(charge.token, f"cus-{charge.member_id}", f"fp-{charge.member_id}")
    return Settled(f"ref-{charge.attempt_id}", charge.price_minor, charge.currency, card)
