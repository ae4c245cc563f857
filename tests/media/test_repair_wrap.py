"""Lost or late, either way: each packet arrives once and in its place, over any wrap."""

from hypothesis import given, settings
from hypothesis import strategies as st

from media import rtcp
from media.api import Kind
from tests.media.farends import DELTA, KEY, VIDEO_SSRC, FarPublisher, FarViewer, World

FATES = st.lists(st.sampled_from("......xX<"), min_size=4, max_size=60)
"""Per packet: x lost once, X with its first repair, < late by three packets, else as it should."""
STARTS = st.one_of(st.integers(65_480, 65_535), st.integers(0, 65_535))


def asked(publisher: FarPublisher) -> list[int]:
    found = [packet for packet in publisher.asked() if isinstance(packet, rtcp.Nack)]
    assert all(packet.media_ssrc == VIDEO_SSRC for packet in found)
    return [sequence for packet in found for sequence in packet.sequences]


class Scene:
    """A publisher whose packets meet their fates, and a viewer whose packets meet others."""

    def __init__(self, world: World, start: int, out: int) -> None:
        self.publisher: FarPublisher = world.publisher()
        self.viewer: FarViewer = world.viewer()
        world.forwarder._viewers["v"].outlets[Kind.VIDEO].numbering.sequence = out - 1
        world.forwarder.forward("s", "v")
        self.world, self.start, self.out = world, start, out
        self.repairs = 0
        self.kept_from: dict[int, int] = {}  # packet → repairs that are lost too
        self.arrived: dict[int, bytes] = {}  # place → payload
        self.lost_below: set[int] = set()  # places that the viewer's way has lost

    def payload(self, n: int) -> bytes:
        return (KEY if n == 0 else DELTA) + n.to_bytes(2, "big")

    def send(self, n: int) -> None:
        self.publisher.video(self.payload(n), self.start + n, 900 * n)

    def answer(self) -> None:
        """Time passes; both sides repair what they are asked for."""
        self.world.pass_ms(40)
        for sequence in asked(self.publisher):
            n = (sequence - self.start) & 0xFFFF
            if self.kept_from.get(n, 0) > 0:
                self.kept_from[n] -= 1
                continue
            self.repairs += 1
            stamp = 900 * n
            self.publisher.rtx(self.payload(n), sequence, 65_500 + self.repairs, stamp)
        self.collect()
        missing = [self.out + place & 0xFFFF for place in sorted(self.lost_below)]
        if missing:
            self.viewer.nack(*missing)
            self.collect()

    def collect(self) -> None:
        for got in self.viewer.packets():
            repair = got.header.ssrc == self.viewer.rtx_ssrc
            sequence = int.from_bytes(got.payload[:2], "big") if repair else got.sequence
            place = (sequence - self.out) & 0xFFFF
            payload = got.payload[2:] if repair else got.payload
            if not repair and place % 7 == 3 and place not in self.arrived:
                self.lost_below.add(place)  # on the viewer's way
                continue
            assert place not in self.arrived, "twice"
            self.arrived[place] = payload
            self.lost_below.discard(place)


@given(FATES, STARTS, st.integers(64_000, 65_535))
@settings(max_examples=60, deadline=None)
def test_each_packet_arrives_once_and_in_its_place(fates: list[str], start: int, out: int) -> None:
    world = World()
    try:
        scene = Scene(world, start, out)
        late: list[tuple[int, int]] = []
        scene.send(0)
        for n, fate in enumerate([*fates, ".", ".", ".", "."], 1):
            if fate in "xX":
                scene.kept_from[n] = int(fate == "X")
            elif fate == "<":
                late.append((n + 3, n))
            else:
                scene.send(n)
            while late and late[0][0] <= n:
                scene.send(late.pop(0)[1])
            if n % 5 == 0:
                scene.answer()
        for _ in range(12):
            scene.answer()
        assert scene.arrived == {n: scene.payload(n) for n in range(len(fates) + 5)}
    finally:
        world.close()
