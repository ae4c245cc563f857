"""IBANs (ISO 13616): what people type, brought to one form, with its check digits proved."""

from __future__ import annotations

import re

IBAN_CHARS_MAX = 34
TYPED_CHARS_MAX = 64
"""With the blanks that people put between groups of four."""
_FORM = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
"""Country, check digits, account: 15 characters (Norway) to 34."""
_SHOWN_TAIL = 4


def iban(typed: str) -> str:
    """The electronic form, without blanks; ValueError unless its check digits are right."""
    if len(typed) > TYPED_CHARS_MAX:
        raise ValueError("too long for an IBAN")
    text = typed.replace(" ", "").upper()
    if not text.isascii() or _FORM.fullmatch(text) is None:
        raise ValueError("not the form of an IBAN")
    # ISO 7064 MOD 97-10: the first four characters go behind, letters count from A = 10.
    digits = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    if int(digits) % 97 != 1:
        raise ValueError("the check digits of the IBAN are wrong")
    return text


def masked(text: str) -> str:
    """For lists and pages: the country and the last four, such as `NO…7947`."""
    return f"{text[:2]}…{text[-_SHOWN_TAIL:]}"
