"""The signature on Stripe's webhooks: `t=SECONDS,v1=HEX[,v1=HEX…]`, HMAC-SHA-256 over raw bytes.

The signed bytes are the timestamp, a dot and the body as it came (Stripe: "Verify webhook
signatures manually"). While a secret is being rolled there are two signatures; one is enough.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

TOLERANCE_S = 300
"""How old a signature may be, or how far ahead its clock: what Stripe's own libraries allow."""
HEADER_CHARS_MAX = 1_024
"""A genuine header has about 160 characters."""
SIGNATURES_MAX = 8
TIMESTAMP_DIGITS_MAX = 12

SignatureFault = Literal["signature_missing", "signature_wrong", "signature_stale"]


def signature_fault(body: bytes, header: str, secret: str, now_s: int) -> SignatureFault | None:
    """Why this body is not believed, or None. Staleness is told only to who knows the secret."""
    if not header:
        return "signature_missing"
    parsed = _parsed(header)
    if parsed is None:
        return "signature_wrong"
    timestamp, signatures = parsed
    expected = signature_of(body, secret, timestamp)
    genuine = False
    for signature in signatures:  # all of them, so that time does not tell which one fits
        genuine |= hmac.compare_digest(expected.encode(), signature.encode())
    if not genuine:
        return "signature_wrong"
    return "signature_stale" if abs(now_s - int(timestamp)) > TOLERANCE_S else None


def signature_of(body: bytes, secret: str, timestamp: str) -> str:
    """The hexadecimal signature; `timestamp` exactly as it stands in the header."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _parsed(header: str) -> tuple[str, list[str]] | None:
    if len(header) > HEADER_CHARS_MAX:
        return None
    timestamp, signatures = None, []
    for item in header.split(","):
        name, _, value = item.strip().partition("=")
        if name == "t":
            timestamp = value
        elif name == "v1":
            signatures.append(value)
    if timestamp is None or not timestamp.isascii() or not timestamp.isdigit():
        return None
    if len(timestamp) > TIMESTAMP_DIGITS_MAX or not 0 < len(signatures) <= SIGNATURES_MAX:
        return None
    return timestamp, signatures
