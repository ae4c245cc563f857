"""The Reward Club: a member's points of this month, their rank and what comes next."""

from __future__ import annotations

from aiohttp import web
from msgspec import Struct

from billing_meter import rewards
from signaling.routing import Access, Call, Route, json_reply


class RankView(Struct, kw_only=True):
    """A rank and the points of one month that reach it."""

    name: str
    points: int


class RewardsReply(Struct, kw_only=True):
    """`rank` is `none` without one; it is kept until `kept_until_ms` unless reached again.

    `next` is the next rank that this month's points can reach.
    """

    rank: str
    kept_until_ms: int | None
    points: int
    month_ends_at_ms: int
    next: RankView | None
    ranks: list[RankView]


async def show(call: Call) -> web.Response:
    """Points to the last second that was paid."""
    standing = await call.services.rewards.standing(call.account_id)
    following = rewards.following(standing.points)
    held = standing.held
    return json_reply(
        RewardsReply(
            rank=rewards.NO_RANK if held is None else held.rank.name,
            kept_until_ms=None if held is None else held.until_ms,
            points=standing.points,
            month_ends_at_ms=standing.month_ends_at_ms,
            next=None if following is None else _view(following),
            ranks=[_view(rank) for rank in rewards.RANKS],
        )
    )


def _view(rank: rewards.Rank) -> RankView:
    return RankView(name=rank.name, points=rank.points)


ROUTES = (
    Route(
        "GET",
        "/api/v1/wallet/rewards",
        show,
        "Points and rank of the Reward Club",
        access=Access.MEMBER,
        reply=RewardsReply,
    ),
)
