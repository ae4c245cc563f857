"""Fuzzes the forward path: a real forwarder between hostile peers and two who must not notice.

The input is a script of moves by publisher `s` and its viewer `v`, both authenticated and hostile,
and by publisher `l`, who sends layers, and its viewer `y`.
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
from tests.media.layered import EXTENSION_IDS, RID_ID

MOVES_MAX = 64
CHUNK_BYTES_MAX = 1_200
TICK_MS = 20
WIDE_ID = 3
RIDS = ("q", "h", "f")
LAYER_KEY = b"\x90\xc0\x80\x01\x01\0\0\0\x9d\x01\x2a\x40\x01\xb4\0"
"""A VP8 keyframe of 320 by 180 with both ids."""


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
        move(13, b"\x00\x00\x00\x01" + LAYER_KEY)
        + move(13, b"\x05\x01\x00\x07" + LAYER_KEY)
        + move(6, b"\x3f")
        + move(14, b"\x01\x01")
        + move(13, b"\x00\x00\x00\x02" + LAYER_KEY)
        + move(15, b"\x00\x01")
        + move(16, b"\x00")
        + move(13, b"\x02\x02\x00\x09" + LAYER_KEY)
        + move(16, b"\x01"),
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
        self.layered: FarPublisher = self.world.publisher(
            "l", extension_ids=EXTENSION_IDS, rids=RIDS
        )
        self.y: FarViewer = self.world.viewer("y")
        self.y_may_receive = True
        forwarder.forward("s", "v")
        forwarder.forward("l", "y")
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
            self._layer,
            self._viewport,
            self._estimate,
            self._layers_cut,
        )

    def play(self, kind: int, body: bytes) -> None:
        self.moves[kind % len(self.moves)](body)
        self.world.forwarder.flush(self.world.now_ns)
        assert not self.x.packets(), "a viewer without a row was sent media"
        if not self.y_may_receive:
            assert not self.y.packets(), "a layer after the row was removed"
        else:
            self.y.drain()
        self.layered.drain()
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

    def _layer(self, body: bytes) -> None:
        """A packet of stream `body[0]` with the name `body[1]`, which may be nobody's."""
        if len(body) < 4:
            return
        rid = (*RIDS, "", "x" * 16)[body[1] % 5]
        extensions = [(RID_ID, rid.encode())] if rid else []
        sequence = int.from_bytes(body[2:4])
        with contextlib.suppress(Error):
            self.layered.video(
                body[4:], sequence, 3_000 * sequence, ssrc=0x100 + body[0], extensions=extensions
            )

    def _viewport(self, body: bytes) -> None:
        width, height = (body + b"\0\0")[:2]
        self.world.forwarder.set_viewport("y", 1 + 10 * width, 1 + 10 * height)

    def _estimate(self, body: bytes) -> None:
        remb = rtcp.build_remb(1, int.from_bytes(body[:3]), [self.y.video_ssrc])
        lost = body[3] if len(body) > 3 else 0
        block = rtcp.ReportBlock(self.y.video_ssrc, lost, 0, 0, 0, 0, 0)
        self.y.rtcp(rtcp.build_rr(1, [block]) + remb)

    def _layers_cut(self, body: bytes) -> None:
        """Sealed, removed, or laid again."""
        match (body or b"\0")[0] % 3:
            case 0:
                self.world.forwarder.seal("l")
                self.y.drain()
                self.y_may_receive = False
            case 1:
                self.world.forwarder.forward("l", "y", BOTH_KINDS)
                self.y_may_receive = True
            case _:
                self.world.forwarder.stop("l", "y")
                self.y.drain()
                self.y_may_receive = False

    def _other_sends(self, body: bytes) -> None:
        """The well-behaved pair: every packet arrives, as it is, with the next number."""
        payload = DELTA + self.sent.to_bytes(4)
        self.other.video(payload, self.sent, 3_000 * self.sent)
        self.sent += 1
        [got] = self.w.packets()
        self.sequence = self.sequence + 1 & 0xFFFF
        assert (got.payload, got.sequence) == (payload, self.sequence)
