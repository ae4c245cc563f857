"""The expert's own settings: stream key, prices, switches, profile."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Annotated, Any

import sqlalchemy as sa
from aiohttp import web
from msgspec import Meta, Struct

from billing_meter import schema as money
from billing_meter.ledger_store import utc_ms
from billing_meter.tariff import Tariff
from rooms.directory import ExpertProfile
from signaling import wire, wire_out
from signaling.problem import Problem
from signaling.routes_experts import ExpertReply, expert_reply
from signaling.routing import Access, Call, Route, json_reply

PriceUnits = Annotated[int, Meta(ge=0, le=1_000_000)]


class PricesBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Units per second."""

    private: PriceUnits
    cam2cam: PriceUnits
    two_way_audio: PriceUnits


class StudioSettings(Struct, forbid_unknown_fields=True, kw_only=True):
    """What the expert may change; what is left out stays. Refused during a session."""

    prices: PricesBody | None = None
    cam2cam: bool | None = None
    two_way_audio: bool | None = None
    headline: Annotated[str, Meta(max_length=120)] | None = None
    about: Annotated[str, Meta(max_length=4000)] | None = None


class StudioReply(Struct, kw_only=True):
    """The studio's page. `stream_key_hint` is the end of the key; the key itself is not kept."""

    expert: ExpertReply
    whip_url: str
    stream_key_hint: str
    prices: wire.Prices
    cam2cam: bool
    two_way_audio: bool
    in_session: bool
    earned_units_today: int


class StreamKeyReply(Struct, kw_only=True):
    """A fresh stream key; this is the only time it can be seen."""

    stream_key: str
    whip_url: str


async def studio(call: Call) -> web.Response:
    """All that the studio shows."""
    return json_reply(await _studio(call, await _profile(call)))


async def rotate_key(call: Call) -> web.Response:
    """A new stream key; the old one stops working at once, a running publication goes on."""
    profile = await _profile(call)
    key = await call.services.experts.rotate_key(profile.expert_id)
    return json_reply(StreamKeyReply(stream_key=key, whip_url=_whip_url(call, profile)))


async def change_settings(call: Call) -> web.Response:
    """Change prices, switches and texts; locked while somebody pays by them."""
    profile = await _profile(call)
    body = await call.json(StudioSettings)
    if call.services.house.in_session(profile.expert_id):
        raise Problem(
            409, "locked_in_session", "Prices and switches are locked during a private session."
        )
    changes: dict[str, Any] = {
        name: value
        for name in ("cam2cam", "two_way_audio", "headline", "about")
        if (value := getattr(body, name)) is not None
    }
    if body.prices is not None:
        changes["tariff"] = _tariff(body.prices)
    await call.services.experts.change(profile.expert_id, replace(profile, **changes))
    return json_reply(await _studio(call, await _profile(call)))


def _tariff(prices: PricesBody) -> Tariff:
    try:
        return Tariff(prices.private, prices.cam2cam, prices.two_way_audio)
    except ValueError as error:
        raise Problem(422, "bad_price", f"{error}.") from None


async def _profile(call: Call) -> ExpertProfile:
    """One's own; whoever was added beside a running server need not wait for the next reading."""
    account, experts = call.signed_in.account, call.services.experts
    profile = experts.expert(account.account_id) or await experts.find(account.username)
    if profile is None or profile.expert_id != account.account_id:
        raise Problem(403, "experts_only", "Only for experts.")
    return profile


def _whip_url(call: Call, profile: ExpertProfile) -> str:
    return f"{call.services.public_url}/whip/{profile.name}"


async def _studio(call: Call, profile: ExpertProfile) -> StudioReply:
    experts = call.services.experts
    return StudioReply(
        expert=expert_reply(call, profile.name),
        whip_url=_whip_url(call, profile),
        stream_key_hint=experts.key_hint(profile.expert_id),
        prices=wire_out.prices(profile.tariff),
        cam2cam=profile.cam2cam,
        two_way_audio=profile.two_way_audio,
        in_session=call.services.house.in_session(profile.expert_id),
        earned_units_today=await _earned_today(call, profile.expert_id),
    )


async def _earned_today(call: Call, expert_id: str) -> int:
    """The expert's share of sessions since midnight UTC, running ones included."""
    now = call.services.utc_now()
    midnight = dt.datetime.combine(now.date(), dt.time(), dt.UTC)
    table = money.sessions
    query = sa.select(sa.func.coalesce(sa.func.sum(table.c.expert_units), 0)).where(
        table.c.expert_id == expert_id, table.c.opened_at_ms >= utc_ms(midnight)
    )
    async with call.services.database.read() as connection:
        return int((await connection.execute(query)).scalar_one())


ROUTES = (
    Route(
        "GET",
        "/api/v1/studio",
        studio,
        "The expert's studio",
        access=Access.EXPERT,
        reply=StudioReply,
    ),
    Route(
        "POST",
        "/api/v1/studio/stream-key",
        rotate_key,
        "A new stream key",
        access=Access.EXPERT,
        reply=StreamKeyReply,
    ),
    Route(
        "PUT",
        "/api/v1/studio/settings",
        change_settings,
        "Change prices, switches and texts",
        access=Access.EXPERT,
        body=StudioSettings,
        reply=StudioReply,
        refusals=("409 locked_in_session", "422 bad_price", "422 invalid"),
    ),
)
