"""The gate over everything that a packet may do at once, in any order, from a seed.

Layers change, pictures pause, repairs and padding go out, the viewer moves between UDP and TCP, the
publisher comes back: whatever happens, no packet leaves while the gate is shut, what is noted as
held media is media that left, and nothing of before a seal is seen after it.
"""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from media import rtcp, rtp
from media.api import BOTH_KINDS, Kind
from media.gate import Gate
from tests.media.farends import MS, FarViewer, World
from tests.media.layered import FRAME_MS, LayeredPublisher
from tests.media.test_simulcast import mark_of

STEPS = 100
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


class TcpConnection:
    """Takes what it is given while it has room."""

    def __init__(self) -> None:
        self.room = True
        self.taken: list[bytes] = []

    def write(self, packet: bytes, *, urgent: bool) -> bool:
        if self.room:
            self.taken.append(packet)
        return self.room


class Call:
    """A paying viewer, a stranger without a row, and every packet that left to them."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.publisher = LayeredPublisher(world)
        self.viewer: FarViewer = world.viewer("v")
        self.stranger: FarViewer = world.viewer("t")
        self.tcp = TcpConnection()
        self.gates: list[Gate] = []
        self.left: set[int] = set()  # sequence numbers of pictures
        self.seen: Counter[str] = Counter()
        self.sealed: dict[str, int] = {}  # the newest picture of each layer then
        self.pictures: dict[str, int] = {}
        self.media_ns = 0
        self.log: list[str] = []
        self.forward()

    @property
    def gate(self) -> Gate:
        return self.gates[-1]

    def forward(self) -> None:
        self.gates.append(self.world.forwarder.forward_gated("s", "v", BOTH_KINDS))

    def look(self) -> None:
        """Everything that left at this moment, and what the gate says of it."""
        world, viewer = self.world, self.viewer
        left = [*viewer.datagrams(), *self.tcp.taken]
        self.tcp.taken.clear()
        media = 0
        for packet in left:
            if 192 <= packet[1] <= 223:
                continue
            assert world.now_ns < self.gate.open_until_ns, "a packet passed a shut gate"
            plain = viewer.rx.unprotect(packet)  # raises for a number that was used before
            header = rtp.parse(plain, len(plain))
            payload = plain[header.payload_start : header.payload_end]
            if header.ssrc != viewer.rtx_ssrc:
                media += 1
                self.seen["sound" if header.ssrc == viewer.audio_ssrc else "picture"] += 1
                if header.ssrc == viewer.video_ssrc:
                    self.left.add(header.sequence)
                    self.check_age(payload)
            elif payload:
                self.seen["repair"] += 1
                assert int.from_bytes(payload[:2]) in self.left, "never sent before"
                self.check_age(payload[2:])
            else:
                self.seen["padding"] += 1
        if media:
            assert self.gate.last_forwarded_ns == world.now_ns, "left and is not charged"
            self.media_ns = world.now_ns
        elif self.gate.last_forwarded_ns == world.now_ns:
            assert self.media_ns == world.now_ns, "charged and did not leave"
        assert [p for p in self.stranger.datagrams() if not 192 <= p[1] <= 223] == []

    def check_age(self, payload: bytes) -> None:
        rid, picture = mark_of(payload)
        assert picture > self.sealed.get(rid, -1), "of before the seal"

    # --- what may happen -------------------------------------------------------------------

    def open(self) -> None:
        self.gate.open_until(self.world.now_ns + self.chance.choice((10, 30, 500, 60_000)) * MS)

    def shut(self) -> None:
        self.gate.open_until(0)

    def estimate(self) -> None:
        bps = self.chance.choice((20_000, 90_000, 300_000, 1_000_000, 9_000_000))
        self.viewer.rtcp(rtcp.build_rr(1) + rtcp.build_remb(1, bps, [self.viewer.video_ssrc]))

    def view(self) -> None:
        width = self.chance.choice((160, 320, 640, 1_280))
        self.world.forwarder.set_viewport("v", width, width * 9 // 16)

    def nack(self) -> None:
        last = self.viewer_sequence()
        self.viewer.nack(*((last - ago) & 0xFFFF for ago in range(self.chance.randint(1, 40))))

    def viewer_sequence(self) -> int:
        outlet = self.world.forwarder._viewers["v"].outlets[Kind.VIDEO]
        row = outlet.row
        if row is None or not row._runs:
            return outlet.numbering.sequence
        segment = row._runs[-1].segment
        return row._last_sent(segment) + segment.sequence_offset

    def ask_keyframe(self) -> None:
        self.viewer.rtcp(rtcp.build_rr(1) + rtcp.build_pli(1, self.viewer.video_ssrc))

    def go_to_tcp(self) -> None:
        self.tcp.room = True
        self.viewer.link.destination.stream = self.tcp
        self.world.forwarder.viewer_moved(self.viewer.link)

    def go_to_udp(self) -> None:
        self.viewer.link.destination.stream = None
        self.world.forwarder.viewer_moved(self.viewer.link)

    def jam(self) -> None:
        self.tcp.room = not self.tcp.room

    def layer(self) -> None:
        rid = self.chance.choice(list(self.publisher.layers))
        self.publisher.on ^= {rid}

    def lose_start(self) -> None:
        self.publisher.picture(self.chance.choice(list(self.publisher.layers)), drop=True)

    def come_late(self) -> None:
        encoder = self.publisher.layers[self.chance.choice(list(self.publisher.layers))]
        number = encoder.sequence + 1 & 0xFFFF
        self.publisher.picture(encoder.rid, drop=True)
        payload = next(payload for sequence, payload in encoder.sent if sequence == number)
        self.publisher.end.video(
            payload, number, self.publisher.stamp(encoder.rid), ssrc=encoder.ssrc
        )

    def publish_anew(self) -> None:
        self.pictures |= {rid: e.picture for rid, e in self.publisher.layers.items()}
        rids = self.chance.choice(("qhf", "qhf", "f"))
        self.publisher = LayeredPublisher(self.world, rids=rids)
        for rid, encoder in self.publisher.layers.items():
            encoder.picture = self.pictures.get(rid, 0) + 1_000

    def row_anew(self) -> None:
        self.world.forwarder.stop("s", "v")
        self.forward()

    def seal(self) -> None:
        self.world.forwarder.seal("s")
        self.sealed |= {rid: e.picture for rid, e in self.publisher.layers.items()}
        self.forward()

    def step(self) -> None:
        acts = (
            *(self.open,) * 6,
            self.shut,
            self.estimate,
            self.estimate,
            self.view,
            self.nack,
            self.nack,
            self.ask_keyframe,
            self.go_to_tcp,
            self.go_to_udp,
            self.jam,
            self.layer,
            self.lose_start,
            self.come_late,
            self.row_anew,
            self.seal,
            self.publish_anew,
        )
        act = self.chance.choice(acts)
        self.log.append(act.__name__)
        act()
        self.world.gather()
        self.publisher.run_ms(FRAME_MS * self.chance.choice((1, 2, 5, 25)))


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_gate_holds_and_what_is_charged_has_left(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    call = Call(world, random.Random(seed))

    def watched(act: Callable[..., object]) -> Callable[..., object]:
        def act_and_look(*arguments: int) -> object:
            done = act(*arguments)
            call.look()
            return done

        return act_and_look

    monkeypatch.setattr(world.forwarder, "flush", watched(world.forwarder.flush))
    monkeypatch.setattr(world, "gather", watched(world.gather))
    try:
        for _ in range(STEPS):
            call.step()
        assert min(call.seen[what] for what in ("sound", "picture", "repair")) > 0, call.seen
    except BaseException:
        print("after", *call.log[-12:])
        raise
    finally:
        world.close()
