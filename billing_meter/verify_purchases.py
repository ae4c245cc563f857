"""Reconciliation of purchases: the journal, what was bought, what was given back, the access."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import features, ledger, schema
from billing_meter.access_rows import Place
from billing_meter.features import TERMS, Feature

Problem = tuple[str, str, str]
"""(code, subject, detail)."""
_P, _A, _X = schema.purchases.c, schema.access.c, schema.transfers.c


async def problems(connection: AsyncConnection) -> tuple[int, list[Problem]]:
    """How many purchases there are, and what is wrong with them."""
    found: list[Problem] = []
    places: dict[Place, list[tuple[int, int]]] = {}
    count, known = 0, set[int | None]()
    for row in (await connection.execute(_purchases())).mappings():
        known |= {row["transfer"], row["reply_transfer"]}
        count += 1
        subject = f"purchase:{row['transfer']}"
        found += [("purchase_wrong", subject, problem) for problem in purchase_problems(row)]
        if row["from_ms"] is not None and row["until_ms"] > row["from_ms"]:
            place = (row["member_id"], Feature(row["feature"]), row["object_id"])
            places.setdefault(place, []).append((row["from_ms"], row["until_ms"]))
    for (member_id, feature, object_id), windows in places.items():
        if any(one[1] > two[0] for one, two in pairwise(sorted(windows))):
            detail = f"{member_id} has {feature.value} {object_id} twice at once"
            found.append(("access_wrong", f"member:{member_id}", detail))
    bought = sa.select(_X.transfer).where(
        _X.key.like(f"{features.KEY_PREFIX}%"), _X.outcome == "posted"
    )
    found += [
        ("purchase_missing", f"transfer:{transfer}", "was paid, and nothing was bought")
        for transfer in await connection.scalars(bought)
        if transfer not in known
    ]
    replies = sa.select(_X.transfer).where(_X.kind == features.REPLY)
    found += [
        ("purchase_missing", f"transfer:{transfer}", "was earned by a reply to no message")
        for transfer in await connection.scalars(replies)
        if transfer not in known
    ]
    return count, found


def _purchases() -> sa.Select[Any]:
    """Every purchase, beside its transfer, its access, its refund and its reply."""
    back, reply = schema.transfers.alias("back"), schema.transfers.alias("reply")
    return (
        sa.select(
            schema.purchases,
            _X.key,
            _X.kind,
            _X.outcome,
            _X.subject,
            _X.units.label("transfer_units"),
            _X.member_id.label("transfer_member"),
            _X.expert_id.label("transfer_expert"),
            _A.member_id.label("access_member"),
            _A.feature.label("access_feature"),
            _A.object_id.label("access_object"),
            _A.from_ms,
            _A.until_ms,
            sa.select(sa.func.coalesce(sa.func.sum(back.c.units), 0))
            .where(back.c.reverses == _P.transfer, back.c.outcome == "posted")
            .scalar_subquery()
            .label("back_units"),
            sa.select(back.c.reverses)
            .where(back.c.transfer == _P.refund_transfer)
            .scalar_subquery()
            .label("back_of"),
            sa.select(reply.c.kind)
            .where(reply.c.transfer == _P.reply_transfer)
            .scalar_subquery()
            .label("reply_kind"),
            _earned(_P.transfer).label("earned_units"),
            _earned(_P.reply_transfer).label("reply_units"),
            _earned_by(back.c.reverses == _P.reply_transfer, back).label("reply_back_units"),
        )
        .select_from(
            schema.purchases.outerjoin(schema.transfers, _X.transfer == _P.transfer).outerjoin(
                schema.access, _A.transfer == _P.transfer
            )
        )
        .order_by(_P.transfer)
    )


def _earned(transfer: sa.ColumnElement[int]) -> sa.ScalarSelect[Any]:
    """What a transfer gave to an expert."""
    lines = schema.postings.c
    query = sa.select(sa.func.coalesce(sa.func.sum(lines.units), 0))
    return query.where(lines.transfer == transfer, lines.account.like("expert:%")).scalar_subquery()


def _earned_by(which: sa.ColumnElement[bool], heads: sa.FromClause) -> sa.ScalarSelect[Any]:
    """What some transfers gave to experts."""
    lines = schema.postings.alias("lines")
    mine = lines.c.transfer == heads.c.transfer
    query = sa.select(sa.func.coalesce(sa.func.sum(lines.c.units), 0)).select_from(
        heads.join(lines, mine)
    )
    return query.where(which, lines.c.account.like("expert:%")).scalar_subquery()


def reply_problems(row: sa.RowMapping) -> Iterator[str]:
    """Where what an expert has of a message is not what their answer gave them."""
    reply, refund = row["reply_transfer"], row["refund_transfer"]
    refunded_units = row["refunded_units"] or 0
    if reply is not None and row["reply_kind"] != features.REPLY:
        yield "its reply's transfer is missing or another's"
    back = -row["reply_back_units"]
    if reply is None or refund is None:
        most, wanted = row["units"], 0
    elif reply < refund:  # what was earned by then went back in the same part as the price
        most, wanted = row["units"], row["reply_units"] * refunded_units // row["units"]
    else:
        most, wanted = row["units"] - refunded_units, 0
    if reply is None:  # nothing was earned, since there was no reply or next to nothing left
        most = row["units"] - refunded_units if row["replied_at_ms"] else 0
    due = ledger.share(most, row["share_percent"])
    if row["reply_units"] != due:
        yield f"its reply earned {row['reply_units']} of {most}, the share is {due}"
    if back != wanted:
        yield f"{back} units of what its reply earned went back, {wanted} should have"


def share_problems(row: sa.RowMapping) -> Iterator[str]:
    """Where its expert had not the share that it was made with; that of a message comes later."""
    later = TERMS[Feature(row["feature"])].earned_by_reply
    due = 0 if later else ledger.share(row["units"], row["share_percent"])
    if row["earned_units"] != due:
        yield f"its expert earned {row['earned_units']} at once, the share is {due}"


def purchase_problems(row: sa.RowMapping) -> Iterator[str]:
    """Where a purchase, its transfers and its access disagree."""
    feature = Feature(row["feature"])
    about = features.subject(feature, row["object_id"])
    if row["outcome"] != "posted" or not row["key"].startswith(features.KEY_PREFIX):
        yield "its transfer is missing or another's"
        return
    if (row["kind"], row["subject"]) != (feature.value, about):
        yield f"its transfer is {row['kind']} of {row['subject']}"
    paid = (row["transfer_units"], row["transfer_member"], row["transfer_expert"])
    if paid != (row["units"], row["member_id"], row["expert_id"]):
        yield f"costs {row['units']}, its transfer has {paid}"
    refunded_units = row["refunded_units"] or 0
    refunded = row["refund_transfer"] is not None
    if refunded != (0 < refunded_units <= row["units"]) or row["back_units"] != refunded_units:
        yield f"{row['back_units']} units of {row['units']} went back, {refunded_units} granted"
    if refunded and row["back_of"] != row["transfer"]:
        yield "its refund is another's"
    if TERMS[feature].earned_by_reply:
        yield from reply_problems(row)
    elif row["reply_transfer"] is not None:
        yield "has a reply"
    yield from share_problems(row)
    lasts_ms = TERMS[feature].lasts_ms
    if (lasts_ms is None) != (row["from_ms"] is None):
        yield "gives access that it should not, or none"
    elif lasts_ms is not None:
        place = (row["access_member"], row["access_feature"], row["access_object"])
        if place != (row["member_id"], feature.value, row["object_id"]):
            yield f"gives access to {place}"
        given_ms = row["until_ms"] - row["from_ms"]
        whole = refunded_units < row["units"]
        if given_ms > lasts_ms or (given_ms != lasts_ms and whole):
            yield f"gives {given_ms} ms of {lasts_ms}"
