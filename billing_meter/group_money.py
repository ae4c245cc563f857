"""The money of a group's pledges: captured, released and given back, many in one transaction.

Each pledge ends under one key of the ledger, whichever way it ends, so that it cannot be both
captured and released, nor either of them twice, whoever tries.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import debts, group_rules, schema
from billing_meter.group_rows import Group, Pledge
from billing_meter.ledger import Draw, Entry, PostHold, Reverse, VoidHold
from billing_meter.ledger_entries import resolve_entry, reversal_entry
from billing_meter.ledger_store import GuardFailed, LedgerTransaction
from billing_meter.row_updates import ROWS_PER_STATEMENT, RowUpdates, checked

END_KEY: Final = "pledge-end:"
BACK_KEY: Final = "pledge-back:"

_H, _P = schema.holds.c, schema.pledges.c
_CLOSE = RowUpdates(
    {
        "b_hold_id": sa.String(),
        "b_state": sa.String(),
        "b_promo": sa.BigInteger(),
        "b_paid": sa.BigInteger(),
        "b_posted": sa.BigInteger(),
        "b_returned": sa.BigInteger(),
        "b_at_ms": sa.BigInteger(),
    },
    lambda given: (
        sa.update(schema.holds)
        .where(
            _H.hold_id == given["b_hold_id"],
            checked(_H.state) == "open",
            _H.promo_units == given["b_promo"],
            _H.paid_units == given["b_paid"],
        )
        .values(
            state=given["b_state"],
            promo_units=0,
            paid_units=0,
            posted_units=given["b_posted"],
            returned_units=given["b_returned"],
            closed_at_ms=given["b_at_ms"],
        )
    ),
)
_END = RowUpdates(
    {"b_pledge_id": sa.String(), "b_state": sa.String(), "b_transfer": sa.BigInteger()},
    lambda given: (
        sa.update(schema.pledges)
        .where(_P.pledge_id == given["b_pledge_id"], checked(_P.state) == "held")
        .values(state=given["b_state"], transfer=given["b_transfer"])
    ),
)
_BACK = RowUpdates(
    {"b_pledge_id": sa.String(), "b_units": sa.BigInteger()},
    lambda given: (
        sa.update(schema.pledges)
        .where(
            _P.pledge_id == given["b_pledge_id"],
            checked(_P.state) == "captured",
            _P.refunded_units == 0,
        )
        .values(refunded_units=given["b_units"])
    ),
)


async def end(
    transaction: LedgerTransaction,
    group: Group,
    pledges: Sequence[Pledge],
    members: Collection[str],
    percent: int = 0,
) -> int:
    """End held pledges: those of `members` are captured, the others go back; units captured.

    `percent` is the expert's share of what is captured. GuardFailed when one of them is not held
    any more, as it is not in a transaction of its own.
    """
    if not pledges:
        return 0
    connection = transaction.connection
    inside = await _inside(connection, [pledge.pledge_id for pledge in pledges])
    entries: list[Entry] = []
    holds: list[dict[str, Any]] = []
    captured = 0
    for pledge in pledges:
        drawn = inside[pledge.pledge_id]
        if drawn.units != pledge.units:
            raise GuardFailed(f"pledge {pledge.pledge_id} does not lie in its hold")
        key, taken = f"{END_KEY}{pledge.pledge_id}", pledge.member_id in members
        request: PostHold | VoidHold
        if taken:
            captured += pledge.units
            request = PostHold(
                key,
                pledge.pledge_id,
                group.expert_id,
                pledge.units,
                group_rules.GROUP_KIND,
                group.subject,
            )
        else:
            request = VoidHold(key, pledge.pledge_id, group.subject)
        used = drawn if taken else Draw()
        entries.append(resolve_entry(request, pledge.member_id, drawn, used, percent))
        holds.append(_closed(pledge.pledge_id, drawn, used, transaction.at_ms))
    first = await transaction.write(entries)
    ends = [
        {
            "b_pledge_id": pledge.pledge_id,
            "b_state": "captured" if pledge.member_id in members else "released",
            "b_transfer": first + n,
        }
        for n, pledge in enumerate(pledges)
    ]
    _all(await _CLOSE.run(connection, holds), holds)
    _all(await _END.run(connection, ends), ends)
    await debts.pay_from(transaction, first, entries)
    return captured


async def give_back(transaction: LedgerTransaction, group: Group, played_ms: int) -> int:
    """Give back of every captured pledge what was not shown of it; units given back."""
    connection = transaction.connection
    query = (
        sa.select(
            _P.pledge_id,
            _P.joined_ms,
            schema.transfers,
        )
        .select_from(
            schema.pledges.join(schema.transfers, schema.transfers.c.transfer == _P.transfer)
        )
        .where(_P.group_id == group.group_id, _P.state == "captured")
        .order_by(_P.pledge_id)
    )
    due = []
    for row in (await connection.execute(query)).mappings():
        units = group_rules.unplayed_units(
            row["units"],
            joined_ms=row["joined_ms"] or 0,
            played_ms=played_ms,
            length_ms=group.terms.length_ms,
        )
        if units:
            due.append((row, units))
    if not due:
        return 0
    lines = await _lines(connection, [row["transfer"] for row, _ in due])
    entries = [
        reversal_entry(
            Reverse(f"{BACK_KEY}{row['pledge_id']}", row["transfer"], units, group.subject),
            dict(row),
            lines[row["transfer"]],
            Draw(),
        )
        for row, units in due
    ]
    first = await transaction.write(entries)
    backs = [{"b_pledge_id": row["pledge_id"], "b_units": units} for row, units in due]
    _all(await _BACK.run(connection, backs), backs)
    await debts.pay_from(transaction, first, entries)
    return sum(units for _, units in due)


def _closed(hold_id: str, inside: Draw, used: Draw, at_ms: int) -> dict[str, Any]:
    return {
        "b_hold_id": hold_id,
        "b_state": "posted" if used.units else "voided",
        "b_promo": inside.promo,
        "b_paid": inside.paid,
        "b_posted": used.units,
        "b_returned": inside.units - used.units,
        "b_at_ms": at_ms,
    }


def _all(hit: int, wanted: Sequence[object]) -> None:
    if hit != len(wanted):
        raise GuardFailed(f"{len(wanted) - hit} pledges were ended by somebody else")


async def _inside(connection: AsyncConnection, hold_ids: Sequence[str]) -> dict[str, Draw]:
    found = dict.fromkeys(hold_ids, Draw())
    for start in range(0, len(hold_ids), ROWS_PER_STATEMENT):
        some = hold_ids[start : start + ROWS_PER_STATEMENT]
        query = sa.select(_H.hold_id, _H.promo_units, _H.paid_units).where(
            _H.hold_id.in_(some), _H.state == "open"
        )
        for hold_id, promo, paid in await connection.execute(query):
            found[hold_id] = Draw(promo, paid)
    return found


async def _lines(
    connection: AsyncConnection, transfers: Sequence[int]
) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {transfer: {} for transfer in transfers}
    table = schema.postings.c
    for start in range(0, len(transfers), ROWS_PER_STATEMENT):
        some = transfers[start : start + ROWS_PER_STATEMENT]
        query = sa.select(table.transfer, table.account, table.units).where(
            table.transfer.in_(some)
        )
        for transfer, account, units in await connection.execute(query):
            found[transfer][account] = units
    return found
