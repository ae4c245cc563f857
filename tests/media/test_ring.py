"""The ring of a source: what it keeps, for how long, and where its keyframe starts."""

from media.links import CodecFormat
from media.ring import KEYFRAME_AGE_NS_MAX, RESEND_AGE_NS_MAX, Packet, PacketRing

VP8 = CodecFormat("vp8", 96, 90_000)


def packet(index: int, *, timestamp: int = 0, keyframe: bool = False, at_ns: int = 0) -> Packet:
    return Packet(index, timestamp, False, b"%d" % index, {}, VP8, at_ns, keyframe)


def test_returns_what_was_put_until_it_is_overwritten() -> None:
    ring = PacketRing(8)
    for index in range(100, 112):
        ring.put(packet(index))
    assert [index for index in range(90, 120) if ring.get(index)] == list(range(104, 112))
    found = ring.get(111)
    assert found is not None
    assert found.payload == b"111"


def test_a_run_is_what_is_kept_of_it_in_order() -> None:
    ring = PacketRing(8)
    for index in (101, 102, 104, 107, 110):
        ring.put(packet(index))
    assert [p.index for p in ring.run(100, 108)] == [101, 104, 107]  # 110 took 102's place
    assert [p.index for p in ring.run(104, 111)] == [104, 107, 110]
    assert ring.run(105, 107) == ring.run(111, 111) == []


def test_a_keyframe_starts_at_its_first_packet_however_they_arrive() -> None:
    ring = PacketRing(16)
    for index in (6, 5, 7):
        ring.put(packet(index, timestamp=3_000, keyframe=index != 7))
    keyframe = ring.keyframe(0)
    assert keyframe is not None
    assert keyframe.index == 5
    ring.put(packet(3, timestamp=1, keyframe=True))  # an older one, late
    assert ring.keyframe(0) is keyframe
    ring.put(packet(9, timestamp=6_000, keyframe=True))
    newer = ring.keyframe(0)
    assert newer is not None
    assert newer.index == 9


def test_a_keyframe_is_gone_when_overwritten_too_old_or_forgotten() -> None:
    ring = PacketRing(4)
    ring.put(packet(1, keyframe=True))
    assert ring.keyframe(KEYFRAME_AGE_NS_MAX) is not None
    assert ring.keyframe(KEYFRAME_AGE_NS_MAX + 1) is None
    ring.put(packet(5, timestamp=-1))
    assert ring.keyframe(0) is None
    ring.put(packet(6, timestamp=5, keyframe=True))
    ring.clear()
    assert ring.keyframe(0) is None
    assert ring.get(6) is None


def kept(ring: PacketRing, end: int) -> list[int]:
    return [index for index in range(end) if ring.get(index)]


def test_what_nobody_can_use_any_more_is_let_go() -> None:
    """A keyframe at 10 and at 400, a packet every 10 ms."""
    ring, step_ns = PacketRing(2_048), 10_000_000
    for index in range(400):
        ring.put(packet(index, timestamp=index, keyframe=index == 10, at_ns=index * step_ns))
    assert kept(ring, 400) == list(range(10, 400)), (
        "before the keyframe, and older than two seconds"
    )
    ring.put(packet(400, timestamp=400, keyframe=True, at_ns=400 * step_ns))
    for index in range(401, 600):
        ring.put(packet(index, timestamp=index, at_ns=index * step_ns))
    to_resend = RESEND_AGE_NS_MAX // step_ns
    assert kept(ring, 600) == list(range(599 - to_resend, 600))
    for index in range(600, 2_000):
        ring.put(packet(index, timestamp=index, at_ns=index * step_ns))
    assert kept(ring, 2_000) == list(range(1_999 - to_resend, 2_000)), "the keyframe is too old"
    assert ring.keyframe(1_999 * step_ns) is None


def test_a_gap_and_a_late_packet_keep_nothing_back() -> None:
    ring, step_ns = PacketRing(2_048), 10_000_000
    ring.put(packet(0, timestamp=0))
    ring.put(packet(2_900, timestamp=2_900, at_ns=1))
    ring.put(packet(2_890, timestamp=2_890, at_ns=2))
    assert kept(ring, 2_901) == [0, 2_890, 2_900]
    for index in range(2_901, 5_000):
        ring.put(packet(index, timestamp=index, at_ns=(index - 2_900) * step_ns))
    assert min(kept(ring, 5_000)) == 4_999 - RESEND_AGE_NS_MAX // step_ns
