"""Payout rules (pure): the states, the steps between them, and the transfer that each step is.

A payout takes the expert's units out of `payable` into `payout` when it is asked for, and from
there to the platform's clearing account when the money was paid, or back when it was not. Nothing
else moves them, so what is on its way is nobody's to spend.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from billing_meter import ledger
from billing_meter.ledger import Draw, Entry
from billing_meter.units import UNITS_PER_CREDIT

CURRENCY: Final = "EUR"
MINOR_PER_CREDIT: Final = 100
"""A credit is paid out as 1.00, its list price."""
UNITS_PER_MINOR: Final = UNITS_PER_CREDIT // MINOR_PER_CREDIT
MINIMUM_UNITS: Final = 50 * UNITS_PER_CREDIT
"""Unless it is configured: a bank transfer costs a fee, and somebody looks at each."""
MANUAL: Final = "manual"
"""The channel of payouts that staff pay by bank transfer."""
HOLDER_CHARS_MAX: Final = 70
"""As long as a name may be in a SEPA transfer."""

HELD, PAID, BACK, RETURNED = "payout_hold", "payout", "payout_back", "payout_return"
PAYOUT_KINDS: Final = frozenset({HELD, PAID, BACK, RETURNED})


class PayoutState(enum.StrEnum):
    """Where a payout is; only the first two hold units."""

    REQUESTED = "requested"
    APPROVED = "approved"
    """Decided: the money may leave at any moment, or has left."""
    PAID = "paid"
    FAILED = "failed"
    """It could not be paid, and was given back."""
    DENIED = "denied"
    CANCELLED = "cancelled"
    RETURNED = "returned"
    """Paid, and sent back by the bank later."""


OPEN: Final = frozenset({PayoutState.REQUESTED, PayoutState.APPROVED})
TOLD: Final = frozenset(
    {PayoutState.PAID, PayoutState.FAILED, PayoutState.DENIED, PayoutState.RETURNED}
)
"""States that an expert gets a mail about; the others are their own doing, or on the way."""
STEPS: Final[Mapping[PayoutState, frozenset[PayoutState]]] = {
    PayoutState.REQUESTED: frozenset(
        {PayoutState.APPROVED, PayoutState.DENIED, PayoutState.CANCELLED}
    ),
    PayoutState.APPROVED: frozenset({PayoutState.PAID, PayoutState.FAILED}),
    PayoutState.PAID: frozenset({PayoutState.RETURNED}),
    PayoutState.FAILED: frozenset(),
    PayoutState.DENIED: frozenset(),
    PayoutState.CANCELLED: frozenset(),
    PayoutState.RETURNED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Destination:
    """The bank account that an expert is paid to."""

    holder: str
    iban: str


@dataclass(frozen=True, slots=True)
class Payout:
    """A payout as it stands. `channel` is how it is paid, once that is decided."""

    payout_id: str
    expert_id: str
    state: PayoutState
    units: int
    amount_minor: int
    currency: str
    holder: str
    iban: str
    channel: str | None
    reference: str | None
    failure: str | None
    requested_at_ms: int
    decided_at_ms: int | None
    decided_by: str | None
    closed_at_ms: int | None
    closed_by: str | None
    returned_at_ms: int | None
    returned_by: str | None


@dataclass(frozen=True, slots=True)
class Earned:
    """An expert's account: `payable` less what may still be asked back is what may be paid out."""

    payable_units: int = 0
    pending_units: int = 0
    in_payout_units: int = 0

    @property
    def available_units(self) -> int:
        """What a payout may take now."""
        return max(0, self.payable_units - self.pending_units)

    @property
    def owed_units(self) -> int:
        """What was taken back of earnings that had been paid out; later earnings pay it first."""
        return max(0, self.pending_units - self.payable_units)


def before(state: PayoutState) -> frozenset[PayoutState]:
    """The states from which a step leads to this one."""
    return frozenset(start for start, ends in STEPS.items() if state in ends)


def whole_minor(units: int) -> int:
    """Units down to whole cents of money; the rest stays with the expert."""
    return units - units % UNITS_PER_MINOR


def amount_minor(units: int) -> int:
    """What so many units are paid out as, in minor units of the currency."""
    return units // UNITS_PER_MINOR


def hold_entry(payout: Payout) -> Entry:
    """The first phase: out of `payable`, not yet gone."""
    payable = ledger.payable_account(payout.expert_id)
    held = ledger.payout_account(payout.expert_id)
    return _entry(payout, HELD, "held", ((payable, -payout.units), (held, payout.units)))


def step_entry(payout: Payout) -> Entry | None:
    """What the step into the payout's state moves; None for a step that only decides.

    Paid and given back have one key: a payout cannot be both, whatever else goes wrong.
    """
    payable = ledger.payable_account(payout.expert_id)
    held = ledger.payout_account(payout.expert_id)
    clearing = ledger.PAYOUT_CLEARING
    match payout.state:
        case PayoutState.REQUESTED:
            return hold_entry(payout)
        case PayoutState.APPROVED:
            return None
        case PayoutState.PAID:
            return _entry(payout, PAID, "end", ((held, -payout.units), (clearing, payout.units)))
        case PayoutState.FAILED | PayoutState.DENIED | PayoutState.CANCELLED:
            return _entry(payout, BACK, "end", ((held, -payout.units), (payable, payout.units)))
        case PayoutState.RETURNED:
            parts = ((clearing, -payout.units), (payable, payout.units))
            return _entry(payout, RETURNED, "returned", parts)


def _entry(payout: Payout, kind: str, step: str, parts: tuple[tuple[str, int], ...]) -> Entry:
    return Entry(
        key=f"payout:{payout.payout_id}:{step}",
        request_hash=ledger.request_hash(kind, {"units": payout.units}),
        kind=kind,
        postings=ledger.postings_of(*parts),
        units=payout.units,
        draw=Draw(),
        expert_id=payout.expert_id,
        subject=f"payout:{payout.payout_id}",
    )
