"""What moved a member's balance: line by line, each private session one line with its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from msgspec import Struct

from billing_meter.ledger_store import utc_ms
from billing_meter.refunds import Refund, Refunds
from billing_meter.sessions import SessionRecord, session_records
from billing_meter.statements import SESSION_SUBJECT, StatementLine, transactions
from signaling import wire, wire_out
from signaling.problem import Problem
from signaling.routing import Access, Call, Route, json_reply

PAGE_ITEMS = 30
REFUND_SUBJECT = "refund:"


class RefundStanding(Struct, kw_only=True, omit_defaults=True):
    """Whether the price can be asked back (`possible` until `until_ms`), or what became of it."""

    state: Literal["possible", "over", "requested", "approved", "denied"]
    until_ms: int
    granted_units: int = 0


class PrivateLine(Struct, kw_only=True, omit_defaults=True):
    """A private session as its member's wallet shows it; without `ended_at_ms` it goes on."""

    session: str
    expert: str
    started_at_ms: int
    total_units: int
    lines: list[wire.CostLine]
    ended_at_ms: int | None = None
    refund: RefundStanding | None = None


class Transaction(Struct, kw_only=True, omit_defaults=True):
    """One change of the balance; a private session is one, however long it was.

    `private` is there for sessions and for what was given back for one; `expert` names whom the
    line is about.
    """

    id: int
    at_ms: int
    kind: str
    units: int
    balance_after_units: int
    expert: str | None = None
    private: PrivateLine | None = None


class TransactionsReply(Struct, kw_only=True):
    """Newest first; `next` is the `before` of the next page. `now_ms` is the server's clock."""

    items: list[Transaction]
    next: int | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """What is known of the sessions that some lines are about."""

    records: Mapping[str, SessionRecord]
    refunds: Mapping[str, Refund]
    names: Mapping[str, str]
    now_ms: int

    def expert_of(self, line: StatementLine) -> str | None:
        """Whom a line is about, or None."""
        record = self.records.get(session_of(line) or "")
        expert_id = line.expert_id if record is None else record.expert_id
        return None if expert_id is None else self.names.get(expert_id)

    def private_line(self, session_id: str | None) -> PrivateLine | None:
        """One session, or None where there is none."""
        record = self.records.get(session_id or "")
        if session_id is None or record is None:
            return None
        summary = record.summary
        return PrivateLine(
            session=session_id,
            expert=self.names.get(record.expert_id, ""),
            started_at_ms=utc_ms(summary.started_at or summary.ended_at),
            ended_at_ms=None if record.open else utc_ms(summary.ended_at),
            total_units=summary.cost_units,
            lines=[wire_out.cost_line(line) for line in summary.lines],
            refund=self._standing(session_id, record),
        )

    def _standing(self, session_id: str, record: SessionRecord) -> RefundStanding | None:
        if record.open or record.refund_until is None or not record.summary.cost_units:
            return None
        until_ms = utc_ms(record.refund_until)
        asked = self.refunds.get(session_id)
        if asked is not None:
            return RefundStanding(
                state=asked.state, until_ms=until_ms, granted_units=asked.granted_units
            )
        return RefundStanding(
            state="possible" if self.now_ms < until_ms else "over", until_ms=until_ms
        )


async def list_transactions(call: Call) -> web.Response:
    """What moved the balance."""
    lines = await transactions(
        call.services.database, call.account_id, before=before_of(call), limit=PAGE_ITEMS + 1
    )
    page = lines[:PAGE_ITEMS]
    sessions = await sessions_of(call, page)
    return json_reply(
        TransactionsReply(
            items=[_transaction(line, sessions) for line in page],
            next=page[-1].id if len(lines) > len(page) else None,
            now_ms=sessions.now_ms,
        )
    )


def before_of(call: Call) -> int | None:
    """The item behind which a page begins."""
    before = call.request.query.get("before")
    if before is not None and not (before.isascii() and before.isdigit() and len(before) < 16):
        raise Problem(422, "invalid", "before is the id of an item.")
    return None if before is None else int(before)


async def sessions_of(call: Call, lines: Sequence[StatementLine]) -> Sessions:
    """What the lines need to know of sessions, in three queries however many they are."""
    services = call.services
    ids = {found for line in lines if (found := session_of(line)) is not None}
    records = await session_records(services.database, ids)
    experts = {line.expert_id for line in lines if line.expert_id is not None}
    return Sessions(
        records=records,
        refunds=await Refunds(services.wallet.ledger).of_sessions(ids),
        names=await services.accounts.names(experts | {one.expert_id for one in records.values()}),
        now_ms=utc_ms(services.utc_now()),
    )


def session_of(line: StatementLine) -> str | None:
    """The session that a line is about: it, or what was given back for it."""
    subject = line.subject or ""
    if line.kind == "session":
        return subject.removeprefix(SESSION_SUBJECT)
    if line.kind == "session_refund":
        return subject.removeprefix(REFUND_SUBJECT)
    return None


def _transaction(line: StatementLine, sessions: Sessions) -> Transaction:
    return Transaction(
        id=line.id,
        at_ms=line.at_ms,
        kind=line.kind,
        units=line.units,
        balance_after_units=line.balance_after_units,
        expert=sessions.expert_of(line),
        private=sessions.private_line(session_of(line)),
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/wallet/transactions",
        list_transactions,
        "What moved the balance",
        access=Access.MEMBER,
        reply=TransactionsReply,
        query=("before",),
        refusals=("422 invalid",),
    ),
)
