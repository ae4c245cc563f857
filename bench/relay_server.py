"""aiortc's MediaRelay as a server: one published stream, decoded once and encoded for each viewer.

`POST /publish` and `POST /watch` take an offer in SDP and give the answer.
"""

from __future__ import annotations

import argparse

from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamTrack

_relay = MediaRelay()
_tracks: dict[str, MediaStreamTrack] = {}
_peers: set[RTCPeerConnection] = set()


def _peer() -> RTCPeerConnection:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    _peers.add(peer)
    return peer


async def _answer(peer: RTCPeerConnection) -> web.Response:
    answer = await peer.createAnswer()
    if answer is None:
        raise web.HTTPBadRequest
    await peer.setLocalDescription(answer)
    return web.Response(text=peer.localDescription.sdp, content_type="application/sdp")


async def publish(request: web.Request) -> web.Response:
    """The tracks that come with this offer are what everybody watches."""
    peer = _peer()

    @peer.on("track")
    def _on_track(track: MediaStreamTrack) -> None:
        _tracks[track.kind] = track

    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    return await _answer(peer)


async def watch(request: web.Request) -> web.Response:
    """One more viewer."""
    peer = _peer()
    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    for track in _tracks.values():
        peer.addTrack(_relay.subscribe(track))
    return await _answer(peer)


def main() -> None:
    """Until it is stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = web.Application()
    app.add_routes([web.post("/publish", publish), web.post("/watch", watch)])
    web.run_app(app, host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
