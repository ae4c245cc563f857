"""The expert's earnings: what is available and pending, by period and feature, lines, CSV."""

from __future__ import annotations

import asyncio
import datetime as dt

from aiohttp import web
from msgspec import Struct

from billing_meter import earning_periods, earnings
from billing_meter.earning_lines import EarningLine, LineState
from billing_meter.earning_periods import PERIODS, Period
from billing_meter.payout_rules import Earned
from billing_meter.shares import DEFAULT_SHARES, Source
from billing_meter.units import credits_text
from signaling.csv_text import Cell, csv_text
from signaling.problem import Problem
from signaling.routing import Access, Call, Route, json_reply
from signaling.services import take

LINES_SHOWN = 200
"""Of one span on the page; the CSV has the rest."""
CSV_LINES_MAX = 20_000
"""About 3 MB; a year of an expert with fifty earnings a day."""
COLUMNS = (
    "time_utc",
    "feature",
    "reference",
    "seconds",
    "charged_credits",
    "charged_units",
    "share_percent",
    "earned_credits",
    "earned_units",
    "taken_back_credits",
    "taken_back_units",
    "state",
    "final_at_utc",
)


class EarnedNow(Struct, kw_only=True):
    """`available_units` can be paid out; what is `pending` may still be asked back.

    `owed_units` were taken back after they had been paid out; later earnings pay them first.
    """

    available_units: int
    pending_units: int
    in_payout_units: int
    owed_units: int


class FeatureEarnings(Struct, kw_only=True):
    """`charged_units` is what members paid, `earned_units` the expert's share of it.

    `pending_units` of it may still be asked back; what was taken back already is not in there.
    """

    feature: str
    charged_units: int
    earned_units: int
    taken_back_units: int
    pending_units: int


class EarningSpan(Struct, kw_only=True):
    """A day, week or month (UTC), by its first and last day."""

    first: str
    last: str
    features: list[FeatureEarnings]
    earned_units: int
    taken_back_units: int
    pending_units: int


class FeatureShare(Struct, kw_only=True):
    """What of a feature's price is the expert's."""

    feature: Source
    share_percent: int


class EarningsReply(Struct, kw_only=True):
    """The newest period first; without those in which nothing was earned.

    `shares` count for what begins or is bought from now on.
    """

    now: EarnedNow
    shares: list[FeatureShare]
    period: Period
    first: str
    last: str
    spans: list[EarningSpan]


class EarningItem(Struct, kw_only=True, omit_defaults=True):
    """A debit, or what a session was charged for. `in_question`: a refund is asked for, and staff
    decides. `share_percent` is missing where it was not written down: a bare debit.
    """

    at_ms: int
    feature: str
    reference: str
    charged_units: int
    earned_units: int
    taken_back_units: int
    state: LineState
    seconds: int | None = None
    share_percent: int | None = None
    final_at_ms: int | None = None


class EarningLinesReply(Struct, kw_only=True):
    """The newest first; `more`: these are not all of the days asked for."""

    lines: list[EarningItem]
    more: bool


async def summary(call: Call) -> web.Response:
    """What is there, and what was earned by period and feature."""
    expert_id, database = call.account_id, call.services.database
    period, first, last = _days(call, "day")
    now_ms = call.services.wallet.ledger.now_ms()
    found = await earnings.spans(database, expert_id, *_instants(first, last), period, now_ms)
    shares = await earnings.shares_of(database, expert_id) or DEFAULT_SHARES
    now = await call.services.payouts.earned(expert_id)
    reply = EarningsReply(
        now=earned_now(now),
        shares=[FeatureShare(feature=s, share_percent=shares.of(s)) for s in Source],
        period=period,
        first=first.isoformat(),
        last=last.isoformat(),
        spans=[_span(span) for span in found],
    )
    return json_reply(reply)


async def lines(call: Call) -> web.Response:
    """What was earned, one by one."""
    found = await _lines(call, LINES_SHOWN + 1)
    items = [
        EarningItem(**{name: getattr(line, name) for name in EarningItem.__struct_fields__})
        for line in found[:LINES_SHOWN]
    ]
    return json_reply(EarningLinesReply(lines=items, more=len(found) > LINES_SHOWN))


async def csv_file(call: Call) -> web.Response:
    """The same as CSV, for the books. Units are exact, credits are rounded."""
    _, first, last = _days(call, "day")
    take(call.services.limits.exports, call.account_id, "files")
    found = await _lines(call, CSV_LINES_MAX + 1)
    if len(found) > CSV_LINES_MAX:
        raise Problem(
            422,
            "too_many_lines",
            f"More than {CSV_LINES_MAX} lines: ask for fewer days.",
            limit=CSV_LINES_MAX,
        )
    text = await asyncio.to_thread(csv_text, [COLUMNS, *map(_row, found)])
    name = f"earnings-{first.isoformat()}-{last.isoformat()}.csv"
    return web.Response(
        text=text,
        content_type="text/csv",
        charset="utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        },
    )


def _row(line: EarningLine) -> list[Cell]:
    charged, earned, taken_back = (
        (credits_text(units), units)
        for units in (line.charged_units, line.earned_units, line.taken_back_units)
    )
    return [
        _time(line.at_ms),
        line.feature,
        line.reference,
        line.seconds,
        *charged,
        line.share_percent,
        *earned,
        *taken_back,
        line.state,
        None if line.final_at_ms is None else _time(line.final_at_ms),
    ]


def _time(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms // 1_000, dt.UTC).isoformat()


def earned_now(earned: Earned) -> EarnedNow:
    """An expert's account for the page."""
    return EarnedNow(
        available_units=earned.available_units,
        pending_units=earned.pending_units,
        in_payout_units=earned.in_payout_units,
        owed_units=earned.owed_units,
    )


async def _lines(call: Call, limit: int) -> list[EarningLine]:
    _, first, last = _days(call, "day")
    now_ms = call.services.wallet.ledger.now_ms()
    instants = _instants(first, last)
    return await earnings.lines(
        call.services.database, call.account_id, *instants, now_ms, limit=limit
    )


def _days(call: Call, otherwise: Period) -> tuple[Period, dt.date, dt.date]:
    query = call.request.query
    named = query.get("period", otherwise)
    period = next((known for known in PERIODS if known == named), None)
    if period is None:
        raise Problem(422, "invalid", f"period is one of {', '.join(PERIODS)}.")
    today = call.services.utc_now().date()
    try:
        days = earning_periods.chosen(query.get("from", ""), query.get("to", ""), period, today)
    except ValueError as error:
        raise Problem(422, "bad_days", f"from and to: {error}.") from None
    return period, *days


def _instants(first: dt.date, last: dt.date) -> tuple[int, int]:
    return earning_periods.start_ms(first), earning_periods.start_ms(last + dt.timedelta(days=1))


def _span(span: earnings.Span) -> EarningSpan:
    return EarningSpan(
        first=span.first.isoformat(),
        last=span.last.isoformat(),
        features=[
            FeatureEarnings(
                feature=part.feature,
                charged_units=part.charged_units,
                earned_units=part.earned_units,
                taken_back_units=part.taken_back_units,
                pending_units=part.pending_units,
            )
            for part in span.parts
        ],
        earned_units=sum(part.earned_units for part in span.parts),
        taken_back_units=sum(part.taken_back_units for part in span.parts),
        pending_units=sum(part.pending_units for part in span.parts),
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/earnings",
        summary,
        "What the expert earned",
        access=Access.EXPERT,
        reply=EarningsReply,
        query=("period", "from", "to"),
        refusals=("422 invalid", "422 bad_days"),
    ),
    Route(
        "GET",
        "/api/v1/earnings/lines",
        lines,
        "Earnings one by one",
        access=Access.EXPERT,
        reply=EarningLinesReply,
        query=("from", "to"),
        refusals=("422 invalid", "422 bad_days"),
    ),
    Route(
        "GET",
        "/api/v1/earnings.csv",
        csv_file,
        "Earnings as a file",
        access=Access.EXPERT,
        reply="text/csv",
        query=("from", "to"),
        refusals=("422 invalid", "422 bad_days", "422 too_many_lines", "429 rate_limited"),
    ),
)
