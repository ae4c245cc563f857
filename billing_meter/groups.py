"""Group sessions: the money of their whole life, in steps that are one transaction each.

A contribution is held in the transaction that adds it to its group. The step that starts a group
captures what its members gave and lets go of the rest; the steps that end one before its start let
go of everything; the end of a live one gives back what was not shown. So there is no instant at
which a group's state and its money disagree, and whoever finds the group after a crash settles it
by what it says. Of steps that race each other one happens, and the others hear what became of it.

Whoever runs a group (its owner) tells how time passes: its own monotonic clock says when the
pre-session is over and how much was shown. Meanwhile it writes signs of life (`beat`); groups of
owners that are silent are settled by others (`group_watch.py`), and at the start of a process those
of its own former life (`recover`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from billing_meter import group_money, group_rows, group_rules, ledger, schema
from billing_meter.group_rows import OPEN_STATES, Group, Pledge
from billing_meter.group_rules import OVER, EndReason, GroupState, GroupTerms, StartPolicy
from billing_meter.ledger import Hold, Posted, Refused
from billing_meter.ledger_store import LedgerStore, LedgerTransaction

MEMBER_KEY_CHARS_MAX: Final = 100
GROUP_CHARS_MAX: Final = 50
"""A group's id is in the subject of its transfers and in the ids of its pledges."""
PLEDGE_KEY: Final = "pledge:"
_G = schema.groups.c

MoveCode = Literal[
    "unknown_group",
    "group_exists",
    "expert_busy",
    "group_not_open",
    "group_live",
    "group_over",
    "nobody_takes_part",
    "bad_length",
    "bad_pre_session",
    "bad_minimum",
    "bad_goal",
]


@dataclass(frozen=True, slots=True)
class Moved:
    """The group as it is now; `changed` unless the step had been taken before."""

    group: Group
    changed: bool = True


@dataclass(frozen=True, slots=True)
class NotMoved:
    """The group is as it was, or there is none."""

    code: MoveCode


@dataclass(frozen=True, slots=True)
class Contributed:
    """A contribution that counts. `goal_reached` and `started`: by this very one."""

    pledge: Pledge
    group: Group
    goal_reached: bool
    started: bool
    replayed: bool = False


class Groups:
    """One node's hand on the money of group sessions."""

    def __init__(self, store: LedgerStore, *, node: str) -> None:
        self._store = store
        self._node = node

    # --- the expert -------------------------------------------------------------------------

    async def schedule(self, group_id: str, expert_id: str, terms: GroupTerms) -> Moved | NotMoved:
        """Make a group; the same once more is harmless. ValueError for an impossible id."""
        if not 1 <= len(group_id) <= GROUP_CHARS_MAX:
            raise ValueError(f"a group's id has 1 to {GROUP_CHARS_MAX} characters")
        wrong = group_rules.fault(terms)
        if wrong is not None:
            return NotMoved(wrong)
        async with self._store.transaction() as transaction:
            connection = transaction.connection
            known = await group_rows.read(connection, group_id)
            if known is not None:
                same = (known.expert_id, known.terms) == (expert_id, terms)
                return Moved(known, False) if same else NotMoved("group_exists")
            await transaction.shares([expert_id])  # who can be paid
            await group_rows.insert(connection, group_id, expert_id, terms, transaction.at_ms)
            return Moved(await _again(transaction, group_id))

    async def open(self, group_id: str) -> Moved | NotMoved:
        """Begin the pre-session, with this node as its owner. An expert has one open group."""
        try:
            async with self._store.transaction() as transaction:
                group = await _locked(transaction, group_id)
                if isinstance(group, NotMoved):
                    return group
                if group.state is GroupState.PRE_SESSION and group.node == self._node:
                    return Moved(group, False)
                if group.state is not GroupState.SCHEDULED:
                    return NotMoved(_why_not(group))
                await group_rows.go(
                    transaction.connection,
                    group,
                    GroupState.PRE_SESSION,
                    node=self._node,
                    opened_at_ms=transaction.at_ms,
                )
                return Moved(await _again(transaction, group_id))
        except IntegrityError:  # the index of open groups has one for each expert
            return NotMoved("expert_busy")

    async def start(self, group_id: str) -> Moved | NotMoved:
        """The expert starts it: capture what those gave who take part, let go of the rest."""
        async with self._store.transaction() as transaction:
            group = await _locked(transaction, group_id)
            if isinstance(group, NotMoved):
                return group
            if group.state is GroupState.LIVE:
                return Moved(group, False)
            if group.state is not GroupState.PRE_SESSION:
                return NotMoved(_why_not(group))
            if not await _begin(transaction, group, None):
                return NotMoved("nobody_takes_part")
            return Moved(await _again(transaction, group_id))

    async def cancel(self, group_id: str) -> Moved | NotMoved:
        """The expert calls it off before its start; everything goes back."""
        return await self._call_off(group_id, GroupState.CANCELLED, "expert_cancelled")

    async def time_up(self, group_id: str) -> Moved | NotMoved:
        """The pre-session is over: start it where the goal also had to wait for this, else expire.

        A scheduled group expires if its expert never opened it.
        """
        async with self._store.transaction() as transaction:
            group = await _locked(transaction, group_id)
            if isinstance(group, NotMoved):
                return group
            if group.state in (GroupState.LIVE, GroupState.EXPIRED):
                return Moved(group, False)
            if group.state in OVER:
                return NotMoved("group_over")
            starts = group.state is GroupState.PRE_SESSION and group.goal_reached
            if not starts or not await _begin(transaction, group, None):
                opened = group.state is GroupState.PRE_SESSION
                reason: EndReason = "goal_missed" if opened else "never_opened"
                await _let_go(transaction, group, GroupState.EXPIRED, reason)
            return Moved(await _again(transaction, group_id))

    async def finish(
        self, group_id: str, played_ms: int, reason: EndReason = "time_up"
    ) -> Moved | NotMoved:
        """A live group is over after `played_ms` of its length; what was not shown goes back.

        Also for an expert who did not come back within the grace. Less than its durable mark
        cannot have been shown, and not more than its length.
        """
        async with self._store.transaction() as transaction:
            group = await _locked(transaction, group_id)
            if isinstance(group, NotMoved):
                return group
            if group.state is GroupState.ENDED:
                return Moved(group, False)
            if group.state is not GroupState.LIVE:
                return NotMoved("group_over" if group.state in OVER else "group_not_open")
            await _finish(transaction, group, played_ms, reason)
            return Moved(await _again(transaction, group_id))

    async def _call_off(self, group_id: str, to: GroupState, reason: EndReason) -> Moved | NotMoved:
        async with self._store.transaction() as transaction:
            group = await _locked(transaction, group_id)
            if isinstance(group, NotMoved):
                return group
            if group.state is to:
                return Moved(group, False)
            if not group_rules.may_go(group.state, to):
                return NotMoved(_why_not(group))
            await _let_go(transaction, group, to, reason)
            return Moved(await _again(transaction, group_id))

    # --- members ----------------------------------------------------------------------------

    async def contribute(
        self, group_id: str, member_id: str, units: int, key: str
    ) -> Contributed | Refused:
        """Pledge credits to a group that is open; the one that completes its goal may start it.

        Refusals stay under the member's key: those of `group_rules.pledge_refusal`,
        `insufficient_credits`, those of spend limits, and `key_reused`; `unknown_group` does not.
        """
        request = _hold(group_id, member_id, units, key)
        async with self._store.transaction() as transaction:
            known = await group_rows.pledge(transaction.connection, request.hold_id)
            if known is not None:
                if (known.group_id, known.member_id, known.units) != (group_id, member_id, units):
                    return Refused("key_reused")
                return await _contributed(transaction, known, replayed=True)
            before = (await transaction.known([request])).get(request.key)
            if isinstance(before, Refused):
                return before
            group = await group_rows.read(transaction.connection, group_id, lock=True)
            if group is None:
                return Refused("unknown_group")
            return await _contribute(transaction, group, request)

    # --- signs of life ----------------------------------------------------------------------

    async def beat(self, played_ms: Mapping[str, int]) -> frozenset[str]:
        """This node's open groups live, and so much of each was shown: the marks for a crash.

        Returns those that are not its own any more: their media must end at once. A mark never
        goes back.
        """
        gone = set()
        async with self._store.transaction() as transaction:
            for group_id, shown_ms in sorted(played_ms.items()):
                shown = sa.case(
                    (_G.state == GroupState.LIVE.value, _clamped(shown_ms)), else_=_G.played_ms
                )
                result = await transaction.connection.execute(
                    sa.update(schema.groups)
                    .where(
                        _G.group_id == group_id,
                        _G.node == self._node,
                        _G.state.in_(OPEN_STATES),
                    )
                    .values(beat=_G.beat + 1, played_ms=shown)
                )
                if result.rowcount != 1:
                    gone.add(group_id)
        return frozenset(gone)

    async def recover(self) -> int:
        """Settle the groups that a former process of this node left open; how many."""
        async with self._store.database.read() as connection:
            left = await group_rows.owned(connection, by=self._node)
        return sum([await self.settle(group.group_id, group.beat) for group in left])

    async def settle(self, group_id: str, beat: int) -> bool:
        """Settle a group whose owner is gone, if it has not moved since: back go pledges of a
        pre-session, and of a live one what is not known to have been shown."""
        async with self._store.transaction() as transaction:
            group = await group_rows.read(transaction.connection, group_id, lock=True)
            if group is None or group.state.value not in OPEN_STATES or group.beat != beat:
                return False
            if group.state is GroupState.LIVE:
                await _finish(transaction, group, group.played_ms, "server_stopped")
            else:
                await _let_go(transaction, group, GroupState.CANCELLED, "server_stopped")
            return True

    # --- looking ----------------------------------------------------------------------------

    async def group(self, group_id: str) -> Group | None:
        """One group."""
        async with self._store.database.read() as connection:
            return await group_rows.read(connection, group_id)

    async def pledges(self, group_id: str) -> Sequence[Pledge]:
        """Every contribution to a group."""
        async with self._store.database.read() as connection:
            return await group_rows.pledges_of(connection, group_id)

    async def audience(self, group_id: str) -> frozenset[str]:
        """Who paid for a group that is live: nobody else may watch."""
        async with self._store.database.read() as connection:
            group = await group_rows.read(connection, group_id)
            paid = await group_rows.pledges_of(connection, group_id, "captured")
        live = group is not None and group.state is GroupState.LIVE
        return frozenset(pledge.member_id for pledge in paid if live)

    async def of_expert(self, expert_id: str, *, limit: int = 50) -> Sequence[Group]:
        """An expert's groups, the newest first."""
        query = sa.select(schema.groups).where(_G.expert_id == expert_id)
        query = query.order_by(_G.created_at_ms.desc(), _G.group_id).limit(limit)
        async with self._store.database.read() as connection:
            rows = (await connection.execute(query)).mappings()
            return [group_rows.group_of(row) for row in rows]


def _hold(group_id: str, member_id: str, units: int, key: str) -> Hold:
    """The ledger's request; a pledge's id follows from the member's key."""
    if not 1 <= len(key) <= MEMBER_KEY_CHARS_MAX:
        raise ValueError(f"a member's key has 1 to {MEMBER_KEY_CHARS_MAX} characters")
    full = f"{PLEDGE_KEY}{member_id}:{key}"
    pledge_id = f"p{hashlib.sha256(full.encode()).hexdigest()[:40]}"
    request = Hold(full, member_id, pledge_id, units, f"{group_rows.SUBJECT}{group_id}")
    ledger.checked(request)
    return request


async def _locked(transaction: LedgerTransaction, group_id: str) -> Group | NotMoved:
    group = await group_rows.read(transaction.connection, group_id, lock=True)
    return NotMoved("unknown_group") if group is None else group


async def _again(transaction: LedgerTransaction, group_id: str) -> Group:
    group = await group_rows.read(transaction.connection, group_id)
    assert group is not None
    return group


def _why_not(group: Group) -> MoveCode:
    if group.state in OVER:
        return "group_over"
    return "group_live" if group.state is GroupState.LIVE else "group_not_open"


async def _begin(transaction: LedgerTransaction, group: Group, start_pledge: str | None) -> bool:
    """Start a group that is in its pre-session, unless nobody would take part."""
    pledges = await group_rows.pledges_of(transaction.connection, group.group_id, "held")
    members = group_rules.taking_part(pledges, group.terms.minimum_units)
    if not members:
        return False
    percent = (await transaction.shares([group.expert_id]))[group.expert_id].group
    captured = await group_money.end(transaction, group, pledges, members, percent)
    await group_rows.go(
        transaction.connection,
        group,
        GroupState.LIVE,
        share_percent=percent,
        captured_units=captured,
        start_pledge=start_pledge,
        started_at_ms=transaction.at_ms,
    )
    return True


async def _let_go(
    transaction: LedgerTransaction, group: Group, to: GroupState, reason: EndReason
) -> None:
    """End a group before its start."""
    pledges = await group_rows.pledges_of(transaction.connection, group.group_id, "held")
    await group_money.end(transaction, group, pledges, ())
    values = {"reason": reason, "ended_at_ms": transaction.at_ms}
    await group_rows.go(transaction.connection, group, to, **values)


async def _finish(
    transaction: LedgerTransaction, group: Group, played_ms: int, reason: EndReason
) -> None:
    """End a live group."""
    shown_ms = min(group.terms.length_ms, max(group.played_ms, played_ms))
    refunded = await group_money.give_back(transaction, group, shown_ms)
    await group_rows.go(
        transaction.connection,
        group,
        GroupState.ENDED,
        reason=reason,
        played_ms=shown_ms,
        refunded_units=refunded,
        ended_at_ms=transaction.at_ms,
    )


async def _contribute(
    transaction: LedgerTransaction, group: Group, request: Hold
) -> Contributed | Refused:
    connection, member_id = transaction.connection, request.member_id
    count = sa.select(sa.func.count()).where(schema.pledges.c.group_id == group.group_id)
    pledges = int(await connection.scalar(count) or 0)
    refused = group_rules.pledge_refusal(
        group.state, group.terms, request.units, pledges, group.played_ms
    )
    if refused is not None:
        await transaction.write([ledger.refusal_entry(request, refused, member_id)])
        return Refused(refused)
    held = await transaction.execute(request)
    if not isinstance(held, Posted):
        return held
    late = group.state is GroupState.LIVE
    pledge = Pledge(
        pledge_id=request.hold_id,
        group_id=group.group_id,
        member_id=member_id,
        units=request.units,
        state="held",
        joined_ms=group.played_ms if late else None,
        transfer=None,
        refunded_units=0,
        at_ms=transaction.at_ms,
    )
    row = {name: getattr(pledge, name) for name in Pledge.__slots__}
    await connection.execute(sa.insert(schema.pledges), [row])
    total = group.pledged_units + request.units
    reaches = total >= group.terms.goal_units and not group.goal_reached
    values: dict[str, object] = {"goal_pledge": pledge.pledge_id} if reaches else {}
    if late:
        percent = group.share_percent or 0
        captured = await group_money.end(transaction, group, [pledge], {member_id}, percent)
        values["captured_units"] = group.captured_units + captured
    await group_rows.change(connection, group, pledged_units=total, **values)
    group = await _again(transaction, group.group_id)
    at_goal = group.terms.start_policy is StartPolicy.ON_GOAL and group.goal_reached
    if at_goal and group.state is GroupState.PRE_SESSION:
        await _begin(transaction, group, pledge.pledge_id)
    return await _contributed(transaction, pledge, replayed=False)


async def _contributed(
    transaction: LedgerTransaction, pledge: Pledge, *, replayed: bool
) -> Contributed:
    group = await _again(transaction, pledge.group_id)
    now = await group_rows.pledge(transaction.connection, pledge.pledge_id)
    assert now is not None
    return Contributed(
        now,
        group,
        goal_reached=group.goal_pledge == pledge.pledge_id,
        started=group.start_pledge == pledge.pledge_id,
        replayed=replayed,
    )


def _clamped(shown_ms: int) -> sa.ColumnElement[int]:
    """A mark between what was marked before and the length."""
    given = sa.literal(max(0, shown_ms), sa.BigInteger)
    return sa.case(
        (given <= _G.played_ms, _G.played_ms), (given >= _G.length_ms, _G.length_ms), else_=given
    )
