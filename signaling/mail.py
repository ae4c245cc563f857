"""One mail as bytes: headers and two bodies, the same bytes at every try."""

from __future__ import annotations

import datetime as dt
import hashlib
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from signaling.mail_parts import Letter, as_html, as_text


def mail_bytes(
    made: Letter,
    *,
    sender: str,
    sender_name: str,
    recipient: str,
    reply_to: str | None,
    message_id: str,
    at_ms: int,
) -> bytes:
    """RFC 5322 bytes of a letter; ValueError for anything that is not one header line.

    `message_id` is the part before the @. Date is that of the cause, not of the try, and the
    boundary comes from the Message-ID: a mail that is sent twice is twice the same.
    """
    domain = sender.rpartition("@")[2]
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(sender_name, addr_spec=sender)
    message["To"] = Address(addr_spec=recipient)
    if reply_to is not None:
        message["Reply-To"] = Address(addr_spec=reply_to)
    message["Subject"] = made.subject
    message["Date"] = dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC)
    message["Message-ID"] = f"<{message_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers by machines
    # Quoted-printable keeps every line short and 7-bit, whatever the server speaks.
    message.set_content(as_text(made), cte="quoted-printable")
    message.add_alternative(as_html(made), subtype="html", cte="quoted-printable")
    message["Content-Language"] = made.language  # now, or it would stay with the text part
    message.set_boundary("=_" + hashlib.sha256(message_id.encode()).hexdigest()[:32])
    return message.as_bytes()
