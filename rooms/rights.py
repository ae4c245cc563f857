"""The four extras of active members, and when they are locked (feature A7)."""

import enum

from rooms.roles import Standing


class Feature(enum.StrEnum):
    """What a member without a purchase in 30 days may not do; everything else stays."""

    ALBUMS = "albums"
    """Photo albums that an expert keeps for active members."""
    EMOJI = "emoji"
    """Emojis in chat."""
    TRANSLATOR = "translator"
    """The chat's translator."""
    LIKES = "likes"
    """Likes and comments on an expert's content."""


EXTRAS = frozenset(Feature)


def locked(standing: Standing, now_ms: int) -> frozenset[Feature]:
    """What is locked at this UTC millisecond: all of the extras, or none."""
    until_ms = standing.extras_until_ms
    return EXTRAS if until_ms is not None and now_ms >= until_ms else frozenset()
