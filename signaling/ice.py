"""ICE servers for clients: STUN as configured, TURN with a password that expires.

The password is the HMAC of the user name, which begins with its expiry (draft-uberti-behave-
turn-rest-00 §2.2; coturn's `use-auth-secret`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from msgspec import Struct

from signaling.config import IceSection


class IceServer(Struct, kw_only=True, omit_defaults=True):
    """As `RTCPeerConnection` takes it."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


def ice_servers(ice: IceSection, user: str, now_s: int) -> list[IceServer]:
    """The servers for one user; the TURN password is good for `ice.ttl_s` seconds."""
    servers = [IceServer(urls=ice.stun_urls)] if ice.stun_urls else []
    if ice.turn_urls:
        username = f"{now_s + ice.ttl_s}:{user}"
        digest = hmac.digest(ice.turn_secret.encode(), username.encode(), hashlib.sha1)
        servers.append(
            IceServer(
                urls=ice.turn_urls,
                username=username,
                credential=base64.b64encode(digest).decode(),
            )
        )
    return servers


def link_headers(servers: list[IceServer]) -> list[str]:
    """The servers as `Link` headers of a WHIP or WHEP answer (RFC 9725 §4.6)."""
    links = []
    for server in servers:
        for url in server.urls:
            link = f'<{url}>; rel="ice-server"'
            if server.username is not None:
                link += (
                    f'; username="{server.username}"; credential="{server.credential}"'
                    '; credential-type="password"'
                )
            links.append(link)
    return links
