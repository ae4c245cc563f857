"""Which payload type a viewer gets for a source's codec."""

import pytest

from media.codecs import pick, public_name
from media.links import CodecFormat


def video(name: str, payload_type: int, **parameters: str) -> CodecFormat:
    named = {key.replace("_", "-"): value for key, value in parameters.items()}
    return CodecFormat(name, payload_type, 90_000, None, named)


H264_BASE = video("h264", 102, packetization_mode="1", profile_level_id="42001f")
H264_CONSTRAINED = video("h264", 125, packetization_mode="1", profile_level_id="42e01f")
H264_SINGLE = video("h264", 108, packetization_mode="0", profile_level_id="42e01f")
H264_HIGH = video("h264", 112, packetization_mode="1", profile_level_id="640032")
VIEWER = (
    video("vp8", 96),
    video("vp9", 98, profile_id="0"),
    video("vp9", 100, profile_id="2"),
    H264_BASE,
    H264_SINGLE,
    H264_CONSTRAINED,
    H264_HIGH,
    CodecFormat("opus", 111, 48_000),
)


@pytest.mark.parametrize(
    ("source", "payload_type"),
    [
        (video("vp8", 120), 96),
        (video("vp9", 121), 98),
        (video("vp9", 121, profile_id="2"), 100),
        (video("vp9", 121, profile_id="1"), None),
        (video("av1", 45), None),
        (video("h264", 97, packetization_mode="1", profile_level_id="42E01F"), 125),
        (video("h264", 97, packetization_mode="1", profile_level_id="640C1F"), 112),
        (video("h264", 97, packetization_mode="1", profile_level_id="4d001f"), 102),
        (video("h264", 97, profile_level_id="42e01f"), 108),
        (video("h264", 97), 108),
        (CodecFormat("opus", 96, 48_000), 111),
        (CodecFormat("opus", 96, 16_000), None),
    ],
)
def test_takes_the_closest_format(source: CodecFormat, payload_type: int | None) -> None:
    picked = pick(source, VIEWER)
    assert (picked.payload_type if picked else None) == payload_type


def test_refuses_fragments_for_a_viewer_that_takes_single_units_alone() -> None:
    assert pick(H264_HIGH, [H264_SINGLE]) is None
    assert pick(H264_SINGLE, [H264_BASE]) is H264_BASE


def test_names_codecs_as_people_do() -> None:
    assert [public_name(name) for name in ("vp8", "h264", "opus", "x")] == [
        "VP8",
        "H264",
        "opus",
        "x",
    ]
