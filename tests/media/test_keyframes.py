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
        ("vp9", b"\x8c\x81\x02", True),
        ("vp9", b"\xcc\x81\x02", False),  # P set
        ("vp9", b"\x84\x81\x02", False),  # not the beginning of a frame
        ("vp9", b"\xac\x05\x00\x01", True),  # spatial layer 0
        ("vp9", b"\xac\x05\x02\x01", False),  # spatial layer 1
        ("av1", b"\x18\x0a", True),
        ("av1", b"\x10\x0a", False),
        ("av1", b"\x98\x0a", False),  # continues an OBU
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
        ("vp9", b"\xa8"),
        ("vp9", b"\xa8\x81\x00"),
        ("av1", b"\x08"),
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


def test_reads_vp8_picture_ids() -> None:
    assert keyframes.vp8_picture(VP8_KEY) == Vp8Picture(2, 15, 0x0123, 0, 0)
    assert keyframes.vp8_picture(b"\x90\xc0\x05\x09\x10") == Vp8Picture(2, 7, 5, 3, 9)
    assert keyframes.vp8_picture(b"\x90\x40\x09\x10") == Vp8Picture(0, 0, 0, 2, 9)
    assert keyframes.vp8_picture(b"\x10\x10") is None
    assert keyframes.vp8_picture(b"\x90\x00\x10") is None
    assert keyframes.vp8_picture(b"\x90\x80\x81") is None
