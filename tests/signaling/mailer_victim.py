"""A process that does nothing but empty an outbox, to be killed: `… DATABASE_URL SMTP_PORT`."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys

from billing_meter.database import Database
from signaling.accounts import Accounts
from signaling.mailer import Mailer
from signaling.passwords import Passwords
from signaling.settings_mail import MailSection


async def main(url: str, port: str) -> None:
    database = await Database.open(url)
    hasher = Passwords()
    settings = MailSection(
        smtp=f"127.0.0.1:{port}",
        security="none",
        sender="parlour@parlour.test",
        support="help@parlour.test",
    )

    def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    await Mailer(database, Accounts(database, hasher, now), settings, utc_now=now).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
