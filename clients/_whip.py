"""The HTTP half of WHIP (RFC 9725) and WHEP: one offer up, one answer down, DELETE at the end."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp

from clients._failures import BadAddress, CertificateUnknown, ServerRefused, ServerUnreachable

REQUEST_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 256 * 1024
"""An answer is a few KiB; whoever sends more is not a WHIP server."""
SHOWN_CHARS_MAX = 300
"""Of a server's error text: enough for a sentence, not for a page of HTML."""

_REASONS = {
    400: "the server could not read our offer",
    401: "the server does not accept this key",
    403: "the server does not accept this key for this name",
    404: "nobody by that name is known there; is the address complete?",
    405: "this is not a WHIP or WHEP address",
    406: "the server takes none of these codecs or tracks",
    409: "somebody already publishes with this key",
    415: "this is not a WHIP or WHEP address",
    429: "too many attempts",
    503: "the server takes nobody on at the moment",
}
_REASONS_WATCHING = {
    401: "this needs a token",
    403: "this token does not open it",
    406: "none of our codecs is what is sent there",
    409: "there is nothing to watch at the moment",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """An accepted offer: where to end it, and the answer."""

    url: str
    answer_sdp: str


def new_http(*, insecure: bool = False) -> aiohttp.ClientSession:
    """A session that also keeps cookies of servers on a bare IP address.

    `insecure` takes any certificate: for a server on the own network that signed its own.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=False) if insecure else None,
        cookie_jar=aiohttp.CookieJar(unsafe=True),
    )


def check_address(url: str) -> None:
    """Raise BadAddress unless `url` is an http or https URL with a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadAddress(f"not an http or https address: {url}")


async def post_offer(
    http: aiohttp.ClientSession,
    url: str,
    key: str | None,
    offer_sdp: str,
    *,
    watching: bool = False,
) -> Resource:
    """POST the offer (RFC 9725 section 4.2).

    Raises ServerRefused with the server's own words where it has any, ServerUnreachable if there
    is no answer within 10 s.
    """
    headers = _authorisation(key) | {"Content-Type": "application/sdp"}
    try:
        async with http.post(url, data=offer_sdp, headers=headers, timeout=_timeout()) as response:
            body = await response.content.read(ANSWER_BYTES_MAX)
            if response.status != 201:
                raise _refused(response, body, watching)
            location = response.headers.get("Location")
            if not location:
                raise ServerRefused(201, "the server accepted but gave no Location to end it by")
            return Resource(
                url=urljoin(str(response.url), location),
                answer_sdp=body.decode("utf-8", "replace"),
            )
    except TimeoutError as error:
        raise ServerUnreachable(f"no answer from {url} within {REQUEST_TIMEOUT_S:.0f} s") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise CertificateUnknown(urlsplit(url).hostname or url) from error
    except aiohttp.ClientError as error:
        raise ServerUnreachable(f"cannot reach {url}: {_why(error)}") from error


async def end(http: aiohttp.ClientSession, resource: Resource, key: str | None) -> bool:
    """DELETE the resource (RFC 9725 section 4.2); whether the server confirmed it.

    Never raises for a server that is gone: whoever ends has nothing left to do about it.
    """
    try:
        async with http.delete(
            resource.url, headers=_authorisation(key), timeout=_timeout()
        ) as response:
            return response.status < 300
    except (aiohttp.ClientError, TimeoutError):
        return False


def _why(error: aiohttp.ClientError) -> str:
    """The system's word ("connection refused") where there is one."""
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    return os.strerror(number).lower() if number and number > 0 else str(error)


def _authorisation(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _timeout() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)


def _refused(response: aiohttp.ClientResponse, body: bytes, watching: bool) -> ServerRefused:
    known = _REASONS | _REASONS_WATCHING if watching else _REASONS
    reason = known.get(response.status, response.reason or "refused")
    detail = _problem_text(body)
    text = f"{response.status}: {reason}" + (f" ({detail})" if detail else "")
    return ServerRefused(response.status, text, retry_after_s=_retry_after_s(response))


def _problem_text(body: bytes) -> str:
    """The human part of an `application/problem+json` body, or nothing."""
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(problem, dict):
        return ""
    text = problem.get("detail") or problem.get("title")
    return text[:SHOWN_CHARS_MAX] if isinstance(text, str) else ""


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """Only the form in seconds is honoured; a date would need the server's clock to be right."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
