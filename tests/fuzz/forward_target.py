"""Fuzzes the forward path: a real forwarder between hostile peers and two who must not notice.

The input is a script of moves by publisher `s` and its viewer `v`, both authenticated and hostile.
Publisher `other` and its viewer `w` are well-behaved, and `x` is connected and may see nothing.
"""

import contextlib
from collections.abc import Callable, Iterator

from pylibsrtp import Error

from media import rtcp
from media.api import BOTH_KINDS
from media.publisher import SSRCS_MAX
from media.ring import VIDEO_PACKETS
from media.rtp import URI_TRANSPORT_WIDE
from tests.media.farends import DELTA, KEY, VIDEO_SSRC, FarPublisher, FarViewer, World

MOVES_MAX = 64
CHUNK_BYTES_MAX = 1_200
TICK_MS = 20
WIDE_ID = 3


def seeds() -> list[bytes]:
    def move(kind: int, body: bytes) -> bytes:
        return bytes((kind, len(body) >> 8, len(body) & 0xFF)) + body

    packet = b"\x80\x60\x00\x65" + bytes(4) + VIDEO_SSRC.to_bytes(4) + DELTA
    repair = b"\x80\x61\x00\x01" + bytes(4) + b"\x00\x00\x00\xb1" + b"\x00\x66" + DELTA
    report = rtcp.build_sr(VIDEO_SSRC, 1 << 40, 3_000, 1, 1)
    nack = rtcp.build_rr(1) + rtcp.build_nack(1, VIDEO_SSRC, range(20))
    numbered = b"\x90" + packet[1:12] + b"\xbe\xde\x00\x01\x31\xff\xfe\x00" + DELTA
    return [
        move(0, packet) + move(7, b"\x00\x67" + KEY) + move(6, b"\x05"),
        move(7, b"\x00\x69" + DELTA) + move(0, repair) + move(8, b"\x00\x00\xff\xff"),
        move(1, report) + move(2, nack) + move(6, b"\x40"),
        move(3, packet) + move(4, nack) + move(5, report),
        move(0, numbered) + move(6, b"\x05") + move(0, numbered[:3] + b"\x99" + numbered[4:]),
        move(9, b"") + move(7, b"\x00\x68" + KEY) + move(10, b"") + move(11, b"") + move(12, b""),
    ]


def check(data: bytes) -> None:
    scene = Scene()
    try:
        for kind, body in _moves(data):
            scene.play(kind, body)
        scene.others_did_not_notice()
    finally:
        scene.world.close()


def _moves(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    for _ in range(MOVES_MAX):
        if position + 3 > len(data):
            return
        size = min(data[position + 1] << 8 | data[position + 2], CHUNK_BYTES_MAX)
        yield data[position], data[position + 3 : position + 3 + size]
        position += 3 + size


class Scene:
    """The peers, and what must hold between them."""

    def __init__(self) -> None:
        self.world = World()
        forwarder = self.world.forwarder
        ids = {URI_TRANSPORT_WIDE: WIDE_ID}
        self.hostile: FarPublisher = self.world.publisher("s", extension_ids=ids)
        self.viewer: FarViewer = self.world.viewer("v")
        self.other: FarPublisher = self.world.publisher("other")
        self.w: FarViewer = self.world.viewer("w")
        self.x: FarViewer = self.world.viewer("x")
        forwarder.forward("s", "v")
        forwarder.forward("other", "w")
        self.hostile.video(KEY, 100)
        self.other.video(KEY, 500)
        [first] = self.w.packets()
        self.sequence = first.sequence
        self.sent = 501
        self.may_receive = True
        self.viewer.drain()
        self.moves: tuple[Callable[[bytes], None], ...] = (
            self._signed_rtp,
            self._signed_publisher_rtcp,
            self._signed_viewer_rtcp,
            self._raw_publisher,
            self._raw_viewer_rtcp,
            self._raw_publisher_rtcp,
            self._time,
            self._well_formed,
            self._nack,
            self._stop,
            self._forward,
            self._seal,
            self._other_sends,
        )

    def play(self, kind: int, body: bytes) -> None:
        self.moves[kind % len(self.moves)](body)
        self.world.forwarder.flush()
        assert not self.x.packets(), "a viewer without a row was sent media"
        if not self.may_receive:
            assert not self.viewer.packets(), "media after the row was removed"
        else:
            self.viewer.drain()
        self.hostile.drain()

    def others_did_not_notice(self) -> None:
        self._other_sends(b"")
        assert not any(isinstance(asked, rtcp.KeyframeRequest) for asked in self.other.asked())
        streams = self.world.forwarder._publishers[self.hostile.link][1].streams
        assert len(streams) <= SSRCS_MAX
        for track in self.world.forwarder._sources["s"].tracks:
            assert len(track.ring._slots) <= VIDEO_PACKETS

    def _signed_rtp(self, body: bytes) -> None:
        try:
            self.hostile.send_raw(self.hostile.tx.protect(body))
        except (Error, TypeError):
            self.hostile.send_raw(body)  # libsrtp itself would not sign it

    def _signed_publisher_rtcp(self, body: bytes) -> None:
        try:
            self.hostile.rtcp(body)
        except (Error, TypeError):
            self._raw_publisher_rtcp(body)

    def _signed_viewer_rtcp(self, body: bytes) -> None:
        # The interesting numbers are random: the script's placeholder becomes the viewer's own.
        named = body.replace(VIDEO_SSRC.to_bytes(4), self.viewer.video_ssrc.to_bytes(4))
        try:
            self.viewer.rtcp(named)
        except (Error, TypeError):
            self._raw_viewer_rtcp(body)

    def _raw_publisher(self, body: bytes) -> None:
        self.hostile.send_raw(body)

    def _raw_viewer_rtcp(self, body: bytes) -> None:
        buffer = self.world.buffer
        buffer.data[: len(body)] = body
        forwarder = self.world.forwarder
        forwarder.on_viewer_rtcp(self.viewer.link, buffer, len(body), self.world.now_ns)

    def _raw_publisher_rtcp(self, body: bytes) -> None:
        buffer = self.world.buffer
        buffer.data[: len(body)] = body
        forwarder = self.world.forwarder
        forwarder.on_publisher_rtcp(self.hostile.link, buffer, len(body), self.world.now_ns)

    def _time(self, body: bytes) -> None:
        self.world.pass_ms(TICK_MS * (1 + (body[0] if body else 0) % 64))

    def _well_formed(self, body: bytes) -> None:
        sequence = int.from_bytes(body[:2])
        with contextlib.suppress(Error):  # our own libsrtp remembers that number
            self.hostile.video(body[2:], sequence, 3_000 * sequence, marker=sequence % 2 == 1)

    def _nack(self, body: bytes) -> None:
        pairs = [body[at : at + 4] for at in range(0, len(body) - 3, 4)]
        self.viewer.nack(*(int.from_bytes(pair[:2]) for pair in pairs))

    def _stop(self, body: bytes) -> None:
        self.world.forwarder.stop("s", "v")
        self._cut()

    def _seal(self, body: bytes) -> None:
        self.world.forwarder.seal("s")
        self._cut()

    def _cut(self) -> None:
        self.viewer.drain()  # what was sent before the cut is on the way
        self.may_receive = False

    def _forward(self, body: bytes) -> None:
        self.world.forwarder.forward("s", "v", BOTH_KINDS)
        self.may_receive = True

    def _other_sends(self, body: bytes) -> None:
        """The well-behaved pair: every packet arrives, as it is, with the next number."""
        payload = DELTA + self.sent.to_bytes(4)
        self.other.video(payload, self.sent, 3_000 * self.sent)
        self.sent += 1
        [got] = self.w.packets()
        self.sequence = self.sequence + 1 & 0xFFFF
        assert (got.payload, got.sequence) == (payload, self.sequence)
