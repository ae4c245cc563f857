"""The rows of group sessions and their contributions: read, added, moved by guarded steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import group_rules, schema
from billing_meter.group_rules import GroupState, GroupTerms, StartPolicy
from billing_meter.ledger_rows import GuardFailed

PledgeState = Literal["held", "captured", "released"]
OPEN_STATES = (GroupState.PRE_SESSION.value, GroupState.LIVE.value)
_G, _P = schema.groups.c, schema.pledges.c
_TERMS = ("goal_units", "minimum_units", "length_ms", "pre_session_ms", "allow_late")


@dataclass(frozen=True, slots=True)
class Group:
    """A group session as its money knows it. `pledged_units` are all contributions so far."""

    group_id: str
    expert_id: str
    state: GroupState
    reason: str | None
    terms: GroupTerms
    node: str | None
    beat: int
    played_ms: int
    pledged_units: int
    captured_units: int
    refunded_units: int
    goal_pledge: str | None
    share_percent: int | None
    start_pledge: str | None
    created_at_ms: int
    opened_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None

    @property
    def goal_reached(self) -> bool:
        """Whether the contributions reached the goal."""
        return self.goal_pledge is not None

    @property
    def subject(self) -> str:
        """What its transfers are about."""
        return f"{SUBJECT}{self.group_id}"


SUBJECT = f"{group_rules.GROUP_KIND}:"


@dataclass(frozen=True, slots=True)
class Pledge:
    """One contribution; `transfer` captured or released it.

    `joined_ms`: how much had been shown when it came to a live group; None before the start.
    """

    pledge_id: str
    group_id: str
    member_id: str
    units: int
    state: PledgeState
    joined_ms: int | None
    transfer: int | None
    refunded_units: int
    at_ms: int


async def read(connection: AsyncConnection, group_id: str, *, lock: bool = False) -> Group | None:
    """One group; with `lock` it stays as it is until the transaction ends."""
    query = sa.select(schema.groups).where(_G.group_id == group_id)
    query = query.with_for_update() if lock else query
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else group_of(row)


def group_of(row: sa.RowMapping) -> Group:
    """A row as a group."""
    values: dict[str, Any] = dict(row)
    terms = GroupTerms(
        **{name: values.pop(name) for name in _TERMS},
        start_policy=StartPolicy(values.pop("start_policy")),
    )
    return Group(**{**values, "terms": terms, "state": GroupState(values["state"])})


async def insert(
    connection: AsyncConnection, group_id: str, expert_id: str, terms: GroupTerms, at_ms: int
) -> None:
    """A group that is scheduled."""
    row = {
        "group_id": group_id,
        "expert_id": expert_id,
        "state": GroupState.SCHEDULED.value,
        **{name: getattr(terms, name) for name in _TERMS},
        "start_policy": terms.start_policy.value,
        "beat": 0,
        "played_ms": 0,
        "pledged_units": 0,
        "captured_units": 0,
        "refunded_units": 0,
        "created_at_ms": at_ms,
    }
    await connection.execute(sa.insert(schema.groups), [row])


async def go(connection: AsyncConnection, group: Group, to: GroupState, **values: object) -> None:
    """One step from the state in which it was read; GuardFailed when there is no such step."""
    if not group_rules.may_go(group.state, to):
        raise GuardFailed(f"group {group.group_id} does not go from {group.state} to {to}")
    await change(connection, group, state=to.value, **values)


async def change(connection: AsyncConnection, group: Group, **values: object) -> None:
    """Write values to a group that is as it was read."""
    result = await connection.execute(
        sa.update(schema.groups)
        .where(
            _G.group_id == group.group_id,
            _G.state == group.state.value,
            _G.pledged_units == group.pledged_units,
        )
        .values(values)
    )
    if result.rowcount != 1:
        raise GuardFailed(f"group {group.group_id} has changed")


async def pledges_of(
    connection: AsyncConnection, group_id: str, state: PledgeState | None = None
) -> list[Pledge]:
    """The contributions to a group in the order of their ids, or those in one state."""
    query = sa.select(schema.pledges).where(_P.group_id == group_id).order_by(_P.pledge_id)
    if state is not None:
        query = query.where(_P.state == state)
    return [Pledge(**row) for row in (await connection.execute(query)).mappings()]


async def pledge(connection: AsyncConnection, pledge_id: str) -> Pledge | None:
    """One contribution."""
    query = sa.select(schema.pledges).where(_P.pledge_id == pledge_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Pledge(**row)


async def owned(
    connection: AsyncConnection, *, by: str | None = None, other_than: str | None = None
) -> Sequence[Group]:
    """The open groups of a node, or of all others."""
    query = sa.select(schema.groups).where(_G.state.in_(OPEN_STATES)).order_by(_G.group_id)
    if by is not None:
        query = query.where(_G.node == by)
    if other_than is not None:
        query = query.where(_G.node != other_than)
    return [group_of(row) for row in (await connection.execute(query)).mappings()]
