"""Fuzzes codec headers: every detector answers for any bytes, and points nowhere outside them."""

from media import keyframes

CODECS = ("vp8", "h264", "vp9", "av1", "opus")


def seeds() -> list[bytes]:
    return [
        b"\x10\x10\x02\x00\x9d\x01\x2a\x80\x02\xe0\x01",  # VP8 keyframe, no ids
        b"\x90\xe0\x81\x23\x45\x20\x10\x02\x00",  # VP8 with picture id, TL0PICIDX and TID
        b"\x78\x00\x04\x67\x42\xe0\x1f\x00\x02\x65\x88",  # STAP-A: SPS, IDR
        b"\x7c\x85\x88\x80",  # FU-A, first fragment of an IDR
        b"\xa8\x81\x23\x10\x00\x00",  # VP9, flexible, with a picture id
        b"\x8e\x05\x38\1\2\3\4\5\6\7\x08\2\0\4\1\x82",  # VP9 with a scalability structure
        b"\x08\x01\x10\x02\x08\x00\x82\x00\x30",  # AV1, OBUs with their lengths
        b"\x90\x40",  # VP8, cut off inside its descriptor
        b"\x18\x0a\x0b\x00",  # AV1, new coded video sequence
    ]


def check(data: bytes) -> None:
    for form in (data, bytearray(data), memoryview(data)):
        answers = [keyframes.detector(name)(form) for name in CODECS]
        assert all(isinstance(answer, bool) for answer in answers)
    for name in CODECS:
        size = keyframes.picture_size(name, data)
        assert size is None or all(0 < length < 1 << 14 for length in size)
    picture = keyframes.vp8_picture(data)
    if picture is None:
        return
    assert 0 <= picture.picture_at < len(data)
    assert 0 <= picture.tl0_at < len(data)
    if picture.picture_bits == 15:
        assert picture.picture_at + 1 < len(data)
    assert picture.picture_id < 1 << max(picture.picture_bits, 1)
    assert picture.tl0_index < 256
