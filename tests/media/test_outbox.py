"""What waits for a slow TCP viewer: bounded, sound before pictures, nothing torn, nothing stale."""

from hypothesis import given
from hypothesis import strategies as st

from media.framing import FrameReader
from media.outbox import (
    CHUNKS_MAX,
    LATE_NS,
    OUTBOX_BYTES_MAX,
    RESUME_BYTES,
    STALL_NS,
    URGENT_BYTES,
    Outbox,
)

PICTURE, SOUND = b"v" * 1_100, b"a" * 100


def written(outbox: Outbox, size: int, now_ns: int = 0) -> bytes:
    """What a connection that takes at most `size` bytes gets."""
    data = b"".join(outbox.chunks(now_ns))[:size]
    if data:
        outbox.wrote(len(data), now_ns)
    return data


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=1_500), st.integers(1, 4_000)), max_size=60)
)
def test_what_was_taken_leaves_in_order_and_whole(moves: list[bytes | int]) -> None:
    outbox, reader = Outbox(), FrameReader()
    taken: list[bytes] = []
    left: list[bytes] = []
    for move in moves:
        if isinstance(move, bytes):
            assert outbox.put(move, 0, urgent=True)
            taken.append(move)
        else:
            left += reader.feed(written(outbox, move))
    while outbox:
        left += reader.feed(written(outbox, 1_000))
    assert left == taken
    assert outbox.bytes == 0


def test_pictures_go_first_and_sound_stays_until_the_end() -> None:
    outbox = Outbox()
    while outbox.put(PICTURE, 0, urgent=False):
        pass
    assert outbox.bytes <= OUTBOX_BYTES_MAX - URGENT_BYTES
    sounds = 0
    while outbox.put(SOUND, 0, urgent=True):
        sounds += 1
    assert sounds > URGENT_BYTES // (len(SOUND) + 2) - 20
    assert outbox.bytes <= OUTBOX_BYTES_MAX + 2


def test_pictures_come_back_when_little_waits_and_not_earlier() -> None:
    outbox = Outbox()
    while outbox.put(PICTURE, 0, urgent=False):
        pass
    while outbox.bytes > RESUME_BYTES:
        assert not outbox.put(PICTURE, 0, urgent=False)
        written(outbox, 1_102)
    assert outbox.put(PICTURE, 0, urgent=False)
    assert outbox.put(PICTURE, 0, urgent=False)


def test_a_way_that_is_cut_takes_nothing_until_it_moves_again() -> None:
    outbox, reader = Outbox(), FrameReader()
    for _ in range(10):
        assert outbox.put(SOUND, 5, urgent=True)
    got = reader.feed(written(outbox, 150, 5))
    assert outbox.put(SOUND, 4 + STALL_NS, urgent=True)
    assert not outbox.put(SOUND, 5 + STALL_NS, urgent=True)
    assert outbox.stalled
    assert len(outbox) == 1, "the frame that was begun must be finished, the others are too old"
    assert not outbox.put(SOUND, 6 + STALL_NS, urgent=True)
    got += reader.feed(written(outbox, 10_000, 9 * STALL_NS))
    assert got == [SOUND, SOUND]
    assert not outbox.stalled
    assert outbox.put(b"fresh", 9 * STALL_NS, urgent=False)
    assert reader.feed(written(outbox, 10_000, 9 * STALL_NS)) == [b"fresh"]


def test_a_stall_with_nothing_begun_ends_when_the_connection_takes_bytes() -> None:
    outbox = Outbox()
    outbox.put(SOUND, 5, urgent=True)
    assert not outbox.put(SOUND, 5 + STALL_NS, urgent=True)
    assert (len(outbox), outbox.bytes) == (0, 0)
    assert not outbox.put(SOUND, 6 + STALL_NS, urgent=True)
    outbox.wrote(0, 7 + STALL_NS)
    assert outbox.put(SOUND, 7 + STALL_NS, urgent=True)


def test_a_pause_of_the_sender_is_no_stall() -> None:
    outbox = Outbox()
    outbox.put(SOUND, 0, urgent=True)
    written(outbox, 10_000, 0)
    assert outbox.put(SOUND, 60 * STALL_NS, urgent=True)
    assert outbox.put(SOUND, 60 * STALL_NS + 1, urgent=True)


def test_what_waited_for_long_is_left_out_though_the_rest_moves() -> None:
    """At 100 kbit/s what fits takes twenty seconds: nobody wants to hear it then."""
    outbox, reader = Outbox(), FrameReader()
    step_ns = 20_000_000
    late_ns: list[int] = []
    for now_ns in range(0, 5 * LATE_NS, step_ns):
        for _ in range(3):
            outbox.put(b"v" + now_ns.to_bytes(8) + bytes(1_000), now_ns, urgent=False)
        outbox.put(b"a" + now_ns.to_bytes(8) + bytes(100), now_ns, urgent=True)
        frames = reader.feed(written(outbox, 250, now_ns))
        late_ns += [now_ns - int.from_bytes(frame[1:9]) for frame in frames]
    assert 0 < max(late_ns) <= LATE_NS + 5 * step_ns, "a frame that was begun is finished"
    assert outbox.bytes == sum(len(frame) for _, frame in outbox._frames)
    assert not outbox.chunks(9 * LATE_NS)[1:]


def test_one_write_is_bounded() -> None:
    outbox = Outbox()
    for _ in range(2 * CHUNKS_MAX):
        outbox.put(b"x", 0, urgent=True)
    assert len(outbox.chunks(0)) == CHUNKS_MAX
