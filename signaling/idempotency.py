"""The header under which a request that moves money takes effect once, however often it is sent."""

from __future__ import annotations

from signaling.problem import Problem
from signaling.routing import Call

KEY_HEADER = "Idempotency-Key"


def key_of(call: Call) -> str | None:
    """What the client sent; its length is the matter of whoever keeps it.

    Bytes that are no UTF-8 come as surrogates, which no store takes.
    """
    key = call.request.headers.get(KEY_HEADER)
    if key is not None and not key.isprintable():
        raise Problem(400, "key_invalid", f"{KEY_HEADER} is plain text.")
    return key
