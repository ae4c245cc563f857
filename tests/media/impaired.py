"""A publisher, the forwarder and a viewer with impaired links between them, in virtual time.

Cryptography and forwarder are real (see `farends`); the two browsers are models of what libwebrtc
does about loss: a viewer asks for gaps at once and again after a round trip, at most ten times,
decodes frames in order, and asks for a keyframe when one cannot be completed; a publisher answers
NACKs from a second of memory and a PLI with its next frame.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.impaired_link import CLEAN, ImpairedLink, Impairment
from media import rtcp
from media.api import Kind
from media.reception import Reception
from media.rtcp import RtcpPacket
from media.rtp import unwrap
from tests.media.farends import AUDIO_SSRC, MS, VIDEO_SSRC, Got, World

STEP_NS = 2 * MS
TIMER_NS = 20 * MS
FRAME_NS = 40 * MS
AUDIO_NS = 20 * MS
REPORT_NS = 1_000 * MS
DELTA_PACKETS, KEY_PACKETS = 5, 20
PACKET_OCTETS = 1_000
MEMORY = 256
"""Packets that a publisher can send again."""
NACK_TRIES_MAX = 10
FRAME_WAIT_NS = 3_000 * MS
"""libwebrtc waits this long for a frame before it asks for a keyframe."""
KEYFRAME_WAIT_NS = 200 * MS
PLI_EVERY_NS = 300 * MS


class Wire:
    """One direction: what is put in comes out when `deliver_due` is called late enough."""

    def __init__(self, seed: int) -> None:
        self.link = ImpairedLink(seed)
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def put(self, size: int, now_ns: int, deliver: Callable[[], None]) -> None:
        for due_ns in self.link.due(size, now_ns):
            heapq.heappush(self._waiting, (due_ns, next(self._order), deliver))

    def deliver_due(self, now_ns: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ns:
            heapq.heappop(self._waiting)[2]()


@dataclass
class Frame:
    """What has come of one frame."""

    keyframe: bool
    parts: int
    got: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        return len(self.got) == self.parts


def video_payload(frame: int, part: int, parts: int, keyframe: bool) -> bytes:
    """A VP8 payload descriptor, the first byte of VP8 itself, and what the model reads."""
    head = bytes((0x10 if part == 0 else 0x00, 0x00 if keyframe else 0x01))
    mark = frame.to_bytes(4, "big") + bytes((part, parts, keyframe))
    return head + mark + bytes(PACKET_OCTETS - len(mark) - 2)


class ModelPublisher:
    """Sends 25 frames and 50 packets of sound a second."""

    def __init__(self, world: World, up: Wire, down: Wire) -> None:
        self.end = world.publisher()
        self.frames = 0
        self.taken_ns: list[int] = []
        """When each frame was sent."""
        self.keyframes = 0
        self.resting = False
        """The camera is off; sound goes on."""
        self.on_forwarded: Callable[[], None] = lambda: None
        self._world, self._up, self._down = world, up, down
        self._sequence, self._rtx_sequence = 65_000, 1  # it wraps soon
        self._audio_sequence = 0
        self._memory: dict[int, tuple[bytes, int]] = {}
        self._keyframe_wanted = True
        self._frame_ns = self._audio_ns = world.now_ns

    def step(self) -> None:
        now_ns = self._world.now_ns
        if now_ns >= self._frame_ns:
            self._frame_ns += FRAME_NS
            if not self.resting:
                self._send_frame()
        if now_ns >= self._audio_ns:
            self._audio_ns += AUDIO_NS
            self._send_audio()
        for packet in self.end.drain()[1]:
            self._down.put(100, now_ns, lambda packet=packet: self._on_rtcp(packet))

    def _send(self, datagram: bytes) -> None:
        self._up.put(len(datagram), self._world.now_ns, lambda: self._arrive(datagram))

    def _arrive(self, datagram: bytes) -> None:
        self.end.send_raw(datagram)
        self.on_forwarded()

    def _send_frame(self) -> None:
        keyframe, self._keyframe_wanted = self._keyframe_wanted, False
        parts = KEY_PACKETS if keyframe else DELTA_PACKETS
        self.keyframes += keyframe
        stamp = self.frames * 3_600
        self.taken_ns.append(self._world.now_ns)
        for part in range(parts):
            payload = video_payload(self.frames, part, parts, keyframe)
            self._memory[self._sequence & 0xFFFF] = (payload, stamp)
            if len(self._memory) > MEMORY:
                del self._memory[next(iter(self._memory))]
            marker = part == parts - 1
            self._send(self.end.protect(payload, self._sequence, stamp, marker=marker))
            self._sequence += 1
        self.frames += 1

    def _send_audio(self) -> None:
        self._audio_sequence += 1
        payload = self._audio_sequence.to_bytes(4, "big") + bytes(80)
        stamp = self._audio_sequence * 960
        self._send(
            self.end.protect(
                payload, self._audio_sequence, stamp, ssrc=AUDIO_SSRC, payload_type=111
            )
        )

    def _on_rtcp(self, packet: RtcpPacket) -> None:
        match packet:
            case rtcp.KeyframeRequest():
                self._keyframe_wanted = True
            case rtcp.Nack(media_ssrc=ssrc, sequences=sequences) if ssrc == VIDEO_SSRC:
                for sequence in sequences:
                    kept = self._memory.get(sequence)
                    if kept is not None:
                        self._send_again(sequence, *kept)
            case _:
                pass

    def _send_again(self, sequence: int, payload: bytes, stamp: int) -> None:
        self._rtx_sequence += 1
        whole = sequence.to_bytes(2, "big") + payload
        rtx = self.end.protect(whole, self._rtx_sequence, stamp, ssrc=0xB1, payload_type=97)
        self._send(rtx)


class ModelViewer:
    """Repairs, orders and decodes as a browser does."""

    def __init__(self, world: World, up: Wire, down: Wire, name: str = "v") -> None:
        self.end = world.viewer(name)
        world.forwarder.forward("s", name)
        self.decoded: list[tuple[int, int]] = []
        """(when, frame)"""
        self.outlet = world.forwarder._viewers[name].outlets[Kind.VIDEO]
        self.heard: list[int] = []
        """When each packet of sound came."""
        self.plis = self.nacked = 0
        self.round_trip_ns = 100 * MS
        self._world, self._up, self._down = world, up, down
        self._highest: int | None = None
        self._missing: dict[int, list[int]] = {}  # number → [due, tries]
        self._frames: dict[int, Frame] = {}
        self._next: int | None = None  # the frame to decode; None: any keyframe
        self._waits_since_ns = self._pli_ns = self._report_ns = world.now_ns
        self._received = {
            self.end.audio_ssrc: Reception(48_000),
            self.end.video_ssrc: Reception(90_000),
        }

    def collect(self) -> None:
        """Read the socket, which holds about ninety packets, and put them on the way."""
        now_ns = self._world.now_ns
        packets, reports = self.end.drain()
        for got in packets:
            size = len(got.payload) + 40
            self._down.put(size, now_ns, lambda got=got: self._on_packet(got))
        for report in reports:
            self._down.put(100, now_ns, lambda report=report: self._on_report(report))

    def step(self) -> None:
        now_ns = self._world.now_ns
        self.collect()
        self._ask_again()
        self._decode()
        if now_ns - self._report_ns >= REPORT_NS:
            self._report_ns = now_ns
            self._send(self._build_report())

    def _send(self, compound: bytes) -> None:
        self._up.put(len(compound) + 20, self._world.now_ns, lambda: self._arrive(compound))

    def _arrive(self, compound: bytes) -> None:
        self.end.rtcp(compound)
        self.collect()

    def _on_report(self, report: RtcpPacket) -> None:
        if isinstance(report, rtcp.SenderReport) and report.ssrc in self._received:
            self._received[report.ssrc].sender_report(report.ntp, self._world.now_ns)

    def _build_report(self) -> bytes:
        """What was lost, repaired or not; browsers put it in front of every NACK too."""
        now_ns = self._world.now_ns
        blocks = [stream.block(ssrc, now_ns) for ssrc, stream in self._received.items()]
        return rtcp.build_rr(1, [block for block in blocks if block is not None])

    def _on_packet(self, got: Got) -> None:
        ssrc = got.header.ssrc
        if ssrc in self._received:
            header, now_ns = got.header, self._world.now_ns
            self._received[ssrc].arrived(header.sequence, header.timestamp, now_ns)
        if ssrc == self.end.audio_ssrc:
            self.heard.append(self._world.now_ns)
            return
        repair = ssrc == self.end.rtx_ssrc
        sequence = int.from_bytes(got.payload[:2], "big") if repair else got.sequence
        payload = got.payload[2:] if repair else got.payload
        if self._highest is None:
            self._highest = sequence + 0x10000
        number = unwrap(sequence, self._highest)
        self._missing.pop(number, None)
        if number > self._highest:
            for lost in range(self._highest + 1, number):
                self._missing[lost] = [self._world.now_ns, 0]
            self._highest = number
        frame = int.from_bytes(payload[2:6], "big")
        part, parts, keyframe = payload[6:9]
        self._frames.setdefault(frame, Frame(bool(keyframe), parts)).got.add(part)

    def _ask_again(self) -> None:
        now_ns = self._world.now_ns
        due = []
        for number, state in list(self._missing.items()):
            if state[1] >= NACK_TRIES_MAX:
                del self._missing[number]
            elif state[0] <= now_ns:
                state[0] = now_ns + self.round_trip_ns
                state[1] += 1
                due.append(number & 0xFFFF)
        if due:
            self.nacked += len(due)
            self._send(self._build_report() + rtcp.build_nack(1, self.end.video_ssrc, due))

    def _decode(self) -> None:
        now_ns = self._world.now_ns
        while True:
            ready = [n for n, f in self._frames.items() if f.complete and f.keyframe]
            step = self._frames.get(self._next) if self._next is not None else None
            if step is not None and step.complete and self._next is not None:
                chosen = self._next
            elif ready:
                chosen = max(ready)  # everything before it is given up
            else:
                break
            self.decoded.append((now_ns, chosen))
            self._next, self._waits_since_ns = chosen + 1, now_ns
            self._frames = {n: f for n, f in self._frames.items() if n > chosen}
        wait_ns = KEYFRAME_WAIT_NS if self._next is None else FRAME_WAIT_NS
        if self._overdue(wait_ns) and now_ns - self._pli_ns >= PLI_EVERY_NS:
            self._next = None
            self._pli_ns = now_ns
            self.plis += 1
            self._send(rtcp.build_rr(1) + rtcp.build_pli(1, self.end.video_ssrc))

    def _overdue(self, wait_ns: int) -> bool:
        return self._world.now_ns - self._waits_since_ns >= wait_ns


class Theatre:
    """One publisher and viewers, each on wires of their own."""

    def __init__(self, world: World, seed: int, viewers: int = 1) -> None:
        self.world = world
        self.publisher_up, self.publisher_down = Wire(seed), Wire(seed + 1)
        self.publisher = ModelPublisher(world, self.publisher_up, self.publisher_down)
        self.ups = [Wire(seed + 10 + n) for n in range(viewers)]
        self.downs = [Wire(seed + 100 + n) for n in range(viewers)]
        self.viewers = [
            ModelViewer(world, up, down, f"v{n}")
            for n, (up, down) in enumerate(zip(self.ups, self.downs, strict=True))
        ]
        self._timer_ns = world.now_ns
        self.publisher.on_forwarded = self._collect

    def _collect(self) -> None:
        for viewer in self.viewers:
            viewer.collect()

    def impair(
        self,
        *,
        publisher: Impairment = CLEAN,
        viewer: Impairment = CLEAN,
        back: Impairment = CLEAN,
    ) -> None:
        """The publisher's way up, the first viewer's way down, and feedback of both."""
        self.publisher_up.link.impairment = publisher
        self.downs[0].link.impairment = viewer
        self.publisher_down.link.impairment = self.ups[0].link.impairment = back
        self.viewers[0].round_trip_ns = max(
            20 * MS, 10 * MS + (viewer.delay_ms + back.delay_ms) * MS
        )

    def play(self, seconds: float) -> None:
        world = self.world
        end_ns = world.now_ns + int(seconds * 1_000) * MS
        wires = [self.publisher_up, self.publisher_down, *self.ups, *self.downs]
        while world.now_ns < end_ns:
            world.now_ns += STEP_NS
            for wire in wires:
                wire.deliver_due(world.now_ns)
            if world.now_ns >= self._timer_ns:
                self._timer_ns = world.now_ns + TIMER_NS
                world.forwarder.timer(world.now_ns)
            self.publisher.step()
            for viewer in self.viewers:
                viewer.step()
