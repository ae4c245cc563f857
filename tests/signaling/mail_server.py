"""A real SMTP server on loopback that does to mails what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Received:
    """One mail as the server took it."""

    sender: str
    recipients: list[str]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """Its headers and bodies."""
        parsed = message_from_bytes(self.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class MailServer:
    """`rcpt` and `data` are the next answers, first first; without any it accepts."""

    port: int = 0
    rcpt: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)
    offered: int = 0
    connections: int = 0
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    """A server that answers `SILENT` waits for this, which never comes."""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.rcpt.pop(0) if self.rcpt else "250 fine"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.offered += 1
        answer = self.data.pop(0) if self.data else "250 taken"
        if answer == "SILENT":
            await self.silent.wait()
        taken = Received(str(envelope.mail_from), list(envelope.rcpt_tos), envelope.content or b"")
        if answer in ("DROP", "TAKE AND DROP"):
            if answer == "TAKE AND DROP":
                self.taken.append(taken)
            assert server.transport is not None
            server.transport.close()
            return "250 nobody hears this"
        if answer.startswith("2"):
            self.taken.append(taken)
        return answer


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """Listen on a free port of this machine."""
    made = MailServer()

    def protocol() -> SMTP:
        made.connections += 1
        return SMTP(made, hostname="mx.test", loop=asyncio.get_running_loop())

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.silent.set()
        server.close()
