"""`verify` and `reconcile`: prove the books from their rows, and name every row that lies.

`verify` looks at the ledger alone: numbering, double entry, each transfer's own figures, balances
as replayed from the first posting, holds, the hash chain. `reconcile` compares the ledger with
what caused it: private sessions and their held seconds, refunds, payouts, orders and payment
attempts, what members bought of experts and the access that it gives, group sessions and the
contributions to them, and with what spend limits count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import (
    ledger,
    limits_rows,
    marks_rows,
    reversal_rows,
    schema,
    seals,
    share_rows,
    shares,
    verify_groups,
    verify_payouts,
    verify_purchases,
)
from billing_meter.database import Database
from billing_meter.payout_rules import PAYOUT_KINDS
from billing_meter.reversal_rows import Gone, units_of
from billing_meter.till_store import SESSION_CHARGE

_S = schema.sessions.c
WINDOW = 5_000
"""Transfers looked at in one query."""
FINDINGS_MAX = 1_000
"""A broken book need not list every row of itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `code` is stable, `subject` names the row."""

    code: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what was found wrong."""

    checked: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings


async def verify(database: Database) -> Report:
    """Prove the ledger, in one snapshot."""
    findings: list[Finding] = []
    async with database.read() as connection:
        balances, transfers = await _replay(connection, findings)
        accounts = await _check_accounts(connection, balances, findings)
        holds = await _check_holds(connection, balances, findings)
        chain = await seals.check(connection)
    if chain.broken_seal is not None:
        findings.append(
            Finding("chain_broken", f"seal:{chain.broken_seal}", "rows under it were changed")
        )
    checked = {
        "transfers": transfers,
        "accounts": accounts,
        "holds": holds,
        "sealed_transfers": chain.sealed_transfers,
    }
    return Report(checked, tuple(findings[:FINDINGS_MAX]))


async def _replay(
    connection: AsyncConnection, findings: list[Finding]
) -> tuple[dict[str, int], int]:
    """Every transfer in order; returns the balances that the postings give."""
    balances: dict[str, int] = {}
    last = int(await connection.scalar(sa.select(schema.head.c.last_transfer)) or 0)
    table, lines = schema.transfers, schema.postings
    highest = int(await connection.scalar(sa.select(sa.func.max(table.c.transfer))) or 0)
    if highest > last:
        findings.append(Finding("beyond_head", f"transfer:{highest}", f"head is {last}"))
    for first in range(1, max(last, highest) + 1, WINDOW):
        window = (first, min(first + WINDOW - 1, max(last, highest)))
        heads = await connection.execute(sa.select(table).where(table.c.transfer.between(*window)))
        by_number = {row["transfer"]: row for row in heads.mappings()}
        postings: dict[int, dict[str, int]] = {}
        query = sa.select(lines).where(lines.c.transfer.between(*window))
        for transfer, account, units in await connection.execute(query):
            postings.setdefault(transfer, {})[account] = units
            balances[account] = balances.get(account, 0) + units
        for number in range(window[0], window[1] + 1):
            row = by_number.get(number)
            if row is None:
                findings.append(Finding("transfer_missing", f"transfer:{number}", "no such row"))
                continue
            problems = transfer_problems(row, postings.get(number, {}))
            findings += [Finding("transfer_wrong", f"transfer:{number}", p) for p in problems]
    return balances, highest


def transfer_problems(row: sa.RowMapping, postings: Mapping[str, int]) -> Iterator[str]:
    """What is wrong inside one transfer."""
    if row["outcome"] == "refused":
        if postings:
            yield "a refusal has postings"
        return
    if sum(postings.values()) != 0:
        yield f"postings sum to {sum(postings.values())}"
    if not postings:
        yield "no postings"
    own = f"member:{row['member_id']}:"
    member = {name.removeprefix(own): n for name, n in postings.items() if name.startswith(own)}
    others = sum(n for name, n in postings.items() if not name.startswith(own))
    units, promo, paid = row["units"], row["promo_units"], row["paid_units"]
    if promo + paid != (0 if row["kind"] in PAYOUT_KINDS else units):
        yield f"buckets {promo} + {paid} are not {units}"
    if not _fits(row, member, others):
        yield f"{row['kind']} of {units} units does not fit its postings"


def _fits(row: sa.RowMapping, member: Mapping[str, int], others: int) -> bool:
    """Whether a transfer moved what its kind moves; `member` has its own accounts' postings."""
    units: int = row["units"]
    match row["kind"]:
        case "purchase" | "promo_grant":
            given = {"promo": row["promo_units"], "paid": row["paid_units"]}
            return others == -units and member == _nonzero(given)
        case "reversal":
            return abs(others) == units and "held" not in member
        case "hold":
            return others == 0 and member.get("held") == units
        case "purchase_refund" | "charge_back":
            taken = member.get("paid", 0) + member.get("debt", 0)
            return others == units == -taken and not member.keys() - {"paid", "debt"}
        case "debt_payment":
            return others == 0 and member == {"paid": -units, "debt": units}
        case "session_refund":
            given = {"promo": row["promo_units"], "paid": row["paid_units"]}
            return others == -units and member == _nonzero(given)
        case "hold_void" | "session_hold" | "message_reply":
            return others == 0 and units == 0
        case kind if kind in PAYOUT_KINDS:
            return others == 0 and not member and units > 0
        case _:
            return others == units


def _nonzero(values: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in values.items() if value}


async def _check_accounts(
    connection: AsyncConnection, balances: Mapping[str, int], findings: list[Finding]
) -> int:
    rows = (await connection.execute(sa.select(schema.accounts))).mappings().all()
    for row in rows:
        account, units = row["account"], row["units"]
        replayed = balances.get(account, 0)
        if replayed != units:
            findings.append(
                Finding("balance_wrong", account, f"is {units}, its postings give {replayed}")
            )
        if units < 0 and not row["may_be_negative"]:
            findings.append(Finding("balance_negative", account, f"is {units}"))
        if units > 0 and account.endswith(":debt"):
            findings.append(Finding("debt_overpaid", account, f"is {units}"))
    known = {row["account"] for row in rows}
    findings += [
        Finding("account_missing", account, "has postings but no row")
        for account in balances
        if account not in known
    ]
    total = sum(row["units"] for row in rows)
    if total:
        findings.append(Finding("books_unbalanced", "accounts", f"sum to {total}"))
    return len(rows)


async def _check_holds(
    connection: AsyncConnection, balances: Mapping[str, int], findings: list[Finding]
) -> int:
    table = schema.holds
    rows = (await connection.execute(sa.select(table))).mappings().all()
    held: dict[str, int] = {}
    for row in rows:
        rest = row["promo_units"] + row["paid_units"]
        held[row["member_id"]] = held.get(row["member_id"], 0) + rest
        if row["taken_units"] != row["posted_units"] + row["returned_units"] + rest:
            findings.append(Finding("hold_wrong", f"hold:{row['hold_id']}", "does not add up"))
        if row["state"] != "open" and rest:
            findings.append(Finding("hold_stranded", f"hold:{row['hold_id']}", f"keeps {rest}"))
    members = {name.split(":")[1] for name in balances if name.endswith(":held")}
    for member_id in sorted(members | held.keys()):
        posted = balances.get(ledger.held_account(member_id), 0)
        if posted != held.get(member_id, 0):
            detail = f"account has {posted}, open holds {held.get(member_id, 0)}"
            findings.append(Finding("held_wrong", ledger.held_account(member_id), detail))
    return len(rows)


async def reconcile(database: Database) -> Report:
    """Compare the ledger with all that causes its transfers, in one snapshot."""
    findings: list[Finding] = []
    async with database.read() as connection:
        sessions = await _check_sessions(connection, findings)
        refunds = await _check_refunds(connection, findings)
        orders = await _check_orders(connection, findings)
        payouts, unlike = await verify_payouts.problems(connection)
        purchases, unpaid = await verify_purchases.problems(connection)
        groups, astray = await verify_groups.problems(connection)
        experts, unshared = await share_rows.problems(connection)
        windows, wrong = await limits_rows.wrong_windows(connection)
    findings += [Finding(*problem) for problem in (*unlike, *unpaid, *astray, *unshared)]
    findings += [
        Finding("spend_window", f"member:{member}", f"the {span} counts {counted}, not {told}")
        for member, span, counted, told in wrong
    ]
    checked = {
        "sessions": sessions,
        "refunds": refunds,
        "payouts": payouts,
        "orders": orders,
        "purchases": purchases,
        "groups": groups,
        "experts": experts,
        "spend_windows": windows,
    }
    return Report(checked, tuple(findings[:FINDINGS_MAX]))


async def _check_refunds(connection: AsyncConnection, findings: list[Finding]) -> int:
    """What was granted is what was given back, and nothing was given back that was not granted."""
    table, refunds = schema.transfers, schema.refunds
    query = sa.select(table.c.subject, sa.func.sum(table.c.units)).where(
        table.c.kind == "session_refund"
    )
    given = {row[0]: int(row[1]) for row in await connection.execute(query.group_by("subject"))}
    from_experts = await _earned_by_subject(connection, "session_refund")
    count = 0
    asked = sa.select(schema.sessions, refunds.c.granted_units).join(refunds)
    for row in (await connection.execute(asked)).mappings():
        count += 1
        subject, granted = f"refund:{row['session_id']}", row["granted_units"]
        units = given.pop(subject, 0)
        if units != granted:
            detail = f"{granted} units were granted and {units} given back"
            findings.append(Finding("refund_wrong", subject, detail))
        taken, due = -from_experts.get(subject, 0), shares.taken_back(row, granted)
        if taken != due:
            detail = f"the expert gave {taken} units back, of their share that is {due}"
            findings.append(Finding("refund_wrong", subject, detail))
    findings += [
        Finding("refund_missing", subject or "refund", f"{units} units went back for no request")
        for subject, units in given.items()
    ]
    return count


async def _check_sessions(connection: AsyncConnection, findings: list[Finding]) -> int:
    charged, earned, last = await _journal_by_session(connection)
    holds = schema.holds
    query = sa.select(
        schema.sessions,
        marks_rows.RECORD,
        holds.c.state.label("hold_state"),
        holds.c.posted_units.label("hold_posted"),
        (holds.c.promo_units + holds.c.paid_units).label("hold_rest"),
    ).select_from(marks_rows.WITH_MARKS.outerjoin(holds, holds.c.hold_id == _S.hold_id))
    count = 0
    reader = marks_rows.Reader()
    for row in (await connection.execute(query)).mappings():
        count += 1
        subject = f"session:{row['session_id']}"
        posted = (charged.pop(subject, 0), earned.pop(subject, 0))
        problems = [*session_problems(row, *posted), *_open_problems(row, reader.row(row))]
        if last.get(subject) != row["last_charge"]:
            problems.append(f"last charged by {last.get(subject)}, the row says otherwise")
        findings += [Finding("session_wrong", subject, problem) for problem in problems]
    findings += [
        Finding("session_missing", subject, f"{units} units were charged for no session")
        for subject, units in charged.items()
    ]
    findings += [
        Finding("marks_torn", page, "its sessions are known up to their own rows only")
        for page in sorted(reader.torn)
    ]
    return count


async def _journal_by_session(
    connection: AsyncConnection,
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Per session: what was charged, what of it the expert earned, the last charge's number."""
    table = schema.transfers
    units = (
        sa.select(table.c.subject, sa.func.sum(table.c.units), sa.func.max(table.c.transfer))
        .where(table.c.kind == SESSION_CHARGE)
        .group_by(table.c.subject)
    )
    charged, last = dict[str, int](), dict[str, int]()
    for subject, total, number in await connection.execute(units):
        charged[subject], last[subject] = int(total), number
    return charged, await _earned_by_subject(connection, SESSION_CHARGE), last


async def _earned_by_subject(connection: AsyncConnection, kind: str) -> dict[str, int]:
    """What transfers of a kind gave to experts, by what they are about."""
    table, lines = schema.transfers, schema.postings
    query = (
        sa.select(table.c.subject, sa.func.sum(lines.c.units))
        .select_from(table.join(lines))
        .where(table.c.kind == kind, lines.c.account.like("expert:%"))
        .group_by(table.c.subject)
    )
    return {subject: int(total) for subject, total in await connection.execute(query)}


def session_problems(row: sa.RowMapping, posted: int, earned: int) -> Iterator[str]:
    """Where a session's row, its hold and its transfers disagree."""
    parts = (("private", "held_ms"), ("cam2cam", "cam2cam_held_ms"))
    due = 0
    for name, held in (*parts, ("two_way_audio", "two_way_audio_held_ms")):
        due += row[f"{name}_s"] * row[f"{name}_units_per_s"]
        if row[f"{name}_s"] * 1_000 > row[held]:
            yield f"{row[f'{name}_s']} {name} seconds charged, but {row[held]} ms held"
    if due != row["charged_units"]:
        yield f"seconds cost {due}, charged {row['charged_units']}"
    if posted != row["posted_units"]:
        yield f"transfers post {posted}, the row {row['posted_units']}"
    share = shares.of_session_row(row).earned(shares.posted_of_row(row))
    if not earned == row["expert_units"] == share:
        yield f"expert earned {earned}, the row says {row['expert_units']}, the share is {share}"
    if row["hold_state"] is None or row["hold_posted"] != row["posted_units"]:
        yield f"its hold posted {row['hold_posted']}, the session {row['posted_units']}"
        return
    if row["state"] == "closed":
        if row["hold_state"] == "open":
            yield "closed, but its hold is open"
        if row["posted_units"] != row["charged_units"]:
            yield f"closed with {row['charged_units'] - row['posted_units']} units not posted"


def _open_problems(row: sa.RowMapping, marked: Mapping[str, Any]) -> Iterator[str]:
    """What a running session used by its last mark must lie in its hold."""
    if row["state"] != "open" or row["hold_rest"] is None:
        return
    if marked["charged_units"] - row["posted_units"] > row["hold_rest"]:
        yield "used more than is held"


async def _check_orders(connection: AsyncConnection, findings: list[Finding]) -> int:
    orders, transfers, attempts = schema.orders, schema.transfers, schema.attempts
    settled_attempts = (
        sa.select(attempts.c.order_id, sa.func.count().label("settled"))
        .where(attempts.c.state == "settled")
        .group_by(attempts.c.order_id)
        .subquery()
    )
    query = sa.select(
        orders,
        transfers.c.key.label("transfer_key"),
        transfers.c.units.label("transfer_units"),
        transfers.c.member_id.label("transfer_member"),
        sa.func.coalesce(settled_attempts.c.settled, 0).label("settled_attempts"),
    ).select_from(
        orders.outerjoin(transfers, transfers.c.transfer == orders.c.transfer).outerjoin(
            settled_attempts, settled_attempts.c.order_id == orders.c.order_id
        )
    )
    known = set()
    taken_back = await _taken_back(connection)
    gone = await reversal_rows.gone(connection)
    rows = (await connection.execute(query)).mappings().all()
    for row in rows:
        subject = f"order:{row['order_id']}"
        known.add(subject)
        told = gone.get(row["order_id"], Gone())
        problems = order_problems(row, taken_back.pop(subject, 0), told)
        findings += [Finding("order_wrong", subject, problem) for problem in problems]
    credited = sa.select(transfers.c.subject).where(
        transfers.c.kind == "purchase", transfers.c.key.like("order:%")
    )
    findings += [
        Finding("order_missing", str(subject), "credited, but there is no such order")
        for subject in await connection.scalars(credited)
        if subject not in known
    ]
    return len(rows)


async def _taken_back(connection: AsyncConnection) -> dict[str, int]:
    """Per order, the units that went back with its money and did not come again."""
    table = schema.transfers.c
    signed = sa.case((table.kind == "reversal", -table.units), else_=table.units)
    query = (
        sa.select(table.subject, sa.func.sum(signed))
        .where(
            table.kind.in_(("purchase_refund", "charge_back", "reversal")),
            table.outcome == "posted",
            table.subject.like("order:%"),
        )
        .group_by(table.subject)
    )
    return {subject: int(units) for subject, units in await connection.execute(query)}


def order_problems(row: sa.RowMapping, taken_back: int, gone: Gone) -> Iterator[str]:
    """Where an order, its attempts and its transfers disagree."""
    if taken_back != row["refunded_units"]:
        yield f"{taken_back} units were taken back, the row says {row['refunded_units']}"
    if units_of(row["credits_units"], row["price_minor"], gone.minor) != taken_back:
        yield f"{taken_back} units were taken back, but {gone.minor} of its price went back"
    if (row["state"] in ("refunded", "charged_back")) != (taken_back == row["credits_units"]):
        yield f"{row['state']}, but {taken_back} of {row['credits_units']} units were taken back"
    settled = row["state"] in ("settled", "refunded", "charged_back")
    if settled != (row["settled_attempts"] > 0):
        yield f"{row['state']}, but {row['settled_attempts']} attempts are settled"
    if row["settled_attempts"] > 1:
        yield f"paid {row['settled_attempts']} times"
    if not settled:
        return
    if row["transfer_key"] != f"order:{row['order_id']}":
        yield "its transfer is missing or another's"
    elif (row["transfer_units"], row["transfer_member"]) != (
        row["credits_units"],
        row["member_id"],
    ):
        yield f"credited {row['transfer_units']} units to {row['transfer_member']}"
