"""E-mail addresses: which ones mail can be sent to, as far as their form can tell."""

from __future__ import annotations

import re

ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)
"""A mailbox as RFC 5321 §4.1.2 has it without quoting: nothing in it needs an escape anywhere."""
LOCAL_PART_CHARS_MAX = 64
ADDRESS_CHARS_MAX = 254
"""RFC 5321 §4.5.3.1: a path of 256 with its angle brackets."""


def is_address(text: str) -> bool:
    """Whether mail can be sent to it. Only a mail to it can really tell."""
    return (
        len(text) <= ADDRESS_CHARS_MAX
        and ADDRESS.fullmatch(text) is not None
        and text.index("@") <= LOCAL_PART_CHARS_MAX
    )
