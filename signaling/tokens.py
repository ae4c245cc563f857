"""Bearer tokens (JWT, HS256) for programs: the bench, integrators, the demo's own helpers."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jwt
import msgspec

ALGORITHM = "HS256"
ISSUER = "parlour"
AUDIENCE = "parlour-api"
TTL_S_DEFAULT = 600
"""Short: a token is for connecting, and what goes on afterwards is the server's state."""
TTL_S_MAX = 30 * 86_400
LEEWAY_S = 5
SECRET_FILE = "secret"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says: who it speaks for. Rights follow from the account, not from the token."""

    sub: str
    role: Literal["guest", "member", "expert"]
    name: str = ""


class Tokens:
    """Makes and reads tokens under one secret."""

    def __init__(self, secret: str, utc_now: Callable[[], dt.datetime]) -> None:
        self._secret = secret
        self._utc_now = utc_now

    def issue(self, grant: Grant, ttl_s: int = TTL_S_DEFAULT) -> str:
        """A signed token for the account (or guest) named by `grant`."""
        now_s = int(self._utc_now().timestamp())
        claims = {
            **msgspec.to_builtins(grant),
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + min(ttl_s, TTL_S_MAX),
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def read(self, token: str) -> Grant | None:
        """The grant of a token that is ours and in force, or None; the algorithm is pinned."""
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={
                    "require": ["exp", "nbf", "sub", "jti"],
                    # Our own injected clock decides, below.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            now_s = self._utc_now().timestamp()
            if not claims["nbf"] - LEEWAY_S <= now_s < claims["exp"] + LEEWAY_S:
                return None
            return msgspec.convert(claims, Grant)
        except (jwt.InvalidTokenError, msgspec.ValidationError, TypeError, UnicodeError):
            return None


def secret_of(configured: str, data_dir: Path, name: str = SECRET_FILE) -> str:
    """The configured secret, or one made at the first start and kept readable to us alone."""
    return configured or kept_text(data_dir / name, lambda: secrets.token_hex(32))


def kept_text(file: Path, make: Callable[[], str]) -> str:
    """What the file says; made at the first start and readable to us alone.

    It appears with all that it says or not at all, also when the power goes.
    """
    if not file.exists():
        whole = file.with_name(f".{file.name}-{os.getpid()}")
        descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(make())
            stream.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(whole, file)
        whole.unlink()
    return file.read_text(encoding="ascii").strip()
