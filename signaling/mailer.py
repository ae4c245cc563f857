"""The worker that empties the outbox: claims a mail, looks its reader up, sends it, notes the end.

Nothing waits for it. While the server cannot be reached nothing is claimed, so that a long outage
costs no mail its tries; what a process that died had claimed comes up again by itself.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from billing_meter import outbox
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger_store import utc_ms
from billing_meter.outbox import Mail
from signaling.accounts import Accounts
from signaling.mail import mail_bytes
from signaling.mail_address import is_address
from signaling.mail_parts import Site
from signaling.mail_texts import UnknownKind, letter
from signaling.settings_mail import MailSection
from signaling.smtp import Accepted, Delivery, Failed, Rejected, SmtpLine
from signaling.smtp import SmtpUnavailable as Unavailable

LOOK_S = 3.0
"""How soon a queued mail is noticed; one look-up by index."""
OUTAGE_S = (5.0, 15.0, 60.0, 300.0)
"""Pauses while the server cannot be reached; the last one goes on."""
BATCH = 50
"""Mails over one connection; then it is made anew, which keeps servers content."""
MESSAGE_ID_BYTES = 16

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class MailCounts:
    """What became of deliveries since the start of the process."""

    sent: int = 0
    put_off: int = 0
    given_up: int = 0
    outages: int = 0
    """Times that the server could not be reached."""


class Mailer:
    """Make one per process, only where mail is configured; `run` is its life."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        settings: MailSection,
        *,
        utc_now: Callable[[], dt.datetime],
        counts: MailCounts | None = None,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._settings = settings
        self._utc_now = utc_now
        self._counts = counts or MailCounts()
        self._server = settings.smtp_server()
        self._site = Site(settings.sender_name, settings.support)

    async def run(self) -> None:
        """Send what is due, for ever."""
        outages = 0
        while True:
            try:
                await self.deliver_due()
                outages = 0
                wait_s = LOOK_S
            except Unavailable as error:
                wait_s = OUTAGE_S[min(outages, len(OUTAGE_S) - 1)]
                outages += 1
                self._counts.outages += 1
                log.warning("mail server not reached", error=str(error), again_in_s=wait_s)
            except DatabaseUnavailable as error:
                wait_s = LOOK_S
                log.warning("outbox not read", error=str(error))
            except Exception:
                wait_s = OUTAGE_S[-1]
                log.exception("the mailer failed")
            await asyncio.sleep(wait_s)

    async def deliver_due(self) -> int:
        """Everything that is due now; how many were accepted. Raises Unavailable.

        A connection that broke is made anew for the next mail, and the broken one's mail waits.
        """
        accepted = 0
        while await self._anything_due():
            line = await SmtpLine.open(self._server)
            try:
                count, more = await self._deliver_over(line)
            finally:
                await line.close()
            accepted += count
            if not more:
                break
        return accepted

    async def _anything_due(self) -> bool:
        async with self._database.read() as connection:
            return await outbox.is_due(connection, self._now_ms())

    async def _deliver_over(self, line: SmtpLine) -> tuple[int, bool]:
        """A batch over one connection; (how many were accepted, whether more may be due)."""
        accepted = 0
        for _ in range(BATCH):
            async with self._database.write() as connection:
                mail = await outbox.claim(
                    connection, self._now_ms(), secrets.token_hex(MESSAGE_ID_BYTES)
                )
            if mail is None:
                return accepted, False
            ended = await self._deliver(line, mail)
            await self._note(mail, ended)
            accepted += isinstance(ended, Accepted)
            if isinstance(ended, Failed) and ended.line_lost:
                return accepted, True
        return accepted, True

    async def _deliver(self, line: SmtpLine, mail: Mail) -> Delivery:
        if self._now_ms() - mail.at_ms > outbox.AGE_MAX_MS:
            return Rejected("too old to be news")
        if mail.tries > outbox.TRIES_MAX:
            return Rejected("claimed too often without an end")
        reader = await self._accounts.mailbox(mail.member_id)
        if reader is None or not is_address(reader.email):
            return Rejected("the account has no address that mail can be sent to")
        support = self._settings.support
        try:
            content = mail_bytes(
                letter(mail.kind, reader.language, reader.username, mail.facts, self._site),
                sender=self._settings.sender,
                sender_name=self._settings.sender_name,
                recipient=reader.email,
                reply_to=support if is_address(support) else None,
                message_id=mail.message_id,
                at_ms=mail.at_ms,
            )
        except (UnknownKind, ValueError) as error:
            return Rejected(f"no mail could be made: {error}")
        return await line.deliver(self._settings.sender, reader.email, content)

    async def _note(self, mail: Mail, ended: Delivery) -> None:
        async with self._database.write() as connection:
            match ended:
                case Accepted():
                    await outbox.delivered(connection, mail, self._now_ms())
                    self._counts.sent += 1
                    return
                case Rejected(reason):
                    await outbox.bury(connection, mail, reason)
                    state = "dead"
                case Failed(reason):
                    state = await outbox.postpone(connection, mail, reason, self._now_ms())
        if state == "dead":
            self._counts.given_up += 1
        else:
            self._counts.put_off += 1
        # Neither the address nor the text: a log is read by more people than a mail.
        log.warning("mail not sent", mail=mail.event_id, tries=mail.tries, state=state)

    def _now_ms(self) -> int:
        return utc_ms(self._utc_now())
