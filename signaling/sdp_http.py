"""What WHIP and WHEP share: offers in, answers out, refusals as status codes, CORS for players."""

from __future__ import annotations

from aiohttp import web

from rooms.airing import Connected
from rooms.limits import BUSY_RETRY_S
from rooms.refusals import Code, Refusal
from signaling.ice import ice_servers, link_headers
from signaling.problem import Problem
from signaling.routing import Call
from signaling.services import take_for_address

SDP_TYPE = "application/sdp"
STATUS_OF = {
    Code.BAD_SDP: 400,
    Code.CODEC_UNSUPPORTED: 406,
    Code.TOO_MANY_TRACKS: 406,
    Code.ALREADY_PUBLISHING: 409,
    Code.NOT_LIVE: 409,
    Code.OVERLOADED: 503,
    Code.SERVER_DRAINING: 503,
}
"""RFC 9725 §4.2 for the SDP; 409 with Retry-After for a stream that is not there (WHEP draft)."""
RETRY_AFTER_S = {
    Code.ALREADY_PUBLISHING: 10,
    Code.NOT_LIVE: 5,
    Code.OVERLOADED: BUSY_RETRY_S,
    Code.SERVER_DRAINING: 10,
}
EXPOSED = "Location, ETag, Link, Accept-Post, Retry-After"
ALLOWED_HEADERS = "Authorization, Content-Type, If-Match"


async def offer_of(call: Call) -> str:
    """The SDP offer of a POST, after the limits."""
    take_for_address(call.services.limits.offers, call.address, "offers")
    if call.services.draining:
        raise refusal_problem(Refusal(Code.SERVER_DRAINING))
    if call.request.content_type != SDP_TYPE:
        raise Problem(
            415, "wrong_content_type", f"Send {SDP_TYPE}.", headers={"Accept-Post": SDP_TYPE}
        )
    try:
        return (await call.body()).decode()
    except UnicodeDecodeError:
        raise Problem(400, "bad_sdp", "The offer is not UTF-8 text.") from None


def answer_reply(call: Call, outcome: Connected | Refusal, base: str) -> web.Response:
    """201 with the answer and the resource that ends it, or the refusal as a problem.

    The Location is a path without query: OBS replaces path and query of its URL by it.
    """
    if isinstance(outcome, Refusal):
        raise refusal_problem(outcome)
    response = web.Response(
        status=201,
        text=outcome.answer.sdp,
        content_type=SDP_TYPE,
        headers={
            "Location": f"{base}/{outcome.resource}",
            "ETag": f'"{outcome.answer.etag}"',
            "Cache-Control": "no-store",
        },
    )
    # aiohttp adds a charset to text; application/sdp has no such parameter (RFC 8866 §8.1).
    response.headers["Content-Type"] = SDP_TYPE
    now_s = int(call.services.utc_now().timestamp())
    servers = ice_servers(call.services.config.ice, "encoder", now_s)
    for link in link_headers(servers):
        response.headers.add("Link", link)
    return response


def refusal_problem(refusal: Refusal) -> Problem:
    """A refusal of the rooms in HTTP."""
    status = STATUS_OF.get(refusal.code, 403)
    retry_after_s = RETRY_AFTER_S.get(refusal.code)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Problem(status, refusal.code.value, refusal.message, headers=headers)


async def options(call: Call) -> web.Response:
    """What may be sent here; also the answer to a browser's preflight."""
    is_resource = "resource" in call.path
    methods = "DELETE, OPTIONS" if is_resource else "POST, OPTIONS"
    headers = {
        "Allow": methods,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": "600",
    }
    if not is_resource:
        headers["Accept-Post"] = SDP_TYPE
    return web.Response(status=200, headers=headers)


async def no_patch(call: Call) -> web.Response:
    """Neither trickle nor ICE restart is needed (RFC 9725 §4.3: then 405)."""
    raise Problem(
        405,
        "patch_not_supported",
        "The answer already has every candidate, and client addresses are learnt from their"
        " checks, so there is nothing to trickle. After a broken connection POST a new offer.",
        headers={"Allow": "DELETE, OPTIONS"},
    )


async def any_origin(request: web.Request, response: web.StreamResponse) -> None:
    """WHIP and WHEP serve players on any site: without cookies there is nothing to steal."""
    if request.path.startswith(("/whip/", "/whep/")):
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
