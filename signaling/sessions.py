"""Web sessions: random cookies, kept only as hashes, ended by logout or by time."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable

from sqlalchemy import delete, insert, select

from billing_meter.database import Database
from billing_meter.ledger_store import utc_ms
from signaling.schema import web_sessions

TOKEN_BYTES = 32
TOKEN_PREFIX = "ss_"
"""The log filter and secret scanners know our tokens by their prefixes."""


class Sessions:
    """The store of signed-in browsers."""

    def __init__(
        self, database: Database, utc_now: Callable[[], dt.datetime], session_days: int
    ) -> None:
        self._database = database
        self._utc_now = utc_now
        self.lifetime_s = session_days * 86_400

    async def open(self, account_id: str) -> str:
        """A new session's cookie value. Each login gets its own; none is ever taken over."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        now_ms = utc_ms(self._utc_now())
        async with self._database.write() as connection:
            await connection.execute(
                delete(web_sessions).where(web_sessions.c.expires_at_ms <= now_ms)
            )
            await connection.execute(
                insert(web_sessions).values(
                    token_hash=token_hash(token),
                    account_id=account_id,
                    created_at_ms=now_ms,
                    expires_at_ms=now_ms + self.lifetime_s * 1000,
                )
            )
        return token

    async def account_id(self, token: str) -> str | None:
        """Whose session this is, or None if unknown, ended or expired."""
        now_ms = utc_ms(self._utc_now())
        query = select(web_sessions.c.account_id).where(
            web_sessions.c.token_hash == token_hash(token),
            web_sessions.c.expires_at_ms > now_ms,
        )
        async with self._database.read() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
        return None if found is None else str(found)

    async def end(self, token: str) -> None:
        """Forget one session."""
        async with self._database.write() as connection:
            await connection.execute(
                delete(web_sessions).where(web_sessions.c.token_hash == token_hash(token))
            )


def token_hash(token: str) -> str:
    """SHA-256 in hex; enough for random tokens, which cannot be guessed from a list."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
