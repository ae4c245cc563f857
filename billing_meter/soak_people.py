"""Members with credits and experts for a bench: as the wallet would make them, many at a time."""

from __future__ import annotations

from billing_meter import ledger, schema, share_rows
from billing_meter.database import METADATA
from billing_meter.ledger import Purchase
from billing_meter.ledger_entries import credit_entry
from billing_meter.ledger_store import LedgerTransaction, insert_rows
from billing_meter.shares import DEFAULT_SHARES
from billing_meter.wallet import Wallet, prepare_ledger

TOGETHER = 500
"""A transaction stays well below the time after which a server takes a writer for stalled."""


async def fill(wallet: Wallet, members: int, experts: int, units: int) -> None:
    """Tables, `member-0` … with `units` bought each, and `expert-0` …, in an empty database."""
    async with wallet.database.write() as connection:
        await connection.run_sync(METADATA.create_all, tables=list(schema.TABLES))
    await prepare_ledger(wallet.database)
    for start in range(0, max(members, experts), TOGETHER):
        numbers = range(start, start + TOGETHER)
        async with wallet.ledger.transaction() as transaction:
            await _experts(transaction, [f"expert-{n}" for n in numbers if n < experts])
            await _members(transaction, [f"member-{n}" for n in numbers if n < members], units)


async def _experts(transaction: LedgerTransaction, names: list[str]) -> None:
    rows = [{"expert_id": name, "created_at_ms": transaction.at_ms} for name in names]
    await insert_rows(transaction.connection, schema.experts, rows)
    shares = [share_rows.row_of(name, DEFAULT_SHARES) for name in names]
    await insert_rows(transaction.connection, schema.shares, shares)
    accounts = [_account(ledger.payable_account(name), name, True) for name in names]
    await insert_rows(transaction.connection, schema.accounts, accounts)


async def _members(transaction: LedgerTransaction, names: list[str], units: int) -> None:
    came = {"created_at_ms": transaction.at_ms, "premium_since_ms": transaction.at_ms}
    rows = [{"member_id": name} | came for name in names]
    await insert_rows(transaction.connection, schema.members, rows)
    kinds = (ledger.paid_account, ledger.promo_account, ledger.held_account)
    accounts = [_account(kind(name), name, False) for name in names for kind in kinds]
    await insert_rows(transaction.connection, schema.accounts, accounts)
    bought = [credit_entry(Purchase(f"p-{name}", name, units, "bench")) for name in names]
    if bought:
        await transaction.write(bought)


def _account(account: str, owner: str, may_be_negative: bool) -> dict[str, object]:
    return {"account": account, "owner": owner, "units": 0, "may_be_negative": may_be_negative}
