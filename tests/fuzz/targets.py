"""The fuzz targets by name, and how much work an input of some size may cost."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz import (
    forward_target,
    framing_target,
    marks_target,
    payload_target,
    rtcp_target,
    rtp_target,
    sdp_frag_target,
    sdp_target,
    stripe_target,
    stun_target,
    twcc_target,
    typed_target,
)

CORPUS = Path(__file__).parent / "corpus"
MEDIA = str(Path(__file__).resolve().parents[2] / "media")


@dataclass(frozen=True)
class Target:
    """`check` raises when a property is broken. An input of n bytes may run `lines_base` plus
    `lines_per_byte` × n lines of `media`: linear, whatever the bytes are."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    bytes_max: int
    lines_base: int
    lines_per_byte: int

    def corpus(self) -> list[Path]:
        """The kept inputs; what once crashed is among them for ever."""
        return sorted((CORPUS / self.name).glob("*"))


TARGETS = {
    target.name: target
    for target in (
        Target("stun", stun_target.check, stun_target.seeds, 1_500, 1_400, 4),
        Target("rtp", rtp_target.check, rtp_target.seeds, 1_500, 200, 15),
        Target("rtcp", rtcp_target.check, rtcp_target.seeds, 1_500, 400, 20),
        Target("sdp", sdp_target.check, sdp_target.seeds, 16_384, 1_000, 6),
        Target("sdpfrag", sdp_frag_target.check, sdp_frag_target.seeds, 16_384, 200, 6),
        Target("framing", framing_target.check, framing_target.seeds, 8_192, 100, 12),
        Target("marks", marks_target.check, marks_target.seeds, 8_192, 0, 0),
        Target("payload", payload_target.check, payload_target.seeds, 1_500, 300, 15),
        Target("stripe", stripe_target.check, stripe_target.seeds, 8_192, 0, 0),
        Target("typed", typed_target.check, typed_target.seeds, 1_024, 0, 0),
        Target("twcc", twcc_target.check, twcc_target.seeds, 1_500, 600, 40),
        Target("forward", forward_target.check, forward_target.seeds, 8_192, 18_000, 60),
    )
}


def lines_run(check: Callable[[bytes], None], data: bytes) -> Counter[tuple[str, int]]:
    """How often one input runs each line of `media`: work that a busy machine does not change."""
    lines: Counter[tuple[str, int]] = Counter()

    def in_media(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            lines[frame.f_code.co_filename, frame.f_lineno] += 1
        return in_media

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return in_media if frame.f_code.co_filename.startswith(MEDIA) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        check(data)
    finally:
        sys.settrace(before)
    return lines


def minimised(target: Target, found: Iterable[bytes]) -> list[bytes]:
    """The smallest inputs that together run every line that all of them and no seed run."""
    seen: set[tuple[str, int]] = set()
    for seed in target.seeds():
        seen |= lines_run(target.check, seed).keys()
    kept = []
    for data in sorted(found, key=len):
        new = lines_run(target.check, data).keys() - seen
        if new:
            seen |= new
            kept.append(data)
    return kept
