"""Offers of real clients, a forwarder with far ends and a running media plane, for these tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.media.callers import Stage, staged
from tests.media.farends import World

FINGERPRINT = ":".join(f"{byte:02X}" for byte in range(32))
TRANSPORT = (
    "a=ice-ufrag:EcbR\r\na=ice-pwd:tsBSkBRrkxis2e+Kct/oHwTi\r\na=ice-options:trickle\r\n"
    f"a=fingerprint:sha-256 {FINGERPRINT}\r\n"
)

BROWSER_EXTENSIONS = (
    "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
    "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
)
BROWSER_FEEDBACK = "".join(
    f"a=rtcp-fb:{pt} {value}\r\n"
    for pt in (96, 98, 100, 102, 104, 108, 45)
    for value in ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
)
BROWSER_HEAD = (
    "v=0\r\no=- 2811569184384961564 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n"
)
BROWSER_AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 110\r\nc=IN IP4 0.0.0.0\r\n"
    "a=rtcp:9 IN IP4 0.0.0.0\r\n" + TRANSPORT + "a=setup:actpass\r\na=mid:0\r\n"
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
    + BROWSER_EXTENSIONS
    + "DIRECTION\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n"
    "a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"
    "a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:110 telephone-event/48000\r\n"
)
BROWSER_VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 102 103 104 108 109 45 46 118 120\r\n"
    "c=IN IP4 0.0.0.0\r\n" + TRANSPORT + "a=setup:actpass\r\na=mid:1\r\n"
    "a=extmap:14 urn:ietf:params:rtp-hdrext:toffset\r\n"
    + BROWSER_EXTENSIONS
    + "a=extmap:12 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor\r\n"
    "DIRECTION\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
    "a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    "a=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\na=rtpmap:99 rtx/90000\r\n"
    "a=fmtp:99 apt=98\r\na=rtpmap:100 VP9/90000\r\na=fmtp:100 profile-id=2\r\n"
    "a=rtpmap:102 H264/90000\r\n"
    "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n"
    "a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=rtpmap:104 H264/90000\r\n"
    "a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n"
    "a=rtpmap:108 H264/90000\r\n"
    "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
    "a=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n"
    "a=rtpmap:45 AV1/90000\r\na=fmtp:45 level-idx=5;profile=0;tier=0\r\n"
    "a=rtpmap:46 rtx/90000\r\na=fmtp:46 apt=45\r\n"
    "a=rtpmap:118 red/90000\r\na=rtpmap:120 ulpfec/90000\r\n" + BROWSER_FEEDBACK
)


def browser_offer(direction: str) -> str:
    """A Chromium offer, shortened."""
    return (BROWSER_HEAD + BROWSER_AUDIO + BROWSER_VIDEO).replace("DIRECTION", f"a={direction}")


OFFERS = {
    "browser_publish": browser_offer("sendonly")
    + "a=ssrc-group:FID 1111 2222\r\na=ssrc:1111 cname:x\r\na=ssrc:2222 cname:x\r\n",
    "browser_watch": browser_offer("recvonly"),
    # GStreamer's webrtcbin: sendrecv, named mids, CAPITALS, later sections bundle-only.
    "gstreamer": (
        "v=0\r\no=- 1234 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle\r\n"
        "a=group:BUNDLE video0 audio1\r\n"
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\n"
        "a=ice-ufrag:abcd1234\r\na=ice-pwd:0123456789abcdef0123456789abcdef\r\n"
        "a=rtcp-mux\r\na=rtcp-rsize\r\na=sendrecv\r\na=rtpmap:96 H264/90000\r\n"
        "a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n"
        "a=framerate:30\r\na=fmtp:96 packetization-mode=1;profile-level-id=42c01f\r\n"
        "a=ssrc:3484078950 msid:user1@host webrtctransceiver0\r\n"
        "a=ssrc:3484078950 cname:user1@host\r\na=mid:video0\r\n"
        f"a=fingerprint:sha-256 {FINGERPRINT}\r\n"
        "m=audio 0 UDP/TLS/RTP/SAVPF 97\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\n"
        "a=ice-ufrag:abcd1234\r\na=ice-pwd:0123456789abcdef0123456789abcdef\r\n"
        "a=bundle-only\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=sendrecv\r\n"
        "a=rtpmap:97 OPUS/48000/2\r\na=rtcp-fb:97 nack\r\na=fmtp:97 sprop-stereo=0\r\n"
        f"a=mid:audio1\r\na=fingerprint:sha-256 {FINGERPRINT}\r\n"
    ),
    # OBS (libdatachannel): fixed payload types, SSRCs, transport at session level.
    "obs": (
        "v=0\r\no=rtc 3767197920 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
        "a=group:BUNDLE 0 1\r\na=group:LS 0 1\r\na=msid-semantic:WMS *\r\n"
        "a=setup:actpass\r\na=ice-ufrag:Q1oY\r\na=ice-pwd:qhAXzM6WWJhZXGfmrMCcOr\r\n"
        f"a=ice-options:ice2,trickle\r\na=fingerprint:sha-256 {FINGERPRINT}\r\n"
        "m=audio 57325 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.168.1.4\r\na=mid:0\r\na=sendonly\r\n"
        "a=ssrc:2901 cname:c\r\na=ssrc:2901 msid:s a\r\na=msid:s a\r\na=rtcp-mux\r\n"
        "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;"
        "sprop-stereo=1;useinbandfec=1\r\n"
        "a=candidate:1 1 UDP 2122317823 192.168.1.4 57325 typ host\r\na=end-of-candidates\r\n"
        "m=video 57325 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 192.168.1.4\r\na=mid:1\r\na=sendonly\r\n"
        "a=ssrc:2902 cname:c\r\na=msid:s v\r\na=rtcp-mux\r\na=rtpmap:96 H264/90000\r\n"
        "a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 goog-remb\r\n"
        "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
    ),
    # FFmpeg's WHIP muxer: no candidates, and it wants to be the DTLS server.
    "ffmpeg": (
        "v=0\r\no=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1\r\ns=FFmpegPublishSession\r\n"
        "t=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:a1b2c3d4\r\n"
        "a=ice-pwd:0123456789abcdef0123456789abcdef\r\n"
        f"a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:passive\r\na=mid:0\r\na=sendonly\r\n"
        "a=msid:FFmpeg audio\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
        "a=ssrc:3001 cname:FFmpeg\r\na=ssrc:3001 msid:FFmpeg audio\r\n"
        "m=video 9 UDP/TLS/RTP/SAVPF 106\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:a1b2c3d4\r\n"
        "a=ice-pwd:0123456789abcdef0123456789abcdef\r\n"
        f"a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:passive\r\na=mid:1\r\na=sendonly\r\n"
        "a=msid:FFmpeg video\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:106 H264/90000\r\n"
        "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
        "a=ssrc:3002 cname:FFmpeg\r\n"
    ),
    # Firefox: fingerprint at session level, `*` feedback, end-of-candidates.
    "firefox": (
        "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 88 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
        f"a=fingerprint:sha-256 {FINGERPRINT}\r\na=group:BUNDLE 0 1\r\na=ice-options:trickle\r\n"
        "a=msid-semantic:WMS *\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 109 9 101\r\nc=IN IP4 0.0.0.0\r\na=sendonly\r\n"
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
        "a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level\r\n"
        "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        "a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1\r\na=fmtp:101 0-15\r\n"
        "a=ice-pwd:aaaaaaaabbbbbbbbccccccccdddddddd\r\na=ice-ufrag:deadbeef\r\na=mid:0\r\n"
        "a=msid:{11111111-2222} {33333333-4444}\r\na=rtcp-mux\r\na=rtpmap:109 opus/48000/2\r\n"
        "a=rtpmap:9 G722/8000/1\r\na=rtpmap:101 telephone-event/8000\r\na=setup:actpass\r\n"
        "a=ssrc:4001 cname:{x}\r\n"
        "m=video 0 UDP/TLS/RTP/SAVPF 120 124 126 127\r\nc=IN IP4 0.0.0.0\r\na=bundle-only\r\n"
        "a=sendonly\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        "a=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
        "a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1\r\n"
        "a=fmtp:120 max-fs=12288;max-fr=60\r\na=fmtp:124 apt=120\r\na=fmtp:127 apt=126\r\n"
        "a=mid:1\r\na=rtcp-fb:* nack\r\na=rtcp-fb:120 nack pli\r\na=rtcp-fb:120 ccm fir\r\n"
        "a=rtcp-fb:120 goog-remb\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:120 VP8/90000\r\n"
        "a=rtpmap:124 rtx/90000\r\na=rtpmap:126 H264/90000\r\na=rtpmap:127 rtx/90000\r\n"
        "a=ssrc:4002 cname:{x}\r\na=ssrc:4003 cname:{x}\r\na=ssrc-group:FID 4002 4003\r\n"
    ),
}


@pytest.fixture(scope="session")
def offers() -> dict[str, str]:
    """Offers by the client that makes them."""
    return dict(OFFERS)


@pytest.fixture
def world() -> Iterator[World]:
    """A forwarder with far ends around it; its clock is the test's."""
    made = World()
    yield made
    made.close()


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    """A media plane that runs on a free port of the loopback interface."""
    async with staged() as made:
        yield made
