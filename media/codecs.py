"""Which of a viewer's payload types carries a source's codec; pure functions over formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from media.links import CodecFormat

VP8: Final = "vp8"
VP9: Final = "vp9"
H264: Final = "h264"
AV1: Final = "av1"
OPUS: Final = "opus"

_PUBLIC_NAMES: Final = {VP8: "VP8", VP9: "VP9", H264: "H264", AV1: "AV1", OPUS: "opus"}


def public_name(name: str) -> str:
    """The codec's name as people write it."""
    return _PUBLIC_NAMES.get(name, name)


def pick(source: CodecFormat, offered: Sequence[CodecFormat]) -> CodecFormat | None:
    """The viewer's format that takes the source's packets as they are, None when there is none.

    VP9 and AV1 profiles must be equal: a decoder for 8-bit 4:2:0 shows nothing of the others. For
    H.264 the closest profile is taken but none is refused, because browsers decode more than they
    offer (stock Firefox offers baseline alone and plays a camcorder's High); a viewer that cannot
    take fragmented units (packetization-mode 0, RFC 6184 §6.2) is refused a source that has them.
    """
    fitting = [
        (distance, index)
        for index, theirs in enumerate(offered)
        if (distance := _distance(source, theirs)) is not None
    ]
    return offered[min(fitting)[1]] if fitting else None


def _distance(source: CodecFormat, theirs: CodecFormat) -> int | None:
    if source.name != theirs.name or source.clock_rate_hz != theirs.clock_rate_hz:
        return None
    match source.name:
        case "vp9":
            return _equal_or_none(source, theirs, "profile-id")
        case "av1":
            return _equal_or_none(source, theirs, "profile")
        case "h264":
            return _h264_distance(source, theirs)
        case _:
            return 0


def _equal_or_none(source: CodecFormat, theirs: CodecFormat, parameter: str) -> int | None:
    same = source.parameters.get(parameter, "0") == theirs.parameters.get(parameter, "0")
    return 0 if same else None


def _h264_distance(source: CodecFormat, theirs: CodecFormat) -> int | None:
    mode = source.parameters.get("packetization-mode", "0")
    their_mode = theirs.parameters.get("packetization-mode", "0")
    if mode != "0" and their_mode == "0":
        return None
    profile = source.parameters.get("profile-level-id", "42e01f").lower()
    their_profile = theirs.parameters.get("profile-level-id", "42e01f").lower()
    if profile[:4] == their_profile[:4]:
        difference = 0
    elif profile[:2] == their_profile[:2]:
        difference = 1
    else:
        difference = 2
    return 2 * difference + (mode != their_mode)
