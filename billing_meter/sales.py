"""Sales: debits in one transaction, with what is bought, the access it gives and its seller's row.

They are decided in the order in which they came, each with its own outcome, and written in as few
statements as one would need. What was not sold is a refusal under its key and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from billing_meter import access_rows, features, ledger, schema
from billing_meter.access_rows import Place
from billing_meter.features import TERMS, Access, Buy
from billing_meter.ledger import Debit, Draw, Entry, Outcome, Posted, Refused
from billing_meter.ledger_entries import debit_entry
from billing_meter.ledger_store import Funds, LedgerTransaction
from billing_meter.row_updates import RowInserts
from billing_meter.shares import Shares

_PURCHASES, _ACCESS = RowInserts(schema.purchases), RowInserts(schema.access)


@dataclass(frozen=True, slots=True)
class Bought:
    """What a member has of it; `replayed` when an earlier call with this key had done it.

    `access` is there for what gives any, as it was when it was bought.
    """

    transfer: int
    units: int
    draw: Draw
    access: Access | None = None
    replayed: bool = False


Also = Callable[[LedgerTransaction, Bought], Awaitable[None]]
"""What the seller writes in the transaction of the debit, and only when it is new: the message, the
event of the room. What it raises undoes the debit. It may be called again after a commit that did
not happen, and it must not wait for anything but this transaction."""


@dataclass(frozen=True, slots=True)
class Sale:
    """A debit; a purchase of a feature, too, when `buy` is there."""

    request: Debit
    buy: Buy | None = None
    also: Also | None = None


Sold = Bought | Refused


@dataclass
class _Till:
    """What is true for the next sale of the transaction, after those before it."""

    funds: dict[str, Funds] = field(default_factory=dict)
    shares: dict[str, Shares] = field(default_factory=dict)
    premium: set[str] = field(default_factory=set)
    until_ms: dict[Place, int] = field(default_factory=dict)
    at_ms: int = 0
    first: int = 0
    entries: list[Entry] = field(default_factory=list)
    access: dict[int, Access] = field(default_factory=dict)
    """By the index of its entry."""

    def add(self, sale: Sale) -> int:
        """Decide one sale; the index of its entry."""
        request, buy = sale.request, sale.buy
        refused = None if buy is None else self._not_sold(buy)
        mine = self.funds[request.member_id]
        drawn = ledger.draw(request.units, mine.available)
        refused = refused or mine.refusal(request.units)
        index = len(self.entries)
        if drawn is None or refused is not None:
            code = refused or "insufficient_credits"
            self.entries.append(ledger.refusal_entry(request, code, request.member_id))
            return index
        self.funds[request.member_id] = mine.left(mine.available - drawn)
        later = buy is not None and TERMS[buy.feature].earned_by_reply
        percent = 0 if later else self.percent_of(sale)
        self.entries.append(debit_entry(request, drawn, percent))
        if buy is not None:
            self._give(buy, index)
        return index

    def percent_of(self, sale: Sale) -> int:
        """The expert's share of it, for good; they have that of a message when they answer."""
        return self.shares[sale.request.expert_id].of_kind(sale.request.kind)

    def _not_sold(self, buy: Buy) -> str | None:
        return features.refusal(
            buy,
            premium=buy.member_id in self.premium,
            access_until_ms=self.until_ms.get(access_rows.place_of(buy)),
        )

    def _give(self, buy: Buy, index: int) -> None:
        place = access_rows.place_of(buy)
        given = features.access_of(
            buy,
            self.first + index,
            now_ms=self.at_ms,
            access_until_ms=self.until_ms.get(place),
        )
        if given is not None:
            self.access[index] = given
            self.until_ms[place] = given.until_ms


async def sell_all(transaction: LedgerTransaction, sales: Sequence[Sale]) -> list[Sold]:
    """Decide sales in their order and write them with all that belongs to them."""
    known = await transaction.known([sale.request for sale in sales])
    fresh = {s.request.key: s for s in reversed(sales) if s.request.key not in known}
    till = await _open(transaction, list(fresh.values())) if fresh else _Till()
    outcomes: list[Outcome | int] = []  # an index of an entry while its number is not known
    places: dict[str, int] = {}
    sold: dict[int, Sale] = {}
    for sale in sales:
        key = sale.request.key
        if key in known:
            outcomes.append(known[key])
        elif key in places:
            same = till.entries[places[key]].request_hash == ledger.hash_of(sale.request)
            outcomes.append(places[key] if same else Refused("key_reused"))
        else:
            places[key] = till.add(sale)
            sold[places[key]] = sale
            outcomes.append(places[key])
    if till.entries:
        await transaction.write(till.entries)
    await _write_purchases(transaction, till, sold)
    told = await _tell(transaction, sales, outcomes, till)
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, int):
            fresh_sale, answer = sold.pop(outcome, None), told[position]
            also = None if fresh_sale is None else fresh_sale.also
            if also is not None and isinstance(answer, Bought):
                await also(transaction, answer)
    return told


async def _open(transaction: LedgerTransaction, fresh: Sequence[Sale]) -> _Till:
    buys = [sale.buy for sale in fresh if sale.buy is not None]
    connection, at_ms = transaction.connection, transaction.at_ms
    lasting = [access_rows.place_of(buy) for buy in buys if TERMS[buy.feature].lasts_ms]
    asking = {buy.member_id for buy in buys if TERMS[buy.feature].premium_only}
    return _Till(
        funds=await transaction.funds(sorted({sale.request.member_id for sale in fresh})),
        shares=await transaction.shares(sale.request.expert_id for sale in fresh),
        premium=await access_rows.premium_among(connection, sorted(asking)),
        until_ms=await access_rows.ends(connection, lasting, at_ms),
        at_ms=at_ms,
        first=await transaction.next_transfer(),
    )


async def _write_purchases(
    transaction: LedgerTransaction, till: _Till, sold: dict[int, Sale]
) -> None:
    rows = [
        {
            "transfer": till.first + index,
            "member_id": sale.buy.member_id,
            "expert_id": sale.buy.expert_id,
            "feature": sale.buy.feature.value,
            "object_id": sale.buy.object_id,
            "units": sale.buy.units,
            "at_ms": transaction.at_ms,
            "refund_transfer": None,
            "refunded_at_ms": None,
            "refunded_by": None,
            "reply_transfer": None,
            "replied_at_ms": None,
            "refunded_units": None,
            "refund_reason": None,
            "share_percent": till.percent_of(sale),
        }
        for index, sale in sold.items()
        if sale.buy is not None and till.entries[index].refusal is None
    ]
    given = [access_rows.row_of(access) for access in till.access.values()]
    if rows:
        await _PURCHASES.run(transaction.connection, rows)
    if given:
        await _ACCESS.run(transaction.connection, given)


async def _tell(
    transaction: LedgerTransaction,
    sales: Sequence[Sale],
    outcomes: Sequence[Outcome | int],
    till: _Till,
) -> list[Sold]:
    """Every sale's answer."""
    asked = [
        outcome.transfer
        for sale, outcome in zip(sales, outcomes, strict=True)
        if isinstance(outcome, Posted) and sale.buy is not None
    ]
    before = await access_rows.of_transfers(transaction.connection, asked) if asked else {}
    told: list[Sold] = []
    heard: set[int] = set()
    for outcome in outcomes:
        match outcome:
            case int():
                again = outcome in heard
                heard.add(outcome)
                told.append(_answer(till, outcome, replayed=again))
            case Posted(transfer, units, drawn):
                access = before.get(transfer)
                told.append(Bought(transfer, units, drawn, access, replayed=True))
            case Refused():
                told.append(outcome)
    return told


def _answer(till: _Till, index: int, *, replayed: bool) -> Sold:
    entry = till.entries[index]
    if entry.refusal is not None:
        return Refused(entry.refusal, replayed=replayed)
    access = till.access.get(index)
    return Bought(till.first + index, entry.units, entry.draw, access, replayed)
