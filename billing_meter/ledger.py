"""Ledger rules (pure): requests, refusals, and the double-entry postings that each one becomes.

Sign: a posting adds to an account. Members' and experts' accounts hold what the platform owes
them, so the money that came in stands as a negative `platform:gateway_clearing`; the postings of
a transfer, and with them all accounts, sum to 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

REVENUE = "platform:revenue"
PROMO_COST = "platform:promo_cost"
GATEWAY_CLEARING = "platform:gateway_clearing"
PAYOUT_CLEARING = "platform:payout_clearing"
PLATFORM_ACCOUNTS: Mapping[str, bool] = {
    REVENUE: True,
    PROMO_COST: True,
    GATEWAY_CLEARING: True,
    PAYOUT_CLEARING: False,
}
"""Account → may be negative: money enters the books at the gateway, and refunds may outrun
revenue. Payouts leave the books, and no more comes back of them than went."""
KEY_CHARS_MAX = 200
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def paid_account(member_id: str) -> str:
    """Credits that were bought."""
    return f"member:{member_id}:paid"


def promo_account(member_id: str) -> str:
    """Credits that were given; spent first."""
    return f"member:{member_id}:promo"


def held_account(member_id: str) -> str:
    """Credits set aside by holds: neither spendable nor spent."""
    return f"member:{member_id}:held"


def debt_account(member_id: str) -> str:
    """What a member owes, as a negative balance: credits spent whose money was taken back."""
    return f"member:{member_id}:debt"


def payable_account(expert_id: str) -> str:
    """What the platform owes an expert; a claw-back after a payout may make it negative."""
    return f"expert:{expert_id}:payable"


def payout_account(expert_id: str) -> str:
    """What of it is in a payout that is neither paid nor given back."""
    return f"expert:{expert_id}:payout"


@dataclass(frozen=True, slots=True)
class Draw:
    """Units of a member by the bucket they come from or go to."""

    promo: int = 0
    paid: int = 0

    @property
    def units(self) -> int:
        """Both buckets together."""
        return self.promo + self.paid

    def __add__(self, other: Draw) -> Draw:
        return Draw(self.promo + other.promo, self.paid + other.paid)

    def __sub__(self, other: Draw) -> Draw:
        return Draw(self.promo - other.promo, self.paid - other.paid)


def draw(units: int, available: Draw) -> Draw | None:
    """Take `units` from what is available, promo first; None when it is not there."""
    if units > available.units:
        return None
    promo = min(units, available.promo)
    return Draw(promo, units - promo)


def unwind(units: int, drawn: Draw) -> Draw:
    """The part of an earlier draw that a refund gives back: last taken first, so paid first."""
    if units > drawn.units:
        raise ValueError("more would go back than was taken")
    paid = min(units, drawn.paid)
    return Draw(units - paid, paid)


def share(units_total: int, percent: int) -> int:
    """The expert's part of a running total; the platform has the rest, so no unit is lost."""
    return units_total * percent // 100


@dataclass(frozen=True, slots=True)
class Purchase:
    """Credit a settled order to `paid`."""

    key: str
    member_id: str
    units: int
    subject: str


@dataclass(frozen=True, slots=True)
class PromoGrant:
    """Give credits to `promo`, at the platform's cost."""

    key: str
    member_id: str
    units: int
    subject: str


@dataclass(frozen=True, slots=True)
class Debit:
    """Spend at once: the expert's share to `payable`, the rest to revenue."""

    key: str
    member_id: str
    expert_id: str
    units: int
    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Set units aside under `hold_id`, until posted, voided or (with a time) expired."""

    key: str
    member_id: str
    hold_id: str
    units: int
    subject: str
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PostHold:
    """Spend `units` of a hold, give the rest back, close it."""

    key: str
    hold_id: str
    expert_id: str
    units: int
    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class VoidHold:
    """Give everything of a hold back, close it."""

    key: str
    hold_id: str
    subject: str


@dataclass(frozen=True, slots=True)
class Reverse:
    """Take back `units` of an earlier transfer (a debit or a purchase), to its buckets."""

    key: str
    transfer: int
    units: int
    subject: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Take `units` of a purchase back, since its money went back (`kind` tells how).

    What the member has not got any more becomes their debt, so that no balance goes below zero.
    """

    key: str
    transfer: int
    units: int
    kind: Literal["purchase_refund", "charge_back"]
    subject: str


@dataclass(frozen=True, slots=True)
class PayDebt:
    """Pay a member's debt from what they bought."""

    key: str
    member_id: str
    units: int
    subject: str


Request = Purchase | PromoGrant | Debit | Hold | PostHold | VoidHold | Reverse | TakeBack | PayDebt


@dataclass(frozen=True, slots=True)
class Posted:
    """The transfer took effect; `replayed` when an earlier call with this key had done it."""

    transfer: int
    units: int
    draw: Draw
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing moved. Every code but `key_reused` is kept under the key, for ever."""

    code: str
    replayed: bool = False


Outcome = Posted | Refused


@dataclass(frozen=True, slots=True)
class Entry:
    """One transfer ready to be written: its head and its postings."""

    key: str
    request_hash: str
    kind: str
    postings: Mapping[str, int]
    units: int
    draw: Draw
    member_id: str | None = None
    expert_id: str | None = None
    subject: str | None = None
    reverses: int | None = None
    hold_id: str | None = None
    refusal: str | None = None


def request_hash(kind: str, body: Mapping[str, str | int | None]) -> str:
    """SHA-256 over the canonical JSON of a request."""
    return hashlib.sha256(_canonical([kind, dict(body)]).encode()).hexdigest()


def hash_of(request: Request) -> str:
    """The hash that tells a repeated request from another one under the same key."""
    body = {f.name: getattr(request, f.name) for f in fields(request) if f.name != "key"}
    return request_hash(type(request).__name__, body)


def checked(request: Request) -> Request:
    """Refuse impossible requests (ValueError): these are bugs of the caller, not outcomes."""
    if not 1 <= len(request.key) <= KEY_CHARS_MAX:
        raise ValueError("an idempotency key has 1 to 200 characters")
    match request:
        case PostHold():
            minimum = 0
        case VoidHold():
            return request
        case Purchase() | PromoGrant() | Debit() | Hold() | Reverse() | TakeBack() | PayDebt():
            minimum = 1
    if request.units < minimum:
        raise ValueError(f"{request.units} units cannot be transferred")
    return request


def postings_of(*parts: tuple[str, int]) -> dict[str, int]:
    """Sum per account and drop zeros; ValueError if the whole does not sum to 0."""
    totals: dict[str, int] = {}
    for account, units in parts:
        totals[account] = totals.get(account, 0) + units
    if sum(totals.values()) != 0:
        raise ValueError("postings of a transfer must sum to 0")
    return {account: units for account, units in totals.items() if units}


def member_parts(member_id: str, change: Draw) -> list[tuple[str, int]]:
    """Postings that add `change` to a member's two buckets."""
    return [(promo_account(member_id), change.promo), (paid_account(member_id), change.paid)]


def earned_parts(expert_id: str, units: int, expert_units: int) -> list[tuple[str, int]]:
    """Postings that hand `units` to the expert and the platform."""
    return [(payable_account(expert_id), expert_units), (REVENUE, units - expert_units)]


def refusal_entry(request: Request, code: str, member_id: str | None) -> Entry:
    """A refusal as a row: it burns the key, so a later retry cannot turn a no into a yes."""
    units = 0 if isinstance(request, VoidHold) else request.units
    return Entry(
        key=request.key,
        request_hash=hash_of(request),
        kind=type(request).__name__.lower(),
        postings={},
        units=units,
        draw=Draw(),
        member_id=member_id,
        subject=request.subject,
        refusal=code,
    )


def account_deltas(entries: Iterable[Entry]) -> dict[str, int]:
    """What several transfers together do to each account, in account order (the lock order)."""
    totals: dict[str, int] = {}
    for entry in entries:
        for account, units in entry.postings.items():
            totals[account] = totals.get(account, 0) + units
    return {account: totals[account] for account in sorted(totals)}
