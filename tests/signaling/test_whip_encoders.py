"""Third-party encoders over real HTTP, DTLS and SRTP: OBS-like, FFmpeg-like, and one that moves.

Their offers are those that the real programs make (`tests.media.conftest`); what the programs do
besides is scripted here after their sources: which checks they send, who begins DTLS, what they
ignore.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from aioice import stun as aioice_stun
from aiortc.rtcdtlstransport import SRTP_AES128_CM_SHA1_80

from media import rtcp
from media.aiortc_seam import new_certificate
from media.api import Answer
from media.sdp_frag import parse_fragment
from tests.media.callers import CLIENT_PASSWORD, Caller, flowing, marker, offer, rtp
from tests.media.conftest import FINGERPRINT, OFFERS

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
H264_KEYFRAME = b"\x18" + b"\0\x04\x67\x42\xe0\x1f" + b"\0\x02\x68\xce"
"""A STAP-A of SPS and PPS; the IDR slice is put behind them."""
H264_DELTA = b"\x41\x9a"


def keyframe(sequence: int, payload_type: int, ssrc: int) -> bytes:
    slice_ = b"\x65\x88" + bytes(60) + marker(sequence)
    payload = H264_KEYFRAME + len(slice_).to_bytes(2) + slice_
    return rtp(sequence, ssrc=ssrc, pt=payload_type, payload=payload)


def delta(sequence: int, payload_type: int, ssrc: int) -> bytes:
    payload = H264_DELTA + bytes(60) + marker(sequence)
    return rtp(sequence, ssrc=ssrc, pt=payload_type, payload=payload)


class Encoder(Caller):
    """A WHIP client: an offer, the resource that came back, and its key."""

    def __init__(
        self, reply: ClientResponse, sdp: str, certificate: object, http: TestClient, key: str
    ) -> None:
        super().__init__(Answer(sdp, "", ""), certificate=certificate)
        self.location, self.etag = reply.headers["Location"], reply.headers["ETag"]
        self.http = http
        self.key = {"Authorization": f"Bearer {key}"}

    async def patch(self, body: str, if_match: str) -> ClientResponse:
        headers = self.key | FRAGMENT | {"If-Match": if_match}
        return await self.http.patch(self.location, data=body, headers=headers)

    async def delete(self) -> int:
        return (await self.http.delete(self.location, headers=self.key)).status


class Player(Caller):
    """A viewer that keeps what overtakes the end of its handshake, as browsers do."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._early: list[bytes] = []

    def on_media(self, data: bytes) -> None:
        if self.srtp is None:
            self._early.append(data)
        super().on_media(data)

    async def connect(self) -> Player:
        await super().connect()
        for data in self._early:
            super().on_media(data)
        return self


@pytest.fixture
async def clean() -> AsyncIterator[None]:
    """Sockets of a test end with it."""
    yield
    await Caller.all_vanish()


def own_offer(name: str, certificate: object) -> str:
    """The program's offer with our certificate and our names for the ICE session."""
    text = OFFERS[name].replace(FINGERPRINT, certificate.sha256_fingerprint())  # type: ignore[attr-defined]
    text = re.sub(r"a=ice-ufrag:\S+", "a=ice-ufrag:client", text)
    return re.sub(r"a=ice-pwd:\S+", f"a=ice-pwd:{CLIENT_PASSWORD}", text)


async def publish(door, text: str, certificate: object, kind: type[Encoder] = Encoder) -> Encoder:
    _, key = await door.expert("luna")
    http = door.client()
    headers = SDP | {"Authorization": f"Bearer {key}"}
    reply = await http.post("/whip/luna", data=text, headers=headers)
    assert reply.status == 201, await reply.text()
    return kind(reply, await reply.text(), certificate, http, key)


async def player(door, codec: str = "H264") -> Player:
    """A WHEP player of luna's stream, connected."""
    text = offer("recvonly")
    if codec == "H264":
        fmtp = "a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
        text = text.replace("VP8/90000", f"H264/90000\r\n{fmtp}")
    reply = await door.client().post("/whep/luna", data=text, headers=SDP)
    assert reply.status == 201, await reply.text()
    return await Player(Answer(await reply.text(), "", "")).connect()


async def heard(encoder: Caller) -> None:
    """What was sent so far has been worked on: a later check is answered."""
    await encoder.ice()


async def shown(viewer: Caller, sequence: int) -> None:
    """Fails unless the viewer gets this packet's payload."""
    await viewer.until(lambda: any(p.endswith(marker(sequence)) for p in viewer.media()))


async def test_an_obs_like_encoder(door, clean) -> None:
    """Fixed payload types, no trickle, deaf to PLI; wants 201, a plain Location, 200 at the end."""
    certificate = new_certificate()
    obs = await publish(door, own_offer("obs", certificate), certificate)
    assert re.fullmatch(r"/whip/luna/[A-Za-z0-9_-]{16,}", obs.location)
    assert "a=setup:passive" in obs.answer.sdp
    for line in ("a=rtpmap:96 H264/90000", "a=rtpmap:111 opus/48000/2", "a=recvonly"):
        assert f"{line}\r\n" in obs.answer.sdp
    await obs.connect()
    obs.send(keyframe(1, 96, 2902))
    obs.send(rtp(1, ssrc=2901, pt=111, payload=b"\xfc" + bytes(40)))
    for sequence in (2, 3):
        obs.send(delta(sequence, 96, 2902))
    await heard(obs)
    viewer = await player(door)
    for sequence in (1, 2, 3):
        await shown(viewer, sequence)  # from the cache: nothing new came from the encoder
    viewer.send(rtcp.build_pli(1, _video_ssrc(viewer)))
    obs.send(delta(4, 96, 2902))
    await shown(viewer, 4)
    assert await obs.delete() == 200
    assert await obs.delete() == 404


def _video_ssrc(viewer: Caller) -> int:
    section = viewer.answer.sdp.partition("m=video")[2]
    return int(re.findall(r"a=ssrc:(\d+) ", section)[0])


class FfmpegLike(Encoder):
    """Checks that carry a user name and USE-CANDIDATE and nothing else; none after the handshake.

    It is the DTLS server and knows one SRTP profile.
    """

    def check(self, *, nominate: bool = True) -> bytes:
        message = aioice_stun.Message(
            message_method=aioice_stun.Method.BINDING, message_class=aioice_stun.Class.REQUEST
        )
        message.attributes["USERNAME"] = self.username
        message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(self.password.encode())
        data = bytes(message)
        self.send_raw(data)
        return data

    def only_one_profile(self) -> None:
        """As its own DTLS server: AES-CM and no other."""
        self.dtls._certificate._create_ssl_context([SRTP_AES128_CM_SHA1_80])


async def test_an_ffmpeg_like_encoder(door, clean) -> None:
    """`setup:passive` and no candidates: the server begins DTLS, as soon as it was checked."""
    certificate = new_certificate()
    text = own_offer("ffmpeg", certificate)
    assert "a=candidate" not in text
    ffmpeg = await publish(door, text, certificate, FfmpegLike)
    assert isinstance(ffmpeg, FfmpegLike)
    assert "a=setup:active" in ffmpeg.answer.sdp
    # It reads the first candidate by a fixed pattern and knows no other protocol than UDP.
    first = re.findall(r"a=candidate:(.*)\r\n", ffmpeg.answer.sdp)[0]
    assert re.fullmatch(r"\d+ 1 udp \d+ [0-9.]+ \d+ typ host", first)
    ffmpeg.only_one_profile()
    await ffmpeg.connect()
    assert ffmpeg.srtp is not None
    assert ffmpeg.srtp.profile == "SRTP_AES128_CM_SHA1_80"
    ffmpeg.send(keyframe(1, 106, 3002))
    await heard(ffmpeg)
    viewer = await player(door)
    await shown(viewer, 1)
    ffmpeg.send(delta(2, 106, 3002))
    await shown(viewer, 2)
    assert await ffmpeg.delete() == 200


async def test_an_encoder_that_moves_restarts_ice_and_stays_on_air(door, clean) -> None:
    """New credentials over PATCH, another address, the same keys; the old tag is worth nothing."""
    certificate = new_certificate()
    encoder = await publish(door, offer("sendonly", certificate=certificate), certificate)
    await encoder.connect()
    encoder.send(rtp(1))
    await heard(encoder)
    viewer = await player(door, "VP8")
    await flowing(encoder, viewer, 2)
    trickled = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n"
    assert (await encoder.patch(trickled, encoder.etag)).status == 204

    section = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
    body = f"a=ice-ufrag:moved\r\na=ice-pwd:{CLIENT_PASSWORD}\r\n{section}"
    reply = await encoder.patch(body, '"*"')
    assert reply.status == 200
    answer = parse_fragment(await reply.text())
    assert reply.headers["ETag"] != encoder.etag
    assert answer.candidates
    await flowing(encoder, viewer, 3)  # the way in use holds until the new one is proven
    encoder.username, encoder.password = f"{answer.ufrag}:moved", answer.password or ""
    await encoder.move()
    await flowing(encoder, viewer, 4)
    assert (await encoder.patch(trickled, encoder.etag)).status == 412
    assert (await encoder.patch(trickled, reply.headers["ETag"])).status == 204
    assert (await encoder.patch(body, '"*"')).status == 204, "the same credentials are no restart"
    assert await encoder.delete() == 200
    assert (await encoder.patch(body, "*")).status == 404


async def test_a_player_that_moves_restarts_ice_too(door, clean) -> None:
    certificate = new_certificate()
    encoder = await publish(door, offer("sendonly", certificate=certificate), certificate)
    await encoder.connect()
    encoder.send(rtp(1))
    await heard(encoder)
    http = door.client()
    reply = await http.post("/whep/luna", data=offer("recvonly"), headers=SDP)
    viewer = await Caller(Answer(await reply.text(), "", "")).connect()
    await flowing(encoder, viewer, 2)
    body = f"a=ice-ufrag:moved\r\na=ice-pwd:{CLIENT_PASSWORD}\r\n"
    restart = await http.patch(
        reply.headers["Location"], data=body, headers=FRAGMENT | {"If-Match": "*"}
    )
    assert restart.status == 200
    answer = parse_fragment(await restart.text())
    viewer.username, viewer.password = f"{answer.ufrag}:moved", answer.password or ""
    await viewer.move()
    await flowing(encoder, viewer, 3)


async def test_an_offer_without_a_usable_codec_says_what_is_possible(door, clean, problem) -> None:
    _, key = await door.expert("luna")
    text = OFFERS["ffmpeg"].replace("H264/90000", "H265/90000").replace("opus/48000/2", "PCMA/8000")
    headers = SDP | {"Authorization": f"Bearer {key}"}
    reply = await door.client().post("/whip/luna", data=text, headers=headers)
    assert await problem(reply) == (406, "codec_unsupported")
    assert "opus" in (await reply.json(content_type=None))["detail"]


async def test_a_second_encoder_is_told_to_wait(door, clean, problem) -> None:
    certificate = new_certificate()
    first = await publish(door, own_offer("obs", certificate), certificate)
    headers = SDP | first.key
    text = own_offer("ffmpeg", certificate)
    reply = await first.http.post("/whip/luna", data=text, headers=headers)
    assert await problem(reply) == (409, "already_publishing")
    assert int(reply.headers["Retry-After"]) > 0
    assert await first.delete() == 200
    reply = await first.http.post("/whip/luna", data=text, headers=headers)
    assert reply.status == 201
