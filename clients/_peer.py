"""What every client does with a peer connection: offer, take the answer, wait, close."""

from __future__ import annotations

import asyncio

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError

from clients._aiortc_seam import offer_loopback
from clients._failures import CodecUnsupported, ConnectionLost

CONNECT_TIMEOUT_S = 10.0
"""aioice never gives up by itself while candidates may still come."""
CLOSE_TIMEOUT_S = 3.0


def new_peer() -> RTCPeerConnection:
    """One transport for all tracks, and no STUN server: aiortc's default asks a public one."""
    return RTCPeerConnection(
        RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    )


async def make_offer(peer: RTCPeerConnection) -> str:
    """The offer, with all candidates in it. The transceivers must have been added."""
    offer_loopback(peer)
    await peer.setLocalDescription(await peer.createOffer())
    return str(peer.localDescription.sdp)


async def take_answer(peer: RTCPeerConnection, answer_sdp: str) -> None:
    """Raises CodecUnsupported for an answer that does not fit the offer."""
    try:
        await peer.setRemoteDescription(RTCSessionDescription(answer_sdp, "answer"))
    except (OperationError, InvalidAccessError, InvalidStateError, ValueError) as error:
        raise CodecUnsupported(f"the answer does not fit the offer: {error}") from error


async def wait_connected(peer: RTCPeerConnection) -> None:
    """Until media can flow; raises ConnectionLost if it does not within ten seconds."""
    changed = asyncio.Event()
    peer.on("connectionstatechange", changed.set)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while peer.connectionState not in ("connected", "failed", "closed"):
                await changed.wait()
                changed.clear()
    except TimeoutError:
        pass
    if peer.connectionState != "connected":
        raise ConnectionLost(
            "the server accepted, but no media connection came about"
            " (is its media port reachable over UDP?)"
        )


async def close_peer(peer: RTCPeerConnection) -> None:
    """Close; a stuck one is given up on after three seconds."""
    try:
        await asyncio.wait_for(peer.close(), CLOSE_TIMEOUT_S)
    except TimeoutError:
        return
