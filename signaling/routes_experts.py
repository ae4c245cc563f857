"""The list of experts and one expert, as everybody may see them; ICE servers."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from msgspec import Struct

from signaling import wire, wire_out
from signaling.ice import IceServer, ice_servers
from signaling.problem import Problem
from signaling.routing import Call, Route, json_reply


class ExpertsReply(Struct, kw_only=True):
    """Every expert, live ones first."""

    experts: list[wire.ExpertCard]


class ExpertReply(wire.ExpertCard, kw_only=True):
    """One expert with the text of their profile."""

    about: str


class IceServersReply(Struct, kw_only=True):
    """For `RTCPeerConnection`; no servers when clients reach this one directly."""

    ice_servers: list[IceServer]
    ice_transport_policy: Literal["all", "relay"]
    ttl_s: int


async def experts(call: Call) -> web.Response:
    """The home grid, for a page that has no WebSocket yet and for monitoring."""
    cards = [wire_out.card(card) for card in call.services.house.cards()]
    return json_reply(ExpertsReply(experts=cards))


async def expert(call: Call) -> web.Response:
    """One expert."""
    return json_reply(expert_reply(call, call.path["expert"]))


def expert_reply(call: Call, name: str) -> ExpertReply:
    """Card and profile text, or 404."""
    profile = call.services.experts.expert_by_name(name)
    card = call.services.house.card(name)
    if profile is None or card is None:
        raise Problem(404, "no_such_expert", "There is no expert with this name.")
    on_wire = wire_out.card(card)
    fields = {field: getattr(on_wire, field) for field in on_wire.__struct_fields__}
    return ExpertReply(**fields, about=profile.about)


async def thumbnail(call: Call) -> web.Response:
    """What the free live stream showed some seconds ago; asking keeps it fresh.

    204 with `?none=204` for a page whose console should not show an error for each card.
    """
    profile = call.services.experts.expert_by_name(call.path["expert"])
    if profile is None:
        raise Problem(404, "no_such_expert", "There is no expert with this name.")
    shown = call.services.house.thumbnails.ask(profile.expert_id)
    if shown is None:
        if call.request.query.get("none") == "204":
            return web.Response(status=204, headers={"Cache-Control": "no-store"})
        raise Problem(404, "no_thumbnail", "There is no live picture of this expert now.")
    # Always asked again: a picture must be gone at once when the expert is no longer free.
    headers = {"Cache-Control": "no-cache", "ETag": f'"{shown.etag}"'}
    if any(tag.value in (shown.etag, "*") for tag in call.request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=shown.webp, content_type="image/webp", headers=headers)


async def ice(call: Call) -> web.Response:
    """STUN and TURN servers with credentials for this caller."""
    settings = call.services.config.ice
    user = call.identity.account.account_id if call.identity else "guest"
    now_s = int(call.services.utc_now().timestamp())
    servers = ice_servers(settings, user, now_s)
    return json_reply(
        IceServersReply(
            ice_servers=servers,
            ice_transport_policy=settings.transport_policy,
            ttl_s=settings.ttl_s,
        )
    )


ROUTES = (
    Route("GET", "/api/v1/experts", experts, "Every expert", reply=ExpertsReply),
    Route(
        "GET",
        "/api/v1/experts/{expert}",
        expert,
        "One expert",
        reply=ExpertReply,
        refusals=("404 no_such_expert",),
    ),
    Route(
        "GET",
        "/api/v1/experts/{expert}/thumbnail",
        thumbnail,
        "A live thumbnail",
        reply="image/webp",
        refusals=("404 no_such_expert", "404 no_thumbnail"),
        query=("none",),
    ),
    Route("GET", "/api/v1/ice-servers", ice, "STUN and TURN servers", reply=IceServersReply),
)
