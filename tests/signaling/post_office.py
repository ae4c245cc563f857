"""An account with a purchase, a mail server, and a mailer whose clock the test moves."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from billing_meter import schema
from billing_meter.order_store import Order
from signaling.accounts import NewAccount
from signaling.mailer import Mailer
from signaling.settings_mail import MailSection


class Post:
    """An account with a purchase, a mail server, and a mailer whose clock the test moves."""

    def __init__(self, door, server) -> None:
        self.door = door
        self.server = server
        self.late = dt.timedelta()
        self.mailer = self.new_mailer()

    def new_mailer(self, **changes: object) -> Mailer:
        settings = MailSection(
            **{
                "smtp": f"127.0.0.1:{self.server.port}",
                "security": "none",
                "sender": "parlour@parlour.test",
                "support": "help@parlour.test",
                "timeout_s": 5,
            }
            | changes
        )
        services = self.door.services
        return Mailer(
            services.database,
            services.accounts,
            settings,
            utc_now=self.now,
            counts=services.mail_counts,
        )

    def now(self) -> dt.datetime:
        return self.door.services.utc_now() + self.late

    def advance(self, **time: float) -> None:
        self.late += dt.timedelta(**time)

    async def member(self, name: str = "mia", language: str = "en", email: str | None = "") -> str:
        email = f"{name}@mail.test" if email == "" else email
        account = await self.door.services.accounts.add(
            NewAccount("member", name, "correct-horse-9", email, language)
        )
        return account.account_id

    async def buy(self, member_id: str, token: str = "tok_ok", key: str = "k") -> Order:
        orders = self.door.services.orders
        order = await orders.create(member_id, "credits-27", "card", key)
        assert isinstance(order, Order)
        paid = await orders.pay(member_id, order.order_id, token)
        assert isinstance(paid, Order)
        return paid

    async def rows(self) -> list[sa.RowMapping]:
        query = sa.select(schema.outbox).order_by(schema.outbox.c.at_ms)
        async with self.door.services.database.read() as connection:
            return list((await connection.execute(query)).mappings())

    async def row(self) -> sa.RowMapping:
        [row] = await self.rows()
        return row
