"""The `[mail]` section: which SMTP server, as whom, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from signaling.mail_address import is_address
from signaling.smtp import Security, SmtpServer

ONE_LINE = r"\A[^\x00-\x1f\x7f]+\Z"


class MailSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Receipts and notices by e-mail. Without `smtp` none is sent; receipts are in the wallet."""

    smtp: str = ""
    security: Security = "starttls"
    username: str = ""
    password: str = ""
    sender: str = ""
    sender_name: Annotated[str, Meta(min_length=1, max_length=60, pattern=ONE_LINE)] = "Parlour"
    support: Annotated[str, Meta(max_length=200, pattern=r"\A[^\s\x00-\x1f\x7f]*\Z")] = ""
    timeout_s: Annotated[int, Meta(ge=1, le=60)] = 15

    def smtp_server(self) -> SmtpServer:
        """The server that `smtp` names; call only after `faults` found none."""
        host, _, port = self.smtp.rpartition(":")
        return SmtpServer(
            host=host.removeprefix("[").removesuffix("]"),
            port=int(port),
            security=self.security,
            username=self.username,
            password=self.password,
            timeout_s=self.timeout_s,
            local_name=self.sender.rpartition("@")[2],
        )

    def faults(self, *, server_is_loopback: bool) -> Iterator[str]:
        """What is wrong, each with its key; nothing is, where mail is off."""
        if not self.smtp:
            return
        if not is_address(self.sender):
            yield f"mail.sender: {self.sender!r} is not an address such as mail@example.org"
        if not is_address(self.support) and not self.support.startswith("https://"):
            yield "mail.support: name an address or an https:// page where people get help"
        if self.security == "none" and not server_is_loopback:
            if self.username:
                yield 'mail.security = "none": the password would cross the network in clear'
            else:
                yield 'mail.security = "none": mails would cross the network in clear'
        if bool(self.username) != bool(self.password):
            yield "mail.username and mail.password: set both or neither"
