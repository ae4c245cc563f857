"""Keyframe detection: what real encoders send, and payloads made to hurt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import keyframes
from media.keyframes import Vp8Picture

VP8_KEY = bytes.fromhex("90 80 81 23 10 02 00 9d 01 2a".replace(" ", ""))
STAP = b"\x18" + b"\0\4\x67abc" + b"\0\2\x68d" + b"\0\3\x65ef"


@pytest.mark.parametrize(
    ("codec", "payload", "expected"),
    [
        ("vp8", VP8_KEY, True),
        ("vp8", b"\x10\x10", True),  # no extension byte
        ("vp8", b"\x10\x11", False),  # P set: inter frame
        ("vp8", b"\x00\x10", False),  # not the start of a partition
        ("vp8", b"\x12\x10", False),  # partition 2
        ("vp8", b"\x90\x80\x05\x10", True),  # 7-bit picture id
        ("vp8", b"\x90\xf0\x81\x23\x07\x40\x10", True),  # everything present
        ("vp8", b"\x90\x80\x81\x23", False),  # ends after the descriptor
        ("h264", b"\x65\x88", True),
        ("h264", b"\x67\x42", True),
        ("h264", b"\x41\x9a", False),
        ("h264", STAP, True),
        ("h264", b"\x18\0\2\x41a\0\2\x06b", False),
        ("h264", b"\x7c\x85\0", True),  # FU-A, first fragment of an IDR slice
        ("h264", b"\x7c\x05\0", False),  # a later fragment of it
        ("h264", b"\x7c\x81\0", False),
        ("vp9", b"\x8c\x81\x02\x82\x49", True),
        ("vp9", b"\x0c\x82\x49", True),  # no picture id
        ("vp9", b"\x8c\x05\x82\x49", True),  # a short one
        ("vp9", b"\xcc\x81\x02\x82\x49", False),  # P set
        ("vp9", b"\x84\x81\x02\x82\x49", False),  # not the beginning of a frame
        ("vp9", b"\xac\x05\x00\x01\x82\x49", True),  # spatial layer 0
        ("vp9", b"\xac\x05\x02\x01\x82\x49", False),  # spatial layer 1
        ("vp9", b"\xbc\x05\x00\x82\x49", True),  # flexible: no TL0PICIDX
        ("vp9", b"\x8e\x05\x18\1\2\3\4\1\x04\1\x82", True),  # a size, a group of one picture
        ("vp9", b"\x8e\x05\x38\1\2\3\4\5\6\7\x08\2\0\4\1\x82", True),  # two of both
        ("vp9", b"\x8c\x05\x86\x00", False),  # P clear, but frame_type says not key
        ("vp9", b"\x8c\x05\x8a\x00", False),  # shows a picture again
        ("vp9", b"\x8c\x05\x42\x49", False),  # no frame marker
        ("vp9", b"\x8c\x05\xb1\x49", True),  # profile 3
        ("vp9", b"\x8c\x05\xb2\x49", False),
        ("av1", b"\x18\x0a", True),
        ("av1", b"\x18\x32", False),  # N set, but no sequence header
        ("av1", b"\x10\x0a", False),
        ("av1", b"\x98\x0a", False),  # continues an OBU
        ("av1", b"\x08\x02\x08\x00\x02\x30\x00", True),  # every OBU with its length
        ("av1", b"\x08\x01\x10\x02\x08\x00", True),  # behind a temporal delimiter
        ("av1", b"\x28\x82\x00\x08\x00\x30", True),  # a length of two bytes
        ("av1", b"\x28\x01\x30\x08", True),  # the last of two has no length
        ("av1", b"\x18\x30\x08", False),  # one OBU: what follows is inside it
        ("opus", b"\x78", True),
    ],
)
def test_finds_where_a_keyframe_starts(codec: str, payload: bytes, expected: bool) -> None:
    assert keyframes.detector(codec)(payload) is expected
    assert keyframes.detector(codec)(memoryview(payload)) is expected


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        ("vp8", b""),
        ("vp8", b"\x90"),
        ("vp8", b"\x90\x80"),
        ("vp8", b"\x90\x80\xff"),
        ("h264", b""),
        ("h264", b"\x7c"),
        ("h264", b"\x18\xff\xff\x65"),  # a length beyond the end
        ("h264", b"\x18\0\0\0\1"),  # a unit of no length
        ("vp9", b""),
        ("vp9", b"\x08"),
        ("vp9", b"\x88"),
        ("vp9", b"\x88\x81"),
        ("vp9", b"\x88\x81\x00"),  # ends after the descriptor
        ("vp9", b"\xa8"),
        ("vp9", b"\xa8\x81\x00"),
        ("vp9", b"\x0a"),  # a structure that is not there
        ("vp9", b"\x0a\xf8\x82\x82"),  # sizes beyond the end
        ("vp9", b"\x0a\x08"),
        ("vp9", b"\x0a\x08\xff\x82\x82"),  # 255 pictures
        ("vp9", b"\x0a\x08\x01\x0c\x82"),  # references beyond the end
        ("av1", b""),
        ("av1", b"\x08"),
        ("av1", b"\x18"),
        ("av1", b"\x08\x02\x08"),  # a length beyond the end
        ("av1", b"\x08\x00\x08"),  # an OBU of no length
        ("av1", b"\x08\x80\x80\x80\x01\x08"),  # a length without end
        ("av1", b"\x18\x8a"),  # the forbidden bit
    ],
)
def test_payloads_that_end_early_are_no_keyframes(codec: str, payload: bytes) -> None:
    assert keyframes.detector(codec)(payload) is False


@given(st.sampled_from(["vp8", "h264", "vp9", "av1", "opus", "?"]), st.binary(max_size=80))
def test_any_bytes_get_an_answer(codec: str, payload: bytes) -> None:
    assert keyframes.detector(codec)(payload) in (True, False)
    picture = keyframes.vp8_picture(payload)
    if picture is not None:
        assert max(picture.picture_at + picture.picture_bits // 8, picture.tl0_at) < len(payload)


@given(
    st.lists(st.tuples(st.integers(0, 15), st.binary(max_size=200)), min_size=1, max_size=7),
    st.booleans(),
    st.booleans(),
)
def test_an_av1_picture_is_a_start_exactly_with_its_sequence_header(
    units: list[tuple[int, bytes]], starts: bool, counted: bool
) -> None:
    counted = counted and len(units) < 4
    payload = bytes(((len(units) << 4 if counted else 0) | (0x08 if starts else 0),))
    for index, (kind, body) in enumerate(units):
        unit = bytes((kind << 3,)) + body
        size = len(unit)
        length = bytes((size,)) if size < 128 else bytes((size & 0x7F | 0x80, size >> 7))
        payload += (b"" if counted and index == len(units) - 1 else length) + unit
    expected = starts and any(kind == 1 for kind, _ in units)
    assert keyframes.av1_keyframe_start(payload) is expected
    for end in range(len(payload)):
        keyframes.av1_keyframe_start(payload[:end])


@given(
    picture=st.sampled_from([b"", b"\x05", b"\x81\x02"]),
    spatial=st.none() | st.integers(0, 7),
    flexible=st.booleans(),
    sizes=st.none() | st.integers(0, 7),
    group=st.none() | st.lists(st.integers(0, 3), max_size=20),
    frame=st.sampled_from([0x82, 0x86, 0x8A, 0x02]),
)
def test_a_vp9_start_is_found_behind_any_descriptor(
    picture: bytes,
    spatial: int | None,
    flexible: bool,
    sizes: int | None,
    group: list[int] | None,
    frame: int,
) -> None:
    structure = sizes is not None or group is not None
    flags = 0x08 | (0x80 if picture else 0) | (0x20 if spatial is not None else 0)
    flags |= (0x10 if flexible else 0) | (0x02 if structure else 0)
    descriptor = bytes((flags,)) + picture
    if spatial is not None:
        descriptor += bytes((spatial << 1,)) + (b"" if flexible else b"\x09")
    if structure:
        layers = sizes or 0
        head = layers << 5 | (0x10 if sizes is not None else 0) | (0x08 if group is not None else 0)
        descriptor += bytes((head,)) + (bytes(4 * (layers + 1)) if sizes is not None else b"")
    if group is not None:
        descriptor += bytes((len(group),))
        descriptor += b"".join(bytes((count << 2,)) + bytes(count) for count in group)
    expected = frame == 0x82 and not spatial
    assert keyframes.vp9_keyframe_start(descriptor + bytes((frame, 0x49))) is expected
    for end in range(len(descriptor) + 1):
        assert keyframes.vp9_keyframe_start(descriptor[:end]) is False


def test_reads_vp8_picture_ids() -> None:
    assert keyframes.vp8_picture(VP8_KEY) == Vp8Picture(2, 15, 0x0123, 0, 0)
    assert keyframes.vp8_picture(b"\x90\xc0\x05\x09\x10") == Vp8Picture(2, 7, 5, 3, 9)
    assert keyframes.vp8_picture(b"\x90\x40\x09\x10") == Vp8Picture(0, 0, 0, 2, 9)
    assert keyframes.vp8_picture(b"\x10\x10") is None
    assert keyframes.vp8_picture(b"\x90\x00\x10") is None
    assert keyframes.vp8_picture(b"\x90\x80\x81") is None
