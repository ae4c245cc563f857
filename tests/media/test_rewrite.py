"""Numbers stay continuous whatever the publisher does; checked as tables and as properties."""

from hypothesis import given
from hypothesis import strategies as st

from media.keyframes import vp8_picture
from media.rewrite import (
    BREAKPOINTS_MAX,
    JUMP_MAX,
    OutNumbering,
    PictureIds,
    PictureLine,
    Place,
    SourceNumbering,
)

SECOND_NS = 1_000_000_000


def indexes(numbering: SourceNumbering, sequences: list[int]) -> list[int | None]:
    places = [numbering.place(sequence, 0) for sequence in sequences]
    return [place.index if place else None for place in places]


def started(sequence: int, timestamp: int = 0) -> SourceNumbering:
    numbering = SourceNumbering(90_000)
    assert numbering.start(sequence, timestamp, 0).newest
    return numbering


def test_counts_on_across_the_wrap_and_places_late_packets() -> None:
    numbering = started(65_534)
    base = numbering.last_index
    assert indexes(numbering, [65_535, 1, 0, 2]) == [base + 1, base + 3, base + 2, base + 4]
    late = numbering.place(1, 0)
    assert late is not None
    assert not late.newest


def test_packets_from_before_the_start_belong_nowhere() -> None:
    numbering = started(100)
    assert indexes(numbering, [99, 50, 101]) == [None, None, numbering.last_index]


def test_a_withdrawn_packet_leaves_no_hole() -> None:
    numbering = started(10)
    base = numbering.last_index
    assert indexes(numbering, [11, 14]) == [base + 1, base + 4]
    numbering.withdraw()  # 14 was padding; 12 and 13 are still to come
    assert indexes(numbering, [15, 12, 13, 16]) == [base + 4, base + 2, base + 3, base + 5]


@given(st.lists(st.booleans(), max_size=3 * BREAKPOINTS_MAX))
def test_however_much_padding_the_rest_is_continuous(padding: list[bool]) -> None:
    numbering = started(65_500)
    expected = numbering.last_index
    for step, is_padding in enumerate(padding, 1):
        place = numbering.place((65_500 + step) & 0xFFFF, 0)
        assert place is not None
        if is_padding:
            numbering.withdraw()
        else:
            expected += 1
            assert place.index == expected
    assert numbering.last_index == expected


def test_a_jump_is_believed_when_the_next_packet_follows_it() -> None:
    numbering = started(10)
    assert numbering.place(10 + JUMP_MAX + 5, 0) is None
    assert not numbering.restarted(11)
    assert numbering.restarted(10 + JUMP_MAX + 6)
    assert numbering.place(11, 0) is not None  # a single stray changes nothing
    assert not numbering.restarted(10 + JUMP_MAX + 6)


def test_another_publisher_goes_on_where_the_last_one_stopped() -> None:
    numbering = started(10, 1_000)
    last = numbering.place(11, 4_000)
    assert last is not None
    place = numbering.start(50_000, 0xFFFFFF00, 2 * SECOND_NS)
    assert place == Place(last.index + 1, last.timestamp + 180_000, True)
    after = numbering.place(50_001, 0x00000B00)  # its timestamp wraps
    assert after == Place(last.index + 2, last.timestamp + 180_000 + 0xC00, True)
    assert numbering.timestamp_of(0xFFFFFF00) == last.timestamp + 180_000


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 100 * SECOND_NS),
            st.integers(1, 30),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_run_of_publishers_is_one_stream(runs: list[tuple[int, int, int, int]]) -> None:
    numbering = SourceNumbering(90_000)
    seen: list[Place] = []
    for sequence, timestamp, elapsed_ns, count in runs:
        seen.append(numbering.start(sequence, timestamp, elapsed_ns))
        for step in range(1, count):
            place = numbering.place(
                (sequence + step) & 0xFFFF, (timestamp + step * 3_000) & 0xFFFFFFFF
            )
            assert place is not None
            seen.append(place)
    first = seen[0].index
    assert [place.index for place in seen] == list(range(first, first + len(seen)))
    stamps = [place.timestamp for place in seen]
    assert stamps == sorted(set(stamps))


def vp8(picture: int, tl0: int) -> bytes:
    return bytes((0x90, 0xC0, 0x80 | picture >> 8, picture & 0xFF, tl0)) + b"payload"


class Encoder:
    """One layer's packets, each with the next index."""

    def __init__(self, line: PictureLine | None = None) -> None:
        self.ids = PictureIds(line)
        self.index = 0

    def send(self, payload: bytes, *, keyframe: bool = False) -> bytes:
        self.index += 1
        return self.ids.rewrite(payload, self.index, newest=True, keyframe=keyframe)

    def late(self, payload: bytes, index: int) -> bytes:
        return self.ids.rewrite(payload, index, newest=False, keyframe=False)


def test_picture_ids_go_on_over_a_change_of_encoder() -> None:
    encoder = Encoder()
    assert encoder.send(vp8(32_767, 255)) == vp8(32_767, 255)
    encoder.ids.start()
    rewritten = [encoder.send(vp8(100 + n, 7 + n)) for n in range(3)]
    assert rewritten == [vp8(n, n) for n in range(3)]
    assert encoder.late(vp8(100, 7), 2) == vp8(0, 0)
    assert encoder.late(vp8(32_767, 255), 1) == vp8(32_767, 255)


def test_short_picture_ids_and_payloads_without_any_survive() -> None:
    encoder = Encoder()
    encoder.send(vp8(5, 5))
    encoder.ids.start()
    assert encoder.send(b"\x10\x00") == b"\x10\x00"
    assert encoder.send(b"\x90\x80\x20abc") == b"\x90\x80\x06abc"


def test_a_keyframe_goes_on_from_the_highest_ids_of_all_layers() -> None:
    line = PictureLine()
    low, high = Encoder(line), Encoder(line)
    assert low.send(vp8(500, 50), keyframe=True) == vp8(500, 50)
    assert high.send(vp8(9, 200), keyframe=True) == vp8(501, 51)
    assert high.send(vp8(10, 201)) == vp8(502, 52)
    assert low.send(vp8(501, 51)) == vp8(501, 51)  # whoever gets this saw nothing of the other
    assert low.send(vp8(502, 52), keyframe=True) == vp8(503, 53)
    assert low.late(vp8(501, 51), 2) == vp8(501, 51)  # as it would have been in time
    assert high.send(vp8(11, 202), keyframe=True) == vp8(504, 54)


def test_a_layer_that_is_ahead_keeps_its_ids_at_a_keyframe() -> None:
    """What was lost before a keyframe may still come, and must find its numbers free."""
    encoder = Encoder()
    encoder.send(vp8(10, 10), keyframe=True)
    assert encoder.send(vp8(14, 14), keyframe=True) == vp8(14, 14)
    assert encoder.late(vp8(12, 12), 2) == vp8(12, 12)


@given(
    st.lists(st.integers(0, 0x7FFF), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.booleans()), max_size=60),
)
def test_whoever_changes_layers_at_keyframes_sees_ids_that_only_grow(
    first: list[int], steps: list[tuple[int, int, bool]]
) -> None:
    line = PictureLine()
    layers = [Encoder(line) for _ in first]
    natural = list(first)
    watching, last = 0, -1
    for layer, frames, change in steps:
        for frame in range(frames):
            keyframe = frame == 0
            natural[layer] += 1
            payload = vp8(natural[layer] & 0x7FFF, natural[layer] & 0xFF)
            found = vp8_picture(layers[layer].send(payload, keyframe=keyframe))
            assert found is not None
            if keyframe and change:
                watching = layer
            if watching == layer:
                ahead = found.picture_id - last & 0x7FFF
                assert last < 0 or 0 < ahead < 0x4000
                last = found.picture_id


@given(
    st.lists(
        st.tuples(st.binary(max_size=30), st.booleans(), st.booleans(), st.booleans()), max_size=20
    )
)
def test_payloads_from_anyone_keep_their_length(
    payloads: list[tuple[bytes, bool, bool, bool]],
) -> None:
    ids = PictureIds()
    for index, (payload, starts, newest, keyframe) in enumerate(payloads):
        if starts:
            ids.start()
        changed = ids.rewrite(payload, index, newest=newest, keyframe=keyframe)
        assert len(changed) == len(payload)
        assert vp8_picture(changed) is None or vp8_picture(payload) is not None


def test_a_viewer_is_given_continuous_numbers_over_several_sources() -> None:
    out = OutNumbering(90_000, 1_000, 5_000)
    one = out.begin(70_000, 800, 800, 0)
    assert one.first_index + one.sequence_offset == 1_000
    assert one.out_timestamp(800) == 5_000
    out.end(one, 70_009, 27_800, SECOND_NS)
    two = out.begin(66_000, 10**9, 10**9, 3 * SECOND_NS)
    assert two.first_index + two.sequence_offset == 1_010
    assert two.out_timestamp(10**9) == 5_000 + 27_000 + 180_000


def test_a_run_in_which_nothing_was_sent_changes_nothing() -> None:
    out = OutNumbering(90_000, 1_000, 5_000)
    out.end(out.begin(70_000, 0, 0, 0), 69_999, 0, SECOND_NS)
    again = out.begin(80_000, 0, 0, 2 * SECOND_NS)
    assert again.first_index + again.sequence_offset == 1_000
    assert again.out_timestamp(0) == 5_000


@given(
    st.integers(0, 450_000),
    st.lists(st.integers(90, 9_000), min_size=1, max_size=50),
    st.integers(0, 10 * SECOND_NS),
)
def test_replayed_pictures_catch_up_and_never_go_back(
    age: int, steps: list[int], pause_ns: int
) -> None:
    out = OutNumbering(90_000, 0, 0)
    out.end(out.begin(0, 0, 0, 0), 0, 0, 0)
    live = 10**7
    segment = out.begin(500, live - age, live, pause_ns)
    stamp, last = live - age, out.timestamp
    for step in steps:
        mapped = segment.out_timestamp(stamp)
        assert mapped > last
        last, stamp = mapped, stamp + step
    late = segment.out_timestamp(live + 900) - segment.out_timestamp(live - age)
    assert late <= 900 + age // 16 + 1
