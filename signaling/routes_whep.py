"""WHEP (draft-ietf-wish-whep): a player watches a public free stream; private media never."""

from __future__ import annotations

from aiohttp import hdrs, web

from signaling import sdp_http
from signaling.problem import Problem
from signaling.routing import Access, Call, Route


async def watch(call: Call) -> web.Response:
    """Take an offer to receive; 409 with Retry-After while there is no free stream."""
    profile = call.services.experts.expert_by_name(call.path["expert"])
    if profile is None:
        raise Problem(404, "no_such_expert", "There is no expert with this name.")
    offer = await sdp_http.offer_of(call)
    outcome = await call.services.house.watch_public(profile.name, offer)
    return sdp_http.answer_reply(call, outcome, f"/whep/{profile.name}")


async def end(call: Call) -> web.Response:
    """Stop receiving; knowing the unguessable address is the permission."""
    if not call.services.house.end_public(call.path["expert"], call.path["resource"]):
        raise sdp_http.gone()
    return web.Response(status=200)


async def patch(call: Call) -> web.Response:
    """Trickle candidates (204) or restart ICE (200), with `If-Match`."""
    ways = call.services.house.ways
    return await sdp_http.patch_ice(
        call, ways.of_player(call.path["expert"], call.path["resource"])
    )


async def options(call: Call) -> web.Response:
    """What may be sent here, and the ICE servers for players that must know them early."""
    response = sdp_http.options_reply(call)
    if hdrs.ACCESS_CONTROL_REQUEST_METHOD not in call.request.headers:
        sdp_http.add_links(call, response)
    return response


ROUTES = (
    Route(
        "POST",
        "/whep/{expert}",
        watch,
        "Watch a free stream over WHEP",
        access=Access.RESOURCE,
        body=sdp_http.SDP_TYPE,
        reply=sdp_http.SDP_TYPE,
        status=201,
        refusals=(*sdp_http.OFFER_REFUSALS, "404 no_such_expert", "409 not_live"),
    ),
    Route("OPTIONS", "/whep/{expert}", options, "What WHEP takes", access=Access.RESOURCE),
    Route(
        "DELETE",
        "/whep/{expert}/{resource}",
        end,
        "Stop watching over WHEP",
        access=Access.RESOURCE,
        refusals=("404 not_found",),
    ),
    Route(
        "OPTIONS",
        "/whep/{expert}/{resource}",
        options,
        "What a WHEP resource takes",
        access=Access.RESOURCE,
    ),
    Route(
        "PATCH",
        "/whep/{expert}/{resource}",
        patch,
        "Trickle candidates (204) or restart ICE (200)",
        access=Access.RESOURCE,
        body=sdp_http.FRAGMENT_TYPE,
        reply=sdp_http.FRAGMENT_TYPE,
        headers=("If-Match",),
        refusals=sdp_http.PATCH_REFUSALS,
    ),
)
