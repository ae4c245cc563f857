"""One SMTP connection through aiosmtplib: every end of a delivery as a value, in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Literal

import aiosmtplib

CONNECT_S_MAX = 60.0
"""Connecting, TLS and signing in together."""
MESSAGE_S_MAX = 120.0
"""One mail from MAIL to the answer after its last dot; well below the outbox's claim."""
QUIT_S = 3.0
PERMANENT = 500
"""Replies from here on will not change by trying again (RFC 5321 §4.2.1)."""

Security = Literal["none", "starttls", "tls"]


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails go; `timeout_s` bounds each single reply."""

    host: str
    port: int
    security: Security
    username: str
    password: str
    timeout_s: float
    local_name: str
    """What we call ourselves in EHLO; looking it up would block the loop."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server has taken the mail."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """It never will, for this mail or this recipient."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Not now. `line_lost`: the connection is of no more use."""

    reason: str
    line_lost: bool


Delivery = Accepted | Rejected | Failed


class SmtpUnavailable(Exception):
    """No usable connection: nothing was offered to the server."""


class SmtpLine:
    """An open connection; close it in the end."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client

    @classmethod
    async def open(cls, server: SmtpServer) -> SmtpLine:
        """Connect, secure and sign in, or raise SmtpUnavailable with the reason."""
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            username=server.username or None,
            password=server.password or None,
            timeout=server.timeout_s,
            local_hostname=server.local_name,
        )
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await client.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            client.close()
            raise SmtpUnavailable(_said(error)) from error
        return cls(client)

    async def deliver(self, sender: str, recipient: str, mail: bytes) -> Delivery:
        """Offer one mail. Without an answer to its last line nobody knows: that is `Failed`."""
        try:
            async with asyncio.timeout(MESSAGE_S_MAX):
                await self._client.sendmail(sender, [recipient], mail)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return self._refused(error.recipients[0])
        except (aiosmtplib.SMTPDataError, aiosmtplib.SMTPRecipientRefused) as error:
            return self._refused(error)
        except (aiosmtplib.SMTPException, OSError) as error:
            # Among them a refused sender: the configuration's fault, not this mail's.
            return Failed(_said(error), line_lost=True)
        except ValueError as error:
            return Rejected(_said(error))
        return Accepted()

    async def close(self) -> None:
        """Say goodbye, but do not wait for long."""
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            async with asyncio.timeout(QUIT_S):
                await self._client.quit()
        self._client.close()

    def _refused(self, error: aiosmtplib.SMTPResponseException) -> Delivery:
        if error.code >= PERMANENT:
            return Rejected(_said(error))
        return Failed(_said(error), line_lost=not self._client.is_connected)


def _said(error: Exception) -> str:
    """One line of what went wrong, as the server or the system put it."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {' '.join(error.message.split())}"
    return " ".join(str(error).split()) or type(error).__name__
