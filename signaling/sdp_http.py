"""What WHIP and WHEP share: offers, answers, ICE fragments, refusals as status codes, CORS."""

from __future__ import annotations

from aiohttp import hdrs, web

from media.sdp_frag import FragmentError, parse_fragment, write_fragment
from rooms.airing import Connected
from rooms.limits import BUSY_RETRY_S
from rooms.refusals import Code, Refusal
from rooms.ways import Way
from signaling.ice import ice_servers, link_headers
from signaling.problem import Problem
from signaling.routing import Call
from signaling.services import take_for_address

SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
"""RFC 8840 §9."""
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
OFFER_REFUSALS = (
    "400 bad_sdp",
    "406 codec_unsupported",
    "406 too_many_tracks",
    "408 body_too_slow",
    "413 too_large",
    "415 wrong_content_type",
    "429 rate_limited",
    "503 overloaded",
    "503 server_draining",
)
PATCH_REFUSALS = (
    "400 bad_sdpfrag",
    "404 not_found",
    "408 body_too_slow",
    "412 ice_session_changed",
    "413 too_large",
    "415 wrong_content_type",
    "428 if_match_missing",
    "429 rate_limited",
)
EXPOSED = "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After, WWW-Authenticate"
ALLOWED_HEADERS = "Authorization, Content-Type, If-Match"


async def offer_of(call: Call) -> str:
    """The SDP offer of a POST, after the limits."""
    take_for_address(call.services.limits.offers, call.address, "offers")
    if call.services.draining:
        raise refusal_problem(Refusal(Code.SERVER_DRAINING))
    return await _text_of(call, SDP_TYPE, "Accept-Post", "bad_sdp")


async def _text_of(call: Call, media_type: str, told_in: str, unreadable: str) -> str:
    if call.request.content_type != media_type:
        raise Problem(
            415, "wrong_content_type", f"Send {media_type}.", headers={told_in: media_type}
        )
    try:
        return (await call.body()).decode()
    except UnicodeDecodeError:
        raise Problem(400, unreadable, "The body is not UTF-8 text.") from None


def answer_reply(call: Call, outcome: Connected | Refusal, base: str) -> web.Response:
    """201 with the answer and the resource that ends it, or the refusal as a problem.

    The Location is a path without query: OBS replaces path and query of its URL by it.
    """
    if isinstance(outcome, Refusal):
        raise refusal_problem(outcome)
    response = _sdp_reply(
        201,
        outcome.answer.sdp,
        SDP_TYPE,
        outcome.answer.etag,
        {"Location": f"{base}/{outcome.resource}", "Accept-Patch": FRAGMENT_TYPE},
    )
    add_links(call, response)
    return response


def _sdp_reply(
    status: int, text: str, media_type: str, etag: str, others: dict[str, str] | None = None
) -> web.Response:
    # As bytes: to text aiohttp adds a charset, and application/sdp has none (RFC 8866 §8.1).
    headers = {"Content-Type": media_type, "ETag": f'"{etag}"', "Cache-Control": "no-store"}
    return web.Response(status=status, body=text.encode(), headers=headers | (others or {}))


def add_links(call: Call, response: web.Response) -> None:
    """The ICE servers, one `Link` each (RFC 9725 §4.6)."""
    ice = call.services.config.ice
    if not ice.stun_urls and not ice.turn_urls:
        return
    servers = ice_servers(ice, "encoder", int(call.services.utc_now().timestamp()))
    for link in link_headers(servers):
        response.headers.add("Link", link)


def refusal_problem(refusal: Refusal) -> Problem:
    """A refusal of the rooms in HTTP."""
    status = STATUS_OF.get(refusal.code, 403)
    retry_after_s = RETRY_AFTER_S.get(refusal.code)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Problem(status, refusal.code.value, refusal.message, headers=headers)


async def patch_ice(call: Call, way: Way | None) -> web.Response:
    """Trickled candidates: 204. New ICE credentials: 200 with ours (RFC 9725 §4.3.1 and §4.3.2).

    Candidates change nothing, since a lite agent learns addresses from checks. A restart is a
    fragment with credentials other than the session's. What is asked for must be conditional: on
    the session's entity-tag, or on none at all (`*`).
    """
    take_for_address(call.services.limits.fragments, call.address, "fragments")
    ways = call.services.house.ways
    if way is None or ways.session(way) is None:
        raise gone()
    if hdrs.IF_MATCH not in call.request.headers:
        raise Problem(428, "if_match_missing", "Send If-Match with the session's entity-tag, or *.")
    text = await _text_of(call, FRAGMENT_TYPE, "Accept-Patch", "bad_sdpfrag")
    try:
        fragment = parse_fragment(text)
    except FragmentError as error:
        raise Problem(400, "bad_sdpfrag", error.detail) from None
    ours = ways.session(way)  # as it is now that the body is here
    if ours is None:
        raise gone()
    if not _matches(call.request.headers.getall(hdrs.IF_MATCH), ours.etag):
        raise Problem(412, "ice_session_changed", "This is not the entity-tag of the ICE session.")
    theirs = fragment.ice
    if theirs is None or theirs.ufrag == ours.remote_ufrag:
        return web.Response(status=204)
    restarted = ways.restart(way, theirs)
    if restarted is None:
        raise gone()
    return _sdp_reply(200, write_fragment(restarted), FRAGMENT_TYPE, restarted.etag)


def _matches(fields: list[str], etag: str) -> bool:
    """If-Match (RFC 9110 §13.1.1); a quoted asterisk is what RFC 9725's own examples send."""
    tags = {tag.strip() for field in fields for tag in field.split(",")}
    return bool(tags & {"*", '"*"', f'"{etag}"'})


def gone() -> Problem:
    """The resource is not there, not any more, or not the asker's."""
    return Problem(404, "not_found", "There is nothing at this address any more.")


def options_reply(call: Call) -> web.Response:
    """What may be sent here; also the answer to a browser's preflight."""
    is_resource = "resource" in call.path
    methods = "PATCH, DELETE, OPTIONS" if is_resource else "POST, OPTIONS"
    headers = {
        "Allow": methods,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": "600",
    }
    headers |= {"Accept-Patch": FRAGMENT_TYPE} if is_resource else {"Accept-Post": SDP_TYPE}
    return web.Response(status=200, headers=headers)


async def any_origin(request: web.Request, response: web.StreamResponse) -> None:
    """WHIP and WHEP serve players on any site: without cookies there is nothing to steal."""
    if request.path.startswith(("/whip/", "/whep/")):
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
