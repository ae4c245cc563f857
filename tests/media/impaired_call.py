"""A publisher and a viewer that behave like browsers, on bad networks, in virtual time.

Real SRTP, the real forwarder, its real timer; only the networks between are decided by
`bench.impaired_link`, from a seed. What the viewer can decode is counted frame by frame.
"""

import contextlib
import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pylibsrtp

from bench.impaired_link import ImpairedLink, Impairment
from media import rtcp, rtp
from media.api import Kind
from tests.media.farends import MS, SECOND_NS, VIDEO_RTX_SSRC, VIDEO_SSRC, FarEnd, World

FRAME_NS = SECOND_NS // 30
KEY_PACKETS, DELTA_PACKETS = 24, 5
"""A 720p picture at 1.5 Mbit/s."""
TICK_NS = 20 * MS
HISTORY_NS = SECOND_NS
"""How long a publisher can send again; browsers keep about this much."""
ASK_UNKNOWN_NS = 100 * MS
"""libwebrtc's NackRequester without a round trip: a receiver that sends nothing knows none."""
ASKS_MAX = 10
STUCK_NS = 3 * SECOND_NS
"""Without a decodable frame for this long libwebrtc asks for a keyframe."""


class Wires:
    """Datagrams on their way, in virtual time."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []

    def at(self, due_ns: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._waiting, (due_ns, next(self._order), act))

    def carry(self, link: ImpairedLink, data: bytes, arrive: Callable[[bytes], None]) -> None:
        for due_ns in link.due(len(data), self.now_ns):
            self.at(due_ns, lambda: arrive(data))

    def until(self, end_ns: int) -> Iterator[None]:
        """Does what is due, one thing after another, up to a time."""
        while self._waiting and self._waiting[0][0] <= end_ns:
            self.now_ns, _, act = heapq.heappop(self._waiting)
            act()
            yield
        self.now_ns = end_ns


@dataclass
class Sent:
    """One packet that a publisher keeps for a while."""

    payload: bytes
    timestamp: int
    sent_ns: int
    again_ns: int = 0


def reports(end: FarEnd, datagram: bytes) -> list[rtcp.RtcpPacket]:
    """A compound read; none when the network doubled it."""
    try:
        plain = end.rx.unprotect_rtcp(datagram)
    except pylibsrtp.Error:
        return []
    return rtcp.parse(plain, len(plain))


class Encoder:
    """Thirty frames a second, a keyframe when one is asked for; repairs what is asked again."""

    def __init__(self, call: "Call", first_sequence: int) -> None:
        self.call = call
        self.frames = 0
        self.sent_ns: dict[int, int] = {}  # by frame
        self.keyframes = 0
        self.repairs = 0
        self.key_wanted = True
        self._sequence = first_sequence
        self._rtx_sequence = 65_000
        self._kept: dict[int, Sent] = {}
        self._rtx: dict[int, bytes] = {}

    def frame(self) -> None:
        key, self.key_wanted = self.key_wanted, False
        count = KEY_PACKETS if key else DELTA_PACKETS
        self.keyframes += key
        self.frames += 1
        self.sent_ns[self.frames] = self.call.wires.now_ns
        stamp = self.frames * 3_000
        for part in range(count):
            head = (b"\x10" if part == 0 else b"\x00") + (b"\x00" if key else b"\x01")
            payload = head + bytes((key, part, count)) + self.frames.to_bytes(4, "big")
            sent = Sent(payload, stamp, self.call.wires.now_ns)
            self._kept[self._sequence & 0xFFFF] = sent
            self._send(sent, self._sequence, part == count - 1)
            self._sequence += 1
        old_ns = self.call.wires.now_ns - HISTORY_NS
        for number in [n for n, kept in self._kept.items() if kept.sent_ns < old_ns]:
            del self._kept[number]

    def _send(self, sent: Sent, sequence: int, marker: bool) -> None:
        end = self.call.publisher
        self.call.to_server(
            end.protect(sent.payload, sequence, sent.timestamp, marker=marker), end.send_raw
        )

    def asked(self, datagram: bytes) -> None:
        """RTCP of the server arrived."""
        for packet in reports(self.call.publisher, datagram):
            match packet:
                case rtcp.KeyframeRequest():
                    self.key_wanted = True
                case rtcp.Nack(_, sequences):
                    for sequence in sequences:
                        self._repair(sequence)
                case _:
                    pass

    def _repair(self, sequence: int) -> None:
        kept = self._kept.get(sequence)
        now_ns = self.call.wires.now_ns
        if kept is None or now_ns - kept.again_ns < self.call.up_trip_ns:
            return  # as browsers do: once in a round trip
        kept.again_ns = now_ns
        self.repairs += 1
        self._rtx_sequence += 1
        end = self.call.publisher
        datagram = end.protect(
            sequence.to_bytes(2, "big") + kept.payload,
            self._rtx_sequence,
            kept.timestamp,
            ssrc=VIDEO_RTX_SSRC,
            payload_type=97,
        )
        self.call.to_server(datagram, end.send_raw)


@dataclass
class Picture:
    """A frame as far as it came."""

    number: int
    key: bool
    parts: set[int] = field(default_factory=set)
    count: int = 0

    @property
    def whole(self) -> bool:
        return len(self.parts) == self.count


@dataclass
class Wanted:
    """A packet that the viewer misses."""

    asked_ns: int = 0
    asks: int = 0


class Decoder:
    """Puts frames together, asks for what is missing, decodes in order or from a keyframe."""

    def __init__(self, call: "Call") -> None:
        self.call = call
        self.decoded: dict[int, int] = {}  # frame → when
        self.plis = 0
        self.repaired = 0
        self._pictures: dict[int, Picture] = {}
        self._highest: int | None = None
        self._wanted: dict[int, Wanted] = {}
        self._last_frame: int | None = None
        self._decoded_ns = call.wires.now_ns
        self._pli_ns = 0

    def receive(self, datagram: bytes) -> None:
        end = self.call.viewer
        if 192 <= datagram[1] <= 223:
            for packet in reports(end, datagram):
                if isinstance(packet, rtcp.SenderReport) and packet.ssrc == end.video_ssrc:
                    heard_ns = self.call.wires.now_ns
                    self.call.sender_report = rtcp.middle(packet.ntp), heard_ns
            return
        with contextlib.suppress(pylibsrtp.Error):  # the network doubled it
            self._take_packet(end.rx.unprotect(datagram))

    def _take_packet(self, plain: bytes) -> None:
        end = self.call.viewer
        header = rtp.parse(plain, len(plain))
        payload = plain[header.payload_start : header.payload_end]
        sequence = header.sequence
        if header.ssrc == end.rtx_ssrc:
            sequence, payload = int.from_bytes(payload[:2], "big"), payload[2:]
        self._arrived(sequence, header.ssrc == end.rtx_ssrc)
        self._take(payload)
        self._decode()

    def _arrived(self, sequence: int, again: bool) -> None:
        if self._highest is None:
            self._highest = sequence + 0x10000
            return
        number = rtp.unwrap(sequence, self._highest)
        if number <= self._highest:
            self.repaired += self._wanted.pop(number, None) is not None and again
            return
        for missing in range(self._highest + 1, number):
            self._wanted[missing] = Wanted()
        self._highest = number
        self.ask()

    def _take(self, payload: bytes) -> None:
        key, part, count = payload[2], payload[3], payload[4]
        number = int.from_bytes(payload[5:9], "big")
        picture = self._pictures.setdefault(number, Picture(number, bool(key)))
        picture.count = count
        picture.parts.add(part)

    def _decode(self) -> None:
        while True:
            last = self._last_frame
            following = self._pictures.get(last + 1) if last is not None else None
            if following is None or not following.whole:
                keys = [p for p in self._pictures.values() if p.key and p.whole]
                newer = [p for p in keys if last is None or p.number > last]
                following = min(newer, key=lambda picture: picture.number, default=None)
            if following is None:
                return
            self._last_frame = following.number
            self.decoded[following.number] = self._decoded_ns = self.call.wires.now_ns
            for number in [n for n in self._pictures if n <= following.number]:
                del self._pictures[number]

    def ask(self) -> None:
        """NACK what is missing and due; give up what was asked for too often."""
        now_ns, due = self.call.wires.now_ns, []
        for number, wanted in list(self._wanted.items()):
            if wanted.asks >= ASKS_MAX:
                self._wanted.clear()
                self._want_keyframe()
                return
            if wanted.asks and now_ns - wanted.asked_ns < ASK_UNKNOWN_NS:
                continue
            wanted.asked_ns = now_ns
            wanted.asks += 1
            due.append(number & 0xFFFF)
        if due:
            self.call.from_viewer(rtcp.build_nack(1, self.call.viewer.video_ssrc, due))
        if now_ns - self._decoded_ns > STUCK_NS:
            self._want_keyframe()

    def _want_keyframe(self) -> None:
        if self.call.wires.now_ns - self._pli_ns > SECOND_NS:
            self._pli_ns = self.call.wires.now_ns
            self.plis += 1
            self.call.from_viewer(rtcp.build_pli(1, self.call.viewer.video_ssrc))


class Call:
    """One publisher, the server, one viewer, and the four directions of their networks."""

    def __init__(
        self, world: World, seed: int, *, first_sequence: int = 100, out_sequence: int = 100
    ) -> None:
        self.world, self.seed = world, seed
        numbers = random.Random(seed)
        self.publisher_up, self.publisher_down, self.viewer_up, self.viewer_down = (
            ImpairedLink(numbers.getrandbits(32)) for _ in range(4)
        )
        self.up_trip_ns = 0
        self.wires = Wires(world.now_ns)
        self.publisher, self.viewer = world.publisher(), world.viewer()
        outlet = world.forwarder._viewers["v"].outlets[Kind.VIDEO]
        outlet.numbering.sequence = out_sequence
        world.forwarder.forward("s", "v")
        self.encoder, self.decoder = Encoder(self, first_sequence), Decoder(self)
        self.sender_report: tuple[int, int] | None = None
        self._next_frame_ns = self._next_tick_ns = self._next_report_ns = world.now_ns

    def impair(self, publisher: Impairment, viewer: Impairment) -> None:
        """The networks are like this from now on, both directions of each alike."""
        self.publisher_up.impairment = self.publisher_down.impairment = publisher
        self.viewer_up.impairment = self.viewer_down.impairment = viewer
        self.up_trip_ns = 2 * publisher.delay_ms * MS

    def to_server(self, datagram: bytes, arrive: Callable[[bytes], None]) -> None:
        """The publisher sends."""
        self.wires.carry(self.publisher_up, datagram, arrive)

    def from_viewer(self, feedback: bytes) -> None:
        """The viewer sends RTCP behind an empty report."""
        datagram = self.viewer.tx.protect_rtcp(rtcp.build_rr(1) + feedback)
        self.wires.carry(self.viewer_up, datagram, self._viewer_rtcp)

    def _viewer_rtcp(self, datagram: bytes) -> None:
        self._hand_in(datagram, self.world.forwarder.on_viewer_rtcp, self.viewer)

    def _publisher_rtcp(self, datagram: bytes) -> None:
        self._hand_in(datagram, self.world.forwarder.on_publisher_rtcp, self.publisher)

    def _hand_in(self, datagram: bytes, handler: Callable[..., None], end: FarEnd) -> None:
        buffer = self.world.buffer
        buffer.data[: len(datagram)] = datagram
        handler(end.link, buffer, len(datagram), self.world.now_ns)

    def run(self, seconds: float) -> None:
        """Let everybody do what they do."""
        end_ns = self.wires.now_ns + int(seconds * SECOND_NS)
        while self.wires.now_ns < end_ns:
            now_ns = min(self._next_frame_ns, self._next_tick_ns, self._next_report_ns, end_ns)
            for _ in self.wires.until(now_ns):
                self._collect()
            self.world.now_ns = now_ns
            if now_ns >= self._next_frame_ns:
                self._next_frame_ns += FRAME_NS
                self.encoder.frame()
            if now_ns >= self._next_tick_ns:
                self._next_tick_ns += TICK_NS
                self.world.forwarder.timer(now_ns)
                self.decoder.ask()
            if now_ns >= self._next_report_ns:
                self._next_report_ns += SECOND_NS
                self._report()
            self._collect()

    def _collect(self) -> None:
        """What the server sent just now enters the networks."""
        for datagram in self.publisher.datagrams():
            self.wires.carry(self.publisher_down, datagram, self.encoder.asked)
        for datagram in self.viewer.datagrams():
            self.wires.carry(self.viewer_down, datagram, self.decoder.receive)
        self.viewer.protected.clear()
        self.publisher.protected.clear()

    def _report(self) -> None:
        if self.sender_report is not None:
            last_sr, heard_ns = self.sender_report
            waited = rtcp.ntp_from_ns(self.wires.now_ns - heard_ns) >> 16
            block = rtcp.ReportBlock(self.viewer.video_ssrc, 0, 0, 0, 0, last_sr, waited)
            datagram = self.viewer.tx.protect_rtcp(rtcp.build_rr(1, [block]))
            self.wires.carry(self.viewer_up, datagram, self._viewer_rtcp)
        report = rtcp.build_sr(VIDEO_SSRC, self.wires.now_ns, self.encoder.frames * 3_000, 0, 0)
        datagram = self.publisher.tx.protect_rtcp(report)
        self.wires.carry(self.publisher_up, datagram, self._publisher_rtcp)

    def decoded_percent(self, first_frame: int, last_frame: int) -> float:
        """Of the frames in between, ends included."""
        frames = range(first_frame, last_frame + 1)
        return 100 * sum(frame in self.decoder.decoded for frame in frames) / len(frames)

    def delay_ms(self, percent: int) -> int:
        """So many per cent of the decoded frames were there within this time."""
        sent_ns = self.encoder.sent_ns
        delays = sorted(at - sent_ns[frame] for frame, at in self.decoder.decoded.items())
        return delays[(len(delays) - 1) * percent // 100] // MS
