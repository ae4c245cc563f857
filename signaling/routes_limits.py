"""Spend limits: what a member allows themselves a session, a day, a week, a month; breaks."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.limits import BREAK_DAYS, WINDOWS, Limits, Span
from billing_meter.limits_rows import DEFAULT_ZONE, ZONE_CHARS_MAX, known_zone
from billing_meter.limits_store import LIMIT_UNITS_MAX, LimitsRefused, SpendLimits
from signaling import wire
from signaling.problem import Problem, refused
from signaling.routing import Access, Call, Route, json_reply
from signaling.services import take

assert BREAK_DAYS == (1, 7, 30)


class PendingRaise(Struct, kw_only=True):
    """What replaces a limit, and when; `units` null removes it."""

    units: int | None
    at_ms: int


class LimitView(Struct, kw_only=True, omit_defaults=True):
    """One limit. A session's has neither `used_units` nor `resets_at_ms`.

    `used_units` is what was spent in the window and what is held now; `left_units` is null without
    a limit, and 0 when more was used before it was lowered.
    """

    span: Literal["session", "day", "week", "month"]
    units: int | None
    used_units: int | None = None
    left_units: int | None = None
    resets_at_ms: int | None = None
    pending: PendingRaise | None = None


class LimitsReply(Struct, kw_only=True):
    """A member's limits; days begin at midnight in `time_zone`."""

    limits: list[LimitView]
    time_zone: str
    break_until_ms: int | None


class NewLimit(Struct, forbid_unknown_fields=True, kw_only=True):
    """`units` null removes the limit. `time_zone` (IANA) counts with the first limit."""

    units: Annotated[int, Meta(ge=0, le=LIMIT_UNITS_MAX)] | None
    time_zone: Annotated[str, Meta(min_length=1, max_length=ZONE_CHARS_MAX)] | None = None


class NewBreak(Struct, forbid_unknown_fields=True, kw_only=True):
    """How many times 24 hours nothing paid can be started or bought."""

    days: Literal[1, 7, 30]


REFUSALS = {
    "bad_limit": (422, "A limit is 0 or more."),
    "bad_break": (422, "A break lasts 1, 7 or 30 days."),
    "unknown_time_zone": (422, "There is no such time zone here."),
    "time_zone_fixed": (409, "The time zone can change only while no limit is in force."),
}
"""Every code of LimitsRefused, with status and text."""


async def show(call: Call) -> web.Response:
    """Limits, what is used of each, raises that wait, and a break."""
    zone = call.request.query.get("time_zone", DEFAULT_ZONE)
    if known_zone(zone) is None:
        raise refused(REFUSALS, "unknown_time_zone")
    service = call.services.spend_limits
    return _reply(service, await service.view(call.account_id, zone))


async def put_limit(call: Call) -> web.Response:
    """Set a limit. Lower counts at once; higher, or none, a day later."""
    body = await call.json(NewLimit)
    span = next((span for span in Span if span == call.path["span"]), None)
    if span is None:
        raise Problem(404, "unknown_limit", "There are limits for session, day, week and month.")
    take(call.services.limits.decisions, call.account_id, "limits")
    service = call.services.spend_limits
    outcome = await service.set_limit(call.account_id, span, body.units, body.time_zone)
    return _changed(call, outcome)


async def take_break(call: Call) -> web.Response:
    """Begin a break from spending, or make it longer. It cannot be shortened."""
    body = await call.json(NewBreak)
    take(call.services.limits.decisions, call.account_id, "limits")
    service = call.services.spend_limits
    return _changed(call, await service.take_break(call.account_id, body.days))


def _changed(call: Call, outcome: Limits | LimitsRefused) -> web.Response:
    """The reply, after the member's other tabs heard of the change."""
    reply = _reply(call.services.spend_limits, outcome)
    call.services.hub.tell_member(call.account_id, wire.WalletChanged(part="limits"))
    return reply


def _reply(service: SpendLimits, outcome: Limits | LimitsRefused) -> web.Response:
    if isinstance(outcome, LimitsRefused):
        raise refused(REFUSALS, outcome.code)
    return json_reply(
        LimitsReply(
            limits=[_view(service, outcome, span) for span in Span],
            time_zone=outcome.zone_name,
            break_until_ms=outcome.break_until_ms,
        )
    )


def _view(service: SpendLimits, limits: Limits, span: Span) -> LimitView:
    limit = limits.limits[span]
    waits = limit.next_at_ms is not None
    pending = PendingRaise(units=limit.next_units, at_ms=limit.next_at_ms or 0) if waits else None
    view = LimitView(span=span.value, units=limit.units, pending=pending)
    if span in WINDOWS:
        left = limits.left_units(span)
        view.used_units = limits.windows[span].counted_units
        view.left_units = None if left is None else max(0, left)
        view.resets_at_ms = service.resets_at_ms(limits, span)
    return view


ROUTES = (
    Route(
        "GET",
        "/api/v1/wallet/limits",
        show,
        "Spend limits and what is used of them",
        access=Access.MEMBER,
        reply=LimitsReply,
        query=("time_zone",),
        refusals=("422 unknown_time_zone",),
    ),
    Route(
        "PUT",
        "/api/v1/wallet/limits/{span}",
        put_limit,
        "Set a spend limit",
        access=Access.MEMBER,
        body=NewLimit,
        reply=LimitsReply,
        refusals=(
            "404 unknown_limit",
            "409 time_zone_fixed",
            "422 invalid",
            "422 unknown_time_zone",
            "429 rate_limited",
        ),
    ),
    Route(
        "POST",
        "/api/v1/wallet/break",
        take_break,
        "Take a break from spending",
        access=Access.MEMBER,
        body=NewBreak,
        reply=LimitsReply,
        refusals=("422 invalid", "429 rate_limited"),
    ),
)
