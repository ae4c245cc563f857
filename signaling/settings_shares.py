"""The `[shares]` section: what experts earn of what members pay, for each feature."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from billing_meter.shares import PERCENT_MAX, SHARE_PERCENT, Shares

Percent = Annotated[int, Meta(ge=0, le=PERCENT_MAX)]


class SharesSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whole per cent; the platform has the rest. For experts who are added from now on."""

    private: Percent = SHARE_PERCENT
    cam2cam: Percent = SHARE_PERCENT
    two_way_audio: Percent = SHARE_PERCENT
    surprise: Percent = SHARE_PERCENT
    story: Percent = SHARE_PERCENT
    content: Percent = SHARE_PERCENT
    message: Percent = SHARE_PERCENT
    group: Percent = SHARE_PERCENT

    @property
    def of_new_experts(self) -> Shares:
        """What they begin with."""
        return Shares(**msgspec.structs.asdict(self))
