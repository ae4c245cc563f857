"""Reconciliation of group sessions: their states, their pledges, the holds and the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import group_rows, group_rules, ledger, schema
from billing_meter.group_money import END_KEY
from billing_meter.group_rows import Group, Pledge
from billing_meter.group_rules import GROUP_KIND, OVER, GroupState
from billing_meter.groups import PLEDGE_KEY

Problem = tuple[str, str, str]
"""(code, subject, detail)."""
_P, _H, _X = schema.pledges.c, schema.holds.c, schema.transfers.c
_HOLD_STATE = {"held": "open", "captured": "posted", "released": "voided"}


async def problems(connection: AsyncConnection) -> tuple[int, list[Problem]]:
    """How many groups there are, and what is wrong with them."""
    rows = (await connection.execute(sa.select(schema.groups))).mappings()
    groups = {row["group_id"]: group_rows.group_of(row) for row in rows}
    pledges: dict[str, list[Pledge]] = {group_id: [] for group_id in groups}
    found: list[Problem] = []
    known: set[str] = set()
    for row in (await connection.execute(_pledges())).mappings():
        pledge = Pledge(**{name: row[name] for name in Pledge.__slots__})
        known.add(pledge.pledge_id)
        pledges[pledge.group_id].append(pledge)
        found += [
            ("pledge_wrong", f"pledge:{pledge.pledge_id}", problem)
            for problem in pledge_problems(groups[pledge.group_id], pledge, row)
        ]
    for group_id, group in groups.items():
        found += [
            ("group_wrong", f"group:{group_id}", problem)
            for problem in group_problems(group, pledges[group_id])
        ]
    found += await _missing(connection, known)
    return len(groups), found


def _pledges() -> sa.Select[Any]:
    back, lines = schema.transfers.alias("back"), schema.postings.c
    return sa.select(
        schema.pledges,
        _H.state.label("hold_state"),
        _H.member_id.label("hold_member"),
        _H.taken_units,
        _H.posted_units,
        _X.key,
        _X.kind,
        _X.outcome,
        _X.subject,
        _X.units.label("transfer_units"),
        _X.expert_id,
        sa.select(sa.func.coalesce(sa.func.sum(back.c.units), 0))
        .where(back.c.reverses == _P.transfer, back.c.outcome == "posted")
        .scalar_subquery()
        .label("back_units"),
        sa.select(sa.func.coalesce(sa.func.sum(lines.units), 0))
        .where(lines.transfer == _P.transfer, lines.account.like("expert:%"))
        .scalar_subquery()
        .label("earned_units"),
    ).select_from(
        schema.pledges.outerjoin(schema.holds, _H.hold_id == _P.pledge_id).outerjoin(
            schema.transfers, _X.transfer == _P.transfer
        )
    )


def pledge_problems(group: Group, pledge: Pledge, row: sa.RowMapping) -> Iterator[str]:
    """Where a contribution, its hold and its transfers disagree."""
    hold = (row["hold_state"], row["hold_member"], row["taken_units"])
    if hold != (_HOLD_STATE[pledge.state], pledge.member_id, pledge.units):
        yield f"{pledge.state} with {pledge.units} units, its hold is {hold}"
    if pledge.state == "held":
        return
    captured = pledge.state == "captured"
    if row["outcome"] != "posted" or row["key"] != f"{END_KEY}{pledge.pledge_id}":
        yield "the transfer that ended it is missing or another's"
        return
    ended = (row["kind"], row["transfer_units"], row["subject"], row["expert_id"])
    wanted = (GROUP_KIND, pledge.units, group.subject, group.expert_id)
    released = ("hold_void", 0, group.subject, None)
    if ended != (wanted if captured else released):
        yield f"{pledge.state}, its transfer has {ended}"
    share = ledger.share(pledge.units, group.share_percent or 0) if captured else 0
    if row["earned_units"] != share:
        yield f"its expert earned {row['earned_units']}, the share is {share}"
    due = 0
    if captured and group.state is GroupState.ENDED:
        due = group_rules.unplayed_units(
            pledge.units,
            joined_ms=pledge.joined_ms or 0,
            played_ms=group.played_ms,
            length_ms=group.terms.length_ms,
        )
    if not pledge.refunded_units == row["back_units"] == due:
        yield f"{row['back_units']} went back, noted {pledge.refunded_units}, due {due}"


def group_problems(group: Group, pledges: Sequence[Pledge]) -> Iterator[str]:
    """Where a group and its contributions disagree."""
    by_state = {
        state: [pledge for pledge in pledges if pledge.state == state] for state in _HOLD_STATE
    }
    captured = by_state["captured"]
    totals = (
        sum(pledge.units for pledge in pledges),
        sum(pledge.units for pledge in captured),
        sum(pledge.refunded_units for pledge in captured),
    )
    noted = (group.pledged_units, group.captured_units, group.refunded_units)
    if totals != noted:
        yield f"pledged, captured, given back {totals}, noted {noted}"
    if by_state["held"] and group.state is not GroupState.PRE_SESSION:
        yield f"{group.state.value}, and {len(by_state['held'])} pledges are held"
    began = group.state in (GroupState.LIVE, GroupState.ENDED)
    if captured and not began:
        yield f"{group.state.value}, and {len(captured)} pledges are captured"
    if by_state["released"] and not began and group.state not in OVER:
        yield f"{group.state.value}, and {len(by_state['released'])} pledges are released"
    if began:
        first = [pledge for pledge in pledges if pledge.joined_ms is None]
        members = group_rules.taking_part(first, group.terms.minimum_units)
        if any((pledge.member_id in members) != (pledge.state == "captured") for pledge in first):
            yield "who takes part is not who gave the minimum"
    reached = group.pledged_units >= group.terms.goal_units
    if reached != group.goal_reached:
        yield f"goal reached: {reached}, noted: {group.goal_reached}"


async def _missing(connection: AsyncConnection, known: set[str]) -> list[Problem]:
    """Holds and captures of the journal that are no pledge's."""
    query = sa.select(_X.hold_id, _X.kind).where(
        _X.outcome == "posted",
        sa.or_(_X.key.like(f"{PLEDGE_KEY}%"), _X.key.like(f"{END_KEY}%")),
    )
    return [
        ("pledge_missing", f"hold:{hold_id}", f"{kind} of no pledge")
        for hold_id, kind in await connection.execute(query)
        if hold_id not in known
    ]
