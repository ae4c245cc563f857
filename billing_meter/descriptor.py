"""What buyers find on their card statement (pure): may it stand there, and is it discreet?"""

from __future__ import annotations

import re
from collections.abc import Iterable

CHARS_MIN, CHARS_MAX = 5, 22
"""What card networks take, and Stripe checks."""
NAME_CHARS_MIN = 4
"""Shorter parts of a host name ("www", "no") are in many words."""
_ALLOWED = re.compile(r"[A-Za-z0-9 .+-]+")
TELLING_WORDS = (
    "adult",
    "advice",
    "astro",
    "cam2cam",
    "clairvoy",
    "expert",
    "fortune",
    "horoscope",
    "magic",
    "medium",
    "mystic",
    "oracle",
    "parlour",
    "private",
    "psychic",
    "reiki",
    "spirit",
    "tarot",
    "webcam",
    "zodiac",
)
"""A partner or an employer who reads the statement learns nothing from it."""


def descriptor_fault(descriptor: str, site_names: Iterable[str] = ()) -> str | None:
    """What is wrong with a descriptor, in words, or None. `site_names` are parts of our address."""
    if not CHARS_MIN <= len(descriptor) <= CHARS_MAX:
        return f"has {len(descriptor)} characters instead of {CHARS_MIN} to {CHARS_MAX}"
    if not _ALLOWED.fullmatch(descriptor):
        return "may have letters, digits, spaces, dots, plus and minus only"
    if not re.search("[A-Za-z]", descriptor):
        return "needs a letter"
    letters = re.sub("[^a-z0-9]", "", descriptor.lower())
    names = [name.lower() for name in site_names if len(name) >= NAME_CHARS_MIN]
    for word in (*TELLING_WORDS, *names):
        if re.sub("[^a-z0-9]", "", word) in letters:
            return f"tells too much: {word!r}"
    return None
