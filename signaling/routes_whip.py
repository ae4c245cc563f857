"""WHIP (RFC 9725): an encoder publishes into an expert's room with the stream key."""

from __future__ import annotations

from aiohttp import web

from rooms.directory import ExpertProfile
from signaling import sdp_http
from signaling.identity import bearer_token
from signaling.problem import Problem
from signaling.routing import Access, Call, Route


async def publish(call: Call) -> web.Response:
    """Take an offer; 409 while somebody else is publishing to this room."""
    profile = await _expert_by_key(call)
    offer = await sdp_http.offer_of(call)
    outcome = await call.services.house.publish_encoder(profile.expert_id, offer)
    return sdp_http.answer_reply(call, outcome, f"/whip/{profile.name}")


async def end(call: Call) -> web.Response:
    """End the publication. 200 and not 204: OBS logs anything else as an error."""
    profile = await _expert_by_key(call)
    if not call.services.house.end_encoder(profile.expert_id, call.path["resource"]):
        raise sdp_http.gone()
    return web.Response(status=200)


async def patch(call: Call) -> web.Response:
    """Trickle candidates (204) or restart ICE (200), with `If-Match`."""
    profile = await _expert_by_key(call)
    ways = call.services.house.ways
    return await sdp_http.patch_ice(call, ways.of_encoder(profile.expert_id, call.path["resource"]))


async def options(call: Call) -> web.Response:
    """What may be sent here. With the stream key also the ICE servers, for clients that must know
    them before they make an offer (RFC 9725 §4.6); a preflight never has it.
    """
    response = sdp_http.options_reply(call)
    key = bearer_token(call.request)
    if key is not None and call.services.experts.expert_with_key(call.path["expert"], key):
        sdp_http.add_links(call, response)
    return response


async def _expert_by_key(call: Call) -> ExpertProfile:
    """The expert whose room and key this is; a wrong name and a wrong key look the same.

    What memory does not know is looked up once more in the store, since the command line may have
    added the expert or changed the key a moment ago.
    """
    key = bearer_token(call.request)
    if key is None:
        raise Problem(
            401,
            "stream_key_missing",
            "Send the stream key as bearer token.",
            headers={"WWW-Authenticate": CHALLENGE},
        )
    experts = call.services.experts
    profile = experts.expert_with_key(call.path["expert"], key)
    if profile is None:
        await experts.load()
        profile = experts.expert_with_key(call.path["expert"], key)
    if profile is None:
        raise Problem(
            403,
            "stream_key_wrong",
            "This is not the stream key of this expert.",
            headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'},
        )
    return profile


CHALLENGE = 'Bearer realm="parlour"'
_REFUSALS = ("401 stream_key_missing", "403 stream_key_wrong")
ROUTES = (
    Route(
        "POST",
        "/whip/{expert}",
        publish,
        "Publish over WHIP",
        access=Access.STREAM_KEY,
        body=sdp_http.SDP_TYPE,
        reply=sdp_http.SDP_TYPE,
        status=201,
        refusals=(*_REFUSALS, *sdp_http.OFFER_REFUSALS, "409 already_publishing"),
    ),
    Route("OPTIONS", "/whip/{expert}", options, "What WHIP takes", access=Access.RESOURCE),
    Route(
        "DELETE",
        "/whip/{expert}/{resource}",
        end,
        "End a WHIP publication",
        access=Access.STREAM_KEY,
        refusals=(*_REFUSALS, "404 not_found"),
    ),
    Route(
        "OPTIONS",
        "/whip/{expert}/{resource}",
        options,
        "What a WHIP resource takes",
        access=Access.RESOURCE,
    ),
    Route(
        "PATCH",
        "/whip/{expert}/{resource}",
        patch,
        "Trickle candidates (204) or restart ICE (200)",
        access=Access.STREAM_KEY,
        body=sdp_http.FRAGMENT_TYPE,
        reply=sdp_http.FRAGMENT_TYPE,
        headers=("If-Match",),
        refusals=(*_REFUSALS, *sdp_http.PATCH_REFUSALS),
    ),
)
